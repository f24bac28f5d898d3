"""When a training run is validated, stopped early, or given up."""

import math

import numpy as np
import pytest

from rbft_ray.core.progress import Progress, diverged, is_due


def test_a_run_that_runs_away_is_seen() -> None:
    falling = list(np.linspace(3, 0.1, 60))
    assert not diverged(falling) and not diverged([0.01] * 30 + [0.5] * 30)
    assert diverged([*falling, *[8.0] * 20]) and not diverged([1.0, 9.0])


def test_the_failure_says_where_and_what_to_do() -> None:
    assert Progress(1, [2.0]).failure() == ""
    assert "the loss is nan at step 7; lower the learning rates" in Progress(7, [1.0, math.nan]).failure()
    assert "diverges" in Progress(60, [1.0] * 20 + [9.0] * 40).failure()


@pytest.mark.parametrize(
    ("scores", "patience", "over"),
    [([], 1, False), ([0.5], 1, False), ([0.5, 0.4], 1, True), ([0.5, 0.4, 0.6], 2, False), ([0.5, 0.5, 0.5], 2, True)],
)
def test_patience(scores: list[float], patience: int, over: bool) -> None:
    progress = Progress(validations=[{"macro_f1": score} for score in scores])
    assert progress.is_patience_over(patience) is over
    assert not progress.is_patience_over(None)


def test_the_best_checkpoint_is_the_last_of_highest_score_or_the_last_one() -> None:
    first, second = {"step": 4, "macro_f1": 0.6}, {"step": 8, "macro_f1": 0.6}
    scored = [Progress(4, [], [first]), Progress(6, [], [first]), Progress(8, [], [first, second])]
    assert [one.score() for one in scored] == [0.6, None, 0.6]
    assert max(scored, key=Progress.rank).step == 8
    assert max([Progress(2), Progress(6), Progress(4)], key=Progress.rank).step == 6


def test_validations_come_once_per_so_many_epochs_and_at_the_end() -> None:
    assert [step for step in range(1, 53) if is_due(step, 52, 100, 8, 1.0)] == [13, 25, 38, 50, 52]
    assert [step for step in range(1, 26) if is_due(step, 25, 100, 8, 0.5)] == [7, 13, 19, 25]
    assert not any(is_due(step, 99, 100, 8, None) for step in range(1, 100))
