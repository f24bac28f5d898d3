"""Sentences from templates: draws, slots, layout. All randomness comes from the generator passed in."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
POOLS = HERE / "pools"


class Half(NamedTuple):
    """key: of the draws; marks: of the lines of a list; demo_seeds: of its demo domains. Its sentences are in `pools/NAME`."""

    key: str
    marks: tuple[str, ...]
    demo_seeds: range


HALVES = {
    "dev": Half("dev", ("", "- ", "{}. "), range(0, 5)),
    "dev2": Half("frozen", ("", "* ", "{}) "), range(5, 10)),
    "dev3": Half("frozen 2", ("", "• ", "Step {}: "), range(10, 15)),
    "dev4": Half("frozen 3", ("", "– ", "#{} "), range(15, 20)),
    "dev5": Half("frozen 4", ("", "— ", "({}) "), range(20, 25)),
    "dev6": Half("frozen 5", ("", "+ ", "[{}] "), range(25, 30)),
    "dev7": Half("frozen 6", ("", "» ", "{} - "), range(30, 35)),
    "frozen": Half("frozen 7", ("", "→ ", "{}/ "), range(35, 40)),
}
_SIGNS = [
    re.escape(mark.strip()).replace(re.escape("{}"), "[0-9]+")
    for half in HALVES.values()
    for mark in half.marks
    if mark
]
_MARK = re.compile(rf"^(?:{'|'.join(_SIGNS)})\s+")

Item = TypeVar("Item")


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pool(half: str, name: str) -> dict[str, Any]:
    """The sentences that one half of the data has for a domain, or for faults of any domain (`faults`)."""
    return read_yaml(POOLS / half / f"{name}.yaml")


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    return items[int(rng.integers(len(items)))]


def some(rng: np.random.Generator, items: Sequence[Item], count: int) -> list[Item]:
    """`count` different items (all, if there are fewer) in random order."""
    return [items[i] for i in rng.permutation(len(items))[:count]]


def dealt(rng: np.random.Generator, items: Sequence[Item], count: int) -> list[Item]:
    """`count` items in random order, all equally often as far as the count allows."""
    cards = [items[i % len(items)] for i in range(count)]
    return some(rng, cards, count)


def capitalised(text: str) -> str:
    """Every sentence starts with a capital."""
    return re.sub(r"(^|[.!?] )([a-zà-ÿ])", lambda match: match[1] + match[2].upper(), text)


def lower_first(text: str) -> str:
    """For a sentence that something is put before. "I" and words in capitals stay."""
    first = text.split()[0]
    return text if first.rstrip("',") == "I" or first[1:2].isupper() else text[0].lower() + text[1:]


def teller(rng: np.random.Generator, slots: Mapping[str, Sequence[Any]]) -> Callable[[str], str]:
    """Fills templates of one rationale: a slot keeps its value, and what was mentioned becomes definite ("the van")."""
    values: dict[str, str] = {}
    for name, options in slots.items():
        chosen = pick(rng, options)
        values.update(chosen if isinstance(chosen, dict) else {name: chosen})
    mentioned: set[str] = set()

    def value(match: re.Match[str]) -> str:
        name = match[1]
        definite = values.get(f"the_{name}")
        if definite and name in mentioned:
            return definite
        mentioned.add(name)
        return values[name]

    return lambda template: capitalised(re.sub(r"\$(\w+)", value, template))


def filled(template: str, **values: str) -> str:
    """The template with every slot filled.

    Raises:
        KeyError: a slot has no value.
    """
    return capitalised(Template(template).substitute(values))


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without answer lines and without the marks of lists."""
    parts = re.split(r"(?:(?<=[.!?])|(?<=[.!?][\"”]))\s+(?![a-zà-ÿ])|(?<=。)\s*|\n+", text)
    return [clean for part in parts if (clean := _MARK.sub("", part.strip())) and not clean.startswith("Answer:")]


def laid_out(rng: np.random.Generator, units: Sequence[str], half: str) -> str:
    """The reasoning as a paragraph (mostly), or with a line for each unit. The halves mark the lines differently."""
    if len(units) == 1 or rng.random() < 0.65:
        return " ".join(units)
    mark = pick(rng, HALVES[half].marks)
    return "\n".join(mark.format(i + 1) + unit for i, unit in enumerate(units))
