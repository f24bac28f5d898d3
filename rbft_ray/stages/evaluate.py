"""Clips and a model -> class posteriors, and metrics over the whole test split.

in:   clips of `list_clips`, a model directory
      those marked `explain` also get a rationale
out:  predictions/NNNNN.parquet (schema PREDICTIONS), rejects/NNNNN.parquet, metrics.json
"""

from functools import partial
from typing import Any

import numpy as np

from rbft_ray.core.config import EvaluateConfig, ModelConfig
from rbft_ray.core.metrics import classification_metrics
from rbft_ray.core.prompts import Task, label_prompt, rationale_prompt
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import PREDICTIONS, Reason, reject
from rbft_ray.io import storage
from rbft_ray.io.clips import read_frames
from rbft_ray.model.engine import Request, TransformersEngine
from rbft_ray.model.scoring import label_log_probabilities, posterior
from rbft_ray.model.vlm import Vlm, best_device, load
from rbft_ray.runtime.blocks import BlockOutput, BlockWorker, Counts, read_parts, run_blocks

PREDICTIONS_TABLE = "predictions"


def score_block(clips: list[dict[str, Any]], vlm: Vlm, task: Task, stage: str, config: EvaluateConfig) -> BlockOutput:
    """Predictions of one block of clips."""
    batch_clips = config.batch_clips
    rationales = _explain([clip for clip in clips if clip["explain"]], vlm, task, config.max_rationale_tokens)
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for start in range(0, len(clips), batch_clips):
        batch = clips[start : start + batch_clips]
        scores = label_log_probabilities(vlm, [read_frames(clip) for clip in batch], label_prompt(task), task.labels)
        for clip, log_probabilities, probabilities in zip(batch, scores, posterior(scores), strict=True):
            if not np.isfinite(probabilities).all():
                rejects.append(reject(clip, stage, Reason.ENGINE_ERROR, "the model's scores are not finite"))
                continue
            rows.append(
                {
                    **{name: clip[name] for name in ("id", "label", "split")},
                    "predicted": task.labels[int(probabilities.argmax())],
                    "probabilities": probabilities.tolist(),
                    "log_probabilities": log_probabilities.tolist(),
                    "rationale": rationales.get(clip["id"]),
                }
            )
    return BlockOutput({PREDICTIONS_TABLE: (PREDICTIONS, rows)}, rejects, Counts(len(clips), len(rows), len(rejects)))


def _explain(clips: list[dict[str, Any]], vlm: Vlm, task: Task, max_tokens: int) -> dict[str, str]:
    requests = [Request(read_frames(clip), rationale_prompt(task)) for clip in clips]
    answers = TransformersEngine(vlm).generate(requests, max_tokens=max_tokens, temperature=0.0)
    return {clip["id"]: answer.text for clip, answer in zip(clips, answers, strict=True)}


def _make_worker(base: str, model: ModelConfig, task: Task, stage: str, config: EvaluateConfig) -> BlockWorker:
    vlm = load(base, dtype=model.dtype, revision=model.revision, device=best_device())
    return lambda clips: score_block(clips, vlm, task, stage, config)


def evaluate(
    stage: str,
    out: str,
    clips: list[dict[str, Any]],
    base: str,
    model: ModelConfig,
    task: Task,
    config: EvaluateConfig,
    needs: Needs,
    *,
    no_progress_timeout_sec: float,
) -> Counts:
    """Scores `clips`, writes metrics.json per split over all clips. A rejected clip counts as an error there."""
    counts = run_blocks(
        stage,
        out,
        clips,
        partial(_make_worker, base, model, task, stage, config),
        needs,
        block_rows=config.block_clips,
        no_progress_timeout_sec=no_progress_timeout_sec,
    )
    predicted = {row["id"]: row["predicted"] for row in predictions(out)}
    metrics = {}
    for split in sorted({clip["split"] for clip in clips}):
        members = [clip for clip in clips if clip["split"] == split]
        answers = [predicted.get(clip["id"]) or _another(clip["label"], task) for clip in members]
        metrics[split] = classification_metrics([clip["label"] for clip in members], answers, task.labels)
    storage.write_json(storage.join(out, "metrics.json"), metrics)
    return counts


def _another(label: str, task: Task) -> str:
    return next(other for other in task.labels if other != label)


def predictions(out: str) -> list[dict[str, Any]]:
    """All rows of the predictions in `out`."""
    return [row for table in read_parts(out, PREDICTIONS_TABLE, PREDICTIONS) for row in table.to_pylist()]
