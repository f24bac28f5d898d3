"""Checkpoints of a training in the storage of its run: uploaded beside the training; the last one and the best one stay."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

from rbft_ray.core.progress import Progress
from rbft_ray.io import storage

CHECKPOINTS_DIR = "checkpoints"


def stored_checkpoints(uri: str) -> list[tuple[str, Progress]]:
    """(URI, how far it is) of every whole checkpoint under `uri`."""
    from rbft_ray.model.checkpoint import whole_checkpoints

    return [(found, Progress(**state["extra"])) for found, state in whole_checkpoints(uri)]


@contextlib.contextmanager
def best_checkpoint(
    uri: str, value: Callable[[Progress], Any], together: Callable[[], object] = lambda: None
) -> Iterator[tuple[str, Progress]]:
    """(a local directory, how far it is) of the checkpoint of the highest value; ("", at the start) without any.

    The processes of a node share a copy of it. `together` returns when all of them have read it.
    """
    found, progress = max(stored_checkpoints(uri), key=lambda one: value(one[1]), default=("", Progress()))
    yield storage.node_copy(found, "checkpoints") if found else "", progress
    if found:
        together()
        storage.drop_node_copy(found, "checkpoints")


class CheckpointStore:
    """Takes the checkpoints of one training; one worker of its group has it. `with` waits for the last upload."""

    def __init__(self, uri: str):
        self._uri = uri
        self._ranks = {found: progress.rank() for found, progress in stored_checkpoints(uri)}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._upload: Future[None] | None = None

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.shutdown(wait=True)

    def add(self, folder: str, progress: Progress) -> None:
        """Uploads a local directory in a thread and deletes it; first waits for the upload before it, so that two at most lie here.

        Raises:
            StorageError: the upload before it failed.
        """
        self.wait()
        self._upload = self._thread.submit(self._store, folder, progress.step, progress.rank())

    @property
    def is_busy(self) -> bool:
        """True while an upload goes on."""
        return self._upload is not None and not self._upload.done()

    def wait(self) -> None:
        """Returns when all that was added is stored.

        Raises:
            StorageError: an upload failed.
        """
        if self._upload is not None:
            self._upload.result()

    def _store(self, folder: str, step: int, rank: tuple[float, int]) -> None:
        # A name of its own: a directory whose upload was cut short is never written into again.
        uri = storage.join(self._uri, f"checkpoint_{step:06d}_{uuid4().hex[:8]}")
        try:
            storage.upload_dir(folder, uri)
        finally:
            shutil.rmtree(folder)
        self._ranks[uri] = rank
        kept = {uri, max(self._ranks, key=lambda one: self._ranks[one])}
        for other in set(self._ranks) - kept:
            storage.delete_dir(other)
            del self._ranks[other]
