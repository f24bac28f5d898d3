"""Metrics of one arm over the whole test split, through scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def classification_metrics(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, macro-F1, per-class precision / recall / F1 / support and the confusion matrix (rows: gold).

    Args:
        gold, predicted: N labels each; every predicted label is one of `labels`.

    Raises:
        ValueError: no rows, or lengths that differ.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

    if not gold or len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold labels and {len(predicted)} predictions")
    order = list(labels)
    precision, recall, f1, support = precision_recall_fscore_support(gold, predicted, labels=order, zero_division=0)
    return {
        "clips": len(gold),
        "accuracy": float(accuracy_score(gold, predicted)),
        "macro_f1": float(f1_score(gold, predicted, labels=order, average="macro", zero_division=0)),
        "per_class": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(order)
        },
        "confusion": np.asarray(confusion_matrix(gold, predicted, labels=order)).tolist(),
        "labels": order,
    }
