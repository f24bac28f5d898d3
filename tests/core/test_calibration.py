"""Calibration against known temperatures, plain loops and Bayes' rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.calibration import (
    PRIOR_SD,
    abstention_threshold,
    calibration_columns,
    calibration_scores,
    confidence_bins,
    confidence_curves,
    fit_temperature,
    log_posterior,
    mean_losses,
    prior_correction,
    reliability_bins,
    risk_coverage,
)

answers = st.lists(st.tuples(st.sampled_from([0.2, 0.4, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40)


def calibrated(seed: int, clips: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(scores, gold indices): gold labels drawn from softmax(scores / scale)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(clips, 5)) * 2
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    gold = (chances.cumsum(axis=1) < rng.random((clips, 1))).sum(axis=1)
    return scores * scale, gold


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0, 12.0])
def test_the_temperature_of_the_data_is_found(scale: float) -> None:
    assert fit_temperature(*calibrated(0, 6000, scale)) == pytest.approx(scale, rel=0.07)


@pytest.mark.parametrize("seed", range(4))
def test_no_temperature_of_a_fine_grid_is_more_probable(seed: int) -> None:
    scores, gold = calibrated(seed, 40, 2.5)

    def loss(temperature: float) -> float:
        prior = np.log(temperature) ** 2 / (2 * PRIOR_SD**2)
        return 40 * mean_losses(log_posterior(scores, temperature), gold)["nll"] + prior

    assert loss(fit_temperature(scores, gold)) <= min(map(loss, np.geomspace(0.05, 20, 400))) + 1e-5


def test_the_temperature_stays_in_its_range() -> None:
    gold = np.array([0, 1, 2, 0] * 500)
    certain = np.eye(5)[gold] * 0.05
    assert 0.05 <= fit_temperature(certain, gold) < 0.051
    assert 19.9 < fit_temperature(1e4 * certain, (gold + 1) % 3) <= 20


@pytest.mark.parametrize(("clips", "most_nll"), [(8, 0.6), (32, 0.15)])
def test_few_clips_that_are_all_right_do_not_make_every_answer_certain(clips: int, most_nll: float) -> None:
    scores, gold = calibrated(0, 20_000, 1.0)
    best, regrets = mean_losses(log_posterior(scores), gold)["nll"], []
    for start in range(0, 4000, clips):
        own = slice(start, start + clips)
        found = fit_temperature(scores[own], gold[own])
        regrets.append(mean_losses(log_posterior(scores, found), gold)["nll"] - best)
    assert np.mean(regrets) < 0.05 and max(regrets) < most_nll
    right = scores.argmax(axis=1) == gold
    assert fit_temperature(scores[right][:clips], gold[right][:clips]) > 0.2


@pytest.mark.parametrize(
    ("scores", "gold"), [(np.zeros((0, 3)), []), (np.eye(3)[:1], [2]), (np.full((9, 3), -4.0), [0, 1, 2] * 3)]
)
def test_nothing_to_fit_is_temperature_1(scores: np.ndarray, gold: list[int]) -> None:
    assert fit_temperature(scores, gold) == 1.0


@pytest.mark.parametrize(
    ("scores", "gold", "says"),
    [
        (np.zeros((3, 2)), [0, 1], r"shape \(3, 2\)"),
        (np.zeros(3), [0, 1, 1], r"expected \(N, labels\)"),
        (np.zeros((2, 2)), [0, 2], r"outside of 0 \.\. 1"),
        (np.zeros((2, 2)), [-1, 0], r"outside of 0 \.\. 1"),
        (np.array([[0, np.nan], [0, 0]]), [0, 1], "not finite"),
    ],
)
def test_scores_that_cannot_be_fitted_are_refused(scores: np.ndarray, gold: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fit_temperature(scores, gold)


def test_posteriors_of_far_scores_stay_finite() -> None:
    found = log_posterior(np.array([[-9000.0, -100.0], [0.0, 0.0]]), 2.0)
    assert found[0] == pytest.approx([-4450, 0])
    assert found[1] == pytest.approx(np.log([0.5, 0.5]))
    for temperature in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="temperature must be positive and finite"):
            log_posterior(np.zeros((1, 2)), temperature)


@given(answers, st.sampled_from([0.3, 0.5, 0.6, 0.75, 0.9, 1.0]))
def test_the_threshold_is_the_lowest_that_reaches_the_precision(rows: list[tuple[float, bool]], wanted: float) -> None:
    confidence, correct = (list(side) for side in zip(*rows, strict=True))
    expected = None
    for threshold in sorted(set(confidence)):
        answered = [right for sure, right in rows if sure >= threshold]
        if sum(answered) / len(answered) >= wanted:
            expected = (threshold, sum(answered) / len(answered), len(answered) / len(rows))
            break
    found = abstention_threshold(confidence, correct, wanted)
    assert (None if found is None else (found["threshold"], found["precision"], found["coverage"])) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([0.5], [True], 0.0), r"in \(0, 1\]"),
        (([0.5], [True], 1.1), r"in \(0, 1\]"),
        (([0.5], [True], float("nan")), r"in \(0, 1\]"),
        (([0.5, 0.6], [True], 0.5), r"\(2,\) confidences and \(1,\) correct"),
        (([float("nan")], [True], 0.5), "not finite"),
    ],
)
def test_a_threshold_of_nonsense_is_refused(arguments: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        abstention_threshold(*arguments)


def test_no_clip_has_no_threshold() -> None:
    assert abstention_threshold([], [], 0.5) is None


@given(answers)
def test_risk_and_coverage_equal_plain_counting(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = zip(*rows, strict=True)
    curve, area = risk_coverage(confidence, correct)
    for point in curve:
        answered = [right for sure, right in rows if sure >= point["threshold"]]
        assert point["coverage"] == pytest.approx(len(answered) / len(rows))
        assert point["risk"] == pytest.approx(1 - sum(answered) / len(answered))
    assert [point["threshold"] for point in curve] == sorted(set(confidence), reverse=True)
    risks = [np.mean([not right for sure, right in rows if sure >= own]) for own in confidence]
    assert area == pytest.approx(np.mean(risks))


@pytest.mark.parametrize("clips", [49, 50, 51, 1234])
def test_the_curve_of_many_clips_has_50_even_points(clips: int) -> None:
    rng = np.random.default_rng(0)
    correct = rng.random(clips) < 0.8
    curve, _ = risk_coverage(rng.random(clips), correct)
    coverages = [point["coverage"] for point in curve]
    assert len(curve) == min(clips, 50)
    assert coverages == sorted(coverages)
    assert np.diff([0, *coverages]).max() < 1 / 50 + 2 / clips
    assert (curve[-1]["coverage"], curve[-1]["risk"]) == (1.0, pytest.approx(1 - correct.mean()))


def test_a_bin_holds_its_upper_edge() -> None:
    assert confidence_bins(np.array([0.0, 0.001, 1 / 15, 0.067, 0.2, 14 / 15, 0.95, 1.0])).tolist() == [
        *[0, 0, 0, 1],
        *[2, 13, 14, 14],
    ]


def test_the_reliability_diagram_adds_up_to_the_ece() -> None:
    scores, gold = calibrated(3, 500, 3.0)
    log_p = log_posterior(scores)
    bins = confidence_curves(log_p, gold)["reliability"]
    assert len(bins) == 15
    assert sum(row["clips"] for row in bins) == 500
    gaps = [row["clips"] * abs(row["confidence"] - row["accuracy"]) for row in bins if row["clips"]]
    assert sum(gaps) / 500 == pytest.approx(mean_losses(log_p, gold)["ece"])
    assert all(row["low"] < row["confidence"] <= row["high"] for row in bins if row["clips"])


def test_an_empty_bin_has_no_values() -> None:
    first = reliability_bins(np.array([0.99]), np.array([True]))[0]
    assert first == {"low": 0.0, "high": pytest.approx(1 / 15), "clips": 0, "confidence": None, "accuracy": None}


def test_losses_of_sums_are_means_for_any_leading_shape() -> None:
    scores, gold = calibrated(4, 30, 1.0)
    columns = calibration_columns(log_posterior(scores), gold)
    parts = np.stack([columns[:10].sum(axis=0), columns[10:].sum(axis=0)])
    found = calibration_scores(parts, np.array([10, 20]))
    for i, part in enumerate((slice(0, 10), slice(10, 30))):
        alone = mean_losses(log_posterior(scores[part]), gold[part])
        assert {name: values[i] for name, values in found.items()} == pytest.approx(alone)


def test_certain_answers_have_brier_0_and_2() -> None:
    log_p = log_posterior(np.array([[900.0, 0, 0], [900.0, 0, 0]]))
    assert calibration_columns(log_p, np.array([0, 1]))[:, 1].tolist() == [0.0, 2.0]


def test_the_prior_correction_is_bayes_rule() -> None:
    train, target, x = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8]), np.linspace(-3, 3, 7)[:, None]
    log_likelihood = -0.5 * (x - np.array([-1.0, 0.0, 2.0])) ** 2
    trained = log_posterior(log_likelihood + np.log(train))
    found = log_posterior(trained + prior_correction(train, target))
    assert found == pytest.approx(log_posterior(log_likelihood + np.log(target)))
    assert prior_correction(train, train) == pytest.approx([0, 0, 0])


@pytest.mark.parametrize(
    ("train", "target", "says"),
    [
        ([0.5, 0.5], [0.2, 0.3, 0.5], "shapes"),
        ([], [], "shapes"),
        ([[0.5, 0.5]], [[0.5, 0.5]], "shapes"),
        ([1.0, 0.0], [0.5, 0.5], "train prior must be above 0"),
        ([0.5, 0.5], [1.5, -0.5], "target prior must be above 0"),
        ([0.5, 0.5], [np.nan, 0.5], "target prior must be above 0"),
        ([3, 5], [0.5, 0.5], "train prior sums to 8"),
        ([0.5, 0.5], [0.5, 0.4], "target prior sums to 0.9"),
    ],
)
def test_what_is_no_prior_is_refused(train: list[float], target: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prior_correction(train, target)
