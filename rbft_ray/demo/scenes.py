"""Scenes: what happens in a clip, as facts. No pixels and no words here.

A scene has one to three objects, named in order of their x-position. The clip has two steps (its halves); each object
does one action in each step, so a scene has a timeline of events. All randomness comes from the generator passed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "white", "purple")
SHAPES = ("circle", "square", "triangle", "cross")
ACTIONS = ("stays still", "rises", "falls", "grows", "shrinks", "blinks", "shakes")

NUM_STEPS = 2
DURATION_SEC = 4.0
STEP_SEC = DURATION_SEC / NUM_STEPS
FRAME_PX = 84
MAX_OBJECTS = 3

RISE_PX = 22.0  # per step
GROWTH = 1.55  # factor of the radius per step
BLINK_SEC = 0.5  # shown so long, then hidden so long
SHAKE_PX = 5.0
_MIN_RADIUS_PX, _MAX_RADIUS_PX = 5.4, 13.4
_PLAIN_RADIUS_PX = (7.5, 12.0)  # of objects that never change size
_MARGIN_PX = 13.0
_X_RANGES_PX = {1: ((15.0, 69.0),), 2: ((15.0, 26.0), (58.0, 69.0)), 3: ((13.5, 14.5), (41.5, 42.5), (69.5, 70.5))}


@dataclass(frozen=True)
class SceneObject:
    """One object. `actions` has one entry per step; the centre at the start and the radius are in pixels."""

    colour: str
    shape: str
    actions: tuple[str, ...]
    x_px: float
    y_px: float
    radius_px: float


@dataclass(frozen=True)
class Scene:
    """Objects from left to right."""

    objects: tuple[SceneObject, ...]


def position_names(num_objects: int) -> tuple[str, ...]:
    """The words for the objects' places, from left to right ("" for a single object)."""
    return {1: ("",), 2: ("left", "right"), 3: ("left", "middle", "right")}[num_objects]


def _cumulative(actions: Sequence[str], up: str, down: str) -> np.ndarray:
    """(len(actions) + 1,) running sum of +1 for `up` and -1 for `down`, from 0."""
    steps = [(action == up) - (action == down) for action in actions]
    return np.concatenate([[0], np.cumsum(steps)])


def placed_object(
    rng: np.random.Generator, colour: str, shape: str, actions: tuple[str, ...], x_range_px: tuple[float, float]
) -> SceneObject:
    """An object whose start is drawn so that it stays inside the frame, and in the range of sizes, all the time."""
    sizes = GROWTH ** _cumulative(actions, "grows", "shrinks")
    if sizes.min() == sizes.max():
        radius_px = rng.uniform(*_PLAIN_RADIUS_PX)
    else:
        radius_px = rng.uniform(_MIN_RADIUS_PX / sizes.min(), _MAX_RADIUS_PX / sizes.max())
    heights_px = -RISE_PX * _cumulative(actions, "rises", "falls")
    y_px = rng.uniform(_MARGIN_PX - heights_px.min(), FRAME_PX - _MARGIN_PX - heights_px.max())
    x_px = rng.uniform(*x_range_px)
    return SceneObject(colour, shape, actions, round(float(x_px), 2), round(float(y_px), 2), round(float(radius_px), 2))


def random_scene(
    rng: np.random.Generator,
    num_objects: int = 2,
    colours: Sequence[str] = COLOURS,
    shapes: Sequence[str] = SHAPES,
    actions: Sequence[str] = ACTIONS,
) -> Scene:
    """A scene whose facts are drawn uniformly and independently from the given words.

    Raises:
        KeyError: `num_objects` is not 1, 2 or 3.
    """
    objects = []
    for x_range_px in _X_RANGES_PX[num_objects]:
        doing = tuple(actions[int(rng.integers(len(actions)))] for _ in range(NUM_STEPS))
        colour, shape = colours[int(rng.integers(len(colours)))], shapes[int(rng.integers(len(shapes)))]
        objects.append(placed_object(rng, colour, shape, doing, x_range_px))
    return Scene(tuple(objects))


def with_fact(rng: np.random.Generator, scene: Scene, index: int, **changes: Any) -> Scene:
    """The scene with facts of one object changed. Its start is drawn anew only if its actions change.

    Args:
        index: which object, from left to right.
        changes: new values of `colour`, `shape` or `actions`.
    """
    old = scene.objects[index]
    new = replace(old, **changes)
    if new.actions != old.actions:
        new = placed_object(rng, new.colour, new.shape, new.actions, (old.x_px, old.x_px))
    return Scene((*scene.objects[:index], new, *scene.objects[index + 1 :]))


def scene_facts(scene: Scene) -> dict[str, Any]:
    """The scene as plain values for JSON, with its events in order of time."""
    places = position_names(len(scene.objects))
    events = [
        {"step": step + 1, "object": places[i] or "only", "action": thing.actions[step]}
        for step in range(NUM_STEPS)
        for i, thing in enumerate(scene.objects)
    ]
    return {"duration_sec": DURATION_SEC, "objects": [asdict(thing) for thing in scene.objects], "events": events}


def scene_of(facts: Mapping[str, Any]) -> Scene:
    """The scene of a line of `facts.jsonl`: the inverse of `scene_facts`."""
    objects = [SceneObject(**{**thing, "actions": tuple(thing["actions"])}) for thing in facts["objects"]]
    return Scene(tuple(objects))
