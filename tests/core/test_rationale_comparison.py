"""Comparisons of two values that a sentence names side by side."""

import pytest

from rbft_ray.core.rationale_checks import check_rationale
from rbft_ray.core.rationale_comparison import false_comparison
from rbft_ray.core.schema import Reason

FALSE = (
    "The colours, red and red, differ.",
    "The colours, red and blue, match.",
    "The two shirts, blue and blue, are not the same.",
    "Their shapes, a circle and a square, are identical, so the rule holds.",
    "The first numbers, 7 and 12, agree.",
    "The gates, open and open, don't match.",
)
TRUE = (
    "The colours, red and red, match.",
    "The second actions, shakes and falls, differ.",
    "The two shirts, blue and green, are not the same.",
    "The two teams, Lions and Tigers, match up in the final.",
    "The stripes, red and white, match the uniform.",
    "The man, tall and thin, differs from the rest.",
)


@pytest.mark.parametrize("sentence", FALSE)
def test_a_comparison_that_is_false_by_its_own_words_is_a_contradiction(sentence: str) -> None:
    text = f"Two runners wait at the line. {sentence} The race starts with a whistle."
    assert false_comparison(text) == sentence
    verdict = check_rationale(f"{text}\nAnswer: race", "race", ("race", "dance"), truncated=False)
    assert (verdict.reason, verdict.detail) == (Reason.CONTRADICTION, sentence)


@pytest.mark.parametrize("sentence", TRUE)
def test_other_comparisons_stay(sentence: str) -> None:
    assert false_comparison(sentence) is None
