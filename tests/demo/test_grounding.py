"""Facts that a rationale states against those of its scene."""

import json

import numpy as np
import pytest

from rbft_ray.demo.grammar import RELATIONS, RuleSet
from rbft_ray.demo.grounding import (
    ATTRIBUTES,
    Fact,
    counted,
    grounding,
    stated_comparisons,
    stated_facts,
    true_comparisons,
    true_facts,
)
from rbft_ray.demo.language import NUM_CAPTION_STYLES, caption, comparison, reasoning
from rbft_ray.demo.scenes import Scene, SceneObject, random_scene, scene_facts, scene_of

RULES = RuleSet(("colours", "first actions"), ("Bo", "Da", "Gu", "Ki"))
LEFT = "On the left, a red circle rises, then falls."
RIGHT = "On the right, a blue square blinks, then shakes."


def two() -> Scene:
    left = SceneObject("red", "circle", ("rises", "falls"), 20.0, 40.0, 9.0)
    right = SceneObject("blue", "square", ("blinks", "shakes"), 60.0, 40.0, 9.0)
    return Scene((left, right))


@pytest.mark.parametrize("style", range(NUM_CAPTION_STYLES))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_true_captions_state_all_facts_and_no_other(style: int, count: int) -> None:
    rng = np.random.default_rng([style, count])
    for _ in range(20):
        drawn = random_scene(rng, count)
        assert stated_facts(caption(drawn, style), count) == true_facts(drawn)


@pytest.mark.parametrize("relation", RELATIONS)
def test_true_reasoning_is_all_right_and_comparisons_alone_state_what_they_compare(relation: str) -> None:
    rng, rules = np.random.default_rng(3), RuleSet((relation,), ("Bo", "Da"))
    for _ in range(20):
        drawn = random_scene(rng, 2)
        assert grounding(reasoning(drawn, rules), drawn) == (8, 8, 8)
        said = comparison(drawn, relation, rules)
        assert grounding(said, drawn) == (2, 2, 8)
        assert stated_comparisons(said) == true_comparisons(drawn, rules)


@pytest.mark.parametrize(
    ("text", "right", "stated"),
    [
        (f"{LEFT} {RIGHT}", 8, 8),
        (LEFT, 4, 4),  # an omitted object costs recall
        (RIGHT, 4, 4),  # and does not move the others
        (RIGHT + " " + LEFT, 8, 8),
        (f"{LEFT} {RIGHT} In the middle, a red circle rises, then falls.", 8, 12),  # an invented one costs precision
        (f"{LEFT} {RIGHT} A red circle rises, then falls.", 8, 12),
        ("On the left, a red circle falls, then rises.", 2, 4),  # the order matters
        ("A red circle rises, then falls. A blue square blinks, then shakes.", 8, 8),  # without places: as they come
        ("A blue square blinks, then shakes. A red circle rises, then falls.", 0, 8),
        ("The left object is a red circle: it rises.", 3, 3),
        ("Left: red circle, second falls.", 3, 3),
        (f"{LEFT} {LEFT}", 4, 4),  # once
        (f"{LEFT} On the left, a red square rises, then falls.", 4, 5),  # two shapes, one of them right
        (f"{LEFT} The first actions, rises and rises, match.", 4, 5),  # an action of the right object, wrong
        ("Right: blue square, first actions, rises and rises, match.", 3, 4),  # a comparison within a sentence
        ("On the left a red circle rises while a blue square blinks.", 6, 6),  # a place is of one object
        ("The video is nice.", 0, 0),
        ("", 0, 0),
    ],
)
def test_facts_are_aligned_by_place(text: str, right: int, stated: int) -> None:
    assert grounding(text, two()) == (right, stated, 8)


def test_of_two_objects_in_one_sentence_each_has_its_own_facts() -> None:
    text = "On the left a red circle rises and then falls while on the right a blue square blinks, then shakes."
    assert stated_facts(text, 2) == true_facts(two())


def test_precision_of_nothing_stated_is_undefined_and_its_recall_is_0() -> None:
    nothing = grounding("The video is nice.", two())
    assert (nothing.precision, nothing.recall) == (None, 0.0)
    some = grounding("On the left, a red square rises.", two())
    assert (some.precision, some.recall) == (pytest.approx(2 / 3), 2 / 8)


def test_single_attributes_are_counted_alone() -> None:
    stated, true = stated_facts("On the left, a red square rises.", 2), true_facts(two())
    assert [counted(stated, true, name) for name in ATTRIBUTES] == [(1, 1, 2), (0, 1, 2), (1, 1, 2), (0, 0, 2)]


def test_verdicts_of_comparisons_are_facts_of_their_own() -> None:
    assert stated_comparisons("The colours, red and red, match. The Shapes, circle and square, differ.") == {
        Fact("colours", "comparison", "match"),
        Fact("shapes", "comparison", "differ"),
    }
    assert true_comparisons(two(), RULES) == {
        Fact("colours", "comparison", "differ"),
        Fact("first actions", "comparison", "differ"),
    }
    assert stated_comparisons(f"{LEFT} If the colours match and the first actions differ: Da.") == set()


def test_scenes_are_read_from_their_facts() -> None:
    drawn = random_scene(np.random.default_rng(5), 3)
    assert scene_of(json.loads(json.dumps(scene_facts(drawn)))) == drawn
