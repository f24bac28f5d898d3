"""Lessons of the general world: a scene (or none), and turns of prompt and answer in the project's own prompt forms.

Domain names, the domains' pairs of relations and their appearance never occur here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rbft_ray.core.prompts import (
    Task,
    hinted_rationale_prompt,
    label_prompt,
    rationale_prompt,
    rationale_text,
)
from rbft_ray.demo import text_lessons
from rbft_ray.demo.grammar import (
    GENERAL_RELATION_PAIRS,
    RELATIONS,
    RuleSet,
    drawn_words,
    random_rules,
    scene_of_class,
)
from rbft_ray.demo.language import (
    CAPTION_PROMPTS,
    NUM_CAPTION_STYLES,
    caption,
    described,
    match_question,
    questions,
    random_task,
    reasoning,
    rule_question,
    statement,
)
from rbft_ray.demo.render import Appearance
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES, Scene, random_scene
from rbft_ray.demo.text_lessons import Turns

QUESTIONS_PER_LESSON = 5
RIGHT_HINT_SHARE = 0.85
FULL_TASK_SHARE = 0.8  # in schooling
LABEL_TURNS = 3
COMPARISON_TURNS = 8
IN_ONE_FRAME = ("colours", "first actions", "second actions")
IN_ONE_FRAME_SHARE = 0.7
SINGLE_RELATION_SHARE = 0.6
DEFINITION_SHARE = 0.2
COMPARISON_SHARES = (0.4, 0.25, 0.35)  # of questions on one relation, on two, and statements
HAZY_NOISE = (20.0, 60.0)


@dataclass(frozen=True)
class Lesson:
    """`scene` is None for a lesson in text alone; `turns` are (prompt, answer). Without a `look`, it is drawn."""

    scene: Scene | None
    turns: Turns
    look: Appearance | None = None


def general_look(rng: np.random.Generator) -> Appearance:
    """A plain appearance with its own level of noise, small enough for the general world."""
    return Appearance(
        background=(0.0, 70.0),
        tint=float(rng.uniform(0, 16)),
        colour_jitter=18.0,
        noise=float(rng.uniform(0, 7)),
        size=float(rng.uniform(0.9, 1.0)),
    )


def hazy_look(rng: np.random.Generator) -> Appearance:
    """A general appearance under so much noise that the facts cannot all be seen: here a hint tells something."""
    return replace(general_look(rng), noise=float(rng.uniform(*HAZY_NOISE)))


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
    """The same under a hint, which is sometimes wrong and then not followed; half of the clips are hazy."""
    scene, rules, task, gold = drawn_case(rng)
    hint = gold if rng.random() < RIGHT_HINT_SHARE else str(rng.choice(task.labels))
    look = hazy_look(rng) if rng.random() < 0.5 else None
    return Lesson(scene, ((hinted_rationale_prompt(task, hint), _rationale(rng, scene, rules, gold)),), look)


def _even_scene(rng: np.random.Generator) -> Scene:
    """A two-object scene with two words of each kind: every relation is as often "same" as not."""
    return random_scene(rng, 2, *(drawn_words(rng, pool, 2) for pool in (COLOURS, SHAPES, ACTIONS)))


def _mixed_rules(rng: np.random.Generator) -> RuleSet:
    """Rules of one relation or of two, more often over relations whose facts stand in one frame."""
    pool = IN_ONE_FRAME if rng.random() < IN_ONE_FRAME_SHARE else RELATIONS
    if rng.random() < SINGLE_RELATION_SHARE:
        return random_rules(rng, [(relation,) for relation in pool])
    return random_rules(rng, [pair for pair in GENERAL_RELATION_PAIRS if set(pair) <= set(pool)])


def label_lesson(rng: np.random.Generator) -> Lesson:
    """Apply stated rules to the video and say the bare name; several rule sets, some of one relation, on one clip.

    Some turns ask for the whole definition that holds: half-way from reasoning to the bare name.
    """
    scene = _even_scene(rng)
    turns = []
    for _ in range(LABEL_TURNS):
        rules = _mixed_rules(rng)
        prompt = label_prompt(random_task(rng, rules))
        label = rules.label(scene)
        if rng.random() < DEFINITION_SHARE:
            turns.append((f"{prompt} Begin with its definition.", rules.definitions()[label]))
        else:
            turns.append((prompt, label))
    return Lesson(scene, tuple(turns))


def comparison_lesson(rng: np.random.Generator) -> Lesson:
    """Compare facts of one clip, with ever fewer of them said first: what a bare name rests on, densely."""
    scene = _even_scene(rng)
    turns = []
    for _ in range(COMPARISON_TURNS):
        kind = rng.choice(3, p=COMPARISON_SHARES)
        if kind == 0:
            turns.append(match_question(scene, str(rng.choice(RELATIONS)), int(rng.integers(3))))
        elif kind == 1:
            turns.append(rule_question(scene, random_rules(rng)))
        else:
            turns.append(statement(rng, scene, _mixed_rules(rng)))
    return Lesson(scene, tuple(turns))


def text_rule_lesson(rng: np.random.Generator) -> Lesson:
    """Apply stated rules to a text that describes the video."""
    scene, rules, task, gold = drawn_case(rng)
    text = described(scene, int(rng.integers(NUM_CAPTION_STYLES)))
    return Lesson(None, ((f"{text}\n{rationale_prompt(task)}", _rationale(rng, scene, rules, gold)),))


def in_text(draw: Callable[[np.random.Generator], Turns]) -> Callable[[np.random.Generator], Lesson]:
    """A lesson without a video from a function that draws its turns."""
    return lambda rng: Lesson(None, draw(rng))


RULE_LESSONS: dict[str, Callable[[np.random.Generator], Lesson]] = {
    "rule": rule_lesson,
    "hinted": hinted_lesson,
    "label": label_lesson,
    "comparison": comparison_lesson,
    "text_rule": text_rule_lesson,
    "clue": in_text(text_lessons.clue),
    "reading": in_text(text_lessons.reading),
    "repeat": in_text(text_lessons.repeat),
    "compare": in_text(text_lessons.compare),
    "lookup": in_text(text_lessons.lookup),
    "single_clue": in_text(text_lessons.single_clue),
}
