"""Schools the base model on the general world: `python -m rbft_ray.demo.school --out DIR`.

Needs numpy, torch and transformers only (a GPU is used where there is one). DIR receives `tokenizer/`, `state.pt` (to
resume: run the same command again), `log.jsonl` (a line every `LOG_STEPS` steps), `plan.json` and `base/` (the model so
far, in bfloat16, every `--save-minutes`).

Follows the phases of `plan.py`. The loss is on the answers only. Half of the steps place the text after a video as
Transformers does, half as vLLM does. Each batch depends on the seed and the number of its step alone.
"""

import argparse
import json
import os
import shutil
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2_5_VLForConditionalGeneration

from rbft_ray.demo import forward
from rbft_ray.demo.batches import Batch, make_batch
from rbft_ray.demo.forward import FactProbe, lesson_losses
from rbft_ray.demo.model import base_config, save_base
from rbft_ray.demo.plan import (
    BATCH_SIZES,
    PEAK_RATE,
    PHASES,
    Phase,
    drawn_lessons,
    learning_rate,
    phase_of_step,
    scaled,
)
from rbft_ray.demo.tokenizer import train_tokenizer

LOG_STEPS = 20
FACT_LOSS_WEIGHT = 0.3


def moved(batch: Batch, device: str) -> Batch:
    parts = {name: value.to(device) for name, value in vars(batch).items() if value is not None}
    return replace(batch, **parts)


class School:
    """The model in training with all that a resumed run needs: optimizer, number of the step, time spent."""

    def __init__(self, out_dir: Path, seed: int) -> None:
        self.out_dir, self.log, self.seed = out_dir, out_dir / "log.jsonl", seed
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        processor = (
            torch.cpu.get_capabilities()
        )  # x86 without AVX-512 multiplies bfloat16 up to 40 times slower than float32
        slow_half = self.device == "cpu" and processor["architecture"] == "x86_64" and not processor["avx512_bw"]
        self.dtype = torch.float32 if slow_half else torch.bfloat16
        if not (out_dir / "tokenizer").exists():
            train_tokenizer().save_pretrained(out_dir / "tokenizer")
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(out_dir / "tokenizer")
        torch.manual_seed(seed)
        self.model = Qwen2_5_VLForConditionalGeneration(base_config(self.tokenizer))
        self.model.to(self.device)
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
        """Loads `state.pt` if there is one; lines of the log that are later than it go, as their steps come again."""
        path = self.out_dir / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        for name in ("model", "probe", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.spent_sec = state["step"], state["spent_sec"]
        if self.log.exists():
            lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
            self.log.write_text(
                "".join(line for line in lines if json.loads(line)["step"] <= self.step), encoding="utf-8"
            )

    def prepared(self, step: int, phases: tuple[Phase, ...]) -> tuple[str, Batch]:
        """The batch of a step and its kind."""
        rng = np.random.default_rng([self.seed, step])
        kind, lessons = drawn_lessons(rng, phase_of_step(step, phases)[0])
        return kind, make_batch(self.tokenizer, lessons, rng, after_largest=step % 2 == 0)

    def train_step(self, kind: str, batch: Batch, rate: float) -> dict[str, Any]:
        """Learns from one batch; returns its figures for the log."""
        batch = moved(batch, self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device, self.dtype, enabled=self.dtype == torch.bfloat16):
            language_loss, fact_loss = lesson_losses(self.model, self.probe, batch, vision_only=kind == "vision")
        loss = fact_loss if kind == "vision" else language_loss + FACT_LOSS_WEIGHT * fact_loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return {"kind": kind, "loss": language_loss.item(), "fact_loss": fact_loss.item(), "lessons": len(batch.ids)}


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


def run_school(school: School, phases: tuple[Phase, ...], save_minutes: float) -> None:
    """Trains to the end of the phases; saves every `save_minutes`, at the end and on SIGTERM."""
    total = sum(phase.steps for phase in phases)
    figures: list[dict[str, Any]] = []
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    next_save_sec = school.spent_sec + save_minutes * 60
    started = time.monotonic() - school.spent_sec
    with ThreadPoolExecutor(1) as loader:  # draws the next clips while the model learns from these
        coming: Future[tuple[str, Batch]] = loader.submit(school.prepared, school.step, phases)
        while school.step < total and not stopped:
            kind, batch = coming.result()
            coming = loader.submit(school.prepared, school.step + 1, phases)
            figures.append(school.train_step(kind, batch, learning_rate(school.step, phases)))
            school.spent_sec = time.monotonic() - started
            if school.step % LOG_STEPS == 0:
                with school.log.open("a", encoding="utf-8") as log:
                    log.write(log_line(school, figures) + "\n")
                figures = []
            if school.spent_sec >= next_save_sec:
                school.save()
                next_save_sec += save_minutes * 60
    school.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the numbers of steps")
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
    phases = scaled(PHASES, arguments.scale)
    arguments.out.mkdir(parents=True, exist_ok=True)
    school = School(arguments.out, arguments.seed)
    school.resume()
    plan = {
        "seed": arguments.seed,
        "phases": [phase._asdict() for phase in phases],
        "batch_sizes": BATCH_SIZES,
        "peak_rate": PEAK_RATE,
        "device": torch.cuda.get_device_name() if school.device == "cuda" else f"{os.cpu_count()} CPU cores",
        "threads": arguments.threads,
        "torch": torch.__version__,
    }
    (arguments.out / "plan.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    run_school(school, phases, arguments.save_minutes)


if __name__ == "__main__":
    main()
