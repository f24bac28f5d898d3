"""The English template world: sound rationales, hard negatives and content faults of one domain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from wording import HERE, filled, pick, pool, read_yaml, some, teller

DOMAINS = ("home_security", "traffic", "kitchen", "railway")
HARD_KINDS = ("despite", "innocent", "repeated", "long", "short", "exclude", "quoted", "numbers", "negated")


@dataclass(frozen=True)
class English:
    """One domain with the sentences of one half. `task` has the definitions and cues, `pools` the sentences."""

    name: str
    half: str
    task: Mapping[str, Any]
    pools: Mapping[str, Any]
    faults: Mapping[str, Any]

    @property
    def hard_kinds(self) -> tuple[str, ...]:
        return HARD_KINDS

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.task["definitions"])

    @property
    def definitions(self) -> dict[str, str]:
        return self.task["definitions"]

    @property
    def cues(self) -> dict[str, list[str]]:
        return self.task["cues"]

    def say(self, rng: np.random.Generator) -> Callable[[str], str]:
        return teller(rng, self.pools["slots"])

    def described(self, rng: np.random.Generator, label: str, verdict: float) -> list[str]:
        """What is seen in a clip of the class. `verdict`: the share of rationales that end with a conclusion."""
        own = self.pools["classes"][label]
        units = some(rng, self.pools["scenes"], int(rng.random() < 0.85))
        units += some(rng, self.pools["details"], int(rng.random() < 0.4))
        units.append(pick(rng, own["evidence"]))
        units += some(rng, own["support"], int(rng.integers(0, 3)))
        units += some(rng, own["verdict"], int(rng.random() < verdict))
        return [*map(self.say(rng), units)]

    def opening(self, rng: np.random.Generator) -> list[str]:
        """Where the clip takes place, without what happens."""
        return [*map(self.say(rng), [pick(rng, self.pools["scenes"]), *some(rng, self.pools["details"], 1)])]

    def sound(self, rng: np.random.Generator, label: str) -> list[str]:
        return self.described(rng, label, verdict=0.7)

    def hard(self, rng: np.random.Generator, label: str, kind: str) -> list[str]:
        """A sound rationale that resembles a faulty one."""
        own, say = self.pools["classes"][label], self.say(rng)
        end = some(rng, own["verdict"], int(rng.random() < 0.5))
        if kind == "short":
            return [say(pick(rng, own["short"]))]
        if kind == "despite":
            units = [*some(rng, self.pools["scenes"], int(rng.random() < 0.6)), pick(rng, own["despite"])]
            return [*map(say, [*units, *some(rng, own["support"], int(rng.random() < 0.4)), *end])]
        if kind == "long":
            units = [pick(rng, self.pools["scenes"]), *some(rng, self.pools["details"], 5), pick(rng, own["evidence"])]
            units += [*some(rng, own["support"], 3), *some(rng, self.pools["numbers"], 1)]
            return [*map(say, [*units, pick(rng, own["verdict"])])]
        units = [pick(rng, self.pools["scenes"]), pick(rng, own["evidence"])]
        if kind == "exclude":
            others = some(rng, list(own["exclude"]), int(rng.integers(1, 3)))
            units += [
                *some(rng, own["support"], int(rng.random() < 0.5)),
                *(pick(rng, own["exclude"][x]) for x in others),
            ]
        else:
            units.insert(int(rng.integers(0, 3)), pick(rng, self.pools[kind]))
        return [*map(say, [*units, *end])]

    def contradiction(self, rng: np.random.Generator, gold: str) -> tuple[str, list[str]]:
        """(variant, reasoning): it denies the gold class, rejects it by name, or concludes another one."""
        own, say = self.pools["classes"][gold], self.say(rng)
        variant = pick(rng, ("denied", "denied", "rejects_gold", "concludes_other"))
        others = [label for label in self.labels if label != gold]
        units = [pick(rng, self.pools["scenes"]), *some(rng, self.pools["details"], int(rng.random() < 0.6))]
        if variant == "denied":
            opposite = self.labels[0] if gold != self.labels[0] else self.labels[-1]
            evidence = self.pools["classes"][opposite]["evidence"]
            units += [*some(rng, evidence, int(rng.random() < 0.5)), *some(rng, own["denial"], int(rng.integers(2, 4)))]
        elif variant == "rejects_gold":
            shown = self.pools["classes"][pick(rng, others)]
            units += [pick(rng, shown["evidence"]), pick(rng, shown["exclude"][gold])]
        else:
            units += [pick(rng, own["evidence"]), *some(rng, own["support"], int(rng.random() < 0.5))]
            units.append(pick(rng, naming(self.pools["classes"], pick(rng, others))))
        return variant, [*map(say, units)]

    def wrong_class(self, rng: np.random.Generator, gold: str) -> tuple[str, list[str]]:
        """(variant, reasoning) of a clip of another class."""
        variant = pick(rng, ("evidence_only", "with_verdict", "brief"))
        other = pick(rng, [label for label in self.labels if label != gold])
        if variant == "brief":
            return variant, [self.say(rng)(pick(rng, self.pools["classes"][other]["short"]))]
        return variant, self.described(rng, other, verdict=float(variant == "with_verdict"))

    def generic(self, rng: np.random.Generator, gold: str) -> tuple[str, list[str]]:
        """(variant, reasoning) that only restates the definition, in its own words or in others."""
        clauses = self.pools["classes"][gold]["generic"]
        variant = pick(rng, ("definition", "restated", "restated", "restated"))
        if variant == "definition":
            frame = pick(rng, self.faults["definition_frames"])
            units = [filled(frame, definition=self.definitions[gold], label=gold)]
        else:
            chosen = some(rng, clauses, int(rng.integers(1, 3)))
            frames = some(rng, self.faults["generic_frames"], len(chosen))
            units = [filled(frame, clause=clause) for frame, clause in zip(frames, chosen, strict=True)]
        tails = some(rng, self.faults["generic_tails"], int(rng.integers(1, 3)))
        return variant, [*units, *(filled(tail, label=gold) for tail in tails)]

    def foreign(self, rng: np.random.Generator, label: str, language: str) -> str:
        return self.pools["classes"][label]["foreign"][language]


def naming(classes: Mapping[str, Any], label: str) -> Sequence[str]:
    """The conclusions that name the class; for a class that no conclusion names, all of them."""
    return [verdict for verdict in classes[label]["verdict"] if label in verdict] or classes[label]["verdict"]


def english_domains(half: str) -> list[English]:
    """The English domains with the sentences of one half."""
    tasks = read_yaml(HERE / "domains.yaml")
    return [English(name, half, tasks[name], pool(half, name), pool(half, "faults")) for name in DOMAINS]
