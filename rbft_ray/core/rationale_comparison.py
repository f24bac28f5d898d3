"""Comparisons that are false by their own words: "the colours, red and red, differ"."""

import re

from rbft_ray.core.rationale_words import sentences, word_set, words

_COMPARED = re.compile(
    r"\b(?:the|their|both|its) (?:[\w'’-]+ ){0,3}[\w'’-]+, (?P<one>[\w -]+?) and (?P<other>[\w -]+?),? (?:both |clearly |"
    r"indeed |thus )?(?P<said>match|agree|coincide|correspond|differ|disagree|diverge|(?:are|were|look) (?:not )?(?:the same|equal|"
    r"identical|alike|different|unlike|distinct)|(?:do not|don't|did not|didn't) (?:match|agree|coincide|correspond|differ))\b"
    r"(?=\s*(?:[.,;:!)]|$)| (?:and|but|so|too|here)\b)",  # not "match the uniform"
    re.IGNORECASE,
)
_UNEQUAL = word_set("differ disagree diverge different unlike distinct")
_DENIED = word_set("not don't didn't")
_ARTICLES = word_set("a an the")


def false_comparison(reasoning: str) -> str | None:
    """The sentence that says of two values that it names side by side that they differ, where they are the same words, or that
    they are the same, where they are not.
    """
    for sentence in sentences(reasoning):
        for found in _COMPARED.finditer(sentence):
            one, other = ([word for word in words(found[side]) if word not in _ARTICLES] for side in ("one", "other"))
            said = words(found["said"])
            says_equal = _UNEQUAL.isdisjoint(said) == _DENIED.isdisjoint(said)
            if (one == other) != says_equal:
                return sentence
    return None
