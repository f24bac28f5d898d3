"""The content of metrics.json for one split, and the counts and resamples that a comparison of two models shares.

Macro averages run over all labels of the label set, also those without a clip; a precision, recall, F1 or MCC whose denominator
is 0 is 0, as in scikit-learn with zero_division=0. All that is bootstrapped is a function of sums over clips (counts per label,
losses, confidence per bin), so a resample, which weighs whole groups of clips, is a row of one matrix product.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rbft_ray.core.bootstrap import group_indices, interval, resampled_sums
from rbft_ray.core.calibration import (
    calibration_columns,
    calibration_scores,
    confidence_curves,
    log_posterior,
    mean_losses,
)

TOP_K = (2, 3, 5)
INTERVAL_SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "nll", "brier", "ece")


class ClassCounts(NamedTuple):
    """Clips per label, float64 (..., labels) each: predicted correctly, of this gold label, predicted as this label."""

    correct: np.ndarray
    gold: np.ndarray
    predicted: np.ndarray


def evaluate_split(
    gold: Sequence[str],
    log_probabilities: np.ndarray,
    labels: Sequence[str],
    *,
    temperature: float,
    uncalibrated: np.ndarray | None = None,
    groups: Sequence[str | None] | None = None,
    rejected_gold: Sequence[str] = (),
    reasoned: Sequence[str | None] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any]:
    """All metrics of one split, ready for JSON: None where a value is undefined, never NaN.

    Args:
        gold: N gold labels of the scored clips.
        log_probabilities: (N, labels) finite scores, natural logarithm, need not be normalised, columns in the order of
            `labels`. The posterior is softmax(scores / temperature); the prediction is the first label of highest score.
        uncalibrated: (N, labels) scores whose softmax is the posterior before calibration; None: `log_probabilities`.
        groups: N names (camera, source video); clips of a group are resampled together. None or "" is a group of its own.
        rejected_gold: R gold labels of the clips without scores: errors in `strict`, predicted as no label; nowhere else.
        reasoned: N labels answered after reasoning; None is no valid answer, an error.
        seed, resamples: of the bootstrap.

    Returns:
        clips (N + R), scored (N), rejected (R)
        scores: `overall_scores`, top_k, means of roc_auc and pr_auc over the labels that have them, nll, brier and ece
        strict: accuracy and macro_f1 over the N + R clips
        intervals: [low, high] of 95 %, also of per_class_f1 (`_intervals`)
        per_class: `class_scores`, support (clips), roc_auc and pr_auc (average precision) against the other labels
        confusion: clips, rows gold, columns predicted
        reliability, risk_coverage, aurc: `confidence_curves`
        uncalibrated: nll, brier and ece of the posterior before calibration
        reasoned: None, or accuracy, macro_f1 and no_answer (clips)

    Raises:
        ValueError: no scored clip, lengths that differ, an unknown or repeated label, a score that is not finite, a
            temperature that is not positive, or no resamples.
    """
    from sklearn.metrics import confusion_matrix

    gold_index, rejected = label_indices(gold, labels), label_indices(rejected_gold, labels)
    scores = _checked_scores(log_probabilities, len(gold_index), len(rejected), len(labels))
    raw = scores if uncalibrated is None else _checked_scores(uncalibrated, len(gold_index), len(rejected), len(labels))
    predicted, log_p = scores.argmax(axis=1), log_posterior(scores, temperature)
    columns = (class_columns(gold_index, predicted, len(labels)), calibration_columns(log_p, gold_index))
    all_gold, all_predicted = np.append(gold_index, rejected), np.append(predicted, np.full(len(rejected), -1))
    return {
        "clips": len(all_gold),
        "scored": len(gold_index),
        "rejected": len(rejected),
        **_point_values(class_counts(columns[0].sum(axis=0)), gold_index, scores, log_p, labels),
        "strict": _answer_scores(all_gold, all_predicted, labels),
        "intervals": _intervals(columns, labels, group_indices(groups, len(gold)), seed, resamples),
        "confusion": confusion_matrix(gold_index, predicted, labels=range(len(labels))).tolist(),
        **confidence_curves(log_p, gold_index),
        "uncalibrated": mean_losses(log_posterior(raw), gold_index),
        "reasoned": None if reasoned is None else _reasoned_scores(gold_index, reasoned, labels),
    }


def label_indices(names: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """The place of each name in `labels`: int64 (names,).

    Raises:
        ValueError: a name that is no label, or a label that stands there twice.
    """
    places = {label: i for i, label in enumerate(labels)}
    if len(places) != len(labels):
        raise ValueError(f"a label is there twice: {list(labels)}")
    unknown = sorted({str(name) for name in names if name not in places})
    if unknown:
        raise ValueError(f"{unknown} are none of the labels {list(labels)}")
    return np.array([places[name] for name in names], dtype=np.int64)


def _checked_scores(log_probabilities: np.ndarray, scored: int, rejected: int, labels: int) -> np.ndarray:
    scores = np.asarray(log_probabilities, dtype=np.float64)
    if not scored:
        raise ValueError(f"no scored clip to evaluate ({rejected} rejected)")
    if scores.shape != (scored, labels):
        raise ValueError(f"{scored} gold labels and scores of shape {scores.shape}: expected ({scored}, {labels})")
    if not np.isfinite(scores).all():
        raise ValueError(f"the scores of {(~np.isfinite(scores)).any(axis=1).sum()} clips are not finite")
    return scores


def class_columns(gold_index: np.ndarray, predicted_index: np.ndarray, labels: int) -> Any:
    """Per clip what `class_counts` needs summed: scipy csr_array (N, 3 x labels), ones for the clip's labels.

    Args:
        gold_index, predicted_index: (N,) int; a prediction of -1 is of no label.
    """
    from scipy.sparse import csr_array

    correct, answered = gold_index == predicted_index, predicted_index >= 0
    rows = np.arange(len(gold_index))
    places = (
        np.concatenate([rows[correct], rows, rows[answered]]),
        np.concatenate([gold_index[correct], labels + gold_index, 2 * labels + predicted_index[answered]]),
    )
    return csr_array((np.ones(len(places[0])), places), shape=(len(rows), 3 * labels))


def class_counts(sums: np.ndarray) -> ClassCounts:
    """The counts of sums (..., 3 x labels) over rows of `class_columns`."""
    return ClassCounts(*np.split(np.asarray(sums), 3, axis=-1))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def class_scores(counts: ClassCounts) -> dict[str, np.ndarray]:
    """precision, recall and f1 of every label, (..., labels) each."""
    return {
        "precision": _ratio(counts.correct, counts.predicted),
        "recall": _ratio(counts.correct, counts.gold),
        "f1": _ratio(2 * counts.correct, counts.gold + counts.predicted),
    }


def overall_scores(counts: ClassCounts) -> dict[str, np.ndarray]:
    """Scores over all labels, (...) each; of the counts of at least one clip.

    accuracy; balanced_accuracy: mean recall of the labels that have clips; macro_ (mean over labels) and weighted_ (by clips)
    precision, recall and f1; mcc: the correlation of gold and predicted labels (Gorodkin 2004).
    """
    clips, correct = counts.gold.sum(axis=-1), counts.correct.sum(axis=-1)
    by_class = class_scores(counts)
    covariance = correct * clips - (counts.gold * counts.predicted).sum(axis=-1)
    spreads = [clips**2 - (margin**2).sum(axis=-1) for margin in (counts.gold, counts.predicted)]
    return {
        "accuracy": correct / clips,
        "balanced_accuracy": by_class["recall"].sum(axis=-1) / (counts.gold > 0).sum(axis=-1),
        **{f"macro_{name}": values.mean(axis=-1) for name, values in by_class.items()},
        **{f"weighted_{name}": (values * counts.gold).sum(axis=-1) / clips for name, values in by_class.items()},
        "mcc": _ratio(covariance, np.sqrt(spreads[0] * spreads[1])),
    }


def _top_k_scores(gold_index: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """top_k: share of clips whose gold label is among the k highest scores, for k < labels; of equal scores the first counts."""
    own = scores[np.arange(len(gold_index)), gold_index][:, None]
    before = np.arange(scores.shape[1]) < gold_index[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return {f"top_{k}": float((rank < k).mean()) for k in TOP_K if k < scores.shape[1]}


def _ranking_scores(gold_index: np.ndarray, log_p: np.ndarray) -> dict[str, list[float | None]]:
    """roc_auc and pr_auc (average precision) of every label against the rest, None where no clip (or no other clip) has it.

    Clips are ranked by the label's log-posterior, whose order is that of the posterior without its underflow.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    found: dict[str, list[float | None]] = {"roc_auc": [], "pr_auc": []}
    for i in range(log_p.shape[1]):
        own = gold_index == i
        found["roc_auc"].append(float(roc_auc_score(own, log_p[:, i])) if own.any() and not own.all() else None)
        found["pr_auc"].append(float(average_precision_score(own, log_p[:, i])) if own.any() else None)
    return found


def _point_values(
    counts: ClassCounts, gold_index: np.ndarray, scores: np.ndarray, log_p: np.ndarray, labels: Sequence[str]
) -> dict[str, Any]:
    """scores and per_class."""
    by_class, ranking = class_scores(counts), _ranking_scores(gold_index, log_p)
    defined = {name: [value for value in values if value is not None] for name, values in ranking.items()}
    return {
        "scores": {
            **{name: float(value) for name, value in overall_scores(counts).items()},
            **_top_k_scores(gold_index, scores),
            **{name: float(np.mean(values)) if values else None for name, values in defined.items()},
            **mean_losses(log_p, gold_index),
        },
        "per_class": {
            label: {
                **{name: float(values[i]) for name, values in by_class.items()},
                "support": int(counts.gold[i]),
                **{name: values[i] for name, values in ranking.items()},
            }
            for i, label in enumerate(labels)
        },
    }


def _answer_scores(gold_index: np.ndarray, predicted_index: np.ndarray, labels: Sequence[str]) -> dict[str, float]:
    """accuracy and macro_f1 of answers, -1 where there is none."""
    scores = overall_scores(class_counts(class_columns(gold_index, predicted_index, len(labels)).sum(axis=0)))
    return {name: float(scores[name]) for name in ("accuracy", "macro_f1")}


def _reasoned_scores(gold_index: np.ndarray, reasoned: Sequence[str | None], labels: Sequence[str]) -> dict[str, float]:
    if len(reasoned) != len(gold_index):
        raise ValueError(f"{len(gold_index)} gold labels and {len(reasoned)} answers after reasoning")
    answered = np.array([answer is not None for answer in reasoned])
    predicted = np.full(len(reasoned), -1)
    predicted[answered] = label_indices([answer for answer in reasoned if answer is not None], labels)
    return {**_answer_scores(gold_index, predicted, labels), "no_answer": int((~answered).sum())}


def _intervals(
    columns: Sequence[Any], labels: Sequence[str], group_index: np.ndarray, seed: int, resamples: int
) -> dict[str, Any]:
    """Of `class_columns` and `calibration_columns`. [None, None] with fewer than 2 groups, and for F1 of a label without clips.

    An accuracy of 0 or 1 has no width. The ECE's leans high, as a mean of absolute values grows under resampling.
    """
    class_sums, loss_sums = resampled_sums(columns, group_index, seed, resamples)
    counts = class_counts(class_sums)
    values = {**overall_scores(counts), **calibration_scores(loss_sums, counts.gold.sum(axis=-1))}
    several, f1, present = bool(group_index.max() > 0), class_scores(counts)["f1"], counts.gold.max(axis=0) > 0
    return {
        **{name: interval(values[name], defined=several) for name in INTERVAL_SCORES},
        "per_class_f1": {label: interval(f1[:, i], defined=several and present[i]) for i, label in enumerate(labels)},
    }
