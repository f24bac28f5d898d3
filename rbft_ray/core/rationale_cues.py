"""Cues: phrases that speak for a class, and where a clause of a rationale has them, with negation."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rbft_ray.core.rationale_words import FUNCTION_WORDS, stem, word_set, words

MAX_GAP = 3  # words between two words of a cue ("takes a brown padded parcel")
NEGATION_REACH = 8  # words after a negator within its clause

NEGATORS = word_set(
    "no not never without nobody none nothing neither nor cannot hardly barely free "
    "absence lack lacks lacking absent instead"
)
_ENDS_AT_AND = word_set("not never without")
_OBJECTS = word_set("nothing none nobody")
_DENIERS = word_set("no not never without")
_AUXILIARIES = word_set("do does did is are was were has have had any")
_ARTICLES = word_set("a an the their his her its")
_CLAUSE = re.compile(
    r"[,;:()—–]|\b(?:but|yet|although|though|while|whereas|however|until|because|since|so that|and then|still|then|"
    r"when|as)\b",
    re.I,
)
_DENIED_LIST = re.compile(  # "no sign of force, threats, or damage": one clause
    r"\b(?:no|not|without|neither|never|nor|any|\w+n't)\b[^,;:.]*(?:,(?: \w+){1,5}?){1,6},? (?:or|nor)\b", re.I
)


class Cue(NamedTuple):
    """stems: of its words, without articles. denied: it holds where they are negated ("does not slow down", "no contact").

    place: its words where it begins with a preposition, else empty; their number counts ("on the tracks" is not "on track 2").
    """

    stems: tuple[str, ...]
    denied: bool = False
    place: tuple[str, ...] = ()


def parsed_cue(text: str) -> Cue:
    """A cue as a configuration states it."""
    tokens = [word for word in words(text) if word not in _ARTICLES]
    others = [word for word in tokens if not _denies(word) and word not in _AUXILIARIES]
    if others and any(map(_denies, tokens)):
        return Cue(tuple(map(stem, others)), True)
    at_place = len(tokens) > 1 and tokens[0] in FUNCTION_WORDS and tokens[0] not in NEGATORS
    return Cue(tuple(map(stem, tokens)), False, tuple(tokens) if at_place else ())


def _denies(word: str) -> bool:
    return word in _DENIERS or word.endswith("n't")


def cue_places(cue: Cue, clause: Sequence[str], stems: Sequence[str]) -> list[int] | None:
    """The places of a cue's words in a clause, in order and at most MAX_GAP words apart; None where it is not there."""
    if not cue.stems:
        return None
    return _match(cue.place, clause) if cue.place else _match(cue.stems, stems)


def clauses(sentence: str) -> list[list[str]]:
    """The words of each clause of a sentence: cut at punctuation within it and at conjunctions of contrast, time and cause."""
    joined = _DENIED_LIST.sub(lambda match: match.group(0).replace(",", " or"), sentence)
    return [found for part in _CLAUSE.split(joined) if (found := words(part))]


def negations(clause: Sequence[str]) -> list[bool]:
    """For each word of a clause whether a negator before it in the clause reaches it.

    What is joined by "and" is not reached from "not" or from an object ("adds nothing more and mixes").
    """
    reach, ends_at_and = 0, False
    negated: list[bool] = []
    for token in clause:
        if token in NEGATORS or token.endswith("n't"):
            reach = NEGATION_REACH
            ends_at_and = token in _ENDS_AT_AND or token.endswith("n't") or bool(negated and token in _OBJECTS)
            negated.append(False)
            continue
        if token == "and" and ends_at_and:
            reach = 0
        if token in ("or", "nor") and reach > 0:
            reach = NEGATION_REACH
        negated.append(reach > 0)
        reach = max(0, reach - 1)
    return negated


def _match(cue: tuple[str, ...], stems: Sequence[str]) -> list[int] | None:
    """The places of `cue` in a clause, in order and at most MAX_GAP words apart."""
    for start, first in enumerate(stems):
        if first != cue[0]:
            continue
        places = [start]
        for wanted in cue[1:]:
            window = range(places[-1] + 1, min(len(stems), places[-1] + MAX_GAP + 2))
            at = next((place for place in window if stems[place] == wanted), None)
            if at is None:
                break
            places.append(at)
        if len(places) == len(cue):
            return places
    return None
