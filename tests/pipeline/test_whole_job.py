"""The whole job as a user runs it: once through and served; killed in the middle of its stages and run again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from rbft_ray.core.schema import CANDIDATES, PREDICTIONS, PREDICTIONS_FILE
from rbft_ray.io.storage import read_table
from rbft_ray.runtime.blocks import read_parts

SMALL = [
    "data.demo.train_per_class=[8, 8, 8, 8]",
    "data.demo.val_per_class=1",
    "data.demo.test_per_class=4",
    "rationalize.block_clips=4",
    "rationalize.candidates=2",
    "train.checkpoint_every_steps=2",
    "evaluate.example_rationales=2",
    "train.stage1.epochs=1",
    "train.stage2.epochs=2",
]


def start(storage: Path) -> subprocess.Popen[str]:
    base = f"model.base={storage / 'base'}"
    settings = [part for value in (*SMALL, f"storage={storage}", base) for part in ("--set", value)]
    command = [sys.executable, "-m", "rbft_ray.cli", "run", "demo", *settings]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def kill_when(storage: Path, reached: Callable[[], object]) -> None:
    """Starts the job, kills it with SIGKILL as soon as `reached()` holds, and waits until Ray has noticed."""
    job = start(storage)
    deadline_sec = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline_sec, "the job did not get so far in 300 s"
        assert job.poll() is None, f"the job ended before it could be killed: {job.stdout.read()}"
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    time.sleep(5)


def found(storage: Path, pattern: str) -> list[Path]:
    return list((storage / "steps").glob(pattern)) if (storage / "steps").exists() else []


def check_outputs(storage: Path, *, train: int, scored: int) -> None:
    """Counts add up, each row is there once, and the report and summary are complete."""
    summary = json.loads((storage / "demo" / "summary.json").read_text())
    assert all(row["read"] == row["written"] + row["rejected"] for row in summary["stages"].values())
    assert summary["stages"]["rationalize"]["read"] == train
    assert set(summary["arms"]) == {"zero_shot", "direct_sft", "rb_ft"}
    assert all(0 <= value <= 1 for arm in summary["arms"].values() for value in arm.values())
    kept = [row["id"] for row in rows_of(storage, "rationalize", "candidates", CANDIDATES) if row["kept"]]
    assert len(kept) == len(set(kept)) == summary["stages"]["rationalize"]["written"]
    for arm in summary["arms"]:
        assert summary["stages"][f"evaluate_{arm}"]["read"] == scored
        predicted = predictions(storage, arm)
        assert len(predicted) == len({row["id"] for row in predicted}) == scored
        metrics = json.loads(found(storage, f"evaluate_{arm}-*/metrics.json")[0].read_text())
        assert metrics["splits"]["test"]["scores"]["accuracy"] == summary["arms"][arm]["accuracy"]
    report = (storage / "demo" / "report.html").read_text()
    assert "RB-FT" in report
    wrong = sum(row["predicted"] != row["label"] for row in predictions(storage, "rb_ft") if row["split"] == "test")
    assert report.count("data:image/jpeg;base64,") == 8 * (
        2 + min(6, wrong)
    )  # examples and worst mistakes, eight frames
    card = json.loads(found(storage, "train_rb_ft-*/model/classifier_card.json")[0].read_text())
    assert card["labels"] == summary["labels"]
    assert card["calibration"] == json.loads(found(storage, "evaluate_rb_ft-*/calibration.json")[0].read_text())


def predictions(storage: Path, arm: str) -> list[dict]:
    return read_table(str(found(storage, f"evaluate_{arm}-*/{PREDICTIONS_FILE}")[0]), PREDICTIONS).to_pylist()


def rows_of(storage: Path, step: str, table: str, schema: pa.Schema) -> list[dict]:
    return [row for part in read_parts(str(found(storage, f"{step}-*")[0]), table, schema) for row in part.to_pylist()]


@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_the_whole_job_runs_and_serves_and_a_second_run_does_nothing(tmp_path, base_dir):
    shutil.copytree(base_dir, tmp_path / "base")
    job = start(tmp_path)
    output, _ = job.communicate(timeout=1000)
    assert job.returncode == 0, output
    check_outputs(tmp_path, train=32, scored=20)
    again = start(tmp_path)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0
    assert "nothing to do" in output
    answers_as_evaluated(tmp_path)
    serves(tmp_path / "demo", found(tmp_path, "render-*/videos/*.mp4")[0])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_job_killed_twice_ends_as_if_nothing_had_happened(tmp_path, base_dir):
    shutil.copytree(base_dir, tmp_path / "base")
    kill_when(tmp_path, lambda: found(tmp_path, "rationalize-*/receipts/*.json"))
    receipts = {path: path.stat().st_mtime_ns for path in found(tmp_path, "rationalize-*/receipts/*.json")}
    assert len(receipts) < 8
    kill_when(tmp_path, lambda: found(tmp_path, "train_direct_sft-*/checkpoints/checkpoint_*"))
    assert not found(tmp_path, "train_direct_sft-*/done.json")
    done_before = {path: path.stat().st_mtime_ns for path in found(tmp_path, "*/done.json")}

    last = start(tmp_path)
    output, _ = last.communicate(timeout=1000)
    assert last.returncode == 0, output
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in (receipts | done_before).items())
    log = json.loads(found(tmp_path, "train_direct_sft-*/training_log.json")[0].read_text())
    assert len(log["losses"]) == log["step"]
    check_outputs(tmp_path, train=32, scored=20)


def answers_as_evaluated(storage: Path) -> None:
    """`rbft classify` on the bare videos gives what evaluation gave of the same clips."""
    videos, out = found(storage, "render-*/videos")[0], storage / "answers.jsonl"
    command = [sys.executable, "-m", "rbft_ray.cli", "classify", str(storage / "demo"), str(videos), "--out", str(out)]
    subprocess.run(command, check=True, timeout=300)
    answers = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert len(answers) == 32 + 20
    labels = json.loads((storage / "demo" / "summary.json").read_text())["labels"]
    for row in predictions(storage, "rb_ft"):
        answer = answers[f"{row['id']}.mp4"]
        assert (answer["label"], answer["rejected"]) == (row["predicted"], "")
        assert [answer[f"p_{label}"] for label in labels] == pytest.approx(row["probabilities"], abs=1e-4)


def serves(run_dir: Path, video: Path) -> None:
    """`rbft serve` on the finished run answers over HTTP and stops on SIGTERM."""
    command = [sys.executable, "-m", "rbft_ray.cli", "serve", str(run_dir), "--set", "serve.port=8765"]
    server = subprocess.Popen(command, start_new_session=True)
    try:
        deadline_sec = time.monotonic() + 180
        while True:
            assert time.monotonic() < deadline_sec, "no answer in 180 s"
            assert server.poll() is None
            try:
                if httpx.get("http://127.0.0.1:8765/healthz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.5)
        answer = httpx.post("http://127.0.0.1:8765/v1/classify", content=video.read_bytes(), timeout=60)
        assert answer.status_code == 200
        assert sum(answer.json()["probabilities"].values()) == pytest.approx(1.0)
        assert httpx.post("http://127.0.0.1:8765/v1/classify", content=b"no video").status_code == 422
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
