"""What a run's steps wrote, as plain values for the report: metrics, comparison, counts, rejects, losses."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbft_ray.core.errors import DataError
from rbft_ray.core.schema import REJECTS, SPLITS
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.pipeline.arms import training_clips
from rbft_ray.pipeline.compare import compare_files
from rbft_ray.pipeline.recipes import ARMS, Plan
from rbft_ray.pipeline.reporting.words import BASELINE, METHOD
from rbft_ray.pipeline.runner import step_dir
from rbft_ray.runtime.blocks import REJECTS_TABLE, read_rows
from rbft_ray.stages import evaluate

LOSS_POINTS = 200
TRAININGS = ("train_stage1", "train_direct_sft", "train_rb_ft")


def evaluate_dir(plan: Plan, root: str, arm: str) -> str:
    """The directory of an arm's evaluate step."""
    return step_dir(root, plan.step(f"evaluate_{arm}"))


def arm_metrics(plan: Plan, root: str) -> dict[str, dict[str, Any]]:
    """{arm: its metrics.json}.

    Raises:
        DataError: an unknown schema version, or no test clip was scored.
    """
    found = {}
    for arm in ARMS:
        uri = storage.join(evaluate_dir(plan, root, arm), evaluate.METRICS_FILE)
        metrics = storage.read_json(uri)
        if metrics.get("schema_version") != evaluate.METRICS_VERSION:
            known = evaluate.METRICS_VERSION
            raise DataError(f"{uri}: schema version {metrics.get('schema_version')} is unknown (known: {known})")
        if "test" not in metrics["splits"]:
            raise DataError(f"{uri}: no test clip was scored; the reasons are in {REJECTS_TABLE} beside it")
        found[arm] = metrics
    return found


def arm_comparison(plan: Plan, root: str) -> dict[str, Any]:
    """RB-FT (b) minus direct SFT (a), as `rbft compare` prints it."""
    arms = (BASELINE, METHOD)
    uris = [storage.join(evaluate_dir(plan, root, arm), evaluate.PREDICTIONS_FILE) for arm in arms]
    return {**compare_files(*uris), "a": BASELINE, "b": METHOD}


def split_counts(plan: Plan, root: str, rejected: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Clips that were ingested.

    Args:
        rejected: rows of REJECTS of all steps.

    Returns:
        splits: per split name, clips, groups (named ones) and rejected (before training and scoring);
        train: {label: training clips that the arms learn from}; clips: rows of `list_clips`.
    """
    ingest = plan.step("ingest")
    clips = list_clips(step_dir(root, ingest), SPLITS)
    refused = Counter(row["split"] or "none" for row in rejected if row["stage"] == ingest.name)
    others = sorted(set(refused) - set(SPLITS))
    splits = []
    for name in (*SPLITS, *others):
        own = [clip for clip in clips if clip["split"] == name]
        groups = {clip["group"] for clip in own if clip["group"]}
        splits.append({"name": name, "clips": len(own), "groups": len(groups), "rejected": refused[name]})
    learned = training_clips(plan.config, plan.task, step_dir(root, ingest))
    train = Counter(clip["label"] for clip in learned)
    return {"splits": splits, "train": {label: train[label] for label in plan.task.labels}, "clips": clips}


def all_rejects(plan: Plan, root: str) -> list[dict[str, Any]]:
    """The rows of REJECTS of all steps, in the order of the steps."""
    return [row for step in plan.steps for row in read_rows(step_dir(root, step), REJECTS_TABLE, REJECTS)]


def reject_counts(rejected: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rejects by stage, in the order of the stages, and reason, the most frequent first; with the first row as an example."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rejected:
        entry = found.setdefault((row["stage"], row["reason"]), {**row, "count": 0})
        entry["count"] += 1
    stages = list(dict.fromkeys(row["stage"] for row in rejected))
    return sorted(found.values(), key=lambda entry: (stages.index(entry["stage"]), -entry["count"]))


def training_losses(plan: Plan, root: str) -> dict[str, tuple[list[float], list[float]]]:
    """{training step: (optimizer steps, losses per answer token)}, means over equal parts, at most 200 points."""
    found = {}
    for name in TRAININGS:
        losses = storage.read_json(storage.join(step_dir(root, plan.step(name)), "training_log.json"))["losses"]
        parts = np.array_split(np.arange(len(losses)), min(LOSS_POINTS, len(losses)))
        found[name] = (
            [float(part.mean()) + 1 for part in parts],
            [float(np.asarray(losses)[part].mean()) for part in parts],
        )
    return found
