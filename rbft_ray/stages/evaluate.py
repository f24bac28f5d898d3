"""Clips and a model -> class posteriors, and metrics over whole splits.

in:   clips of `list_clips`, a model directory
      those marked `explain` also get a rationale
out:  scores/NNNNN.parquet (schema SCORES), rejects/NNNNN.parquet
      calibration.json      how scores become probabilities, fitted on the validation split
      predictions.parquet   (schema PREDICTIONS) with calibrated probabilities
      metrics.json          per split, over all clips
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from rbft_ray.core.calibration import abstention_threshold, fit_temperature, prior_correction
from rbft_ray.core.card import Calibration
from rbft_ray.core.config import EvaluateConfig, ModelConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.metrics import evaluate_split
from rbft_ray.core.prompts import Task, label_prompt, rationale_prompt
from rbft_ray.core.rationale_checks import parse_answer
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import PREDICTIONS, PREDICTIONS_FILE, SCORES, Reason, reject
from rbft_ray.io import storage
from rbft_ray.io.clips import ClipFrames, read_frames
from rbft_ray.model.engine import Engine, Request, TransformersEngine
from rbft_ray.model.scoring import label_tokens
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import VllmEngine
from rbft_ray.model.vlm import end_of_turn_token, load, load_processor
from rbft_ray.runtime.block_runs import run_blocks
from rbft_ray.runtime.blocks import BlockOutput, BlockWorker, Counts, read_rows

SCORES_TABLE = "scores"
CALIBRATION_FILE = "calibration.json"
METRICS_FILE = "metrics.json"
METRICS_VERSION = 1
ALWAYS_ABSTAINS = 2.0  # above every probability


def score_block(
    clips: list[dict[str, Any]], engine: Engine, task: Task, stage: str, config: EvaluateConfig
) -> BlockOutput:
    """Scores of one block of clips."""
    frames = read_frames(clips)
    rationales = _explain(clips, frames, engine, task, config.max_rationale_tokens)
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    scores = engine.score(frames, label_prompt(task), task.labels)
    for clip, own in zip(clips, scores, strict=True):
        if not np.isfinite(own).all():
            rejects.append(reject(clip, stage, Reason.ENGINE_ERROR, "the model's scores are not finite"))
            continue
        row = {name: clip[name] for name in ("id", "label", "split", "group")}
        rows.append({**row, "log_probabilities": own.tolist(), "rationale": rationales.get(clip["id"])})
    return BlockOutput({SCORES_TABLE: (SCORES, rows)}, rejects, Counts(len(clips), len(rows), len(rejects)))


def _explain(
    clips: list[dict[str, Any]], frames: list[ClipFrames], engine: Engine, task: Task, max_tokens: int
) -> dict[str, str]:
    asked = {clip["id"]: seen for clip, seen in zip(clips, frames, strict=True) if clip["explain"]}
    requests = [Request(seen, rationale_prompt(task)) for seen in asked.values()]
    answers = engine.generate(requests, max_tokens=max_tokens, temperature=0.0)
    return {clip_id: answer.text for clip_id, answer in zip(asked, answers, strict=True) if answer.error is None}


def _make_worker(
    base: str, model: ModelConfig, task: Task, stage: str, config: EvaluateConfig, device: str
) -> BlockWorker:
    engine: Engine
    if config.engine == "vllm":
        engine = VllmEngine(
            base,
            dtype=model.dtype,
            revision=model.revision,
            max_model_len=config.max_model_len,
            gpu_memory_utilization=model.gpu_memory_utilization,
        )
    else:
        vlm = load(base, dtype=model.dtype, revision=model.revision, device=device)
        engine = TransformersEngine(vlm, config.batch_clips)
    return lambda clips: score_block(clips, engine, task, stage, config)


def score(
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
    """Writes the scores of `clips`, and rationales of those marked `explain`, into `out`."""
    return run_blocks(
        stage,
        out,
        clips,
        partial(_make_worker, base, model, task, stage, config, needs.device),
        needs,
        block_rows=config.block_clips,
        environment=vllm_environment(needs.gpus > 0) if config.engine == "vllm" else None,
        no_progress_timeout_sec=no_progress_timeout_sec,
    )


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
    train_labels: Sequence[str],
    refused: Sequence[Mapping[str, Any]],
    seed: int,
    no_progress_timeout_sec: float,
) -> Counts:
    """Scores `clips`, calibrates on the validation split and writes predictions and metrics.

    Args:
        train_labels: labels of the training clips: the prior that `config.target_prior` replaces; empty where the model has seen
            all classes equally often, or none.
        refused: clips that never came so far (`label`, `split`): errors in the strict metrics.
    """
    counts = score(stage, out, clips, base, model, task, config, needs, no_progress_timeout_sec=no_progress_timeout_sec)
    rows = read_rows(out, SCORES_TABLE, SCORES)
    lengths = label_lengths(base, model, task) if config.length_correction == "per_token" else ()
    calibration = calibrate(rows, task, config, train_labels, lengths)
    storage.write_json(storage.join(out, CALIBRATION_FILE), calibration.model_dump(mode="json"))
    predicted = [prediction(row, task, calibration) for row in rows]
    schema = PREDICTIONS.with_metadata({**PREDICTIONS.metadata, b"labels": json.dumps(task.labels).encode()})
    storage.write_table(storage.join(out, PREDICTIONS_FILE), predicted, schema)
    scored = {row["id"] for row in rows}
    missing = [*refused, *(clip for clip in clips if clip["id"] not in scored)]
    storage.write_json(
        storage.join(out, METRICS_FILE),
        metrics(predicted, missing, task, calibration, config.reason_then_label, seed),
        indent=None,  # a confusion matrix of 1,000 classes has a million numbers
    )
    return counts


def label_lengths(base: str, model: ModelConfig, task: Task) -> tuple[int, ...]:
    """Tokens of each label, its end-of-turn token included."""
    processor = load_processor(base, model.revision)
    return tuple(map(len, label_tokens(processor, end_of_turn_token(processor), task.labels)))


def calibrate(
    rows: Sequence[Mapping[str, Any]],
    task: Task,
    config: EvaluateConfig,
    train_labels: Sequence[str],
    lengths: tuple[int, ...] = (),
) -> Calibration:
    """Temperature and abstention threshold from the validation rows of SCORES, the ratio of priors from the config.

    Without validation rows no precision can be promised: where one is wanted, all clips abstain. With a target prior the threshold
    is that of the corrected posteriors on validation clips of the training prior.
    """
    ratio: tuple[float, ...] = ()
    if config.target_prior is not None:
        count = np.array([max(1, list(train_labels).count(label)) for label in task.labels])
        target = np.array([config.target_prior[label] for label in task.labels])
        ratio = tuple(prior_correction(count / count.sum(), target).tolist())
    raw = Calibration(label_lengths=lengths)
    validation = [row for row in rows if row["split"] == "validation"]
    if not validation:
        below = None if config.wanted_precision is None else ALWAYS_ABSTAINS
        return raw.model_copy(update={"log_prior_ratio": ratio, "abstain_below": below})
    scores = raw.adjusted([row["log_probabilities"] for row in validation])
    gold = np.array([task.labels.index(row["label"]) for row in validation])
    fitted = raw.model_copy(update={"temperature": fit_temperature(scores, gold), "log_prior_ratio": ratio})
    if config.wanted_precision is None:
        return fitted
    probabilities = fitted.posterior([row["log_probabilities"] for row in validation])
    found = abstention_threshold(
        probabilities.max(axis=1), probabilities.argmax(axis=1) == gold, config.wanted_precision
    )
    return fitted.model_copy(update={"abstain_below": ALWAYS_ABSTAINS if found is None else found["threshold"]})


def prediction(row: Mapping[str, Any], task: Task, calibration: Calibration) -> dict[str, Any]:
    """A row of PREDICTIONS from one of SCORES."""
    probabilities = calibration.posterior([row["log_probabilities"]])[0]
    reasoned = parse_answer(row["rationale"], task.labels)[1] if row["rationale"] is not None else None
    return {
        **row,
        "predicted": task.labels[int(probabilities.argmax())],
        "probabilities": probabilities.tolist(),
        "abstained": calibration.abstains(probabilities),
        "reasoned": reasoned,
    }


def metrics(
    predicted: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    task: Task,
    calibration: Calibration,
    reason_then_label: bool,
    seed: int,
) -> dict[str, Any]:
    """Content of metrics.json: `splits` as `core.metrics.evaluate_split` gives them, the calibration, and what abstains.

    Raises:
        DataError: no test clip was scored.
    """
    splits: dict[str, Any] = {}
    if not any(row["split"] == "test" for row in predicted):
        raise DataError("no test clip has a score; the reasons are in the step's rejects")
    for split in sorted({row["split"] for row in predicted}):
        rows = [row for row in predicted if row["split"] == split]
        raw = [row["log_probabilities"] for row in rows]
        splits[split] = evaluate_split(
            [row["label"] for row in rows],
            calibration.adjusted(raw),
            task.labels,
            temperature=calibration.temperature,
            uncalibrated=calibration.model_copy(update={"temperature": 1.0}).adjusted(raw),
            groups=[row["group"] for row in rows],
            rejected_gold=[row["label"] for row in missing if row["split"] == split and row["label"] in task.labels],
            reasoned=[row["reasoned"] for row in rows] if reason_then_label else None,
            seed=seed,
        )
        answered = [row for row in rows if not row["abstained"]]
        right = [row["predicted"] == row["label"] for row in answered]
        splits[split]["answered"] = {
            "coverage": len(answered) / len(rows),
            "precision": sum(right) / len(right) if right else None,
        }
    return {
        "schema_version": METRICS_VERSION,
        "labels": list(task.labels),
        "calibration": calibration.model_dump(mode="json"),
        "splits": splits,
    }
