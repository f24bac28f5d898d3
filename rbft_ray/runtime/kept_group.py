"""The worker group that stays from one stage to the next, where that is allowed and nothing else needs its places."""

import contextlib
import dataclasses
from collections.abc import Generator, Iterator
from typing import Any

from rbft_ray.core.resources import Needs, fit_together
from rbft_ray.runtime.session import cluster_now
from rbft_ray.runtime.worker_group import WorkerGroup, WorkFunction

_keeps = False
_kept: WorkerGroup | None = None  # waits for its next work


@contextlib.contextmanager
def kept_groups() -> Iterator[None]:
    """Within it, the group of a training stays for the next one, for as long as what runs between them fits beside it.

    Blocks of other stages (`runtime.blocks`) that need as many processes of its kind are done by it, too.
    """
    global _keeps
    before, _keeps = _keeps, True
    try:
        yield
    finally:
        _keeps = before
        if not _keeps:
            _end_kept()


def make_room(needs: Needs) -> None:
    """Ends the group that waits for its next work, where the cluster cannot hold `needs` beside it."""
    if _kept is not None and not fit_together(_kept.needs, needs, cluster_now()):
        _end_kept()


def _end_kept() -> None:
    global _kept
    group, _kept = _kept, None
    if group is not None:
        group.close()


def on_kept_group(needs: Needs, function: WorkFunction, job: Any) -> Generator[Any, None, Any]:
    """Has the kept group do `function(job, context)`, as `WorkerGroup.run`; without a group of that size it does nothing.

    Raises:
        GroupFailed: for good.
    """
    if _kept is not None and _kept.needs == dataclasses.replace(needs, min_workers=_kept.needs.min_workers):
        with group_of(_kept.key) as group:
            return (yield from group.run(function, job))
    return None


@contextlib.contextmanager
def group_of(key: tuple[Needs, int, float]) -> Iterator[WorkerGroup]:
    """The kept group, where it is of that key, else a new one; it is kept after the block, where it may be."""
    global _kept
    if _kept is not None and _kept.key != key:
        _end_kept()
    group, _kept = _kept or WorkerGroup(*key), None
    try:
        yield group
    finally:
        if _keeps and group.is_fresh:
            _kept = group
        else:
            group.close()
