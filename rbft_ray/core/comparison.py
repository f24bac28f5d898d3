"""Two models' predictions of the same clips: is the difference more than chance."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rbft_ray.core.bootstrap import group_indices, interval, resampled_sums
from rbft_ray.core.metrics import class_columns, class_counts, class_scores, label_indices, overall_scores

COMPARED_SCORES = ("accuracy", "macro_f1")


def compare_predictions(
    gold: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    groups: Sequence[str | None] | None,
    labels: Sequence[str],
    seed: int = 0,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """The differences b - a on N clips, ready for JSON.

    Every resample holds the same clips for a and b, whole groups of them (paired cluster bootstrap).

    Args:
        gold, a, b: N labels each, of the same clips in the same order.
        groups: N names (camera, source video); None or "" is a group of its own, as is every clip where `groups` is None.
        labels: the label set; macro-F1 runs over all of it.
        seed, resamples: of the bootstrap.

    Returns:
        clips (N), groups (their number)
        accuracy, macro_f1: a, b, difference, interval (95 %, percentile bootstrap) and p, two-sided, of the hypothesis that
            the difference is 0 (`_bootstrap_p`); with fewer than 2 groups the interval is [None, None] and p None
        mcnemar: only_a_correct, only_b_correct (clips) and p, exact and two-sided: binomial on the clips that one of the two has
            right (McNemar 1947). It takes clips as independent; where they come in groups, read the bootstrap's p
        per_class_f1: by label a, b, difference and interval ([None, None] also where the label has no clip)

    Raises:
        ValueError: no clip, lengths that differ, an unknown or repeated label, or no resamples.
    """
    if not len(gold) or not len(gold) == len(a) == len(b):
        raise ValueError(f"{len(gold)} gold labels, {len(a)} predictions of a and {len(b)} of b")
    gold_index, a_index, b_index = (label_indices(names, labels) for names in (gold, a, b))
    group_index = group_indices(groups, len(gold_index))
    columns = [class_columns(gold_index, predicted, len(labels)) for predicted in (a_index, b_index)]
    point = [class_counts(each.sum(axis=0)) for each in columns]
    drawn = [class_counts(sums) for sums in resampled_sums(columns, group_index, seed, resamples)]
    several = bool(group_index.max() > 0)
    scores = [[overall_scores(counts)[name] for counts in (*point, *drawn)] for name in COMPARED_SCORES]
    f1 = [class_scores(counts)["f1"] for counts in (*point, *drawn)]
    return {
        "clips": len(gold_index),
        "groups": int(group_index.max()) + 1,
        **{
            name: {
                **_difference(*values, defined=several),
                "p": _bootstrap_p(values[3] - values[2]) if several else None,
            }
            for name, values in zip(COMPARED_SCORES, scores, strict=True)
        },
        "mcnemar": _mcnemar(a_index == gold_index, b_index == gold_index),
        "per_class_f1": {
            label: _difference(*(values[..., i] for values in f1), defined=several and bool(point[0].gold[i]))
            for i, label in enumerate(labels)
        },
    }


def _difference(
    a: np.ndarray, b: np.ndarray, drawn_a: np.ndarray, drawn_b: np.ndarray, *, defined: bool
) -> dict[str, Any]:
    found = {"a": float(a), "b": float(b), "difference": float(b - a)}
    return {**found, "interval": interval(drawn_b - drawn_a, defined=defined)}


def _bootstrap_p(differences: np.ndarray) -> float:
    """Twice the share of resamples on the rarer side of 0, one added to both counts so that it is never 0, at most 1.

    The level at which the percentile interval ends at 0 (Efron and Tibshirani 1993, section 15.4; the added one: Davison and
    Hinkley 1997, section 4.2).
    """
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(differences) + 1))


def _mcnemar(a_correct: np.ndarray, b_correct: np.ndarray) -> dict[str, Any]:
    from scipy.stats import binomtest

    only_a, only_b = int((a_correct & ~b_correct).sum()), int((b_correct & ~a_correct).sum())
    p = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a_correct": only_a, "only_b_correct": only_b, "p": p}
