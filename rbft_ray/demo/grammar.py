"""The grammar of rules and domains.

A rule set compares facts of a two-object scene by *relations* (do the colours match? do the first actions? ...). Its
classes are the outcomes of the comparisons: a domain has two relations and so four classes. Every single fact is spread
evenly over the classes, so none predicts the class alone: two facts must be seen for each relation, and for most
relations at the right time.

A *domain* is a rule set, words, names and an appearance, drawn by seed. Its pairs of relations
(`DOMAIN_RELATION_PAIRS`) and its class names are kept out of the general world; the single relations are in both.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from rbft_ray.demo.render import Appearance
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES, Scene, random_scene

RELATIONS = ("colours", "shapes", "first actions", "second actions", "left actions", "right actions")
DOMAIN_RELATION_PAIRS = (
    ("colours", "first actions"),
    ("shapes", "second actions"),
    ("first actions", "second actions"),
    ("first actions", "left actions"),
    ("second actions", "right actions"),
)
GENERAL_RELATION_PAIRS = tuple(pair for pair in combinations(RELATIONS, 2) if pair not in DOMAIN_RELATION_PAIRS)
WORDINGS = (("match", "differ"),)

# Where an object starts, and how large, tells whether it rises, falls, grows or shrinks twice: domains that compare the
# two actions of one object use the other actions only.
STEADY_ACTIONS = ("stays still", "blinks", "shakes")

_ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kl", "pl", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u")
_CODAS = ("", "", "n", "l", "r", "k", "m", "s", "x")
_DOMAIN_NAME_SHARE = 4  # one name in four is kept for domains


def outcomes(num_relations: int) -> tuple[tuple[bool, ...], ...]:
    """All the outcomes of so many comparisons, the one where everything is the same first."""
    return tuple(product((True, False), repeat=num_relations))


@dataclass(frozen=True)
class RuleSet:
    """Classes by relations. `labels` follows `outcomes` of their number; `wording` indexes `WORDINGS`."""

    relations: tuple[str, ...]
    labels: tuple[str, ...]
    wording: int = 0

    def outcome(self, label: str) -> tuple[bool, ...]:
        """Of each relation, whether its two facts are the same in the class."""
        return outcomes(len(self.relations))[self.labels.index(label)]

    def label(self, scene: Scene) -> str:
        verdicts = tuple(compared(scene, relation)[2] for relation in self.relations)
        return self.labels[outcomes(len(self.relations)).index(verdicts)]

    def condition(self, label: str) -> str:
        """When a scene is of the class, such as "the colours match and the first actions differ"."""
        pairs = zip(self.relations, self.outcome(label), strict=True)
        return " and ".join(f"the {relation} {self.verdict(same)}" for relation, same in pairs)

    def definitions(self) -> Mapping[str, str]:
        """A sentence for each label. It ends with the name: a small model looks up what follows a text best."""
        return {label: f"If {self.condition(label)}: {label}." for label in self.labels}

    def verdict(self, same: bool) -> str:
        return WORDINGS[self.wording][0 if same else 1]


@dataclass(frozen=True)
class Domain:
    """A rule set with the words its scenes use and the way it is drawn. `labels` is the order of the classes."""

    seed: int
    rules: RuleSet
    labels: tuple[str, ...]
    colours: tuple[str, ...]
    shapes: tuple[str, ...]
    actions: tuple[str, ...]
    look: Appearance
    crf: int


def compared(scene: Scene, relation: str) -> tuple[str, str, bool]:
    """The two values that a relation compares in a two-object scene, and whether they are the same.

    Raises:
        ValueError: the scene has not two objects, or the relation is unknown.
    """
    if len(scene.objects) != 2:
        raise ValueError(f"relations need two objects, the scene has {len(scene.objects)}")
    left, right = scene.objects
    pairs = {
        "colours": (left.colour, right.colour),
        "shapes": (left.shape, right.shape),
        "first actions": (left.actions[0], right.actions[0]),
        "second actions": (left.actions[1], right.actions[1]),
        "left actions": left.actions,
        "right actions": right.actions,
    }
    if relation not in pairs:
        raise ValueError(f"unknown relation {relation!r}")
    one, other = pairs[relation]
    return one, other, one == other


def scene_of_class(
    rng: np.random.Generator,
    rules: RuleSet,
    label: str,
    colours: tuple[str, ...],
    shapes: tuple[str, ...],
    actions: tuple[str, ...],
) -> Scene:
    """A two-object scene of the class, uniform over those that the words (at least two of each kind) allow."""
    while True:
        scene = random_scene(rng, 2, colours, shapes, actions)
        if rules.label(scene) == label:
            return scene


def is_domain_name(name: str) -> bool:
    """Whether a made-up name belongs to the pool of the domains (else: to the general world)."""
    return zlib.crc32(name.encode()) % _DOMAIN_NAME_SHARE == 0


def made_up_names(rng: np.random.Generator, count: int, domain: bool = False) -> tuple[str, ...]:
    """`count` pronounceable names of two or three syllables that differ in their first two letters."""
    names: list[str] = []
    while len(names) < count:
        syllables = [str(rng.choice(_ONSETS)) + str(rng.choice(_VOWELS)) for _ in range(2 + (rng.random() < 0.3))]
        name = "".join(syllables) + str(rng.choice(_CODAS))
        name = name.capitalize()
        if is_domain_name(name) == domain and all(name[:2] != other[:2] for other in names):
            names.append(name)
    return tuple(names)


def random_rules(
    rng: np.random.Generator, relation_sets: Sequence[tuple[str, ...]] = GENERAL_RELATION_PAIRS, domain: bool = False
) -> RuleSet:
    """A rule set with made-up names over one of the sets of relations, which come in any order."""
    relations = relation_sets[int(rng.integers(len(relation_sets)))]
    relations = tuple(relations[i] for i in rng.permutation(len(relations)))
    labels = made_up_names(rng, 2 ** len(relations), domain)
    return RuleSet(relations, labels, int(rng.integers(len(WORDINGS))))


def drawn_words(rng: np.random.Generator, words: tuple[str, ...], count: int) -> tuple[str, ...]:
    """`count` different ones of the words, in their order."""
    return tuple(words[i] for i in sorted(rng.choice(len(words), count, replace=False)))


def make_domain(seed: int) -> Domain:
    """The domain of a seed: the same seed always gives the same domain."""
    rng = np.random.default_rng([seed, 7001])
    rules = random_rules(rng, DOMAIN_RELATION_PAIRS, domain=True)
    look = Appearance(
        background=(float(rng.uniform(15, 40)), float(rng.uniform(60, 90))),
        tint=float(rng.uniform(10, 30)),
        colour_jitter=float(rng.uniform(28, 42)),
        noise=float(rng.uniform(19, 29)),
        texture=float(rng.uniform(17, 27)),
        texture_px=int(rng.integers(5, 15)),
        distractors=int(rng.integers(2, 7)),
        size=float(rng.uniform(0.62, 0.76)),
    )
    labels = tuple(rules.labels[i] for i in rng.permutation(len(rules.labels)))
    own_actions_compared = bool({"left actions", "right actions"} & set(rules.relations))
    return Domain(
        seed=seed,
        rules=rules,
        labels=labels,
        colours=drawn_words(rng, COLOURS, 3),
        shapes=drawn_words(rng, SHAPES, 3),
        actions=STEADY_ACTIONS if own_actions_compared else drawn_words(rng, ACTIONS, 4),
        look=look,
        crf=int(rng.integers(26, 33)),
    )
