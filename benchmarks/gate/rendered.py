"""The demo world of `rbft_ray.demo`: sound rationales from the facts of scenes, hard negatives and content faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from wording import HALVES, filled, pick, pool, some

from rbft_ray.demo.grammar import Domain, compared, make_domain, scene_of_class
from rbft_ray.demo.language import NUM_CAPTION_STYLES, caption, comparison
from rbft_ray.demo.scenes import ACTIONS, Scene

HARD_KINDS = ("innocent", "repeated", "long", "short", "exclude", "quoted", "numbers", "negated")


def facts(rng: np.random.Generator, scene: Scene) -> dict[str, str]:
    """What the templates may say of a two-object scene. `never`: an action that the object does not do."""
    found: dict[str, str] = {}
    for place, thing in zip(("left", "right"), scene.objects, strict=True):
        first, second = thing.actions
        never = pick(rng, [action for action in ACTIONS if action not in thing.actions])
        own = {"colour": thing.colour, "shape": thing.shape, "first": first, "second": second, "never": never}
        found |= {f"{place}_{name}": value for name, value in own.items()}
    return found


@dataclass(frozen=True)
class Rendered:
    """One domain of the demo world with the sentences of one half. A user gives no cues for made-up class names."""

    domain: Domain
    half: str
    pools: Mapping[str, Any]
    faults: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"demo_{self.domain.seed}"

    @property
    def hard_kinds(self) -> tuple[str, ...]:
        return HARD_KINDS

    @property
    def labels(self) -> tuple[str, ...]:
        return self.domain.labels

    @property
    def definitions(self) -> dict[str, str]:
        own = self.domain.rules.definitions()
        return {label: own[label] for label in self.labels}

    @property
    def cues(self) -> dict[str, list[str]]:
        return {}

    def scene(self, rng: np.random.Generator, label: str) -> Scene:
        own = self.domain
        return scene_of_class(rng, own.rules, label, own.colours, own.shapes, own.actions)

    def comparisons(self, scene: Scene) -> list[str]:
        return [comparison(scene, relation, self.domain.rules) for relation in self.domain.rules.relations]

    def seen(self, rng: np.random.Generator, scene: Scene) -> list[str]:
        """The caption and the comparisons: `rbft_ray.demo.language.reasoning` but for the definition."""
        return [caption(scene, int(rng.integers(NUM_CAPTION_STYLES))), *self.comparisons(scene)]

    def opening(self, rng: np.random.Generator) -> list[str]:
        """What the clip looks like, without what happens."""
        return some(rng, self.pools["long"], 2)

    def sound(self, rng: np.random.Generator, label: str) -> list[str]:
        return [*self.seen(rng, self.scene(rng, label)), self.definitions[label]]

    def hard(self, rng: np.random.Generator, label: str, kind: str) -> list[str]:
        """A sound rationale that resembles a faulty one."""
        scene, rules = self.scene(rng, label), self.domain.rules
        units, end = self.seen(rng, scene), self.definitions[label]
        if kind == "short":
            return [*self.comparisons(scene), *some(rng, [end], int(rng.random() < 0.5))]
        if kind == "long":
            return [*some(rng, self.pools["long"], 4), *units, end]
        if kind == "exclude":
            other = pick(rng, [name for name in self.labels if name != label])
            own, theirs = rules.outcome(label), rules.outcome(other)
            index = pick(rng, [i for i in range(len(own)) if own[i] != theirs[i]])
            told = {"other": other, "relation": rules.relations[index], "verdict": rules.verdict(own[index])}
            return [*units, filled(pick(rng, self.pools["exclude"]), **told), end]
        verdicts = ", ".join(rules.verdict(same) for same in rules.outcome(label))
        told = {"condition": rules.condition(label), "verdicts": verdicts, **facts(rng, scene)}
        sentence = filled(pick(rng, self.pools[kind]), **told)
        position = len(units) if kind == "quoted" else int(rng.integers(0, 2))
        return [*units[:position], sentence, *units[position:], end]

    def contradiction(self, rng: np.random.Generator, gold: str) -> tuple[str, list[str]]:
        """(variant, reasoning): a comparison against the facts, another class concluded, or the gold class rejected."""
        scene, rules = self.scene(rng, gold), self.domain.rules
        variant = pick(rng, ("flipped_comparison", "concludes_other", "rejects_gold"))
        units, index = self.seen(rng, scene), int(rng.integers(len(rules.relations)))
        relation = rules.relations[index]
        one, other, same = compared(scene, relation)
        if variant == "flipped_comparison":
            units[1 + index] = f"The {relation}, {one} and {other}, {rules.verdict(not same)}."
            return variant, [*units, self.definitions[gold]]
        if variant == "concludes_other":
            return variant, [*units, self.definitions[pick(rng, [name for name in self.labels if name != gold])]]
        told = {"label": gold, "relation": relation, "wrong_verdict": rules.verdict(not same)}
        return variant, [*units, filled(pick(rng, self.pools["rejects"]), **told)]

    def wrong_class(self, rng: np.random.Generator, gold: str) -> tuple[str, list[str]]:
        """(variant, reasoning) of a clip of another class."""
        variant = pick(rng, ("with_definition", "without_definition"))
        units = self.sound(rng, pick(rng, [label for label in self.labels if label != gold]))
        return variant, units if variant == "with_definition" else units[:-1]

    def generic(self, rng: np.random.Generator, gold: str) -> tuple[str, list[str]]:
        """(variant, reasoning) that only restates the definition, in its own words or in others."""
        told = {"label": gold, "condition": self.domain.rules.condition(gold), "definition": self.definitions[gold]}
        variant = pick(rng, ("definition", "restated", "restated", "restated"))
        if variant == "definition":
            return variant, [filled(pick(rng, self.faults["definition_frames"]), **told)]
        frames = some(rng, self.pools["generic"], int(rng.integers(1, 4)))
        units = [filled(frame, **told) for frame in frames]
        return variant, [*units, *some(rng, [self.definitions[gold]], int(rng.random() < 0.5))]

    def foreign(self, rng: np.random.Generator, label: str, language: str) -> str:
        words, parts = self.pools["words"][language], []
        for place, thing in zip(("left", "right"), self.scene(rng, label).objects, strict=True):
            noun = f"{words[thing.shape]} ({words[thing.colour]})"
            done = [
                f"{words[when]} {words[action]}"
                for when, action in zip(("first", "second"), thing.actions, strict=True)
            ]
            parts.append(f"{words[place]}: {noun}, {', '.join(done)}.")
        return " ".join(parts)


def rendered_domains(half: str) -> list[Rendered]:
    """The demo domains of one half: no domain is in another half."""
    return [
        Rendered(make_domain(seed), half, pool(half, "demo"), pool(half, "faults")) for seed in HALVES[half].demo_seeds
    ]
