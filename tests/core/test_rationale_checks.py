"""The verdict on a rationale: the first check that fails gives the reason, and an answer is never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.prompts import rationale_text
from rbft_ray.core.rationale_checks import check_rationale, parse_answer
from rbft_ray.core.schema import Reason

LABELS = ("cat", "cat jump", "dog")
REASONING = "The animal leaps over a fence."


@given(st.sampled_from(LABELS), st.lists(st.sampled_from(["It", "moves", "\n", "Answer:", "left."]), max_size=8))
def test_a_rationale_as_written_is_read_back(label: str, words: list[str]) -> None:
    reasoning = " ".join(words)
    assert parse_answer(rationale_text(reasoning, label), LABELS) == (reasoning.strip(), label)


@pytest.mark.parametrize(
    "last_line",
    [
        "Answer: Cat",
        "Answer: cat.",
        "answer: cat",
        "The answer is cat",
        "Answer: cat or dog",
        "Answer:",
        "Answer: emu",
        "cat",
    ],
)
def test_any_other_last_line_is_no_answer(last_line: str) -> None:
    assert parse_answer(f"{REASONING}\n{last_line}", LABELS)[1] is None


def test_an_answer_before_the_last_line_does_not_count() -> None:
    text = f"{REASONING}\nAnswer: cat\nOr maybe not."
    assert parse_answer(text, LABELS) == (text, None)


def test_an_answer_without_the_space_is_none() -> None:
    assert parse_answer(f"{REASONING}\nAnswer:cat", LABELS)[1] is None


@pytest.mark.parametrize(
    ("text", "truncated", "reason"),
    [
        (f"{REASONING}\nAnswer: cat", False, None),
        (f"{REASONING}\nAnswer: cat", True, Reason.TRUNCATED),
        ("Hint", True, Reason.TRUNCATED),
        ("", False, Reason.NO_ANSWER),
        ("The hint", False, Reason.NO_ANSWER),
        ("Hint says dog\nAnswer: dog", False, Reason.EMPTY_REASONING),
        ("Answer: cat", False, Reason.EMPTY_REASONING),
        ("The hint says it is a dog.\nAnswer: dog", False, Reason.MENTIONS_HINT),
        (f"{REASONING}\nAnswer: dog", False, Reason.WRONG_ANSWER),
    ],
)
def test_the_first_check_that_fails_gives_the_reason(text: str, truncated: bool, reason: Reason | None) -> None:
    assert check_rationale(text, "cat", LABELS, truncated=truncated).reason is reason


@pytest.mark.parametrize(
    "leak", ["As hinted,", "The Hints show", "the given label", "the CORRECT class", "the gold label"]
)
def test_words_that_give_the_hint_away_are_found(leak: str) -> None:
    verdict = check_rationale(f"{leak} it leaps over the fence.\nAnswer: cat", "cat", LABELS, truncated=False)
    assert verdict.reason is Reason.MENTIONS_HINT


@pytest.mark.parametrize("harmless", ["A chintz curtain", "The classroom", "A label on the box", "The correct way"])
def test_words_that_only_look_like_the_hint_pass(harmless: str) -> None:
    verdict = check_rationale(f"{harmless} is seen near the fence.\nAnswer: cat", "cat", LABELS, truncated=False)
    assert verdict == (f"{harmless} is seen near the fence.", "cat", None)
