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

# What may stand before a class that heads an item of a list, and what follows it.
_BEFORE_HEAD = re.compile(r"\W*(?:(?:class|option|category)\s+)?\W*", re.IGNORECASE)
_AFTER_HEAD = re.compile(r"(?:\s*\([^)\n]*\))?[\s*_`\"'”’]*(?:[:–—→?✓✗❌✅=]|\s-|->)")
LIKELY = 0.55  # probability from which a mention counts; measured on sentences whose half was left out of the fit


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
    said = sentences(reasoning)
    heads = [_head(sentence, pattern, spoken) for sentence in said]
    listed = (
        len(set(filter(None, heads))) > 1
    )  # a heading for each class: what stands under one is no conclusion by itself
    for sentence, head in zip(said, heads, strict=True):
        for mention in pattern.finditer(sentence):
            label = _class_of(mention, spoken)
            # None: letters that agree without case but not in lower case ("İ" and "i")
            if label is None or (listed and label == head):
                continue
            kind = _kind(sentence, _marked(sentence, label, pattern, spoken))
            if kind != "neither":
                into = found.rejected if kind == "rejects" else found.affirmed
                into.setdefault(label, sentence)
    return found


def _head(sentence: str, pattern: re.Pattern[str], spoken: Mapping[str, str]) -> str | None:
    """The class that heads an item of a list ("**near_miss**: no vehicle ...", "- normal - ...")."""
    found = pattern.search(sentence)
    if found is None or not _BEFORE_HEAD.fullmatch(sentence[: found.start()]):
        return None
    return _class_of(found, spoken) if _AFTER_HEAD.match(sentence, found.end()) else None


def _class_of(mention: re.Match[str], spoken: Mapping[str, str]) -> str | None:
    return spoken.get(" ".join(words(mention.group(0).replace("_", " "))))


def _marked(sentence: str, label: str, pattern: re.Pattern[str], spoken: Mapping[str, str]) -> str:
    """The sentence with CLASS_PLACE for `label` and OTHER_PLACE for other classes."""
    return pattern.sub(lambda found: CLASS_PLACE if _class_of(found, spoken) == label else OTHER_PLACE, sentence)


def _kind(sentence: str, marked: str) -> str:
    if other_language(sentence):
        return "neither"
    whole, clause = resemblance("stance", marked), own_clauses(marked, CLASS_PLACE)
    heads = marked.lstrip("*_( ").startswith(CLASS_PLACE) and _says_more(marked)
    own = (
        whole if heads and not _says_more(clause) else resemblance("stance", clause)
    )  # of a name alone nothing is told
    likely = {kind: max(whole[kind], own[kind]) for kind in ("rejects", "concludes")}
    kind = max(likely, key=lambda each: likely[each])
    return kind if likely[kind] > LIKELY else "neither"


def _says_more(marked: str) -> bool:
    """Whether there are words beside the names of classes."""
    return bool(words(marked.replace(CLASS_PLACE, " ").replace(OTHER_PLACE, " ")))
