"""Lessons of the general world: a scene (or none), and turns of prompt and answer in the project's own prompt forms.

Domain names, the domains' pairs of relations and their appearance never occur here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rbft_ray.core.prompts import (
    Task,
    hinted_rationale_prompt,
    label_prompt,
    rationale_prompt,
    rationale_text,
)
from rbft_ray.demo.grammar import (
    DOMAIN_RELATION_PAIRS,
    GENERAL_RELATION_PAIRS,
    OUTCOMES,
    RELATIONS,
    WORDINGS,
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
    described,
    questions,
    random_task,
    reasoning,
)
from rbft_ray.demo.render import Appearance
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES, Scene, random_scene

QUESTIONS_PER_LESSON = 5
READING_TURNS = 3
CLUE_TURNS = 2
COMPARISONS_PER_LESSON = 8
SCENE_RULES_SHARE = 0.5  # of the rules in clue and reading lessons; the others use TEXT_RELATIONS too
TEXT_RELATIONS = ("sizes", "sounds", "places", "speeds", "names", "numbers", "heights", "lengths", "directions", "ages")
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


def text_rules(rng: np.random.Generator) -> RuleSet:
    """Rules for lessons in text alone: also over relations that no scene has, so that no pair is learnt by heart."""
    if rng.random() < SCENE_RULES_SHARE:
        return random_rules(rng)
    pool = RELATIONS + TEXT_RELATIONS
    while True:
        first, second = (pool[i] for i in rng.choice(len(pool), 2, replace=False))
        if not {(first, second), (second, first)} & set(DOMAIN_RELATION_PAIRS):
            return random_rules(rng, ((first, second),))


def _compared_facts(rng: np.random.Generator, relation: str, verdicts: tuple[str, str], same: bool) -> tuple[str, str]:
    """Made-up facts of one relation, and their comparison in the words of `language.comparison`."""
    words = {"colours": COLOURS, "shapes": SHAPES}.get(relation, ACTIONS)
    one, other = (words[i] for i in rng.choice(len(words), 2, replace=False))
    facts = f"The {relation}, {one} and {one if same else other}"
    return f"{facts}.", f"{facts}, {verdicts[0 if same else 1]}."


def _clue(rng: np.random.Generator, rules: RuleSet, label: str) -> tuple[str, str]:
    """The facts of some scene of the class, and the last part of its rationale."""
    outcome, verdicts = OUTCOMES[rules.labels.index(label)], WORDINGS[rules.wording]
    pairs = zip(rules.relations, outcome, strict=True)
    facts, comparisons = zip(*(_compared_facts(rng, name, verdicts, same) for name, same in pairs), strict=True)
    return f"The video shows: {' '.join(facts)}", rationale_text(
        " ".join([*comparisons, rules.definitions()[label]]), label
    )


def lookup_lesson(rng: np.random.Generator) -> Lesson:
    """Look names up by one or two words, many times over a short list: choosing a class is such a look-up.

    The words stand next to the name or, in half of the lessons, some words before it.
    """
    pool = COLOURS + SHAPES + WORDINGS[0] + ACTIONS[1:]
    words = [pool[i] for i in rng.permutation(len(pool))]
    num_keys = int(rng.integers(1, 3))
    count = int(rng.integers(2, 7)) if num_keys == 1 else 4
    keys = [(word,) for word in words[:count]] if num_keys == 1 else [(a, b) for a in words[:2] for b in words[1:3]]
    about = [f"the {name} " for name in rng.choice(RELATIONS + TEXT_RELATIONS, 2)] if rng.random() < 0.5 else ["", ""]
    end = ": " if rng.random() < 0.7 else " "
    entries = [
        " and ".join(noun + key for noun, key in zip(about, own, strict=False)) + f"{end}{name}"
        for own, name in zip(keys, made_up_names(rng, count), strict=True)
    ]
    asked = [entries[i] for i in rng.permutation(count)]
    questions_text = "; ".join(entry[: entry.rindex(end)] for entry in asked)
    prompt = f"{'; '.join(entries[i] for i in rng.permutation(count))}.\nLook up: {questions_text}."
    return Lesson(None, ((prompt, "; ".join(asked) + "."),))


def compare_lesson(rng: np.random.Generator) -> Lesson:
    """Say of many pairs of words whether they are the same: what every rule rests on, densely."""
    same_word, other_word = WORDINGS[rng.integers(len(WORDINGS))]
    asked, answered = [], []
    for _ in range(COMPARISONS_PER_LESSON):
        pool = (COLOURS, SHAPES, ACTIONS, made_up_names(rng, 2))[rng.integers(4)]
        one, other = (pool[i] for i in rng.choice(len(pool), 2, replace=False))
        same = rng.random() < 0.5
        other = one if same else other
        asked.append(f"{one} and {other}")
        answered.append(f"{one} and {other}, {same_word if same else other_word}.")
    return Lesson(None, ((f"Do they {WORDINGS[0][0]}? {'; '.join(asked)}", " ".join(answered)),))


def single_clue_lesson(rng: np.random.Generator) -> Lesson:
    """Compare one pair of facts and choose between two classes, in text."""
    relation = str(rng.choice(RELATIONS + TEXT_RELATIONS))
    verdicts = WORDINGS[rng.integers(len(WORDINGS))]
    names = made_up_names(rng, 2)
    rules = [f"If the {relation} {verdict}: {name}." for name, verdict in zip(names, verdicts, strict=True)]
    same = rng.random() < 0.5
    facts, comparison = _compared_facts(rng, relation, verdicts, same)
    lines = [f"- {names[i]}: {rules[i]}" for i in rng.permutation(2)]
    prompt = "\n".join([f"The video shows: {facts}", "Classes:", *lines])
    fitting = 0 if same else 1
    return Lesson(None, ((prompt, rationale_text(f"{comparison} {rules[fitting]}", names[fitting])),))


def clue_lesson(rng: np.random.Generator) -> Lesson:
    """The last step of a rationale, from text: compare two pairs of facts, choose the class; several times."""
    rules = text_rules(rng)
    task = random_task(rng, rules)
    turns = []
    for number, label in enumerate(rng.permutation(task.labels)[:CLUE_TURNS]):
        facts, rationale = _clue(rng, rules, str(label))
        turns.append((facts if number else f"{facts}\n{rationale_prompt(task)}", rationale))
    return Lesson(None, tuple(turns))


def reading_lesson(rng: np.random.Generator) -> Lesson:
    """Find classes by their definitions in the text of a task, several times."""
    rules = text_rules(rng)
    definitions = rules.definitions()
    lines = ["Classes:", *(f"- {rules.labels[i]}: {definitions[rules.labels[i]]}" for i in rng.permutation(4))]
    turns = [
        (f"Which class is it if {rules.condition(label)}?", rationale_text(definitions[label], label))
        for label in (str(label) for label in rng.permutation(rules.labels)[:READING_TURNS])
    ]
    return Lesson(None, (("\n".join([*lines, turns[0][0]]), turns[0][1]), *turns[1:]))


def repeat_lesson(rng: np.random.Generator) -> Lesson:
    """Repeat one to eight made-up names: nothing but copying, which rules need and alone teach slowly.

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
    "compare": compare_lesson,
    "lookup": lookup_lesson,
    "single_clue": single_clue_lesson,
}
