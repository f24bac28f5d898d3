"""What the untuned base says of some training clips: scores and sampled rationales, one row per clip.

in:   training clips of `list_clips`
out:  examined/NNNNN.parquet (schema EXAMINED), rejects/NNNNN.parquet: clips that the engine does not take or fails on
"""

from functools import partial
from typing import Any

import numpy as np

from rbft_ray.core.config import ModelConfig, PreflightConfig, RationalizeConfig
from rbft_ray.core.prompts import Task, label_prompt, rationale_form, rationale_prompt
from rbft_ray.core.rationale_checks import parse_answer
from rbft_ray.core.readiness import Examined
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import EXAMINED, Reason, reject
from rbft_ray.io.clips import read_frames
from rbft_ray.model.engine import Engine, Request, request_seed
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import rationale_engine
from rbft_ray.runtime.block_runs import run_blocks
from rbft_ray.runtime.blocks import BlockOutput, BlockWorker, Counts, read_rows

STAGE = "preflight"
EXAMINED_TABLE = "examined"


def examine_block(
    clips: list[dict[str, Any]], engine: Engine, task: Task, samples: int, config: RationalizeConfig, seed: int
) -> BlockOutput:
    """Scores of the bare labels, and `samples` rationales per clip, in the form that the job forces."""
    frames = read_frames(clips)
    requests = [
        Request(frame, rationale_prompt(task), request_seed(seed, clip["id"], False, number))
        for clip, frame in zip(clips, frames, strict=True)
        for number in range(samples)
    ]
    said = engine.generate(requests, max_tokens=config.max_tokens, temperature=config.temperature)
    answers = {clip["id"]: said[index * samples :][:samples] for index, clip in enumerate(clips)}
    failures = {name: [answer for answer in own if answer.error] for name, own in answers.items()}
    rejects = [
        reject(clip, STAGE, failed[0].failure or Reason.ENGINE_ERROR, failed[0].error or "")
        for clip in clips
        if (failed := failures[clip["id"]])
    ]
    taken = [(clip, frame) for clip, frame in zip(clips, frames, strict=True) if not failures[clip["id"]]]
    scores: Any = engine.score([frame for _, frame in taken], label_prompt(task), task.labels) if taken else []
    rows = []
    for (clip, _), log_probabilities in zip(taken, scores, strict=True):
        own = answers[clip["id"]]
        if not np.isfinite(log_probabilities).all():
            rejects.append(reject(clip, STAGE, Reason.ENGINE_ERROR, "the scores of its labels are not finite"))
            continue
        rows.append(
            {
                "id": clip["id"],
                "label": clip["label"],
                "log_probabilities": log_probabilities.tolist(),
                "texts": [answer.text for answer in own],
                "answers": [parse_answer(answer.text, task.labels)[1] for answer in own],
                "truncated": sum(answer.truncated for answer in own),
                "prompt_tokens": own[0].prompt_tokens,
            }
        )
    return BlockOutput({EXAMINED_TABLE: (EXAMINED, rows)}, rejects, Counts(len(clips), len(rows), len(rejects)))


def _make_worker(
    base: str, model: ModelConfig, task: Task, samples: int, config: RationalizeConfig, seed: int
) -> BlockWorker:
    engine = rationale_engine(base, model, config, seed, rationale_form(task.labels))
    samples = samples if config.temperature > 0 else 1  # more would be the same text
    return lambda clips: examine_block(clips, engine, task, samples, config, seed)


def preflight(
    out: str,
    clips: list[dict[str, Any]],
    base: str,
    model: ModelConfig,
    task: Task,
    config: PreflightConfig,
    rationalize: RationalizeConfig,
    needs: Needs,
    *,
    seed: int,
    no_progress_timeout_sec: float,
) -> Counts:
    """Examines `clips`; nothing is trained."""
    return run_blocks(
        STAGE,
        out,
        clips,
        partial(_make_worker, base, model, task, config.samples, rationalize, seed),
        needs,
        block_rows=rationalize.block_clips,
        environment=vllm_environment(needs.gpus > 0),
        no_progress_timeout_sec=no_progress_timeout_sec,
    )


def examined(out: str) -> list[Examined]:
    """What `preflight` found."""
    return [
        Examined(
            row["label"], tuple(row["log_probabilities"]), tuple(row["answers"]), row["truncated"], row["prompt_tokens"]
        )
        for row in read_rows(out, EXAMINED_TABLE, EXAMINED)
    ]
