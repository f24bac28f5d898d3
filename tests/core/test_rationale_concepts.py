"""Features of sentences: concepts of words and phrases, pairs within a clause, what stands beside the class."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.rationale_concepts import concepts, concepts_in, features, lexicon, own_clauses
from rbft_ray.core.rationale_examples import CLASS_PLACE, Bank, resemblance
from rbft_ray.core.rationale_words import words
from rbft_ray.core.rationale_writer import LEAKING, REFUSING


@pytest.mark.parametrize(
    ("sentence", "concept"),
    [
        ("It agrees with the ground truth.", "LABEL"),
        ("The annotations say so.", "LABEL"),
        ("Two annotators looked at it.", "JUDGE"),
        ("It was told in advance.", "AHEAD"),
        ("That falls flat.", "REJECT"),
        ("There is no doubt.", "FIT"),
        ("Sorry, that is beyond me.", "EXCUSE"),
    ],
)
def test_words_and_phrases_are_found_in_any_inflection(sentence: str, concept: str) -> None:
    assert concept in concepts_in(sentence)


def test_a_concept_stands_where_its_phrase_begins() -> None:
    tokens = words("so the ground truth holds")
    assert "LABEL" in concepts(tokens)[2] and "LABEL" not in concepts(tokens)[3]
    assert concepts_in("A cat leaps onto the sofa.") == frozenset()


def test_concepts_are_paired_within_a_clause_only() -> None:
    together, apart = features("the annotation was given"), features("the annotation is red, and a hand was given")
    assert "GIVE+LABEL" in together and "GIVE+LABEL" not in apart


def test_what_stands_beside_the_class_has_its_side_and_distance() -> None:
    found = features("this is not classname")
    assert {"<NEVER", "<1NEVER"} <= set(found) and ">NEVER" not in found
    assert ">NEVER" in features("classname it is not")


def test_the_concepts_that_leaks_and_refusals_need_are_in_the_lexicon() -> None:
    known = {concept for entries in lexicon().values() for _, concept in entries}
    assert known >= LEAKING | REFUSING


def test_own_clauses() -> None:
    assert own_clauses("the light is red, so it is classname", "classname").strip() == "it is classname"
    assert own_clauses("the light is red", "classname") == "the light is red"


@given(st.text(max_size=200))
def test_any_text_has_a_likeness(text: str) -> None:
    for bank in get_args(Bank):
        assert all(0 <= value <= 1 for value in resemblance(bank, f"{text} {CLASS_PLACE}").values())
