"""Both stages on a model of every family, in this process: one worker, without Ray."""

import dataclasses
import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from rbft_ray.core.config import DataConfig
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import CLIPS
from rbft_ray.core.train_config import DeepSpeedConfig, LabelRecipe, StageRecipe, TrainConfig
from rbft_ray.io import storage
from rbft_ray.io.clips import CLIPS_TABLE, list_clips, read_frames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vlm import load
from rbft_ray.pipeline.dataset import load_dataset
from rbft_ray.runtime.blocks import part
from rbft_ray.stages.ingest import ingest_row
from rbft_ray.stages.sample_sizes import measured
from rbft_ray.stages.train import MODEL_DIR, TrainJob, train_worker
from tests.families import FAMILIES, multiple_px, write_family


class LoneWorker:
    """What a training function needs of its group, for a group of one."""

    rank, workers = 0, 1

    def gathered(self, value):
        return [value]

    def post(self, value) -> None:
        pass

    def seconds_since_call(self) -> float:
        return 0.0


def train_both_stages(family: str, manifest: str, folder: Path) -> dict[str, Any]:
    """Losses of both stages, and the scores that the trained model gives two clips."""
    base = write_family(family, folder / "base")
    rows = load_dataset(DataConfig(manifest=manifest), seed=0).rows
    contract = SamplingContract(num_frames=4, max_pixels=64 * 64, multiple_px=multiple_px(family))
    kept = [row for row in (ingest_row(row, contract)[0] for row in rows[:6]) if row]
    storage.write_table(part(str(folder), CLIPS_TABLE, 0), kept, CLIPS)
    clips = list_clips(str(folder), ["train", "validation", "test"])
    labels = tuple(sorted({clip["label"] for clip in clips}))
    config = TrainConfig(
        micro_batch_tokens=400, gradient_checkpointing=True, trackers=(), deepspeed=DeepSpeedConfig(zero_stage=0)
    )
    stages = {
        "stage1": ("Explain.", StageRecipe, lambda clip: f"A thing moves.\nAnswer: {clip['label']}"),
        "stage2": ("Which class?", LabelRecipe, lambda clip: clip["label"]),
    }
    found: dict[str, Any] = {}
    for stage, (prompt, recipe, answer) in stages.items():
        samples = tuple({**clip, "answer": answer(clip)} for clip in clips)
        rates = recipe(epochs=2, global_batch=4, learning_rate=1e-2)
        job = TrainJob(stage, base, None, prompt, samples, config, rates, 0, str(folder / stage))
        fitting, rejects = measured(job)
        job = dataclasses.replace(job, samples=tuple(fitting))
        log = train_worker(job, LoneWorker())
        found[stage] = {"rejects": len(rejects), "failure": log["failure"], "losses": log["losses"]}
        base = str(folder / stage / MODEL_DIR)
    scores = label_log_probabilities(load(base, dtype="float32"), read_frames(clips[:2]), "Which class?", labels)
    return {**found, "labels": len(labels), "scores": scores.tolist()}


def train_all(_rank: int, port: int, manifest: str, folder: str) -> None:
    """All families, in a process of its own: DeepSpeed keeps the process group that it first saw."""
    os.environ["LOCAL_RANK"] = "0"
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    found = {family: train_both_stages(family, manifest, Path(folder, family)) for family in FAMILIES}
    Path(folder, "found.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("families")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(train_all, (port, str(world / "manifest.csv"), str(folder)), nprocs=1)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("family", FAMILIES)
def test_both_stages_train_and_the_result_scores(trained, family):
    found = trained[family]
    for stage in ("stage1", "stage2"):
        assert found[stage]["failure"] == "" and found[stage]["rejects"] == 0
        assert found[stage]["losses"][-1] < found[stage]["losses"][0]
    scores = np.array(found["scores"])
    assert scores.shape == (2, found["labels"]) and (scores < 0).all()
