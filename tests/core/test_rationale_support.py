"""Support: what is stripped from a rationale, what the judge is asked, its verdict, and when a judge is not used."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.prompts import Task, rationale_prompt, rationale_text
from rbft_ray.core.rationale_support import (
    MIN_MARGIN,
    MIN_RATIONALES,
    NOTHING_LEFT,
    OMITTED,
    Judging,
    closing_scores,
    closings,
    fitness,
    judge,
    judging,
    stripped,
    support,
)

DEFINITIONS = {"normal": "Everyday activity at a house.", "abnormal": "A theft, a break-in or a fire."}
HOME = Task(("normal", "abnormal"), DEFINITIONS)
SEEN = "A man smashes the pane."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{SEEN} So this is abnormal.\nAnswer: abnormal", SEEN),
        (f"{SEEN}\nIt cannot be normal.\nSo it is abnormal. Thus this is abnormal.", SEEN),
        (f"{SEEN} A theft, a break-in or a fire.\nAnswer: abnormal", SEEN),
        (f"Answer: normal\n{SEEN}\nAnswer: abnormal", SEEN),
        ("An abnormal visitor smashes the pane.", f"An {OMITTED} visitor smashes the pane."),
        ("The paranormal show is on.", "The paranormal show is on."),
        ("A theft, a break-in or a fire.\nAnswer: abnormal", ""),
        ("So this is abnormal.\nAnswer: abnormal", ""),
        ("normal", ""),
        ("Abnormal!\nAnswer: abnormal", ""),
        ("Smoke\nAnswer: abnormal", "Smoke"),
        ("Answer: abnormal", ""),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_conclusions_names_and_definitions_are_stripped(text: str, left: str) -> None:
    assert stripped(text, HOME.labels, DEFINITIONS) == left


@pytest.mark.parametrize(
    ("text", "labels", "left"),
    [
        ("The train stops at the gate.", ("train", "train stops"), f"The {OMITTED} at the gate."),
        ("She starts cutting the bread.", ("cutting", "washing"), f"She starts {OMITTED} the bread."),
        ("A track_trespass sign hangs there.", ("track_trespass", "other"), f"A {OMITTED} sign hangs there."),
        ("Un été très sec, un étérien.", ("été", "hiver"), f"Un {OMITTED} très sec, un étérien."),
        ("一只猫跳过了围栏。", ("猫跳", "狗"), f"一只{OMITTED}过了围栏。"),
        ("Smoke -- rises.", ("--", "x"), "Smoke -- rises."),
        ("Smoke rises.", (), "Smoke rises."),
    ],
)
def test_names_of_any_kind_are_omitted(text: str, labels: tuple[str, ...], left: str) -> None:
    assert stripped(text, labels, {}) == left


@given(
    st.text(max_size=80),
    st.lists(st.text(st.characters(categories=("L", "N", "Zs")), min_size=1, max_size=5), max_size=3, unique=True),
)
def test_any_text_is_stripped(text: str, labels: list[str]) -> None:
    stripped(text, labels, {})


def test_the_judge_closes_the_rationale_with_a_definition() -> None:
    assert judging(HOME, SEEN) == Judging(rationale_prompt(HOME), SEEN)
    assert closings(HOME) == [f" {DEFINITIONS[label]}\nAnswer: {label}" for label in HOME.labels]
    whole = judging(HOME, SEEN).begins + closings(HOME)[1]
    assert whole == rationale_text(f"{SEEN} {DEFINITIONS['abnormal']}", "abnormal")


@pytest.mark.parametrize(
    "definitions", [{}, {"normal": "Everyday activity."}, {"normal": "Everyday.", "abnormal": " "}]
)
def test_with_a_definition_missing_it_closes_with_the_class_alone(definitions: dict[str, str]) -> None:
    task = Task(("normal", "abnormal"), definitions)
    assert judging(task, SEEN).begins == f"{SEEN}\nAnswer:"
    assert closings(task) == [" normal", " abnormal"]


@pytest.mark.parametrize(
    ("scores", "supported", "rival"),
    [
        ([-2.0, -2.0 - MIN_MARGIN, -9.0], True, "b"),
        ([-2.0, -9.0, -1.9 - MIN_MARGIN], False, "c"),
        ([-5.0, -2.0, -9.0], False, "b"),
        ([float("-inf"), float("-inf"), float("-inf")], False, "b"),
    ],
)
def test_the_gold_class_must_lead_by_the_margin(scores: list[float], supported: bool, rival: str | None) -> None:
    found = support(np.array(scores), "a", ("a", "b", "c"))
    assert (found.supported, found.rival, bool(found.detail)) == (supported, rival, not supported)


@given(st.floats(-50, 50), st.lists(st.floats(-50, 0), min_size=2, max_size=4))
def test_the_margin_does_not_depend_on_normalisation(offset: float, scores: list[float]) -> None:
    labels = "abcd"[: len(scores)]
    one, other = (support(np.array(scores) + shift, "a", labels).margin for shift in (0.0, offset))
    assert one == pytest.approx(other, abs=1e-9)


def test_a_single_class_is_supported_and_an_unknown_one_refused() -> None:
    assert support(np.array([-3.0]), "a", ("a",)).supported
    with pytest.raises(ValueError, match="not in"):
        support(np.array([-3.0, -4.0]), "z", ("a", "b"))


def _scores(choices: Sequence[int], classes: int) -> np.ndarray:
    return np.where(np.arange(classes) == np.array(choices)[:, None], -1.0, -5.0)


def test_a_judge_that_reads_the_rationales_is_fit() -> None:
    gold = [0, 1, 2] * 10
    found = fitness(_scores([0, *gold[1:]], 3), ["abc"[index] for index in gold], "abc")
    assert found.fit and found.agreement == pytest.approx(1.0) and not found.detail


@pytest.mark.parametrize("gold", [[0] * 5 + [1] * 25, [0] * 25 + [1] * 5])
def test_a_judge_that_always_prefers_one_class_is_not_fit(gold: list[int]) -> None:
    found = fitness(_scores([0] * 30, 2), ["ab"[index] for index in gold], "ab")
    assert not found.fit and found.agreement == 0.5 and "50%" in found.detail


def test_a_judge_that_is_blind_to_one_class_is_not_fit() -> None:
    gold = [0, 1, 2, 3, 4] * 6
    found = fitness(_scores([min(index, 3) for index in gold], 5), ["abcde"[index] for index in gold], "abcde")
    assert not found.fit and found.agreement == pytest.approx(0.8) and "0% of e" in found.detail


def test_few_rationales_or_scores_do_not_prove_a_judge() -> None:
    gold = [0, 1] * MIN_RATIONALES
    names = ["ab"[index] for index in gold]
    scores = _scores(gold, 2)
    assert fitness(scores[:MIN_RATIONALES], names[:MIN_RATIONALES], "ab").fit
    few = fitness(scores[: MIN_RATIONALES - 1], names[: MIN_RATIONALES - 1], "ab")
    assert not few.fit and str(MIN_RATIONALES - 1) in few.detail
    scores[MIN_RATIONALES - 1 :] = np.nan
    assert fitness(scores, names, "ab") == pytest.approx(few, nan_ok=True)
    assert not fitness(np.zeros((0, 0)), [], "ab").fit


def _by_word(asked: Sequence[Judging], closes: Sequence[str]) -> np.ndarray:
    """A judge that knows one word of each class."""
    assert all("Answer:" not in begins for _, begins in asked)
    return _scores([int("pane" in begins) for _, begins in asked], len(closes))


def test_rationales_are_judged_by_what_is_left_of_them() -> None:
    texts = [f"{SEEN}\nAnswer: abnormal", "A girl waters the plants.\nAnswer: normal"] * MIN_RATIONALES
    gold = ["abnormal", "normal"] * MIN_RATIONALES
    texts += [f"{SEEN} So this is normal.\nAnswer: normal", "Everyday activity at a house.\nAnswer: normal"]
    scores = closing_scores(texts, HOME, _by_word)
    fit, found = judge(scores, [*gold, "normal", "normal"], HOME.labels)
    assert fit.fit
    assert [verdict and verdict.supported for verdict in found] == [True] * len(gold) + [False, False]
    assert found[-2] and "abnormal" in found[-2].detail and found[-1] == NOTHING_LEFT


def test_where_nothing_is_left_the_judge_is_not_asked() -> None:
    assert closing_scores(["normal"], HOME, lambda *_: pytest.fail("asked")) == [[]]
    assert closing_scores([], HOME, lambda *_: pytest.fail("asked")) == []
    fit, found = judge([[]], ["normal"], HOME.labels)
    assert not fit.fit and found == [NOTHING_LEFT]


def test_rationales_without_a_score_have_no_verdict() -> None:
    gold = ["normal", "abnormal"] * MIN_RATIONALES
    scores = [[-1.0, -5.0], [-5.0, -1.0]] * MIN_RATIONALES
    fit, found = judge([*scores, None, [float("nan"), -1.0]], [*gold, "normal", "normal"], ("normal", "abnormal"))
    assert fit.fit and found[-2:] == [None, None]
    assert all(verdict and verdict.supported for verdict in found[:-2])
