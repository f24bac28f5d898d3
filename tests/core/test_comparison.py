"""Comparisons against counts by hand, scikit-learn, and simulated data sets."""

import json

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import f1_score

from rbft_ray.core.comparison import compare_predictions

LABELS = ("fox", "cat", "emu")


def answers(gold: np.ndarray, correct: np.ndarray) -> list[str]:
    """The gold label where correct, else the next one."""
    return [LABELS[(i + (not right)) % 3] for i, right in zip(gold, correct, strict=True)]


def random_sides(seed: int, clips: int = 90) -> tuple[list[str], list[str], list[str]]:
    rng = np.random.default_rng(seed)
    gold = rng.integers(3, size=clips)
    a, b = (answers(gold, rng.random(clips) < chance) for chance in (0.6, 0.7))
    return [LABELS[i] for i in gold], a, b


@pytest.mark.parametrize("seed", range(3))
def test_differences_equal_scikit_learns(seed: int) -> None:
    gold, a, b = random_sides(seed)
    found = compare_predictions(gold, a, b, None, LABELS, resamples=50)
    json.dumps(found, allow_nan=False)
    one, other = (f1_score(gold, side, labels=LABELS, average=None) for side in (a, b))
    assert list(found["per_class_f1"]) == list(LABELS)
    for i, label in enumerate(LABELS):
        own = {name: found["per_class_f1"][label][name] for name in ("a", "b", "difference")}
        assert own == pytest.approx({"a": one[i], "b": other[i], "difference": other[i] - one[i]})
    assert found["macro_f1"]["difference"] == pytest.approx(other.mean() - one.mean())
    right = [np.mean([x == y for x, y in zip(gold, side, strict=True)]) for side in (a, b)]
    assert [found["accuracy"][name] for name in ("a", "b", "difference")] == pytest.approx(
        [*right, right[1] - right[0]]
    )
    assert (found["clips"], found["groups"]) == (90, 90)


@pytest.mark.parametrize(("only_a", "only_b"), [(5, 15), (15, 5), (1, 0), (3, 3), (0, 9)])
def test_mcnemar_is_the_binomial_of_the_discordant_clips(only_a: int, only_b: int) -> None:
    a = ["cat"] * (only_a + 4) + ["emu"] * (only_b + 2)
    b = ["emu"] * only_a + ["cat"] * 4 + ["cat"] * only_b + ["fox"] * 2
    found = compare_predictions(["cat"] * len(a), a, b, None, LABELS, resamples=5)["mcnemar"]
    tails = 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)
    assert found == {"only_a_correct": only_a, "only_b_correct": only_b, "p": pytest.approx(min(1.0, tails))}


def test_the_same_predictions_differ_in_nothing() -> None:
    gold, a, _ = random_sides(0)
    found = compare_predictions(gold, a, a, None, LABELS)
    for name in ("accuracy", "macro_f1"):
        assert (found[name]["difference"], found[name]["interval"], found[name]["p"]) == (0.0, [0.0, 0.0], 1.0)
    assert found["mcnemar"] == {"only_a_correct": 0, "only_b_correct": 0, "p": 1.0}


def test_exchanged_sides_give_the_opposite() -> None:
    gold, a, b = random_sides(1)
    one, other = compare_predictions(gold, a, b, None, LABELS), compare_predictions(gold, b, a, None, LABELS)
    for name in ("accuracy", "macro_f1"):
        assert one[name]["difference"] == -other[name]["difference"]
        assert one[name]["interval"] == pytest.approx([-limit for limit in reversed(other[name]["interval"])])
        assert one[name]["p"] == other[name]["p"]


def test_the_interval_and_p_are_of_one_mind() -> None:
    gold = ["cat"] * 100
    a, b = ["cat"] * 60 + ["emu"] * 40, ["cat"] * 80 + ["emu"] * 20
    clear = compare_predictions(gold, a, b, None, LABELS)["accuracy"]
    assert clear["interval"][0] > 0
    assert 0 < clear["p"] < 0.001
    unclear = compare_predictions(gold, a, ["emu"] * 3 + ["cat"] * 62 + ["emu"] * 35, None, LABELS)["accuracy"]
    assert unclear["interval"][0] < 0 < unclear["interval"][1]
    assert unclear["p"] > 0.05


def test_p_is_about_that_of_the_normal_distribution() -> None:
    a = ["cat"] * 20 + ["emu"] * 35 + ["cat"] * 345
    b = ["emu"] * 20 + ["cat"] * 380
    found = compare_predictions(["cat"] * 400, a, b, None, LABELS)["accuracy"]
    spread = (55 - 15**2 / 400) ** 0.5  # of the number of clips between b and a; half a clip for its steps
    assert found["p"] == pytest.approx(2 * norm.sf((15 - 0.5) / spread), rel=0.1)


def test_a_label_without_clips_or_fewer_than_two_groups_have_no_interval() -> None:
    gold, a, b = ["cat", "emu"], ["cat", "fox"], ["emu", "emu"]
    found = compare_predictions(gold, a, b, None, LABELS)
    assert found["per_class_f1"]["fox"]["interval"] == [None, None]
    assert None not in found["per_class_f1"]["cat"]["interval"]
    alone = compare_predictions(gold, a, b, ["one camera"] * 2, LABELS)
    assert alone["groups"] == 1
    assert (alone["accuracy"]["interval"], alone["accuracy"]["p"]) == ([None, None], None)
    assert alone["per_class_f1"]["cat"]["interval"] == [None, None]


def simulated(clips_per_group: int, *, grouped: bool, data_sets: int, better: float) -> tuple[float, float]:
    """(share of intervals that hold the true difference, share of p below 0.05) of accuracies 0.6 and 0.6 + `better`.

    Within a group the chance of b varies around its mean, so that the differences of a group's clips hang together.
    """
    rng, hits, small, size = np.random.default_rng(3), 0, 0, 100 * clips_per_group
    groups = [str(i // clips_per_group) for i in range(size)] if grouped else None
    for seed in range(data_sets):
        gold = rng.integers(3, size=size)
        swing = rng.choice([-0.35, 0.35], size=100) if clips_per_group > 1 else np.zeros(100)
        draw = rng.random(size)  # shared, so that a and b often agree
        a, b = draw < 0.6, (draw + 0.1 * rng.normal(size=size)) % 1 < 0.6 + better + np.repeat(swing, clips_per_group)
        found = compare_predictions(
            [LABELS[i] for i in gold], answers(gold, a), answers(gold, b), groups, LABELS, seed, 200
        )["accuracy"]
        low, high = found["interval"]
        hits += low <= better <= high
        small += found["p"] < 0.05
    return hits / data_sets, small / data_sets


def test_intervals_cover_the_true_difference() -> None:
    covered, found = simulated(1, grouped=False, data_sets=300, better=0.1)
    assert 0.91 < covered < 0.98
    assert found > 0.1


def test_groups_are_heeded_where_there_is_no_difference() -> None:
    covered, found = simulated(6, grouped=True, data_sets=300, better=0.0)
    assert 0.91 < covered < 0.98
    assert 0.02 < found < 0.09
    covered, found = simulated(6, grouped=False, data_sets=60, better=0.0)
    assert covered < 0.85
    assert found > 0.12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"gold": [], "a": [], "b": []}, "0 gold labels"),
        ({"b": ["cat"]}, "2 gold labels, 2 predictions of a and 1 of b"),
        ({"a": ["cat", "yak"]}, r"\['yak'\] are none of the labels"),
        ({"groups": ["x"]}, "2 clips and 1 groups"),
        ({"labels": ("cat", "emu", "cat")}, "a label is there twice"),
        ({"resamples": 0}, "at least one resample"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, object], says: str) -> None:
    arguments = {"gold": ["cat", "emu"], "a": ["cat", "emu"], "b": ["cat", "cat"], "groups": None, "labels": LABELS}
    compare_predictions(**arguments)
    with pytest.raises(ValueError, match=says):
        compare_predictions(**arguments | change)
