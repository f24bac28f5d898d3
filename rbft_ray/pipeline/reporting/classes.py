"""The classes of a run for the report: a row each, or the ones that matter where there are many."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbft_ray.pipeline.recipes import ARMS
from rbft_ray.pipeline.reporting.words import METHOD

MAX_ROWS = 40  # classes in a table; of more, half with the largest and half with the smallest gains
MAX_MATRIX = 12  # classes in a confusion matrix; of more, the most confused pairs
MAX_PAIRS = 15


def class_rows(
    labels: Sequence[str],
    train: Mapping[str, int],
    metrics: Mapping[str, Mapping[str, Any]],
    comparison: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Per class: label, train and test (clips), f1 by arm, gain of RB-FT over direct SFT and its interval.

    The class with the most training clips comes first.

    Args:
        train: training clips by label; metrics: {arm: test split}; comparison: of direct SFT (a) and RB-FT (b).
    """
    rows = []
    for label in labels:
        change = comparison["per_class_f1"][label]
        rows.append(
            {
                "label": label,
                "train": train[label],
                "test": metrics[METHOD]["per_class"][label]["support"],
                "f1": {arm: metrics[arm]["per_class"][label]["f1"] for arm in ARMS},
                "gain": change["difference"],
                "interval": change["interval"],
            }
        )
    return sorted(rows, key=lambda row: -row["train"])


def telling_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows; of more than 40 the 20 with the largest and the 20 with the smallest gains, in that order."""
    if len(rows) <= MAX_ROWS:
        return list(rows)
    by_gain = sorted(rows, key=lambda row: -row["gain"])
    return by_gain[: MAX_ROWS // 2] + by_gain[-(MAX_ROWS // 2) :]


def confusion_matrices(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, list[list[dict[str, Any]]]] | None:
    """{arm: rows of cells {clips, share of the gold label's clips}}, or None for more than 12 classes."""
    found = {}
    for arm, test in metrics.items():
        counts = np.asarray(test["confusion"])
        if len(counts) > MAX_MATRIX:
            return None
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        found[arm] = [
            [{"clips": int(clips), "share": float(share)} for clips, share in zip(*row, strict=True)]
            for row in zip(counts, shares, strict=True)
        ]
    return found


def confused_pairs(metrics: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The 15 pairs of gold and predicted label that RB-FT confuses most: gold, predicted, of (gold clips), clips by arm."""
    counts = {arm: np.asarray(test["confusion"]) for arm, test in metrics.items()}
    wrong = counts[METHOD] * (1 - np.eye(len(labels), dtype=np.int64))
    pairs = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]:
        gold, predicted = divmod(int(place), len(labels))
        if wrong[gold, predicted]:
            clips = {arm: int(matrix[gold, predicted]) for arm, matrix in counts.items()}
            of = int(counts[METHOD][gold].sum())
            pairs.append({"gold": labels[gold], "predicted": labels[predicted], "of": of, "clips": clips})
    return pairs
