"""Grounding: precision and recall of the facts that a rationale states, where the facts of the clip are known.

A fact is a triple (object, attribute, value): the colour, the shape, the first and the second action of an object. So
"rises, then falls" for "falls, then rises" is two wrong facts. An object is known by its place from the left, 0 first:

- the place that is said ("On the right, a ...", "The left object is a ...", "Middle: ..."); without one, the first place
  from the left that no sentence before has taken;
- a place that the scene has not, and objects beyond the last place, are invented: their facts are all wrong.

The two values that a comparison names ("The first actions, rises and falls, differ.") are stated facts as well. Facts
count once, however often they are stated; two values for one attribute are two stated facts, of which at most one is right.
An object or action that is left out costs recall, an invented one costs precision.

The verdicts of comparisons (`COMPARISON`) are counted apart: they follow from the class, which the gate knows, so that
they would flatter it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rbft_ray.demo.grammar import RELATIONS, WORDINGS, RuleSet, compared
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES, Scene, position_names

COMPARISON = "comparison"
STEPS = ("first action", "second action")
ATTRIBUTES = ("colour", "shape", *STEPS)

_PLACES = ("left", "middle", "right")
_VERDICTS = tuple(dict.fromkeys(word for wording in WORDINGS for word in wording))
_SENTENCE = re.compile(r"[^.\n]+")


def _either(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


_OBJECT = re.compile(rf"\b({_either(COLOURS)}) ({_either(SHAPES)})\b")
_PLACE = re.compile(rf"\b({_either(_PLACES)})\b")
_ACTION = re.compile(rf"\b(?:(first|then|second)\s+)?({_either(ACTIONS)})\b")
_VALUE = _either((*COLOURS, *SHAPES, *ACTIONS))
_COMPARISON = re.compile(rf"\b({_either(RELATIONS)}), ({_VALUE}) and ({_VALUE}), ({_either(_VERDICTS)})\b")
# Of each relation, the (object, attribute) of the two values that it compares, as in `grammar.compared`.
_COMPARED = {
    "colours": ((0, "colour"), (1, "colour")),
    "shapes": ((0, "shape"), (1, "shape")),
    "first actions": ((0, STEPS[0]), (1, STEPS[0])),
    "second actions": ((0, STEPS[1]), (1, STEPS[1])),
    "left actions": ((0, STEPS[0]), (0, STEPS[1])),
    "right actions": ((1, STEPS[0]), (1, STEPS[1])),
}


class Fact(NamedTuple):
    """object: its place from the left, 0 first; of a comparison the relation. attribute: of `ATTRIBUTES`, or `COMPARISON`."""

    object: int | str
    attribute: str
    value: str


class Grounding(NamedTuple):
    """Numbers of facts: stated and true, stated at all, true of the scene. Sums of them give precision and recall of many."""

    right: int
    stated: int
    true: int

    @property
    def precision(self) -> float | None:
        """right / stated; None where nothing is stated: it is undefined, and such a rationale costs recall alone."""
        return self.right / self.stated if self.stated else None

    @property
    def recall(self) -> float | None:
        """right / true; None of a scene without facts of the kind that was asked for."""
        return self.right / self.true if self.true else None


def true_facts(scene: Scene) -> frozenset[Fact]:
    """The facts of all objects, four each."""
    return frozenset(
        Fact(place, attribute, value)
        for place, thing in enumerate(scene.objects)
        for attribute, value in zip(ATTRIBUTES, (thing.colour, thing.shape, *thing.actions), strict=True)
    )


def stated_facts(text: str, num_objects: int) -> frozenset[Fact]:
    """The facts of objects that a text states, in sentences on objects and in comparisons.

    Args:
        num_objects: of the scene, for what "right" means; objects beyond get places beyond.
    """
    places = {name: place for place, name in enumerate(position_names(num_objects)) if name}
    taken: set[int] = set()
    facts: set[Fact] = set()
    text = text.lower()
    for relation, *values, _ in _COMPARISON.findall(text):
        facts |= {Fact(*which, value) for which, value in zip(_COMPARED[relation], values, strict=True)}
    for said, colour, shape, tail in _stated_objects(_COMPARISON.sub("", text)):
        free = next(place for place in range(len(taken) + 1) if place not in taken)
        place = free if said is None else places.get(said, num_objects + _PLACES.index(said))
        taken.add(place)
        facts |= {Fact(place, "colour", colour), Fact(place, "shape", shape)}
        facts |= {Fact(place, step, action) for step, action in _stated_actions(tail)}
    return frozenset(facts)


def _stated_objects(text: str) -> Iterator[tuple[str | None, str, str, str]]:
    """(place or None, colour, shape, what follows up to the next object or the end of the sentence) of each object."""
    for sentence in _SENTENCE.findall(text):
        found = list(_OBJECT.finditer(sentence))
        limits = [0, *(edge for match in found for edge in match.span()), len(sentence)]
        for number, match in enumerate(found):
            before = sentence[limits[2 * number] : match.start()]
            said = _PLACE.findall(before)
            tail = sentence[match.end() : limits[2 * number + 3]]
            yield said[-1] if said else None, match[1], match[2], tail


def _stated_actions(tail: str) -> Iterator[tuple[str, str]]:
    """(first or second action, value). Without "first", "then" or "second" the first one said is the first."""
    for number, match in enumerate(_ACTION.finditer(tail)):
        second = match[1] in ("then", "second") or (match[1] is None and number > 0)
        yield STEPS[int(second)], match[2]


def true_comparisons(scene: Scene, rules: RuleSet) -> frozenset[Fact]:
    """The verdicts on the relations of a rule set in a two-object scene."""
    return frozenset(
        Fact(relation, COMPARISON, rules.verdict(compared(scene, relation)[2])) for relation in rules.relations
    )


def stated_comparisons(text: str) -> frozenset[Fact]:
    """The verdicts that a text states: of "The colours, red and blue, differ." (colours, comparison, differ)."""
    found = _COMPARISON.findall(text.lower())
    return frozenset(Fact(relation, COMPARISON, verdict) for relation, _, _, verdict in found)


def counted(stated: frozenset[Fact], true: frozenset[Fact], attribute: str | None = None) -> Grounding:
    """Stated against true facts, of one attribute or of all."""
    if attribute is not None:
        stated, true = (frozenset(fact for fact in facts if fact.attribute == attribute) for facts in (stated, true))
    return Grounding(len(stated & true), len(stated), len(true))


def grounding(text: str, scene: Scene) -> Grounding:
    """The facts of objects that a rationale states against those of its clip."""
    return counted(stated_facts(text, len(scene.objects)), true_facts(scene))
