"""Which classes a rationale concludes, and which it rejects, by name: "so this is normal", "it cannot be a collision".

Told by examples (`rationale_examples`): each mention of a class, by its sentence and by the clauses that have it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from rbft_ray.core.rationale_concepts import own_clauses
from rbft_ray.core.rationale_examples import CLASS_PLACE, OTHER_PLACE, resemblance
from rbft_ray.core.rationale_form import other_language
from rbft_ray.core.rationale_words import label_pattern, sentences, spoken_label, words

LIKELY = 0.5  # probability from which a mention counts; measured on sentences whose half was left out of the fit


class Stance(NamedTuple):
    """affirmed, rejected: {class: the sentence that does so}."""

    affirmed: dict[str, str]
    rejected: dict[str, str]


@lru_cache(maxsize=64)
def _mentions(labels: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    spoken = {spoken_label(label).lower(): label for label in labels}
    return re.compile(rf"\b(?:{label_pattern(labels) or '(?!)'})\b", re.IGNORECASE), spoken


def stance(reasoning: str, labels: tuple[str, ...]) -> Stance:
    """What a rationale says of the classes by their names. A name in another use ("a normal visit") is no stance."""
    pattern, spoken = _mentions(labels)
    found = Stance({}, {})
    for sentence in sentences(reasoning):
        for mention in pattern.finditer(sentence):
            label = _class_of(mention, spoken)
            if label is None:  # letters that agree without case but not in lower case ("İ" and "i")
                continue
            kind = _kind(sentence, _marked(sentence, label, pattern, spoken))
            if kind != "neither":
                into = found.rejected if kind == "rejects" else found.affirmed
                into.setdefault(label, sentence)
    return found


def _class_of(mention: re.Match[str], spoken: Mapping[str, str]) -> str | None:
    return spoken.get(" ".join(words(mention.group(0).replace("_", " "))))


def _marked(sentence: str, label: str, pattern: re.Pattern[str], spoken: Mapping[str, str]) -> str:
    """The sentence with CLASS_PLACE for `label` and OTHER_PLACE for other classes."""
    return pattern.sub(lambda found: CLASS_PLACE if _class_of(found, spoken) == label else OTHER_PLACE, sentence)


def _kind(sentence: str, marked: str) -> str:
    if other_language(sentence):
        return "neither"
    whole, own = resemblance("stance", marked), resemblance("stance", own_clauses(marked, CLASS_PLACE))
    likely = {kind: max(whole[kind], own[kind]) for kind in ("rejects", "concludes")}
    kind = max(likely, key=lambda each: likely[each])
    return kind if likely[kind] > LIKELY else "neither"
