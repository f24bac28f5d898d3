"""Faults planted in rationales. Each function returns (variant, text) for a world, a gold label and a generator."""

from collections.abc import Callable

import numpy as np
from english import English
from rendered import Rendered
from wording import filled, laid_out, lower_first, pick, sentences, some

from rbft_ray.core.prompts import ANSWER_PREFIX, rationale_text

World = English | Rendered
Planted = tuple[str, str]
Plant = Callable[[np.random.Generator, World, str], Planted]
MAX_SHORT_WORDS = 6  # of reasoning in `too_short`; every sound rationale has more


def any_sound(rng: np.random.Generator, world: World, label: str) -> list[str]:
    """Sound reasoning, every third time a hard negative."""
    if rng.random() < 2 / 3:
        return world.sound(rng, label)
    return world.hard(rng, label, pick(rng, world.hard_kinds))


def finished(rng: np.random.Generator, world: World, units: list[str], label: str) -> str:
    return rationale_text(laid_out(rng, units, world.half), label)


def _other(rng: np.random.Generator, world: World, gold: str) -> str:
    return pick(rng, [label for label in world.labels if label != gold])


def no_answer(rng: np.random.Generator, world: World, gold: str) -> Planted:
    text = laid_out(rng, any_sound(rng, world, gold), world.half)
    if rng.random() < 0.5:
        return "reasoning_only", text
    end = filled(pick(rng, world.faults["no_answer_ends"]), label=gold)
    return ("empty_answer", f"{text}\n{end}") if end.startswith(ANSWER_PREFIX) else ("answer_in_prose", f"{text} {end}")


def malformed_answer(rng: np.random.Generator, world: World, gold: str) -> Planted:
    forms = world.faults["malformed"]
    variant = pick(rng, (*forms, "two_answers", "two_answers", "text_after", "same_line"))
    text, other = laid_out(rng, any_sound(rng, world, gold), world.half), _other(rng, world, gold)
    line = f"{ANSWER_PREFIX} {gold}"
    if variant == "two_answers":
        return variant, f"{text}\n{ANSWER_PREFIX} {pick(rng, (gold, other))}\n{line}"
    if variant == "text_after":
        return variant, f"{text}\n{line}\n" + filled(pick(rng, world.faults["after_answer"]), other=other)
    if variant == "same_line":
        return variant, f"{text} {line}"
    mixed = gold.title().swapcase()
    names = {"label": gold, "other": other, "Label": gold.capitalize(), "LABEL": gold.upper(), "mIXED": mixed}
    return variant, f"{text}\n" + filled_exactly(pick(rng, forms[variant]), names)


def filled_exactly(template: str, names: dict[str, str]) -> str:
    """The template with its labels, in the case that they have."""
    for name in sorted(names, key=len, reverse=True):
        template = template.replace(f"${name}", names[name])
    return template


def truncated(rng: np.random.Generator, world: World, gold: str) -> Planted:
    """Cut between two words of a sentence, within a word, or within the answer line."""
    variant = pick(rng, ("mid_sentence", "mid_sentence", "mid_word", "mid_answer_line"))
    text = laid_out(rng, world.sound(rng, gold), world.half)
    if variant == "mid_answer_line":
        line = f"\n{ANSWER_PREFIX} {gold}"
        return variant, text + line[: pick(rng, (3, 5, 6, len(line) - len(gold) // 2))]
    long_enough = [part for part in sentences(text) if len(part.split()) >= 5]
    words = pick(rng, long_enough[-2:]).split()
    kept = " ".join(words[: int(rng.integers(3, len(words)))])
    start = text.rindex(" ".join(words))
    if variant == "mid_word":
        long_word = max(words[2:], key=len)
        kept = " ".join(words[: words.index(long_word)]) + " " + long_word[: max(len(long_word) // 2, 1)]
    return variant, text[:start] + kept.rstrip(".,;")


def too_short(rng: np.random.Generator, world: World, gold: str) -> Planted:
    variant = pick(rng, ("label_only", "label_only", "fragment", "fragment", "empty"))
    if variant == "empty":
        return variant, f"{ANSWER_PREFIX} {gold}"
    source = world.faults["too_short"] if variant == "label_only" else world.pools["fragments"]
    return variant, rationale_text(filled(pick(rng, source), label=gold), gold)


def refusal(rng: np.random.Generator, world: World, gold: str) -> Planted:
    """A refusal alone or after a sentence on the setting; with the answer line or without."""
    units = [pick(rng, world.faults["refusal"]), *some(rng, world.faults["refusal_tails"], int(rng.random() < 0.6))]
    first = some(rng, world.opening(rng), int(rng.random() < 0.4))
    text = laid_out(rng, [*first, *units], world.half)
    return ("with_answer", rationale_text(text, gold)) if rng.random() < 0.6 else ("without_answer", text)


def other_language(rng: np.random.Generator, world: World, gold: str) -> Planted:
    language = pick(rng, tuple(world.faults["foreign_openers"]))
    units = [
        world.foreign(rng, gold, language),
        *some(rng, world.faults["foreign_ends"][language], int(rng.random() < 0.6)),
    ]
    if rng.random() < 0.6:
        opener = some(rng, world.faults["foreign_openers"][language], int(rng.random() < 0.7))
        return f"whole_{language}", finished(rng, world, [*opener, *units], gold)
    return f"switched_{language}", finished(rng, world, [*world.opening(rng), *units], gold)


def _slightly_changed(rng: np.random.Generator, sentence: str, openers: list[str]) -> list[str]:
    """The sentence three to five times more, each time with another opening word or article."""
    changed = [f"{opener} {lower_first(sentence)}" for opener in some(rng, openers, int(rng.integers(3, 6)))]
    swap = pick(rng, ((" the ", " that "), (" a ", " one "), (" and ", " and also ")))
    return [text.replace(*swap, 1) if i % 2 else text for i, text in enumerate(changed)]


def repetition(rng: np.random.Generator, world: World, gold: str) -> Planted:
    """A loop in sound reasoning; half of the time the reasoning goes on after it."""
    variant = pick(rng, ("looped_sentence", "looped_block", "looped_ngram", "near_identical"))
    told = [part for part in sentences(" ".join(any_sound(rng, world, gold))) if part[-1] == "."]
    at, size = int(rng.integers(len(told))), 1
    if variant == "looped_sentence":
        loop = [told[at]] * int(rng.integers(4, 9))
    elif variant == "looped_block":
        size = min(int(rng.integers(2, 4)), len(told))
        at = min(at, len(told) - size)
        loop = told[at : at + size] * int(rng.integers(3, 6))
    elif variant == "near_identical":
        loop = [told[at], *_slightly_changed(rng, told[at], world.faults["repeat_openers"])]
    else:
        words = [word.rstrip(",;:.") for word in told[at].split()]
        stop = int(rng.integers(2, len(words) + 1))
        span = words[max(stop - int(rng.integers(2, 6)), 0) : stop]
        loop = [" ".join([*words[:stop], *span * int(rng.integers(5, 13))]) + "."]
    rest = told[at + size :] if rng.random() < 0.5 else []
    return variant, finished(rng, world, [*told[:at], *loop, *rest], gold)


def leak(rng: np.random.Generator, world: World, gold: str) -> Planted:
    variant = pick(rng, tuple(world.faults["leak"]))
    phrase = filled_exactly(pick(rng, world.faults["leak"][variant]), {"label": gold})
    units = any_sound(rng, world, gold)
    at = int(rng.integers(len(units)))
    if phrase.endswith("..."):
        units[at] = phrase.removesuffix("...") + lower_first(units[at])
    elif phrase.startswith("..."):
        at = next(i for i in (at, *range(len(units))) if units[i].endswith("."))
        units[at] = units[at].removesuffix(".") + phrase.removeprefix("...") + "."
    else:
        units.insert(at + int(rng.random() < 0.5), phrase)
    return variant, finished(rng, world, units, gold)


def _content(method: str) -> Plant:
    def plant(rng: np.random.Generator, world: World, gold: str) -> Planted:
        variant, units = getattr(world, method)(rng, gold)
        return variant, finished(rng, world, units, gold)

    return plant


FAULTS: dict[str, Plant] = {
    "no_answer": no_answer,
    "malformed_answer": malformed_answer,
    "truncated": truncated,
    "too_short": too_short,
    "refusal": refusal,
    "other_language": other_language,
    "repetition": repetition,
    "leak": leak,
    "contradiction": _content("contradiction"),
    "wrong_class": _content("wrong_class"),
    "generic": _content("generic"),
}
