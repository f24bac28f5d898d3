"""Lessons of the general world: a scene (or none), and turns of prompt and answer in the project's own prompt forms.

Domain names, the domains' pairs of relations and their appearance never occur here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rbft_ray.core.prompts import (
    ANSWER_PREFIX,
    Task,
    hinted_rationale_prompt,
    label_prompt,
    rationale_prompt,
    rationale_text,
)
from rbft_ray.demo.grammar import (
    GENERAL_RELATION_PAIRS,
    RuleSet,
    drawn_words,
    made_up_names,
    random_rules,
    scene_of_class,
)
from rbft_ray.demo.language import (
    CAPTION_PROMPTS,
    NUM_CAPTION_STYLES,
    caption,
    comparison,
    described,
    questions,
    random_task,
    reasoning,
)
from rbft_ray.demo.render import Appearance
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES, Scene, random_scene

QUESTIONS_PER_LESSON = 5
READING_TURNS = 3
RIGHT_HINT_SHARE = 0.85
FULL_TASK_SHARE = 0.8  # in schooling


@dataclass(frozen=True)
class Lesson:
    """`scene` is None for a lesson in text alone; `turns` are (prompt, answer)."""

    scene: Scene | None
    turns: tuple[tuple[str, str], ...]


def general_look(rng: np.random.Generator) -> Appearance:
    """A plain appearance with its own level of noise, small enough for the general world."""
    return Appearance(
        background=(0.0, 70.0),
        tint=float(rng.uniform(0, 16)),
        colour_jitter=18.0,
        noise=float(rng.uniform(0, 7)),
        size=float(rng.uniform(0.9, 1.0)),
    )


def caption_lesson(rng: np.random.Generator, object_shares: tuple[float, float, float]) -> Lesson:
    """A caption of a scene with one, two or three objects, drawn with the given shares."""
    scene = random_scene(rng, int(rng.choice(3, p=object_shares)) + 1)
    style = int(rng.integers(NUM_CAPTION_STYLES))
    return Lesson(scene, ((str(rng.choice(CAPTION_PROMPTS)), caption(scene, style)),))


def question_lesson(rng: np.random.Generator, object_shares: tuple[float, float, float]) -> Lesson:
    """Several questions on one scene, as turns of one conversation."""
    scene = random_scene(rng, int(rng.choice(3, p=object_shares)) + 1)
    pairs = questions(scene)
    return Lesson(scene, tuple(pairs[i] for i in rng.choice(len(pairs), QUESTIONS_PER_LESSON, replace=False)))


def drawn_case(
    rng: np.random.Generator,
    relation_pairs: tuple[tuple[str, str], ...] = GENERAL_RELATION_PAIRS,
    full_task_share: float = FULL_TASK_SHARE,
) -> tuple[Scene, RuleSet, Task, str]:
    """A scene, a rule set, its task and the right label; the four classes are equally likely.

    Args:
        full_task_share: share of the tasks with all four classes; the others lack one or two wrong ones.
    """
    rules = random_rules(rng, relation_pairs)
    gold = rules.labels[rng.integers(len(rules.labels))]
    words = (drawn_words(rng, pool, int(rng.integers(2, 5))) for pool in (COLOURS, SHAPES, ACTIONS))
    scene = scene_of_class(rng, rules, gold, *words)
    task = random_task(rng, rules)
    if rng.random() >= full_task_share:
        others = [label for label in task.labels if label != gold]
        dropped = set(rng.choice(others, int(rng.integers(1, 3)), replace=False))
        labels = tuple(label for label in task.labels if label not in dropped)
        task = Task(labels, {label: task.definitions[label] for label in labels}, task.role, task.guidance)
    return scene, rules, task, gold


def _rationale(rng: np.random.Generator, scene: Scene, rules: RuleSet, gold: str) -> str:
    return rationale_text(reasoning(scene, rules, int(rng.integers(NUM_CAPTION_STYLES))), gold)


def rule_lesson(rng: np.random.Generator) -> Lesson:
    """Apply stated rules to the video: rationale, then the answer line."""
    scene, rules, task, gold = drawn_case(rng)
    return Lesson(scene, ((rationale_prompt(task), _rationale(rng, scene, rules, gold)),))


def hinted_lesson(rng: np.random.Generator) -> Lesson:
    """The same under a hint, which is sometimes wrong and then not followed."""
    scene, rules, task, gold = drawn_case(rng)
    hint = gold if rng.random() < RIGHT_HINT_SHARE else str(rng.choice(task.labels))
    return Lesson(scene, ((hinted_rationale_prompt(task, hint), _rationale(rng, scene, rules, gold)),))


def label_lesson(rng: np.random.Generator) -> Lesson:
    """Apply stated rules to the video and say the bare name."""
    scene, _, task, gold = drawn_case(rng)
    return Lesson(scene, ((label_prompt(task), gold),))


def text_rule_lesson(rng: np.random.Generator) -> Lesson:
    """Apply stated rules to a text that describes the video."""
    scene, rules, task, gold = drawn_case(rng)
    text = described(scene, int(rng.integers(NUM_CAPTION_STYLES)))
    return Lesson(None, ((f"{text}\n{rationale_prompt(task)}", _rationale(rng, scene, rules, gold)),))


def clue_lesson(rng: np.random.Generator) -> Lesson:
    """Choose the class from the two comparisons alone, in text: the last step of a rationale, short and cheap."""
    scene, rules, task, gold = drawn_case(rng)
    clues = " ".join(comparison(scene, relation, rules) for relation in rules.relations)
    return Lesson(None, ((f"The video shows: {clues}\n{label_prompt(task)}", f"{ANSWER_PREFIX} {gold}"),))


def reading_lesson(rng: np.random.Generator) -> Lesson:
    """Questions on the text of a task: list names, give definitions, find names by definition. It teaches to copy."""
    _, _, task, _ = drawn_case(rng)
    turns = [(f"{rationale_prompt(task)}\nFirst list the classes.", f"The classes are {', '.join(task.labels)}.")]
    for label in rng.permutation(task.labels)[:READING_TURNS]:
        if rng.random() < 0.3:
            turns.append((f"What is the definition of {label}?", task.definitions[label]))
        else:
            turns.append((f"Which class is this? {task.definitions[label]}", f"It is {label}."))
    return Lesson(None, tuple(turns))


def repeat_lesson(rng: np.random.Generator) -> Lesson:
    """Repeat one to eight made-up names: nothing but copying, which every rule needs and which rules alone teach slowly.

    The short lists matter: with twelve names each time, copying was not learnt in as many steps.
    """
    names = " ".join(made_up_names(rng, int(rng.integers(1, 9))))
    return Lesson(None, ((f"Repeat these names: {names}", f"The names are {names}"),))


RULE_LESSONS: dict[str, Callable[[np.random.Generator], Lesson]] = {
    "rule": rule_lesson,
    "hinted": hinted_lesson,
    "label": label_lesson,
    "text_rule": text_rule_lesson,
    "clue": clue_lesson,
    "reading": reading_lesson,
    "repeat": repeat_lesson,
}
