"""Speed of the training stage against a bare DeepSpeed loop and against Transformers' Trainer: `python benchmarks/train.py`.

The sides of a ratio train on the same samples with as many processes and threads and run in turn; the ratio is the median over the
rounds, beside it its range. 1.0 against the bare loop would be that Ray, reading, checkpoints and trackers cost nothing.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from training_speed.group import in_group
from training_speed.inputs import (
    ALL_PARTS,
    GLOBAL_BATCH,
    Videos,
    ingested,
    manifest_videos,
    rendered_videos,
    sampling,
    train_job,
)
from training_speed.loop import deepspeed_loop
from training_speed.padding import drawn_lengths, padding_shares
from training_speed.record import Run, steady
from training_speed.stage import run_stage, run_stages
from training_speed.trainer import SAMPLES_PER_PASS, transformers_trainer

from rbft_ray.core.config import RayConfig
from rbft_ray.core.resources import Cluster, Needs
from rbft_ray.core.train_config import TrainConfig
from rbft_ray.demo import BASE_DIR
from rbft_ray.runtime.kept_group import kept_groups
from rbft_ray.runtime.session import ray_session
from rbft_ray.stages.sample_sizes import measured
from rbft_ray.stages.train import TrainJob

PARTS = ("loop", "trainer", "padding", "start")
GOALS = {"stage_over_loop": 0.95, "stages_over_trainer": 1.5, "cached_stages_over_trainer": 2.0}
SIDE_PX = 84  # of the frames that the demo's base was schooled on
LOOP_EPOCHS, TRAINER_EPOCHS, START_EPOCHS = 6, 3, 1
LOADERS = (0, 2)
RUNS_IN_ONE_GROUP = 4
PADDING_SAMPLES, PADDING_EPOCHS = 778, 3
Rounds = dict[str, list[Run]]
Found = dict[str, Any]


class Bench(NamedTuple):
    """What the measurements share."""

    base: str
    videos: Videos
    rounds: int
    scratch: Path
    cluster: Cluster

    def needs(self, workers: int, threads: int) -> Needs:
        return Needs(workers, min_workers=workers, threads=threads)

    def job(self, epochs: float) -> TrainJob:
        """On clips that are there before any clock starts."""
        clips = ingested(self.videos, sampling(SIDE_PX), str(self.scratch / "clips"))
        return train_job(self.base, clips, self.videos.task, self.scratch / "train", epochs=epochs)


def in_turn(sides: Mapping[str, Callable[[], Run]], rounds: int) -> Rounds:
    """Runs every side once per round, every other round in reverse order."""
    found: Rounds = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            load = os.getloadavg()[0]
            run = sides[name]()
            found[name].append(run._replace(more={**run.more, "load_before": load}))
            print(f"{name}: {run.rate:.2f} samples/s, {run.seconds:.1f} s, load before {load:.1f}", file=sys.stderr)
    return found


def ratio(one: Sequence[Run], *others: Sequence[Run]) -> Found:
    """Of the rate of `one` over that of the fastest of `others` in the same round: median and range over the rounds."""
    each = [run.rate / max(other.rate for other in peers) for run, *peers in zip(one, *others, strict=True)]
    return spread(each)


def spread(values: Sequence[float]) -> Found:
    """Median and range."""
    return {"median": round(statistics.median(values), 3), "range": [round(min(values), 3), round(max(values), 3)]}


def loop(bench: Bench, workers: int, threads: int) -> tuple[dict[str, Found], Found, Rounds]:
    """The stage and the bare loop, both in their steady state."""
    job = bench.job(LOOP_EPOCHS)
    fitting, _ = measured(job)
    ready = dataclasses.replace(job, samples=tuple(fitting))

    def bare() -> Run:
        return steady(GLOBAL_BATCH, in_group(workers, threads, deepspeed_loop, ready), {})

    name = f"{workers}x{threads}"
    staged = partial(run_stage, job, bench.needs(workers, threads))
    runs = in_turn({f"stage_{name}": staged, f"loop_{name}": bare}, bench.rounds)
    stage, peer = runs.values()
    further = {
        f"typical_step_stage_over_loop_{name}": spread(_quotients(peer, stage, "typical_step_sec")),
        f"cpu_loop_over_stage_{name}": spread(_quotients(peer, stage, "cpu_sec_per_step_and_process")),
    }
    return {f"stage_over_loop_{name}": ratio(stage, peer)}, further, runs


def _quotients(one: Sequence[Run], other: Sequence[Run], figure: str) -> list[float]:
    return [a.more[figure] / b.more[figure] for a, b in zip(one, other, strict=True)]


def trainer(
    bench: Bench, workers: int, threads: int, side_px: int, parts: tuple[str, ...]
) -> tuple[dict[str, Found], Found, Rounds]:
    """All stages from videos to a model, and Trainer, which opens every video in every epoch."""
    contract, epochs = sampling(side_px), TRAINER_EPOCHS
    job = train_job(bench.base, [], bench.videos.task, bench.scratch / "train", epochs=epochs, parts=parts)
    samples = len(bench.videos.rows) * epochs

    def peer(loaders: int) -> Run:
        start = time.monotonic()
        trained = in_group(workers, threads, transformers_trainer, bench.videos, contract, job, loaders)[0]
        parts_sec = {"whole": time.monotonic() - start}
        return Run(samples, trained.seconds, {"parts_sec": parts_sec, "steps": trained.steps})

    def own() -> Run:
        needs = bench.needs(workers, threads)
        return run_stages(
            bench.videos, bench.base, contract, bench.scratch, bench.cluster, needs, epochs=epochs, parts=parts
        )

    cached = "" if "vision" in parts else "cached_"
    setting = f"{workers}x{threads}_{side_px}px"
    sides = {f"{cached}stages_{setting}": own}
    sides |= {f"{cached}trainer_{setting}_{loaders}_loaders": partial(peer, loaders) for loaders in LOADERS}
    runs = in_turn(sides, bench.rounds)
    stages, *peers = runs.values()
    further = {f"{cached}whole_stages_over_trainer_{setting}": ratio(_whole(stages), *map(_whole, peers))}
    return {f"{cached}stages_over_trainer_{setting}": ratio(stages, *peers)}, further, runs


def _whole(runs: Sequence[Run]) -> list[Run]:
    """The same runs with the start of processes, loading and writing the model."""
    return [run._replace(seconds=run.more["parts_sec"]["whole"]) for run in runs]


def padding(lengths: Mapping[str, Sequence[int]]) -> Found:
    """Shares of padding with the demo's settings and with those of 8 workers, by where the lengths are from."""
    budget = TrainConfig().micro_batch_tokens
    settings = {"8_samples_2_workers": (8, 2), "64_samples_8_workers": (64, 8)}
    found = {}
    for source, tokens in lengths.items():
        for name, (global_batch, workers) in settings.items():
            shares = padding_shares(
                tokens,
                global_batch=global_batch,
                workers=workers,
                count=SAMPLES_PER_PASS,
                most_tokens=budget,
                epochs=PADDING_EPOCHS,
            )
            found[f"{source}_{name}"] = {kind: round(share, 4) for kind, share in shares.items()}
    return {"padding_share": found}


def answer_lengths(bench: Bench, rationales: Sequence[str]) -> dict[str, list[int]]:
    """Tokens of prompt and answer: drawn as the authors' rationales are, and of rationale steps of a run, by directory."""
    from rbft_ray.core.prompts import rationale_prompt
    from rbft_ray.model.vlm import load_processor
    from rbft_ray.stages.rationalize import kept_rationales

    job = bench.job(1)
    prompted = dataclasses.replace(job, prompt=rationale_prompt(bench.videos.task))
    processor = load_processor(bench.base)
    (first, *_), _ = measured(prompted)
    prompt = first["tokens"] - len(processor.tokenizer(first["answer"])["input_ids"])
    found = {"drawn": [prompt + tokens for tokens in drawn_lengths(PADDING_SAMPLES)]}
    for directory in rationales:
        texts = kept_rationales(directory).values()
        found[Path(directory).name] = [prompt + len(processor.tokenizer(text)["input_ids"]) for text in texts]
    return found


def start(bench: Bench, workers: int, threads: int) -> tuple[dict[str, Found], Found, Rounds]:
    """Seconds of the parts of a short run in a group of its own, and in one that has trained before."""
    job, needs = bench.job(START_EPOCHS), bench.needs(workers, threads)
    runs: Rounds = {"short_run": [], "short_run_in_a_kept_group": []}
    for _ in range(bench.rounds):
        runs["short_run"].append(run_stage(job, needs))
        with kept_groups():
            run_stage(job, needs)
            runs["short_run_in_a_kept_group"] += [run_stage(job, needs) for _ in range(RUNS_IN_ONE_GROUP)]
    found = {}
    for name, own in runs.items():
        parts = [run.more["parts_sec"] for run in own]
        found[f"parts_sec_of_a_{name}"] = {part: spread([each[part] for each in parts]) for part in parts[0]}
        found[f"sec_around_the_steps_of_a_{name}"] = spread([each["whole"] - each["all_steps"] for each in parts])
    return {}, {f"start_{workers}x{threads}": found}, runs


def facts(run: Run) -> Found:
    """The figures of one run, rounded."""
    parts = {name: round(value, 3) for name, value in run.more.get("parts_sec", {}).items()}
    more = {name: round(value, 4) for name, value in run.more.items() if name != "parts_sec"}
    return {"samples_per_sec": round(run.rate, 3), "seconds": round(run.seconds, 3), **more, "parts_sec": parts}


def groups(workers: Sequence[int], cores: int) -> list[tuple[int, int]]:
    """(processes, threads of each) that share the cores, for each number of processes."""
    return [(count, max(1, cores // count)) for count in workers]


def measure(bench: Bench, arguments: argparse.Namespace) -> Found:
    """The benchmark's result: ratios, goals, further figures, the figures of every run."""
    parts, sharing = arguments.part or PARTS, groups(arguments.workers, len(os.sched_getaffinity(0)))
    most, threads = sharing[-1]
    found: list[tuple[dict[str, Found], Found, Rounds]] = []
    if "loop" in parts:  # and with one process less, which leaves a core to Ray and to the threads that read
        found += [loop(bench, workers, threads) for workers in (most, most - 1) if workers]
    if "trainer" in parts:
        for side_px in arguments.side_px:
            for trained in (ALL_PARTS, ("language",)):
                found += [trainer(bench, *group, side_px, trained) for group in sharing]
    if "padding" in parts:
        found.append(({}, padding(answer_lengths(bench, arguments.rationales)), {}))
    if "start" in parts:
        found.append(start(bench, most, threads))
    ratios, further, runs = ({key: own[key] for own in each for key in own} for each in zip(*found, strict=True))
    goals = {name: goal for name in ratios for beginning, goal in GOALS.items() if name.startswith(beginning)}
    figures = {name: [facts(run) for run in own] for name, own in runs.items()}
    return {"ratios": ratios, "goals": goals, **further, "runs": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default=str(BASE_DIR), help="model directory")
    parser.add_argument("--manifest", help="of real videos, such as data.manifest; default: rendered ones")
    parser.add_argument("--video", default="{path}", help="how a row of the manifest names its video, as data.video")
    parser.add_argument("--videos", type=int, default=64, help="how many are trained on")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side")
    parser.add_argument("--part", action="append", choices=PARTS, help="what to measure, may be repeated; default: all")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes; they share the cores")
    parser.add_argument("--side-px", type=int, nargs="+", default=[SIDE_PX], help="of the frames in the trainer part")
    parser.add_argument(
        "--rationales", nargs="+", default=[], help="rationalize steps of runs (directories), for the padding part"
    )
    parser.add_argument("--out", type=Path, help="file for the result; it is printed in any case")
    parser.add_argument("--scratch", type=Path, help="where clips and models are put and kept; default: nowhere")
    arguments = parser.parse_args()
    # Ray would give its workers less of a busy machine than the peers get.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        if arguments.manifest:
            videos = manifest_videos(arguments.manifest, arguments.video, arguments.videos)
        else:
            videos = rendered_videos(scratch, arguments.videos)
        with ray_session(RayConfig(address="local")) as cluster:
            found = measure(Bench(arguments.base, videos, arguments.rounds, scratch, cluster), arguments)
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
