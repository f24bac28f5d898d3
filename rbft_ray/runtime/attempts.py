"""Blocks whose worker process dies under them: they are begun again, then alone, and at last row by row, so that one bad row costs
one row.

Ray replaces a dead actor and gives its blocks to another one. A row that kills its process (a crash in a native library, the
kernel's out-of-memory killer) would do so for ever. So each begun block leaves a mark in the stage's directory, which goes when
the block commits: `attempts/00007.json` {"run": token, "tries": 3, "row": 5, "dead": [2]}. All blocks that a process worked on
die with it: only the one that does so alone is to blame.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from rbft_ray.io import storage

SHARED_TRIES = 2  # of a block beside others, before one alone and then its rows one by one


@dataclass
class Attempt:
    """Of a block in one run of the stage: how often its process died under it.

    row: the one in work, where they go one by one; dead: those that killed a process.
    """

    run: str
    tries: int = 0
    row: int | None = None
    dead: list[int] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        return self.tries >= SHARED_TRIES

    @property
    def row_by_row(self) -> bool:
        return self.tries > SHARED_TRIES


def _file(out: str, block: int) -> str:
    return storage.join(out, "attempts", f"{block:05d}.json")


def before(out: str, block: int, run: str) -> Attempt:
    """The tries of a block until now, which all failed; a row that was in work is dead. Those of earlier runs do not count."""
    file = _file(out, block)
    attempt = Attempt(**storage.read_json(file)) if storage.exists(file) else Attempt(run)
    if attempt.run != run:
        return Attempt(run)
    if attempt.row is not None:
        attempt.dead.append(attempt.row)
        attempt.row = None
    return attempt


def begin(out: str, block: int, attempt: Attempt) -> None:
    """Counts a try of the block, from now on."""
    storage.write_json(_file(out, block), asdict(replace(attempt, tries=attempt.tries + 1)))


def mark(out: str, block: int, attempt: Attempt, row: int) -> None:
    """Says that `row` is in work now."""
    begin(out, block, replace(attempt, row=row))


def end(out: str, block: int) -> None:
    """The block is committed."""
    storage.delete_file(_file(out, block))


class Turns:
    """Up to `places` blocks work in a process at a time; one that is to work alone waits for the others, and they for it."""

    def __init__(self, places: int):
        self._places, self._free = places, threading.Semaphore(places)
        self._alone = threading.Lock()

    @contextmanager
    def take(self, alone: bool) -> Iterator[None]:
        if not alone:
            with self._free:
                yield
            return
        with self._alone:
            for _ in range(self._places):
                self._free.acquire()
            try:
                yield
            finally:
                self._free.release(self._places)
