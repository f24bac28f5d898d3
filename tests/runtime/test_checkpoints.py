"""Where the checkpoints of a training go."""

import json
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from rbft_ray.core.errors import StorageError
from rbft_ray.core.progress import Progress
from rbft_ray.io import storage
from rbft_ray.runtime.checkpoints import CheckpointStore, best_checkpoint, stored_checkpoints
from rbft_ray.stages.train import _checkpoint, _checkpoint_prefix, _store


def checkpoint(folder: Path, step: int, macro_f1: float | None = None) -> tuple[str, Progress]:
    """A local directory as `model.checkpoint` writes it, without tensors."""
    validations = [] if macro_f1 is None else [{"step": step, "macro_f1": macro_f1}]
    progress = Progress(step, [1.0] * step, validations)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"shards": {}, "extra": vars(progress)}))
    return str(folder), progress


def steps(uri: Path) -> list[int]:
    return sorted(progress.step for _, progress in stored_checkpoints(str(uri)))


def test_the_last_and_the_best_checkpoint_stay_also_over_processes(tmp_path):
    uri = tmp_path / "stored"
    with CheckpointStore(str(uri)) as store:
        for step, score in ((1, 0.5), (2, 0.9), (3, 0.7)):
            store.add(*checkpoint(tmp_path / str(step), step, score))
    assert steps(uri) == [2, 3]
    with CheckpointStore(str(uri)) as store:
        store.add(*checkpoint(tmp_path / "4", 4, 0.9))
    assert steps(uri) == [4]  # of equal scores the later one
    with best_checkpoint(str(uri), Progress.rank) as (folder, progress):
        assert progress.step == 4 and Path(folder, "state.json").exists()
    assert not list(tmp_path.glob("[0-9]"))  # the local ones are gone


def test_without_scores_the_last_checkpoint_stays(tmp_path):
    with CheckpointStore(str(tmp_path / "stored")) as store:
        for step in (1, 2, 3):
            store.add(*checkpoint(tmp_path / str(step), step))
    assert steps(tmp_path / "stored") == [3]


def test_an_upload_does_not_hold_up_its_caller_and_a_cut_one_is_passed_over(tmp_path, monkeypatch):
    uri, go_on = tmp_path / "stored", threading.Event()
    upload = storage.upload_dir

    def slow(folder: str, target: str) -> None:
        assert go_on.wait(10)
        upload(folder, target)

    monkeypatch.setattr(storage, "upload_dir", slow)
    (uri / "checkpoint_half").mkdir(parents=True)
    (uri / "checkpoint_half" / "state.json").write_text('{"shards": {"trained-00000.safetensors": 8}, "extra": {}}')
    with CheckpointStore(str(uri)) as store:
        store.add(*checkpoint(tmp_path / "1", 1))  # returns while the upload waits
        assert steps(uri) == [] and store.is_busy
        go_on.set()
        store.wait()
        assert not store.is_busy
        assert steps(uri) == [1]


def test_an_upload_that_fails_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with CheckpointStore(str(tmp_path / "file" / "stored")) as store:
        store.add(*checkpoint(tmp_path / "1", 1))
        with pytest.raises(StorageError, match="cannot be"):
            store.wait()
    assert not (tmp_path / "1").exists()


def test_there_need_be_no_checkpoint(tmp_path):
    with best_checkpoint(str(tmp_path / "none"), Progress.rank) as (folder, progress):
        assert folder == "" and progress == Progress()


def test_processes_of_a_node_share_one_copy_of_a_checkpoint_until_all_have_read_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    checkpoint(tmp_path / "stored" / "checkpoint_1", 1)
    copies, copy = [], storage.local_copy
    monkeypatch.setattr(storage, "local_copy", lambda uri, folder: copies.append(uri) or copy(uri, folder))
    uri, both = f"local://{tmp_path}/stored", threading.Barrier(2)
    read = []

    def process() -> None:
        with best_checkpoint(uri, Progress.rank, both.wait) as (folder, _):
            time.sleep(0.1 * len(read))
            read.append(Path(folder, "state.json").read_bytes())

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(process) for _ in range(2)]:
            done.result(timeout=20)
    assert len(read) == 2 and len(copies) == 1
    assert not list((tmp_path / "tmp").rglob("state.json"))
    assert stored_checkpoints(uri)


def test_what_a_failed_or_killed_save_leaves_is_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = SimpleNamespace(checkpoints=str(tmp_path / "stored"))
    other = SimpleNamespace(checkpoints=str(tmp_path / "others"))

    class FullDisk:
        def save(self, folder: str, extra: object) -> None:
            Path(folder, "shard").write_text("half")
            raise OSError(28, "No space left on device")

    with _store(job, SimpleNamespace(rank=0)) as store, pytest.raises(OSError, match="No space left"):
        _checkpoint(job, FullDisk(), Progress(), store)
    assert not list(tmp_path.glob("rbft-checkpoint-*"))
    killed, running = (Path(tempfile.mkdtemp(prefix=_checkpoint_prefix(one))) for one in (job, other))
    with _store(job, SimpleNamespace(rank=0)):
        assert not killed.exists() and running.exists()
