"""Training on a real Ray Train group with DeepSpeed: learns, resumes, exports."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rbft_ray.core.config import DeepSpeedConfig, RayConfig, StageRecipe, TrainConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS
from rbft_ray.io.clips import read_frames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vlm import answer_tokens, load
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, read_parts
from rbft_ray.runtime.session import ray_session
from rbft_ray.stages.train import MODEL_DIR, TrainJob, train

pytestmark = pytest.mark.ray

GROUP = Needs(2, gang=True)


def make_job(clips: list[dict], base: str, out: Path, **settings) -> TrainJob:
    labels = tuple(sorted({clip["label"] for clip in clips}))
    recipe = StageRecipe(epochs=settings.pop("epochs", 2), global_batch=8, learning_rate=1e-3)
    return TrainJob(
        stage="train_test",
        base=base,
        revision=None,
        prompt=label_prompt(Task(labels)),
        samples=tuple({**clip, "answer": clip["label"]} for clip in clips),
        config=TrainConfig(micro_batch=2, **settings),
        recipe=recipe,
        seed=0,
        out=str(out),
    )


def losses(out: Path) -> list[float]:
    return json.loads((out / "training_log.json").read_text())["losses"]


@pytest.mark.parametrize(("method", "zero_stage"), [("lora", 2), ("full", 3)])
def test_training_learns_and_writes_plain_weights(ray_cluster, clips, base_dir, tmp_path, method, zero_stage):
    job = make_job(clips, base_dir, tmp_path, method=method, deepspeed=DeepSpeedConfig(zero_stage=zero_stage), epochs=4)
    assert train(job, GROUP) == Counts(len(clips), len(clips), 0)
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]
    trained = load(str(tmp_path / MODEL_DIR), dtype="float32")
    labels = sorted({clip["label"] for clip in clips})
    scores = label_log_probabilities(trained, read_frames(clips), job.prompt, labels)
    gold = [scores[row, labels.index(clip["label"])] for row, clip in enumerate(clips)]
    answers = [answer_tokens(trained.processor, trained.end_of_turn, clip["label"]) for clip in clips]
    assert -sum(gold) / sum(map(len, answers)) < 0.9 * losses(tmp_path)[0]  # the written weights are the trained ones


def test_samples_that_are_too_long_are_rejected_with_a_reason(clips, base_dir, tmp_path):
    job = make_job(clips[:2], base_dir, tmp_path)
    long = tuple({**sample, "answer": "word " * 3000} for sample in job.samples)
    with pytest.raises(DataError, match="too long"):
        train(dataclasses.replace(job, samples=long), GROUP)
    rejects = [row for table in read_parts(str(tmp_path), REJECTS_TABLE, REJECTS) for row in table.to_pylist()]
    assert [row["reason"] for row in rejects] == ["too_long", "too_long"]


def test_a_killed_run_resumes_from_its_checkpoint_and_ends_as_an_unbroken_one(ray_cluster, clips, base_dir, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"checkpoint_every_steps": 2, "epochs": 10}
    train(make_job(clips, base_dir, whole, **settings), GROUP)
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(make_job(clips, base_dir, broken, **settings)))
    command = [sys.executable, __file__, str(tmp_path / "job.pickle")]
    killed = subprocess.Popen(command, start_new_session=True)
    deadline_sec = time.monotonic() + 240
    while not list(broken.glob("checkpoints/checkpoint_*")):
        assert time.monotonic() < deadline_sec, "no checkpoint in 240 s"
        assert killed.poll() is None, "training ended before it could be killed"
        time.sleep(0.05)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (broken / "training_log.json").exists()
    subprocess.run(command, check=True, timeout=300)
    assert np.allclose(losses(broken), losses(whole), atol=1e-5)
    rejects = [row for table in read_parts(str(broken), REJECTS_TABLE, REJECTS) for row in table.to_pylist()]
    assert rejects == []


if __name__ == "__main__":
    with ray_session(RayConfig(address="local")):
        train(pickle.loads(Path(sys.argv[1]).read_bytes()), GROUP)
