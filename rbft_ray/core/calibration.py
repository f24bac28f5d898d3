"""Confidence: temperature, calibration error, when to abstain, and a known class prior.

The posterior of a clip is softmax(scores / temperature); its confidence is the largest probability. The temperature and the
threshold are chosen on one split (validation) and used on another: on the clips they were chosen on they look too good.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5
TEMPERATURES = (0.05, 20.0)  # searched by fit_temperature
PRIOR_SD = 0.7  # of log T around 0
RISK_COVERAGE_POINTS = 50


def log_posterior(log_probabilities: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """log softmax(scores / temperature): float64 (N, labels), natural logarithm.

    Raises:
        ValueError: the temperature is not a positive number.
    """
    from scipy.special import log_softmax

    if not 0 < temperature < np.inf:
        raise ValueError(f"the temperature must be positive and finite, not {temperature}")
    return log_softmax(np.asarray(log_probabilities, dtype=np.float64) / temperature, axis=-1)


def fit_temperature(log_probabilities: np.ndarray, gold_index: ArrayLike) -> float:
    """The most probable temperature in [0.05, 20] (temperature scaling, Guo et al. 2017, with a normal prior on log T).

    Minimises negative log-likelihood + (log T)^2 / (2 PRIOR_SD^2) over log T (scipy, bounded). Without a prior few clips that are
    all right lead to a temperature near 0, which calls every answer certain: of 8 clips whose right temperature is 1, 3
    and 0.5 the mean negative log-likelihood on other clips was 1.23, 2.61 and 0.88, with it 0.54, 0.72 and 0.57, of 200 clips
    the same with and without. 1.0 where there is nothing to fit: fewer than 2 rows, or no temperature better than 1.

    Args:
        log_probabilities: (N, labels) scores, natural logarithm, need not be normalised.
        gold_index: (N,) int, the column of each row's gold label.

    Raises:
        ValueError: scores of another shape or not finite, or a gold index that is no column.
    """
    from scipy.optimize import minimize_scalar

    scores, gold = np.asarray(log_probabilities, dtype=np.float64), np.asarray(gold_index, dtype=np.int64)
    if len(gold) < 2 and len(scores) == len(gold):
        return 1.0
    if scores.ndim != 2 or gold.shape != scores.shape[:1]:
        raise ValueError(f"scores of shape {scores.shape} and {gold.shape} gold indices: expected (N, labels) and (N,)")
    if not np.isfinite(scores).all():
        raise ValueError("the scores are not finite")
    if gold.min() < 0 or gold.max() >= scores.shape[1]:
        raise ValueError(f"a gold index is outside of 0 .. {scores.shape[1] - 1}")
    rows = np.arange(len(gold))

    def loss(log_temperature: float) -> float:
        likelihood = float(log_posterior(scores, float(np.exp(log_temperature)))[rows, gold].sum())
        return log_temperature**2 / (2 * PRIOR_SD**2) - likelihood

    bounds = (float(np.log(TEMPERATURES[0])), float(np.log(TEMPERATURES[1])))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def prior_correction(train_prior: ArrayLike, target_prior: ArrayLike) -> np.ndarray:
    """log(target / train): float64 (labels,), for a model trained under one class prior and used under another, known one.

    Posteriors of the target are softmax(scores / temperature + correction): it comes after the division by the temperature
    (Saerens et al. 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities"; Elkan 2001, "The Foundations
    of Cost-Sensitive Learning"). Training that was class-balanced has the prior 1 / labels.

    Args:
        train_prior, target_prior: (labels,) probabilities above 0 that sum to 1 (to 1e-6).

    Raises:
        ValueError: other shapes, a probability that is not above 0, or another sum.
    """
    train, target = np.asarray(train_prior, dtype=np.float64), np.asarray(target_prior, dtype=np.float64)
    if train.ndim != 1 or not train.size or train.shape != target.shape:
        raise ValueError(f"priors of shapes {train.shape} and {target.shape}: expected (labels,) both")
    for name, prior in (("train", train), ("target", target)):
        if not (np.isfinite(prior) & (prior > 0)).all():
            raise ValueError(f"the {name} prior must be above 0 for every label, not {prior.tolist()}")
        if abs(prior.sum() - 1) > 1e-6:
            raise ValueError(f"the {name} prior sums to {prior.sum():g}, not to 1")
    return np.log(target) - np.log(train)


def abstention_threshold(confidence: ArrayLike, correct: ArrayLike, wanted_precision: float) -> dict[str, float] | None:
    """The lowest confidence from which on the answered clips reach a precision, so that most clips are answered.

    Args:
        confidence: (N,) probability of the predicted label.
        correct: (N,) bool, whether the predicted label is the gold one.
        wanted_precision: in (0, 1], the share of correct clips among the answered.

    Returns:
        threshold (answer where confidence >= threshold), precision and coverage (share of answered clips) on these clips;
        None where no threshold reaches the precision.

    Raises:
        ValueError: lengths that differ, a confidence that is not finite, or a precision outside of (0, 1].
    """
    if not 0 < wanted_precision <= 1:
        raise ValueError(f"the wanted precision must be in (0, 1], not {wanted_precision}")
    thresholds, answered, errors = _selective_counts(confidence, correct)
    precision = (answered - errors) / answered
    reached = np.flatnonzero(precision >= wanted_precision)
    if not reached.size:
        return None
    last = reached[-1]
    return {
        "threshold": float(thresholds[last]),
        "precision": float(precision[last]),
        "coverage": float(answered[last] / answered[-1]),
    }


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[list[dict[str, float]], float]:
    """(curve, its area) of a classifier that answers only from a confidence on (El-Yaniv and Wiener 2010).

    Args:
        confidence, correct: as for `abstention_threshold`; at least one clip.

    Returns:
        Curve: at most 50 points of rising coverage, the last answers all clips: threshold, coverage (share of answered clips),
        risk (share of errors among the answered). Area (AURC, Geifman et al. 2019): the mean over clips of the risk at each
        clip's own confidence, so that clips of equal confidence are answered together.
    """
    thresholds, answered, errors = _selective_counts(confidence, correct)
    coverage, risk = answered / answered[-1], errors / answered
    area = float((np.diff(answered, prepend=0) * risk).sum() / answered[-1])
    # of every 1/50 of the clips the first threshold that answers so many
    wanted = np.arange(1, RISK_COVERAGE_POINTS + 1) * answered[-1]
    chosen = np.unique(np.searchsorted(answered * RISK_COVERAGE_POINTS, wanted))
    curve = [
        {"threshold": float(thresholds[i]), "coverage": float(coverage[i]), "risk": float(risk[i])} for i in chosen
    ]
    return curve, area


def _selective_counts(confidence: ArrayLike, correct: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(thresholds, answered, errors): the distinct confidences from the highest down, and clips and errors from each on."""
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if sure.ndim != 1 or sure.shape != right.shape:
        raise ValueError(f"{sure.shape} confidences and {right.shape} correct: expected (N,) both")
    if not np.isfinite(sure).all():
        raise ValueError("a confidence is not finite")
    thresholds, place = np.unique(-sure, return_inverse=True)
    answered = np.bincount(place, minlength=len(thresholds)).cumsum()
    errors = np.bincount(place[~right], minlength=len(thresholds)).cumsum()
    return -thresholds, answered, errors


def confidence_bins(confidence: np.ndarray) -> np.ndarray:
    """(N,) int64, the bin of each confidence in [0, 1]: bin i of 15 is (i / 15, (i + 1) / 15], as in Guo et al. 2017."""
    edges = np.linspace(0, 1, CONFIDENCE_BINS + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CONFIDENCE_BINS - 1)


def reliability_bins(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    """The reliability diagram: per bin low, high, clips, mean confidence and accuracy (None where it has no clip).

    Args:
        confidence: float64 (N,) in [0, 1]; correct: bool (N,).
    """
    edges, bins = np.linspace(0, 1, CONFIDENCE_BINS + 1), confidence_bins(confidence)
    rows = []
    for i in range(CONFIDENCE_BINS):
        inside = bins == i
        clips = int(inside.sum())
        rows.append(
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "clips": clips,
                "confidence": float(confidence[inside].mean()) if clips else None,
                "accuracy": float(correct[inside].mean()) if clips else None,
            }
        )
    return rows


def calibration_columns(log_probabilities: np.ndarray, gold_index: np.ndarray) -> np.ndarray:
    """Per clip what `calibration_scores` needs summed: float64 (N, 2 + 15).

    Columns: negative log-likelihood (natural), Brier score, and confidence - correct in the column of the clip's bin.

    Args:
        log_probabilities: (N, labels) of `log_posterior`; gold_index: (N,) int.
    """
    rows, probabilities = np.arange(len(gold_index)), np.exp(log_probabilities)
    predicted = log_probabilities.argmax(axis=1)
    confidence = probabilities[rows, predicted]
    columns = np.zeros((len(rows), 2 + CONFIDENCE_BINS))
    columns[:, 0] = -log_probabilities[rows, gold_index]
    columns[rows, 2 + confidence_bins(confidence)] = confidence - (predicted == gold_index)
    probabilities[rows, gold_index] -= 1
    columns[:, 1] = (probabilities**2).sum(axis=1)
    return columns


def calibration_scores(sums: np.ndarray, clips: ArrayLike) -> dict[str, np.ndarray]:
    """nll, brier and ece, each (...), of sums of `calibration_columns` (..., 2 + 15) over `clips` (...) clips.

    nll: mean, natural logarithm. brier: squared error summed over the labels, 0 to 2 (Brier 1950). ece: expected calibration
    error of the predicted label's probability (Guo et al. 2017).
    """
    means = sums / np.asarray(clips)[..., None]
    return {"nll": means[..., 0], "brier": means[..., 1], "ece": np.abs(means[..., 2:]).sum(axis=-1)}


def mean_losses(log_probabilities: np.ndarray, gold_index: np.ndarray) -> dict[str, float]:
    """nll, brier and ece of at least one clip; the arguments of `calibration_columns`."""
    scores = calibration_scores(calibration_columns(log_probabilities, gold_index).sum(axis=0), len(gold_index))
    return {name: float(value) for name, value in scores.items()}


def confidence_curves(log_probabilities: np.ndarray, gold_index: np.ndarray) -> dict[str, Any]:
    """reliability (`reliability_bins`), risk_coverage and aurc (`risk_coverage`); the arguments of `calibration_columns`."""
    confidence = np.exp(log_probabilities.max(axis=1))
    correct = log_probabilities.argmax(axis=1) == gold_index
    curve, area = risk_coverage(confidence, correct)
    return {"reliability": reliability_bins(confidence, correct), "risk_coverage": curve, "aurc": area}
