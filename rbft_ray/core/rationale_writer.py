"""What a rationale says of its writer: that it knew the label before it looked, or that it cannot or will not answer.

Told by examples (`rationale_examples`), sentence by sentence; only those are asked about that speak of such things at all.
"""

import re
from functools import lru_cache

from rbft_ray.core.rationale_concepts import concepts_in
from rbft_ray.core.rationale_examples import CLASS_PLACE, resemblance
from rbft_ray.core.rationale_words import label_pattern, sentences, spoken_label, unquoted, word_set

# Probabilities above which a sentence counts; measured on sentences whose half was left out of the fit.
LEAKS, REFUSES = 0.6, 0.5
MIN_PART_WORDS = 2
# Concepts (`examples/concepts.yaml`) of which a sentence has at least one.
LEAKING = word_set(
    "LABEL VERDICT SOURCE JUDGE GIVE FIX FILE_UNDER TELL SAY KNOW AHEAD SUPPOSE JUSTIFY AGREE CONFIRM READER"
)
REFUSING = word_set("WRITER READER UNABLE REFUSE EXCUSE MACHINE BROKEN ASK_MORE GUESS EQUAL SERVE NEVER")
_PARTS = re.compile(r"[,;:—–]\s")


@lru_cache(maxsize=64)
def _names(labels: tuple[str, ...]) -> re.Pattern[str]:
    one = label_pattern(tuple(filter(spoken_label, labels))) or "(?!)"
    return re.compile(rf"[\"'“‘*]?\b(?:{one})\b[\"'”’*]?(?!'?\w)", re.IGNORECASE)


@lru_cache(maxsize=64)  # a text is asked for refusals and for leaks
def _own_sentences(text: str, labels: tuple[str, ...]) -> list[tuple[str, str]]:
    """(sentence, the same with CLASS_PLACE for classes) without what is quoted, unless that is a class name."""
    quoted = re.compile(rf"[\"“«]({label_pattern(labels) or '(?!)'})[\"”»]", re.IGNORECASE)
    names = _names(labels)
    return [(own, names.sub(CLASS_PLACE, own)) for own in sentences(unquoted(quoted.sub(r"\1", text)))]


def leak(reasoning: str, labels: tuple[str, ...]) -> str | None:
    """The sentence that shows that the writer was given the label: by a hint, the prompt, an annotation, or known before.

    A leak may be only the beginning or end of a sentence. Words in quotation marks do not count, unless they are a class name.
    """
    asked = [(part, said) for said, read in _own_sentences(reasoning, labels) for part in parts_of(read)]
    return _most_like("leak", LEAKS, [pair for pair in asked if concepts_in(pair[0]) & LEAKING])


def refusal(text: str, labels: tuple[str, ...] = ()) -> str | None:
    """The sentence with which the writer says that it cannot or will not answer, has no video, or guesses."""
    asked = [(read, said) for said, read in _own_sentences(text, labels)]
    return _most_like("refusal", REFUSES, [pair for pair in asked if concepts_in(pair[0]) & REFUSING])


def parts_of(sentence: str) -> list[str]:
    """A sentence and what its punctuation parts, from MIN_PART_WORDS words on: a leak may be no more than one of these."""
    parts = [part for part in _PARTS.split(sentence) if len(part.split()) >= MIN_PART_WORDS]
    return [sentence, *(parts if len(parts) > 1 else ())]


def _most_like(kind: str, above: float, asked: list[tuple[str, str]]) -> str | None:
    found = ((resemblance("writer", read)[kind], said) for read, said in asked)
    likely, said = max(found, default=(0.0, ""), key=lambda pair: pair[0])
    return said if likely > above else None
