"""The plan of the schooling: its phases, and the lessons and the learning rate of a step.

The phases: vision alone (facts read out linearly), then in text the skills that rules rest on (copy, compare, look up)
beside captions, then rules on video with reasoning, then the bare name; then the text skills again, and all together.
"""

import math
from typing import NamedTuple

import numpy as np

from rbft_ray.demo.lessons import RULE_LESSONS, Lesson, caption_lesson, question_lesson

PEAK_RATE, LAST_RATE, WARMUP_STEPS = 1e-3, 2e-5, 100
BATCH_SIZES = {
    "vision": 64,
    "caption": 48,
    "question": 32,
    "rule": 32,
    "hinted": 32,
    "label": 32,
    "comparison": 48,
    "text_rule": 32,
    "clue": 32,
    "reading": 48,
    "repeat": 64,
    "compare": 48,
    "lookup": 64,
    "single_clue": 96,
}


class Phase(NamedTuple):
    """A part of the schooling.

    `kinds` are the weights of the kinds of batch, `object_shares` those of one, two and three objects, and `arc` the part
    of the cosine, from 0 (`PEAK_RATE`) to 1 (`LAST_RATE`), that the learning rate goes through.
    """

    steps: int
    arc: tuple[float, float]
    kinds: dict[str, float]
    object_shares: tuple[float, float, float]


FIRST_COSINE = 7690  # steps of the cosine that the first five phases go through, and leave before its end
OBJECTS = (0.1, 0.5, 0.4)
PHASES = (
    Phase(490, (0, 490 / FIRST_COSINE), {"vision": 1.0}, (0.2, 0.5, 0.3)),
    Phase(
        1000,
        (490 / FIRST_COSINE, 1490 / FIRST_COSINE),
        {"repeat": 0.35, "compare": 0.15, "lookup": 0.2, "text_rule": 0.15, "caption": 0.15},
        (0.3, 0.4, 0.3),
    ),
    Phase(
        1300,
        (1490 / FIRST_COSINE, 2790 / FIRST_COSINE),
        {"lookup": 0.4, "compare": 0.1, "single_clue": 0.1, "reading": 0.1, "text_rule": 0.2, "caption": 0.1},
        OBJECTS,
    ),
    Phase(
        900,
        (2790 / FIRST_COSINE, 3690 / FIRST_COSINE),
        {"lookup": 0.2, "reading": 0.1, "clue": 0.2, "text_rule": 0.2, "rule": 0.2, "caption": 0.1},
        OBJECTS,
    ),
    Phase(
        2690,
        (3690 / FIRST_COSINE, 6380 / FIRST_COSINE),
        {
            "caption": 0.08,
            "rule": 0.12,
            "hinted": 0.08,
            "label": 0.35,
            "comparison": 0.25,
            "text_rule": 0.04,
            "question": 0.04,
            "clue": 0.04,
        },
        OBJECTS,
    ),
    Phase(
        1000,
        (0.4, 0.4),
        {"lookup": 0.25, "reading": 0.15, "clue": 0.2, "text_rule": 0.15, "label": 0.15, "caption": 0.1},
        OBJECTS,
    ),
    Phase(
        2400,
        (0.4, 1.0),
        {
            "caption": 0.08,
            "rule": 0.1,
            "hinted": 0.1,
            "label": 0.35,
            "comparison": 0.2,
            "text_rule": 0.06,
            "question": 0.04,
            "clue": 0.04,
            "lookup": 0.03,
        },
        OBJECTS,
    ),
)


def phase_of_step(step: int, phases: tuple[Phase, ...] = PHASES) -> tuple[Phase, float]:
    """The phase that a step lies in, and the share of it that is over; for later steps the last one and 1."""
    for phase in phases:
        if step < phase.steps:
            return phase, step / phase.steps
        step -= phase.steps
    return phases[-1], 1.0


def drawn_lessons(rng: np.random.Generator, phase: Phase) -> tuple[str, list[Lesson]]:
    """A kind of batch of the phase, and its lessons."""
    weights = np.array(list(phase.kinds.values()))
    kind = str(rng.choice(list(phase.kinds), p=weights / weights.sum()))
    count = BATCH_SIZES[kind]
    if kind in ("caption", "vision"):
        return kind, [caption_lesson(rng, phase.object_shares) for _ in range(count)]
    if kind == "question":
        return kind, [question_lesson(rng, phase.object_shares) for _ in range(count)]
    return kind, [RULE_LESSONS[kind](rng) for _ in range(count)]


def learning_rate(step: int, phases: tuple[Phase, ...] = PHASES) -> float:
    """Linear warm-up; then from `PEAK_RATE` to `LAST_RATE` along the cosine, as the arcs of the phases say."""
    phase, over = phase_of_step(step, phases)
    progress = phase.arc[0] + over * (phase.arc[1] - phase.arc[0])
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return warmup * (LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def scaled(phases: tuple[Phase, ...], scale: float) -> tuple[Phase, ...]:
    """The phases with `scale` times their steps, at least one each."""
    return tuple(phase._replace(steps=max(1, round(phase.steps * scale))) for phase in phases)
