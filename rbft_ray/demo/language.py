"""Words for scenes: captions, questions with answers, reasonings of rationales. All come from the scene's facts."""

import re
from collections.abc import Sequence

import numpy as np

from rbft_ray.core.prompts import Task
from rbft_ray.demo.grammar import WORDINGS, RuleSet, compared
from rbft_ray.demo.scenes import ACTIONS, COLOURS, NUM_STEPS, SHAPES, Scene, SceneObject, position_names

CAPTION_PROMPTS = (
    "Describe the video.",
    "What happens in the video?",
    "Say what is seen, from left to right.",
    "Describe each object and what it does.",
)
GUIDANCES = ("", "", "Each object acts twice: first and second.", "The video has two steps.")
ROLES = (
    "You are an expert in video classification.",
    "You are an expert in video classification.",
    "You are a careful observer.",
    "You sort short videos.",
)
NUM_CAPTION_STYLES = 3
_COUNTS = ("one", "two", "three")


def _noun(thing: SceneObject) -> str:
    return f"{thing.colour} {thing.shape}"


def caption(scene: Scene, style: int = 0) -> str:
    """Every object from left to right with its actions in order of time, in one of `NUM_CAPTION_STYLES` wordings."""
    parts = []
    for place, thing in zip(position_names(len(scene.objects)), scene.objects, strict=True):
        first, second = thing.actions
        if style == 0:
            start = f"On the {place}, a" if place in ("left", "right") else "In the middle, a" if place else "A"
            parts.append(f"{start} {_noun(thing)} {first}, then {second}.")
        elif style == 1:
            parts.append(f"The {place or 'only'} object is a {_noun(thing)}: it {first} and then {second}.")
        else:
            parts.append(f"{(place or 'only').capitalize()}: {_noun(thing)}, first {first}, second {second}.")
    return " ".join(parts)


def stated_objects(text: str) -> list[tuple[str, str, tuple[str, str]]]:
    """(colour, shape, actions) of each object that a caption or a reasoning states: the inverse of `caption`."""
    colours, shapes, actions = ("|".join(words) for words in (COLOURS, SHAPES, ACTIONS))
    pattern = rf"({colours}) ({shapes})[,:]? (?:it |first )?({actions})(?:,| and) (?:then|second) ({actions})"
    return [(colour, shape, (first, second)) for colour, shape, first, second in re.findall(pattern, text)]


def comparison(scene: Scene, relation: str, rules: RuleSet) -> str:
    """One sentence on one relation, such as "The colours, red and blue, differ."."""
    one, other, same = compared(scene, relation)
    return f"The {relation}, {one} and {other}, {rules.verdict(same)}."


def reasoning(scene: Scene, rules: RuleSet, style: int = 0) -> str:
    """What is seen, in order, what it means for the rules, and the definition that fits."""
    comparisons = [comparison(scene, relation, rules) for relation in rules.relations]
    return " ".join([caption(scene, style), *comparisons, rules.definitions()[rules.label(scene)]])


def questions(scene: Scene) -> list[tuple[str, str]]:
    """All (question, answer) pairs on the facts of a scene."""
    pairs = [("How many objects are there?", _COUNTS[len(scene.objects) - 1])]
    for place, thing in zip(position_names(len(scene.objects)), scene.objects, strict=True):
        name = f"the {place} object" if place else "the object"
        pairs.append((f"What colour is {name}?", thing.colour))
        pairs.append((f"What shape is {name}?", thing.shape))
        pairs.append((f"What is {name}?", f"A {_noun(thing)}."))
        pairs.append((f"What does {name} do first?", f"It {thing.actions[0]}."))
        pairs.append((f"What does {name} do second?", f"It {thing.actions[1]}."))
        pairs.append((f"What does {name} do, in order?", f"It {thing.actions[0]}, then {thing.actions[1]}."))
    return pairs


def statement(rng: np.random.Generator, scene: Scene, rules: RuleSet) -> tuple[str, str]:
    """Whether the condition of one class of the rules holds, true and false equally often: (question, answer)."""
    gold, true = rules.label(scene), bool(rng.random() < 0.5)
    label = gold if true else str(rng.choice([label for label in rules.labels if label != gold]))
    return f"Is it true that {rules.condition(label)}?", "Yes" if true else "No"


def match_question(scene: Scene, relation: str, named: int) -> tuple[str, str]:
    """Whether the two facts of a relation are the same; the answer names the last `named` (0 to 2) of them: (question, answer).

    With fewer facts named before the verdict, more of the comparison is made unsaid.
    """
    one, other, same = compared(scene, relation)
    facts = ("", f", {other},", f", {one} and {other},")[named]
    request = ("", " Name the second.", " Name both.")[named]
    return f"Do the {relation} match?{request}", f"The {relation}{facts} {WORDINGS[0][0 if same else 1]}."


def rule_question(scene: Scene, rules: RuleSet) -> tuple[str, str]:
    """What the relations of a rule set come to: (question, answer)."""
    condition = rules.condition(rules.label(scene))
    return f"Compare the {' and the '.join(rules.relations)}.", f"{condition[0].upper()}{condition[1:]}."


def rule_task(rules: RuleSet, labels: Sequence[str], role: str = ROLES[0], guidance: str = "") -> Task:
    """The classification task that a rule set states, with the classes in the given order."""
    definitions = rules.definitions()
    return Task(tuple(labels), {name: definitions[name] for name in labels}, role, guidance)


def random_task(rng: np.random.Generator, rules: RuleSet) -> Task:
    """The rule set's task in a random wording and order of the classes."""
    labels = [rules.labels[i] for i in rng.permutation(len(rules.labels))]
    return rule_task(rules, labels, str(rng.choice(ROLES)), str(rng.choice(GUIDANCES)))


def described(scene: Scene, style: int = 0) -> str:
    """A text that stands in for the video."""
    return f"The video shows: {caption(scene, style)}"


assert NUM_STEPS == 2, "the wordings above speak of a first and a second action"
