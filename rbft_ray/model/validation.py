"""Scores of a model in training on the validation split."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rbft_ray.core.metrics import class_columns, class_counts, class_scores, overall_scores
from rbft_ray.core.progress import BEST_METRIC
from rbft_ray.io.clips import read_frames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vlm import Vlm


def predictions(loaded: Vlm, clips: Sequence[dict[str, Any]], prompt: str, labels: Sequence[str]) -> list[int]:
    """The index of the label of highest score for each clip of `list_clips`, clip by clip; the model stays in training mode."""
    loaded.model.eval()
    scores = [label_log_probabilities(loaded, read_frames([clip]), prompt, labels) for clip in clips]
    loaded.model.train()
    return [int(row.argmax()) for row in scores]


def validation_scores(gold: Sequence[str], predicted: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    """{"macro_f1", "recall": {label: share of its clips}}; labels without clips have no recall."""
    gold_index = np.array([labels.index(label) for label in gold])
    counts = class_counts(class_columns(gold_index, np.asarray(predicted), len(labels)).sum(axis=0))
    recalls = class_scores(counts)["recall"]
    return {
        BEST_METRIC: float(overall_scores(counts)["macro_f1"]),
        "recall": {label: float(recalls[index]) for index, label in enumerate(labels) if counts.gold[index]},
    }
