"""Leaks and refusals in phrases that are no examples of the gate, and what only resembles them."""

import pytest
from rationale_phrases import LEAKS, MORE_LEAKS, MORE_NO_LEAKS, NO_LEAKS, NO_REFUSALS, REFUSALS

from rbft_ray.core.rationale_writer import leak, refusal

CLASSES = ("normal", "abnormal")


@pytest.mark.parametrize("text", LEAKS)
def test_a_label_that_was_given_is_a_leak(text: str) -> None:
    assert leak(text, CLASSES) == text


@pytest.mark.parametrize("text", NO_LEAKS)
def test_a_label_of_a_thing_or_a_conclusion_is_no_leak(text: str) -> None:
    assert leak(text, CLASSES) is None


@pytest.mark.parametrize("text", REFUSALS)
def test_a_writer_that_cannot_or_will_not_refuses(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_inability_within_the_scene_is_no_refusal(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", MORE_LEAKS)
def test_a_class_beside_words_of_giving_is_a_leak(text: str) -> None:
    assert leak(text, ("normal", "collision")) == text


@pytest.mark.parametrize("text", MORE_NO_LEAKS)
def test_giving_and_knowing_within_the_scene_is_neither(text: str) -> None:
    assert leak(text, ("normal", "collision")) is None
    assert refusal(text) is None
