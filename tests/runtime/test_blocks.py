"""Blocks commit one by one on a real Ray: exactly once, also when the driver is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import ray

from rbft_ray.core.errors import RbftError, StorageError
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS, Reason, reject
from rbft_ray.io import storage
from rbft_ray.runtime.block_runs import run_blocks
from rbft_ray.runtime.blocks import REJECTS_TABLE, BlockOutput, Counts, committed, layout, read_parts
from rbft_ray.runtime.kept_group import make_room
from rbft_ray.runtime.training import fit

pytestmark = pytest.mark.ray
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import the tests


@pytest.fixture(autouse=True)
def no_kept_group(ray_cluster):
    make_room(Needs(2))


ROWS = [{"id": f"clip {number}"} for number in range(40)]


def make_worker(log_dir: str, pause_sec: float):
    """Rejects every fifth row, and leaves a file for every call, so that calls can be counted."""

    def work(rows):
        time.sleep(pause_sec)
        (Path(log_dir) / f"{rows[0]['id']} {time.monotonic_ns()}").touch()
        bad = [reject(row, "test", Reason.BAD_ROW, "a fifth") for row in rows if int(row["id"].split()[1]) % 5 == 0]
        good = [reject(row, "test", Reason.NO_VIDEO, "fine") for row in rows if int(row["id"].split()[1]) % 5]
        return BlockOutput({"kept": (REJECTS, good)}, bad, Counts(len(rows), len(good), len(bad)))

    return work


def run(out: Path, logs: Path, *, block_rows: int = 4, pause_sec: float = 0.0) -> Counts:
    logs.mkdir(exist_ok=True)
    return run_blocks(
        "test",
        str(out),
        ROWS,
        partial(make_worker, str(logs), pause_sec),
        Needs(2),
        block_rows=block_rows,
        no_progress_timeout_sec=120,
    )


def ids(out: Path, table: str) -> list[str]:
    return [row["id"] for part in read_parts(str(out), table, REJECTS) for row in part.to_pylist()]


def test_every_row_ends_once(ray_cluster, tmp_path):
    counts = run(tmp_path / "out", tmp_path / "logs")
    assert counts == Counts(40, 32, 8)
    every = ids(tmp_path / "out", "kept") + ids(tmp_path / "out", REJECTS_TABLE)
    assert sorted(every) == sorted(row["id"] for row in ROWS)
    assert len(list((tmp_path / "logs").iterdir())) == 10


def test_a_second_run_calls_nothing_and_a_missing_receipt_redoes_one_block(ray_cluster, tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    first = run(out, logs)
    assert run(out, logs) == first
    assert len(list(logs.iterdir())) == 10
    (out / "receipts" / "00003.json").unlink()
    assert run(out, logs) == first
    assert len(list(logs.iterdir())) == 11
    assert len(ids(out, "kept")) == 32


def test_another_block_size_does_not_disturb_a_begun_stage(ray_cluster, tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    first = run(out, logs)
    (out / "receipts" / "00000.json").unlink()
    assert run(out, logs, block_rows=7) == first
    assert len(ids(out, "kept")) == len(set(ids(out, "kept"))) == 32


def test_a_failing_worker_is_an_error_and_committed_blocks_stay(ray_cluster, tmp_path):
    def make_failing():
        def work(rows):
            if rows[0]["id"] == "clip 20":
                raise RuntimeError("the model is out of order")
            return BlockOutput({}, [], Counts(len(rows), len(rows), 0))

        return work

    with pytest.raises(RbftError, match="out of order"):
        run_blocks("test", str(tmp_path), ROWS, make_failing, Needs(2), block_rows=4, no_progress_timeout_sec=120)
    assert 5 not in committed(str(tmp_path))
    deadline_sec = time.monotonic() + 30  # the actors give their CPUs back although the error is still there
    while ray.available_resources().get("CPU") != 2:
        assert time.monotonic() < deadline_sec
        time.sleep(0.2)


def test_actors_that_take_many_blocks_at_a_time_leave_some_to_the_others(ray_cluster, tmp_path):
    out, here = str(tmp_path / "out"), tmp_path / "here"
    here.mkdir()

    def make_patient():
        def work(rows):
            (here / str(os.getpid())).touch()
            deadline_sec = time.monotonic() + 60
            while len(list(here.iterdir())) < 2 and time.monotonic() < deadline_sec:
                time.sleep(0.1)
            return BlockOutput({}, [reject(rows[0], "test", Reason.BAD_ROW, str(os.getpid()))], Counts(1, 0, 1))

        return work

    run_blocks("test", out, ROWS, make_patient, Needs(2), block_rows=1, in_flight=32, no_progress_timeout_sec=120)
    rejects = [row for part in read_parts(out, REJECTS_TABLE, REJECTS) for row in part.to_pylist()]
    blocks = Counter(row["detail"] for row in rejects)
    assert len(blocks) == 2 and min(blocks.values()) >= 10


def test_blocks_that_lie_elsewhere_are_missed(ray_cluster, tmp_path):
    """As where each node has a disk of its own."""

    def make_forgetful():
        def work(rows):
            if rows[0]["id"] == "clip 36":  # of the last block
                (tmp_path / "receipts" / "00000.json").unlink()
            return BlockOutput({}, [], Counts(len(rows), len(rows), 0))

        return work

    with pytest.raises(StorageError, match="1 of 10 blocks are on other nodes only"):
        run_blocks("test", str(tmp_path), ROWS, make_forgetful, Needs(1), block_rows=4, no_progress_timeout_sec=120)


def test_a_begun_stage_takes_no_other_rows(ray_cluster, tmp_path):
    run(tmp_path / "out", tmp_path / "logs")
    with pytest.raises(StorageError, match="was begun with other clips, or in another order"):
        layout(str(tmp_path / "out"), ROWS[::-1], 4)


def make_mortal(log_dir: str, kills: dict[str, int]):
    """A worker whose process is killed by a row, as often as `kills` says."""

    def work(rows):
        for row in rows:
            times = len(list(Path(log_dir).glob(f"{row['id']} *")))
            if times < kills.get(row["id"], 0):
                (Path(log_dir) / f"{row['id']} {times}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        (Path(log_dir) / f"{len(rows)} rows from {rows[0]['id']}").touch()
        return BlockOutput({"kept": (REJECTS, list(rows))}, [], Counts(len(rows), len(rows), 0))

    return work


KEPT_ROWS = [reject(row, "test", Reason.BAD_ROW, "") for row in ROWS]


def test_a_killed_worker_is_replaced_and_its_blocks_are_done_again(ray_cluster, tmp_path):
    worker = partial(make_mortal, str(tmp_path), {"clip 6": 1, "clip 30": 1})
    out = tmp_path / "out"
    counts = run_blocks(
        "test", str(out), KEPT_ROWS, worker, Needs(2), block_rows=4, in_flight=4, no_progress_timeout_sec=120
    )
    assert counts == Counts(40, 40, 0)
    assert sorted(ids(out, "kept")) == sorted(row["id"] for row in ROWS)
    assert len(list(tmp_path.glob("clip *"))) == 2
    assert not list((out / "attempts").glob("*.json"))


def test_rows_that_always_kill_the_worker_cost_themselves_only(ray_cluster, tmp_path):
    worker = partial(make_mortal, str(tmp_path), {"clip 6": 99, "clip 13": 99})
    out = tmp_path / "out"
    counts = run_blocks(
        "test", str(out), KEPT_ROWS, worker, Needs(1), block_rows=4, in_flight=4, no_progress_timeout_sec=120
    )
    assert counts == Counts(40, 38, 2)
    assert sorted(ids(out, REJECTS_TABLE)) == ["clip 13", "clip 6"]
    assert len(list(tmp_path.glob("4 rows *"))) == 8  # those that only died with them
    assert len(list(tmp_path.glob("1 rows *"))) == 6
    assert len(ids(out, "kept")) == len(set(ids(out, "kept"))) == 38


def test_processes_that_take_too_long_are_an_error_that_names_the_setting(ray_cluster, tmp_path):
    def make_slow():
        time.sleep(60)

    with pytest.raises(RbftError, match=r"in 3 s.*ray\.no_progress_timeout_sec"):
        run_blocks("test", str(tmp_path), ROWS, make_slow, Needs(2), block_rows=4, no_progress_timeout_sec=3)


def test_blocks_in_flight_share_a_worker(ray_cluster, tmp_path):
    def make_waiting():
        together = threading.Barrier(3, timeout=30)

        def work(rows):
            together.wait()
            return BlockOutput({}, [], Counts(len(rows), len(rows), 0))

        return work

    counts = run_blocks(
        "test", str(tmp_path), ROWS[:36], make_waiting, Needs(1), block_rows=4, in_flight=3, no_progress_timeout_sec=60
    )
    assert counts == Counts(36, 36, 0)


def pids_of_kept_group(needs: Needs) -> list[int]:
    """Starts a group, which the session keeps."""
    options = {"checkpoints": "", "max_failures": 1, "resize_check_sec": 60.0}
    return fit(lambda _, context: context.gathered(os.getpid()), None, stage="pids", steps=1, needs=needs, **options)


def test_a_kept_worker_group_does_the_blocks(ray_cluster, tmp_path):
    def make_signing():
        return lambda rows: BlockOutput(
            {"kept": (REJECTS, [{**row, "detail": str(os.getpid())} for row in rows])},
            [],
            Counts(len(rows), len(rows), 0),
        )

    needs = Needs(2, min_workers=2)
    pids = pids_of_kept_group(needs)
    counts = run_blocks(
        "test", str(tmp_path), KEPT_ROWS, make_signing, Needs(2), block_rows=4, no_progress_timeout_sec=60
    )
    assert counts == Counts(40, 40, 0)
    signed = [row["detail"] for part in read_parts(str(tmp_path), "kept", REJECTS) for row in part.to_pylist()]
    assert {signed.count(str(pid)) for pid in pids} == {20}

    def make_failing():
        def work(rows):
            raise RuntimeError("the model is out of order")

        return work

    with pytest.raises(RbftError, match="test: a worker failed: RuntimeError: the model is out of order"):
        run_blocks("test", str(tmp_path / "b"), ROWS, make_failing, Needs(2), block_rows=4, no_progress_timeout_sec=60)
    assert pids_of_kept_group(needs) == pids  # an error is no death


def test_a_kept_worker_group_that_dies_leaves_the_blocks_to_other_processes(ray_cluster, tmp_path):
    pids_of_kept_group(Needs(1))
    worker = partial(make_mortal, str(tmp_path), {"clip 6": 99, "clip 30": 1})
    out = tmp_path / "out"
    counts = run_blocks("test", str(out), KEPT_ROWS, worker, Needs(1), block_rows=4, no_progress_timeout_sec=120)
    assert counts == Counts(40, 39, 1)
    assert ids(out, REJECTS_TABLE) == ["clip 6"]
    assert len(ids(out, "kept")) == len(set(ids(out, "kept"))) == 39


def test_counts_that_do_not_add_up_are_refused(ray_cluster, tmp_path):
    def make_lossy():
        return lambda rows: BlockOutput({}, [], Counts(len(rows), len(rows) - 1, 0))

    with pytest.raises(RbftError, match="rejected"):
        run_blocks("test", str(tmp_path), ROWS, make_lossy, Needs(1), block_rows=40, no_progress_timeout_sec=120)


def test_a_killed_driver_loses_at_most_the_blocks_in_flight(tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from rbft_ray.core.config import RayConfig\n"
        "from rbft_ray.runtime.session import ray_session\n"
        "import test_blocks\n"
        "with ray_session(RayConfig(address='local')):\n"
        "    print(test_blocks.run(Path(sys.argv[1]), Path(sys.argv[2]), pause_sec=float(sys.argv[3])))\n"
    )
    command = [sys.executable, "-c", script, str(out), str(logs)]
    killed = subprocess.Popen([*command, "1.0"], start_new_session=True, stdout=subprocess.PIPE)
    deadline_sec = time.monotonic() + 120
    while len(committed(str(out)) if out.exists() else {}) < 3:
        assert time.monotonic() < deadline_sec, "no block was committed in 120 s"
        time.sleep(0.2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    time.sleep(3)  # what was in flight may still commit before Ray notices that its driver is gone
    before = committed(str(out))
    assert len(before) < 10
    stamps = {path: path.stat().st_mtime_ns for path in (out / "receipts").iterdir()}
    done = subprocess.run([*command, "0.0"], capture_output=True, text=True, check=True, timeout=120)
    assert "Counts(read=40, written=32, rejected=8)" in done.stdout
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp, "a committed block was done again"
    assert sorted(ids(out, "kept") + ids(out, REJECTS_TABLE)) == sorted(row["id"] for row in ROWS)
    assert storage.list_files(str(out / "kept")) == [f"{number:05d}.parquet" for number in range(10)]
