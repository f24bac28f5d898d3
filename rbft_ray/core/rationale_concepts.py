"""What the classifiers of `rationale_examples` count in a sentence: words, letters, and concepts.

A concept is a set of words and phrases that do the same work: "annotation", "caption" and "ground truth" are all a `label`.
`examples/concepts.yaml` lists them; a word may be of several. Two concepts in one clause, and what stands before and after the name
of a class, say more of a sentence than its words, and hold for words that no example has.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import combinations

import yaml

from rbft_ray.core.rationale_words import FUNCTION_WORDS, stem, words

CLASS_WORD, OTHER_WORD = (
    "classname",
    "anotherclass",
)  # stand for the class that a sentence is about, and for another one
WORDS, SEQUENCE, LETTERS = 3, 4, (3, 4)  # lengths of n-grams, up to
NEAR = 3  # words beside the class name, whose distance counts

_CLAUSE = re.compile(r"[,;:—–]\s|\b(?:but|because|since|although|whereas|while|as|so)\b", re.IGNORECASE)


@cache
def lexicon() -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """{first stem: (stems of a word or phrase, its concept)}."""
    text = resources.files("rbft_ray.core").joinpath("examples", "concepts.yaml").read_text(encoding="utf-8")
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for concept, phrases in yaml.safe_load(text).items():
        for phrase in phrases.split(","):
            stems = tuple(map(stem, words(phrase)))
            found.setdefault(stems[0], []).append((stems, concept.upper()))
    return found


def concepts(tokens: Sequence[str]) -> list[list[str]]:
    """For each of the words of `rationale_words.words` the concepts, in capitals, of which a word or phrase begins there."""
    stems = tuple(map(stem, tokens))
    known = lexicon()
    return [
        [concept for phrase, concept in known.get(one, ()) if stems[at : at + len(phrase)] == phrase]
        for at, one in enumerate(stems)
    ]


@lru_cache(maxsize=65536)  # parts of sentences come again and again
def concepts_in(sentence: str) -> frozenset[str]:
    """All concepts of a sentence, in capitals."""
    return frozenset(_all_concepts(words(sentence)))


def _all_concepts(tokens: Sequence[str]) -> set[str]:
    return {concept for here in concepts(tokens) for concept in here}


def features(sentence: str) -> list[str]:
    """What is counted in a sentence in which classes are CLASS_WORD and OTHER_WORD; a feature may be there several times."""
    tokens = words(sentence)
    clauses = [words(part) for part in _CLAUSE.split(sentence)]
    own = words(own_clauses(sentence, CLASS_WORD))
    return [
        *_grams(tokens, WORDS),
        *(f"own {gram}" for gram in _grams(own, WORDS)),
        *(f"#{part}" for word in tokens for part in _letters(word)),
        *(pair for clause in clauses for pair in _pairs(clause)),
        *(f"> {gram}" for gram in _grams(_sequence(tokens), SEQUENCE)),
        *_beside(own),
    ]


def own_clauses(sentence: str, name: str) -> str:
    """The clauses of a sentence that have `name`; all of the sentence where none has."""
    return " ".join(part for part in _CLAUSE.split(sentence) if name in part) or sentence


def _grams(tokens: Sequence[str], longest: int) -> Iterable[str]:
    return (" ".join(tokens[at : at + n]) for n in range(1, longest + 1) for at in range(len(tokens) - n + 1))


def _letters(word: str) -> Iterable[str]:
    spaced = f" {word} "
    return (spaced[at : at + n] for n in LETTERS for at in range(len(spaced) - n + 1))


def _is_plain(word: str) -> bool:
    return word in FUNCTION_WORDS or word in (CLASS_WORD, OTHER_WORD)


def _sequence(tokens: Sequence[str]) -> list[str]:
    """The words with a concept in place of each that has one, and with "x" for what is neither that nor a function word."""
    return [
        here[0] if here else word if _is_plain(word) else "x"
        for word, here in zip(tokens, concepts(tokens), strict=True)
    ]


def _pairs(clause: Sequence[str]) -> Iterable[str]:
    there = _all_concepts(clause) | {word for word in (CLASS_WORD, OTHER_WORD) if word in clause}
    return (*sorted(there), *(f"{one}+{other}" for one, other in combinations(sorted(there), 2)))


def _beside(clause: Sequence[str]) -> list[str]:
    """Concepts and function words before and after the class, alone, by their distance, and by two."""
    if CLASS_WORD not in clause:
        return []
    place, found = clause.index(CLASS_WORD), []
    sides: tuple[set[str], set[str]] = set(), set()
    for at, (word, here) in enumerate(zip(clause, concepts(clause), strict=True)):
        if at == place:
            continue
        names, after = {*here, *([word] if _is_plain(word) else [])}, at > place
        sides[after].update(names)
        found += [f"{'<>'[after]}{name}" for name in names]
        if abs(at - place) <= NEAR:
            found += [f"{'<>'[after]}{abs(at - place)}{name}" for name in names]
    marked = [(f"{'<>'[after]}{name}", name.isupper()) for after in (0, 1) for name in sorted(sides[after])]
    return [
        *sorted(found),
        *(f"{one} {other}" for (one, first), (other, second) in combinations(marked, 2) if first or second),
    ]
