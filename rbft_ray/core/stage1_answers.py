"""What stage 1 learns to answer: the rationales themselves, or a control that keeps some of what they hold and drops the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbft_ray.core.prompts import Task, rationale_text
from rbft_ray.core.rationale_support import stripped


def shuffled_within_class(texts: Mapping[str, str], clips: Sequence[Mapping[str, Any]], seed: int) -> dict[str, str]:
    """Each clip's rationale goes to another clip of its class: what a text says of the class stays, what it says of the clip goes.

    A seeded rotation of a permutation, so that no clip keeps its own; a class with one clip keeps it.

    Args:
        texts: {clip id: rationale}; clips: rows with `id` and `label`.
    """
    moved = {}
    for number, label in enumerate(sorted({clip["label"] for clip in clips})):
        ids = sorted(clip["id"] for clip in clips if clip["label"] == label and clip["id"] in texts)
        order = [ids[index] for index in np.random.default_rng([seed, number]).permutation(len(ids))]
        moved.update({own: texts[other] for own, other in zip(order, order[1:] + order[:1], strict=True)})
    return moved


def definitions(clips: Sequence[Mapping[str, Any]], task: Task) -> dict[str, str]:
    """The definition of each clip's class as its rationale (the bare name, where it has none): nothing is said of the clip."""
    return {
        clip["id"]: rationale_text(task.definitions.get(clip["label"], clip["label"]), clip["label"]) for clip in clips
    }


def captions(texts: Mapping[str, str], task: Task) -> dict[str, str]:
    """What each rationale says of its clip, without what it concludes (`rationale_support.stripped`); clips of which nothing is
    left are left out. Trained under `description_prompt`.

    Args:
        texts: {clip id: rationale}.
    """
    said = {clip_id: stripped(text, task.labels, task.definitions) for clip_id, text in texts.items()}
    return {clip_id: text for clip_id, text in said.items() if text}
