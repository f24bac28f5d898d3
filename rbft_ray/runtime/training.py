"""Training on a worker group."""

from collections.abc import Generator
from typing import Any

from rbft_ray.core.errors import RbftError
from rbft_ray.core.resources import Needs
from rbft_ray.runtime.kept_group import group_of
from rbft_ray.runtime.progress import StageProgress
from rbft_ray.runtime.worker_group import GroupFailed, WorkFunction


def fit(
    train: WorkFunction,
    job: Any,
    *,
    stage: str,
    steps: int,
    checkpoints: str,
    needs: Needs,
    max_failures: int,
    resize_check_sec: float,
) -> Any:
    """Runs `train(job, context)` on a group of workers (`WorkerGroup`) and returns what the first one returns.

    `train` is called again after a failure, and looks at `checkpoints` for what an earlier try has left there. The first
    worker posts (step, loss).

    Raises:
        RbftError: the group failed for good; the message has the cause's own line.
    """
    try:
        with group_of((needs, max_failures, resize_check_sec)) as group, StageProgress(stage, steps, "steps") as bar:
            return _shown(bar, group.run(train, job))
    except GroupFailed as error:
        raise RbftError(f"{stage}: training failed: {error} (checkpoints: {checkpoints})") from error


def _shown(bar: StageProgress, posts: Generator[tuple[int, float], None, Any]) -> Any:
    """Shows posts of (step, loss). Returns what the generator returns."""
    while True:
        try:
            step, loss = next(posts)
        except StopIteration as end:
            return end.value
        if bar.done == 0:
            bar.resume_at(step)  # the rate counts from the first step seen, without start-up and resumed steps
        bar.advance(max(0, step - bar.done), f"loss {loss:.3f}")
