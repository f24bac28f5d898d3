"""Both stages on a model of every family, in this process: one worker, without Ray."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

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
from rbft_ray.runtime.training import CHECKPOINTS_DIR
from rbft_ray.stages.ingest import ingest_row
from rbft_ray.stages.train import MODEL_DIR, TrainJob, measured, train_worker
from tests.families import FAMILIES, multiple_px, write_family


class LoneWorker:
    """What a training function needs of its group, for a group of one."""

    rank, workers = 0, 1

    def __init__(self, folder: Path):
        self._folder = folder

    def report_checkpoint(self, folder: str, metrics: dict) -> None:
        shutil.copytree(folder, self._folder / f"checkpoint-{metrics['step']}")

    def wait_for_uploads(self) -> None:
        pass

    def gathered(self, value):
        return [value]

    def progress(self, step: int, loss: float) -> None:
        pass

    def seconds_since_call(self) -> float:
        return 0.0


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    os.environ["LOCAL_RANK"] = "0"
    dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    del os.environ["LOCAL_RANK"]


@pytest.mark.parametrize("family", FAMILIES)
def test_both_stages_train_and_the_result_scores(group, world, tmp_path, family):
    base = write_family(family, tmp_path / "base")
    rows = load_dataset(DataConfig(manifest=str(world / "manifest.csv")), seed=0).rows
    contract = SamplingContract(num_frames=4, max_pixels=64 * 64, multiple_px=multiple_px(family))
    kept = [row for row in (ingest_row(row, contract)[0] for row in rows[:6]) if row]
    storage.write_table(part(str(tmp_path), CLIPS_TABLE, 0), kept, CLIPS)
    clips = list_clips(str(tmp_path), ["train", "validation", "test"])
    labels = tuple(sorted({clip["label"] for clip in clips}))
    config = TrainConfig(
        micro_batch_tokens=400, gradient_checkpointing=True, trackers=(), deepspeed=DeepSpeedConfig(zero_stage=0)
    )
    stages = {
        "stage1": ("Explain.", StageRecipe, lambda clip: f"A thing moves.\nAnswer: {clip['label']}"),
        "stage2": ("Which class?", LabelRecipe, lambda clip: clip["label"]),
    }
    for stage, (prompt, recipe, answer) in stages.items():
        samples = tuple({**clip, "answer": answer(clip)} for clip in clips)
        rates = recipe(epochs=2, global_batch=4, learning_rate=1e-2)
        job = TrainJob(stage, base, None, prompt, samples, config, rates, 0, str(tmp_path / stage))
        fitting, rejects = measured(job)
        assert not rejects
        job = TrainJob(stage, base, None, prompt, tuple(fitting), config, rates, 0, str(tmp_path / stage))
        log = train_worker(job, LoneWorker(tmp_path / stage / CHECKPOINTS_DIR))
        assert log["failure"] == "" and log["losses"][-1] < log["losses"][0]
        base = str(tmp_path / stage / MODEL_DIR)
    scores = label_log_probabilities(load(base, dtype="float32"), read_frames(clips[:2]), "Which class?", labels)
    assert scores.shape == (2, len(labels)) and (scores < 0).all()
