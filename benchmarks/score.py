"""Clips scored per second against the bare model that only reads the same prompts: `python benchmarks/score.py`.

Both sides get the same batches of clips and run in turn; the ratio is of the medians. 1.0 would be scoring for nothing.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.demo import BASE_DIR
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vlm import Vlm, best_device, encode_prompts, load, to_device

FRAMES = (8, 84, 84, 3)
GOALS = {4: 0.8, 100: 0.5}  # labels: share of the bare prefill's speed


def names(count: int) -> tuple[str, ...]:
    """Distinct class names of two or three words."""
    first, second = ("open", "close", "push", "pull", "lift", "drop", "turn", "wipe", "fold", "stir"), range(100)
    return tuple(f"{first[number % 10]} part {second[number // 10]}" for number in range(count))


@torch.inference_mode()
def prefill(vlm: Vlm, clips: list[ClipFrames], prompt: str) -> None:
    """What the bare model does with the prompts."""
    inputs = encode_prompts(vlm.processor, clips, [prompt] * len(clips))
    vlm.model(**to_device(inputs, vlm.model.device, vlm.model.dtype), use_cache=True, logits_to_keep=1)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ratio(vlm: Vlm, clips: list[ClipFrames], num_labels: int, rounds: int) -> float:
    """Median seconds of the bare prefill over median seconds of scoring."""
    labels = names(num_labels)
    prompt = label_prompt(Task(labels))
    sides = (lambda: prefill(vlm, clips, prompt), lambda: label_log_probabilities(vlm, clips, prompt, labels))
    for side in sides:
        side()
    times = [[seconds(side) for side in sides] for _ in range(rounds)]
    bare, scored = (statistics.median(own) for own in zip(*times, strict=True))
    return bare / scored


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default=str(BASE_DIR), help="model directory")
    parser.add_argument("--labels", type=int, nargs="+", default=list(GOALS))
    parser.add_argument("--clips", type=int, default=16, help="clips per batch")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    vlm = load(arguments.base, dtype="float32", device=best_device())
    rng = np.random.default_rng(0)
    clips = [ClipFrames(rng.integers(0, 255, FRAMES, dtype=np.uint8), 2.0) for _ in range(arguments.clips)]
    ratios = {f"{count}_labels": round(ratio(vlm, clips, count, arguments.rounds), 3) for count in arguments.labels}
    goals = {f"{count}_labels": goal for count, goal in GOALS.items() if count in arguments.labels}
    print(json.dumps({"ratios": ratios, "goals": goals}))


if __name__ == "__main__":
    main()
