"""Lessons in text alone: copying, comparing, looking up, and reading rules. They are cheap, and rules rest on them.

Each function draws the turns of one conversation.
"""

import numpy as np

from rbft_ray.core.prompts import rationale_prompt, rationale_text
from rbft_ray.demo.grammar import (
    DOMAIN_RELATION_PAIRS,
    RELATIONS,
    WORDINGS,
    RuleSet,
    made_up_names,
    random_rules,
)
from rbft_ray.demo.language import random_task
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES

READING_TURNS = 3
CLUE_TURNS = 2
COMPARISONS_PER_LESSON = 8
SCENE_RULES_SHARE = 0.5  # of the rules in clues and reading; the others use TEXT_RELATIONS too
TEXT_RELATIONS = ("sizes", "sounds", "places", "speeds", "names", "numbers", "heights", "lengths", "directions", "ages")

Turns = tuple[tuple[str, str], ...]  # (prompt, answer)


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
    outcome, verdicts = rules.outcome(label), WORDINGS[rules.wording]
    pairs = zip(rules.relations, outcome, strict=True)
    facts, comparisons = zip(*(_compared_facts(rng, name, verdicts, same) for name, same in pairs), strict=True)
    return f"The video shows: {' '.join(facts)}", rationale_text(
        " ".join([*comparisons, rules.definitions()[label]]), label
    )


def lookup(rng: np.random.Generator) -> Turns:
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
    return ((prompt, "; ".join(asked) + "."),)


def compare(rng: np.random.Generator) -> Turns:
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
    return ((f"Do they {WORDINGS[0][0]}? {'; '.join(asked)}", " ".join(answered)),)


def single_clue(rng: np.random.Generator) -> Turns:
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
    return ((prompt, rationale_text(f"{comparison} {rules[fitting]}", names[fitting])),)


def clue(rng: np.random.Generator) -> Turns:
    """The last step of a rationale, from text: compare two pairs of facts, choose the class; several times."""
    rules = text_rules(rng)
    task = random_task(rng, rules)
    turns = []
    for number, label in enumerate(rng.permutation(task.labels)[:CLUE_TURNS]):
        facts, rationale = _clue(rng, rules, str(label))
        turns.append((facts if number else f"{facts}\n{rationale_prompt(task)}", rationale))
    return tuple(turns)


def reading(rng: np.random.Generator) -> Turns:
    """Find classes by their definitions in the text of a task, several times."""
    rules = text_rules(rng)
    definitions = rules.definitions()
    lines = ["Classes:", *(f"- {rules.labels[i]}: {definitions[rules.labels[i]]}" for i in rng.permutation(4))]
    turns = [
        (f"Which class is it if {rules.condition(label)}?", rationale_text(definitions[label], label))
        for label in (str(label) for label in rng.permutation(rules.labels)[:READING_TURNS])
    ]
    return (("\n".join([*lines, turns[0][0]]), turns[0][1]), *turns[1:])


def repeat(rng: np.random.Generator) -> Turns:
    """Repeat one to eight made-up names: nothing but copying, which rules need and alone teach slowly.

    The short lists matter: with twelve names each time, copying was not learnt in as many steps.
    """
    names = " ".join(made_up_names(rng, int(rng.integers(1, 9))))
    return ((f"Repeat these names: {names}", f"The names are {names}"),)
