"""How far a training run is, what it has seen, and when it ends: what a checkpoint keeps beside the weights."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BEST_METRIC = "macro_f1"
_ADVICE = "lower the learning rates of this stage, or train in fp32 or bf16"
_SPAN_STEPS = 20  # over which losses are averaged
_GROWTH, _FLOOR = 2.0, 1.0  # a run diverges above the first losses times this, and above so many nats per token


@dataclass
class Progress:
    """step: optimizer steps taken; losses: per answer token, of each; validations: {step, macro_f1, recall} each."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)

    def failure(self) -> str:
        """Why training cannot go on, or ''."""
        if not math.isfinite(self.losses[-1]):
            return f"the loss is {self.losses[-1]} at step {self.step}; {_ADVICE}"
        if diverged(self.losses):
            return f"training diverges: the loss was {self.losses[0]:.3g}, and {self.losses[-1]:.3g} at step {self.step}; {_ADVICE}"
        return ""

    def score(self) -> float | None:
        """Macro-F1 of the validation split at this step, if it was validated then."""
        latest = self.validations[-1] if self.validations else {}
        return latest[BEST_METRIC] if latest.get("step") == self.step else None

    def rank(self) -> tuple[float, int]:
        """By which the best checkpoint is the highest: the score, then the step; unscored ones come last."""
        score = self.score()
        return (-1.0 if score is None else score, self.step)

    def is_patience_over(self, patience: int | None) -> bool:
        """True where so many validations in a row were no better than the best before them."""
        scores = [one[BEST_METRIC] for one in self.validations]
        return patience is not None and bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience


def diverged(losses: Sequence[float]) -> bool:
    """True where the last 20 losses are on average above twice the first 20, and above 1 nat per token."""
    if len(losses) < 2 * _SPAN_STEPS:
        return False
    now = float(np.mean(losses[-_SPAN_STEPS:]))
    return now > _GROWTH * float(np.mean(losses[:_SPAN_STEPS])) and now > _FLOOR


def is_due(step: int, steps: int, samples: int, global_batch: int, every_epochs: float | None) -> bool:
    """True after the last step and where a further `every_epochs` epochs are complete after `step` steps (from 1)."""
    if every_epochs is None:
        return False
    span = every_epochs * samples / global_batch
    return step == steps or int(step / span + 1e-9) > int((step - 1) / span + 1e-9)
