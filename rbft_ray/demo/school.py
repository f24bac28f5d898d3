"""Schools the base model on the general world: `python -m rbft_ray.demo.school --out DIR --minutes N`.

Needs numpy, torch and transformers only (a GPU is used where there is one). DIR receives `tokenizer/`, `state.pt` (to
resume: run the same command again), `log.jsonl` (a line every `LOG_STEPS` steps), `plan.json` and `base/` (the model so
far, in bfloat16, every `--save-minutes`).

The plan is by share of the time: vision alone (facts read out linearly), then in text the skills that rules rest on
(copy, compare, look up) beside captions, then rules on video. The loss is on the answers only. Half of the steps place
the text after a video as Transformers does, half as vLLM does. All randomness comes from the seed and the number of the
step; the plan itself goes by the clock.
"""

import argparse
import json
import math
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration

from rbft_ray.demo import forward
from rbft_ray.demo.batches import Batch, make_batch
from rbft_ray.demo.forward import FactProbe, lesson_losses
from rbft_ray.demo.lessons import RULE_LESSONS, Lesson, caption_lesson, question_lesson
from rbft_ray.demo.model import base_config, save_base
from rbft_ray.demo.tokenizer import train_tokenizer

LOG_STEPS = 20
PEAK_RATE, LAST_RATE, WARMUP_SHARE = 1e-3, 2e-5, 0.02
FACT_LOSS_WEIGHT = 0.3
BATCH_SIZES = {
    "vision": 64,
    "caption": 48,
    "question": 32,
    "rule": 32,
    "hinted": 32,
    "label": 32,
    "text_rule": 32,
    "clue": 32,
    "reading": 48,
    "repeat": 64,
    "compare": 48,
    "lookup": 64,
    "single_clue": 96,
}
# (until this share of the time, weights of the kinds of batch, shares of one, two and three objects)
PLAN: tuple[tuple[float, dict[str, float], tuple[float, float, float]], ...] = (
    (0.06, {"vision": 1.0}, (0.2, 0.5, 0.3)),
    (0.25, {"repeat": 0.35, "compare": 0.15, "lookup": 0.2, "text_rule": 0.15, "caption": 0.15}, (0.3, 0.4, 0.3)),
    (
        0.50,
        {"lookup": 0.4, "compare": 0.1, "single_clue": 0.1, "reading": 0.1, "text_rule": 0.2, "caption": 0.1},
        (0.1, 0.5, 0.4),
    ),
    (
        0.65,
        {"lookup": 0.2, "reading": 0.1, "clue": 0.2, "text_rule": 0.2, "rule": 0.2, "caption": 0.1},
        (0.1, 0.5, 0.4),
    ),
    (
        1.01,
        {"caption": 0.1, "rule": 0.5, "hinted": 0.13, "label": 0.05, "text_rule": 0.1, "question": 0.05, "clue": 0.07},
        (0.1, 0.5, 0.4),
    ),
)


def kind_of_step(rng: np.random.Generator, share: float) -> tuple[str, tuple[float, float, float]]:
    """The kind of batch, and the shares of numbers of objects, when `share` of the time is over."""
    weights, object_shares = next((weights, objects) for until, weights, objects in PLAN if share < until)
    kinds = list(weights)
    total = sum(weights.values())
    return str(rng.choice(kinds, p=[weights[kind] / total for kind in kinds])), object_shares


def drawn_lessons(rng: np.random.Generator, kind: str, object_shares: tuple[float, float, float]) -> list[Lesson]:
    """A batch of lessons of one kind."""
    count = BATCH_SIZES[kind]
    if kind in ("caption", "vision"):
        return [caption_lesson(rng, object_shares) for _ in range(count)]
    if kind == "question":
        return [question_lesson(rng, object_shares) for _ in range(count)]
    return [RULE_LESSONS[kind](rng) for _ in range(count)]


def learning_rate(share: float) -> float:
    """Linear warm-up, then a cosine from `PEAK_RATE` to `LAST_RATE` over the time."""
    if share < WARMUP_SHARE:
        return PEAK_RATE * max(share / WARMUP_SHARE, 0.01)
    return LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def moved(batch: Batch, device: str) -> Batch:
    parts = {name: value.to(device) for name, value in vars(batch).items() if value is not None}
    return replace(batch, **parts)


class School:
    """The model in training with all that a resumed run needs: optimizer, number of the step, time spent."""

    def __init__(self, out_dir: Path, seed: int, minutes: float) -> None:
        self.out_dir, self.seed, self.total_sec = out_dir, seed, minutes * 60
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if not (out_dir / "tokenizer").exists():
            train_tokenizer().save_pretrained(out_dir / "tokenizer")
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(out_dir / "tokenizer")
        torch.manual_seed(seed)
        self.model = Qwen2_5_VLForConditionalGeneration(base_config(self.tokenizer)).to(self.device)
        self.probe = FactProbe().to(self.device)
        self.parameters = [*self.model.parameters(), *self.probe.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.02, fused=True
        )
        self.step, self.spent_sec = 0, 0.0

    def save(self) -> None:
        """Replaces `state.pt` and `base/`."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "probe", "optimizer")}
        part = self.out_dir / "state.pt.part"
        torch.save(state | {"step": self.step, "spent_sec": self.spent_sec}, part)
        part.replace(self.out_dir / "state.pt")
        replace_directory(self.out_dir / "base", lambda path: save_base(self.model.cpu(), self.tokenizer, path))
        self.model.to(self.device)

    def resume(self) -> None:
        """Loads `state.pt` if there is one."""
        path = self.out_dir / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name in ("model", "probe", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.spent_sec = state["step"], state["spent_sec"]

    def train_step(self) -> dict[str, Any]:
        """One batch; returns its figures for the log."""
        share = self.spent_sec / self.total_sec
        rng = np.random.default_rng([self.seed, self.step])
        kind, object_shares = kind_of_step(rng, share)
        lessons, after_largest = drawn_lessons(rng, kind, object_shares), self.step % 2 == 0
        batch = moved(make_batch(self.tokenizer, lessons, rng, after_largest), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(share)
        with torch.autocast(self.device, torch.bfloat16):
            language_loss, fact_loss = lesson_losses(self.model, self.probe, batch, vision_only=kind == "vision")
        loss = fact_loss if kind == "vision" else language_loss + FACT_LOSS_WEIGHT * fact_loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return {"kind": kind, "loss": float(language_loss), "fact_loss": float(fact_loss), "lessons": len(batch.ids)}


def replace_directory(target: Path, write: Any) -> None:
    """Calls `write(path)` for a new sibling directory and puts it in the place of `target`."""
    fresh, old = target.with_name(target.name + ".new"), target.with_name(target.name + ".old")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    fresh.mkdir(parents=True)
    write(fresh)
    if target.exists():
        target.replace(old)
    fresh.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def log_line(school: School, figures: list[dict[str, Any]]) -> str:
    """Mean losses of each kind over the last steps, as JSON."""
    losses: dict[str, Any] = {}
    for kind in sorted({figure["kind"] for figure in figures}):
        own = [figure for figure in figures if figure["kind"] == kind]
        losses[kind] = {name: round(sum(f[name] for f in own) / len(own), 4) for name in ("loss", "fact_loss")}
    lessons = sum(figure["lessons"] for figure in figures)
    return json.dumps(
        {"step": school.step, "spent_sec": round(school.spent_sec, 1), "lessons": lessons, "mean": losses}
    )


def run_school(out_dir: Path, minutes: float, seed: int, save_minutes: float) -> None:
    """Trains until `minutes` are spent over all resumed runs; saves every `save_minutes`, at the end and on SIGTERM."""
    out_dir.mkdir(parents=True, exist_ok=True)
    plan = {"minutes": minutes, "seed": seed, "plan": PLAN, "batch_sizes": BATCH_SIZES, "peak_rate": PEAK_RATE}
    (out_dir / "plan.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    school = School(out_dir, seed, minutes)
    school.resume()
    figures: list[dict[str, Any]] = []
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    next_save_sec = school.spent_sec + save_minutes * 60
    started = time.monotonic() - school.spent_sec
    while school.spent_sec < school.total_sec and not stopped:
        figures.append(school.train_step())
        school.spent_sec = time.monotonic() - started
        if school.step % LOG_STEPS == 0:
            with (out_dir / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(log_line(school, figures) + "\n")
            figures = []
        if school.spent_sec >= next_save_sec:
            school.save()
            next_save_sec += save_minutes * 60
    school.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--minutes", type=float, default=75.0, help="time of training in all")
    parser.add_argument("--save-minutes", type=float, default=5.0, help="time from one save to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--compile", action="store_true", help="compile the forward pass (faster by half; needs a C++ compiler)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on a CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.compile:
        forward.text_hidden = torch.compile(forward.text_hidden, dynamic=True)
        forward.vision_features = torch.compile(forward.vision_features, dynamic=True)
    run_school(arguments.out, arguments.minutes, arguments.seed, arguments.save_minutes)


if __name__ == "__main__":
    main()
