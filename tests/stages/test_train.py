"""Training on a real Ray Train group with DeepSpeed: learns, chooses its best checkpoint, survives kills, exports."""

import contextlib
import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from rbft_ray.core.config import RayConfig
from rbft_ray.core.errors import DataError, RbftError
from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS
from rbft_ray.core.train_config import DeepSpeedConfig, LabelRecipe, TrainConfig
from rbft_ray.io.clips import read_frames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vlm import answer_tokens, encode_prompts, load
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, read_parts
from rbft_ray.runtime.kept_group import kept_groups, make_room, on_kept_group
from rbft_ray.runtime.session import ray_session
from rbft_ray.runtime.worker_group import WorkerContext
from rbft_ray.stages.train import ADAPTER_DIR, LOG_FILE, MODEL_DIR, TRACKING_DIR, TrainJob, train

pytestmark = pytest.mark.ray

GROUP = Needs(2, min_workers=2)


def make_job(clips: list[dict], base: str, out: Path, **settings) -> TrainJob:
    labels = tuple(sorted({clip["label"] for clip in clips}))
    recipe = {"epochs": 2, "global_batch": 8, "learning_rate": 1e-3, **settings.pop("recipe", {})}
    return TrainJob(
        stage="train_test",
        base=base,
        revision=None,
        prompt=label_prompt(Task(labels)),
        samples=tuple({**clip, "answer": clip["label"]} for clip in clips),
        config=TrainConfig(micro_batch_tokens=600, **settings),
        recipe=LabelRecipe(**recipe),
        seed=0,
        out=str(out),
        validation=tuple(clips),
        labels=labels,
    )


def training_log(out: Path) -> dict:
    return json.loads((out / LOG_FILE).read_text())


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load(str(out / MODEL_DIR), dtype="float32").model.state_dict()


@pytest.mark.parametrize(("method", "zero_stage"), [("lora", 2), ("full", 3)])
def test_training_learns_and_writes_plain_weights(ray_cluster, clips, base_dir, tmp_path, method, zero_stage):
    recipe = {"epochs": 4, "validate_every_epochs": 1.0, "class_balance": "loss" if method == "lora" else "sampling"}
    job = make_job(
        clips, base_dir, tmp_path, method=method, deepspeed=DeepSpeedConfig(zero_stage=zero_stage), recipe=recipe
    )
    assert train(job, GROUP) == Counts(len(clips), len(clips), 0)
    log = training_log(tmp_path)
    assert log["losses"][-1] < log["losses"][0]
    trained = load(str(tmp_path / MODEL_DIR), dtype="float32")
    scores = label_log_probabilities(trained, read_frames(clips), job.prompt, job.labels)
    gold = [scores[row, job.labels.index(clip["label"])] for row, clip in enumerate(clips)]
    answers = [answer_tokens(trained.processor, trained.end_of_turn, clip["label"]) for clip in clips]
    assert -sum(gold) / sum(map(len, answers)) < 0.9 * log["losses"][0]  # the written weights are the trained ones

    best = max(log["validations"], key=lambda one: (one["macro_f1"], one["step"]))
    assert log["kept_step"] == best["step"] and len(log["validations"]) == 4
    right = np.array([job.labels[row.argmax()] == clip["label"] for row, clip in zip(scores, clips, strict=True)])
    assert right.mean() == pytest.approx(np.mean(list(best["recall"].values())))  # classes of equal size

    assert list((tmp_path / TRACKING_DIR).glob("events*"))
    assert not (tmp_path / "checkpoints").exists()
    if method == "lora":
        check_adapter(base_dir, tmp_path, trained, job, clips)


def test_a_training_in_a_kept_group_is_that_of_a_fresh_one(ray_cluster, clips, base_dir, tmp_path):
    def tell_linear(_job: None, context: WorkerContext) -> None:
        context.post(torch.nn.functional.linear.__name__)

    make_room(Needs(2))  # ends the group of another test
    with kept_groups():
        for number, zero_stage in enumerate((0, 3, 0)):
            deepspeed = DeepSpeedConfig(zero_stage=zero_stage)
            train(make_job(clips, base_dir, tmp_path / str(number), deepspeed=deepspeed), GROUP)
            assert list(on_kept_group(GROUP, tell_linear, None)) == ["linear"] * 2  # not that of ZeRO-3
    first, sharded, last = (training_log(tmp_path / str(number))["losses"] for number in range(3))
    np.testing.assert_allclose(sharded, first, atol=1e-4)
    assert last == first
    first, last = (weights(tmp_path / name) for name in "02")
    assert all(torch.equal(tensor, last[name]) for name, tensor in first.items())


def check_adapter(base_dir, out, trained, job, clips):
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(load(base_dir, dtype="float32").model, str(out / ADAPTER_DIR)).eval()
    inputs = encode_prompts(trained.processor, read_frames(clips[:2]), [job.prompt] * 2)
    with torch.inference_mode():
        unmerged, merged = adapted(**inputs).logits, trained.model(**inputs).logits
    torch.testing.assert_close(unmerged, merged, rtol=1e-3, atol=1e-3)


def test_samples_that_are_too_long_are_rejected_with_a_reason(clips, base_dir, tmp_path):
    job = make_job(clips[:2], base_dir, tmp_path)
    long = tuple({**sample, "answer": "word " * 3000} for sample in job.samples)
    with pytest.raises(DataError, match="too long"):
        train(dataclasses.replace(job, samples=long), GROUP)
    rejects = [row for table in read_parts(str(tmp_path), REJECTS_TABLE, REJECTS) for row in table.to_pylist()]
    assert [row["reason"] for row in rejects] == ["too_long", "too_long"]


def test_a_loss_that_is_no_number_ends_the_run_with_advice_and_keeps_the_checkpoint(
    ray_cluster, clips, base_dir, tmp_path
):
    wild = {"learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 1e30, "epochs": 4}
    job = make_job(clips, base_dir, tmp_path, method="full", checkpoint_every_steps=1, recipe=wild)
    with pytest.raises(RbftError, match=r"train_test: the loss is nan at step \d+; lower the learning rates"):
        train(job, GROUP)
    assert list(tmp_path.glob("checkpoints/checkpoints/*/state.json")) or list(
        tmp_path.glob("checkpoints/*/state.json")
    )
    assert not (tmp_path / MODEL_DIR).exists()


@pytest.mark.parametrize("worker_too", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_whose_driver_is_killed_ends_with_the_weights_of_an_unbroken_one(
    ray_cluster, clips, base_dir, tmp_path, worker_too
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    settings = {"checkpoint_every_steps": 2, "recipe": {"epochs": 10 if worker_too else 4}}
    train(make_job(clips, base_dir, whole, **settings), GROUP)
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(make_job(clips, base_dir, broken, **settings)))
    command = [sys.executable, __file__, str(tmp_path / "job.pickle")]
    run = subprocess.Popen(command, start_new_session=True)
    first = wait_for_checkpoint(run, broken, after=0)
    if worker_too:
        os.kill(training_worker(run.pid), signal.SIGKILL)
        wait_for_checkpoint(run, broken, after=first)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (broken / LOG_FILE).exists()
    leave_as_a_full_disk_does(broken / "checkpoints")
    train(make_job(clips, base_dir, broken, **settings), GROUP)
    assert training_log(broken)["losses"] == training_log(whole)["losses"]
    assert all(torch.equal(tensor, weights(whole)[name]) for name, tensor in weights(broken).items())


def wait_for_checkpoint(run: subprocess.Popen, out: Path, after: int) -> int:
    """The step of a checkpoint that is whole and later than `after`."""
    deadline_sec = time.monotonic() + 400
    while True:
        for state in out.glob("checkpoints/checkpoint_*/state.json"):
            with contextlib.suppress(OSError, json.JSONDecodeError):  # it may be in the making, or be deleted
                step = json.loads(state.read_text())["extra"]["step"]
                if step > after:
                    return step
        assert time.monotonic() < deadline_sec, "no checkpoint in 400 s"
        assert run.poll() is None, "training ended before it could be killed"
        time.sleep(0.05)


def leave_as_a_full_disk_does(checkpoints: Path) -> None:
    """A checkpoint of a later step that is cut short."""
    newest = max(checkpoints.glob("checkpoint_*/state.json"), key=lambda file: file.stat().st_mtime)
    half = checkpoints / "checkpoint_half"
    shutil.copytree(newest.parent, half)
    state = json.loads(newest.read_text())
    state["extra"]["step"] += 1
    (half / "state.json").write_text(json.dumps(state))
    shard = half / "trained-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:1000])


def training_worker(driver: int) -> int:
    """The process of a Ray Train worker of that driver's own cluster."""
    found = [
        one for one in psutil.Process(driver).children(recursive=True) if "RayTrainWorker" in " ".join(one.cmdline())
    ]
    assert len(found) == 2, [one.cmdline() for one in psutil.Process(driver).children(recursive=True)]
    return found[0].pid


if __name__ == "__main__":
    with ray_session(RayConfig(address="local")):
        train(pickle.loads(Path(sys.argv[1]).read_bytes()), GROUP)
