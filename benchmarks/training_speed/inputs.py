"""What every side trains on: videos of a data set, or rendered ones, and the job that the stage is told."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rbft_ray.core.config import DataConfig
from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import CLIPS
from rbft_ray.core.train_config import LoraConfig, StageRecipe, TrainConfig
from rbft_ray.io import storage
from rbft_ray.io.clips import CLIPS_TABLE, list_clips
from rbft_ray.stages.train import TrainJob

FRAMES = 8
DOMAIN_SEED = 100
GLOBAL_BATCH = 8
LEARNING_RATE = 1e-3
ALL_PARTS = ("vision", "merger", "language")


class Videos(NamedTuple):
    """rows: of manifests, all of the training split; task: that their labels are the classes of."""

    rows: list[dict[str, Any]]
    task: Task


def sampling(side_px: int) -> SamplingContract:
    """Frames of at most `side_px` x `side_px` pixels."""
    return SamplingContract(num_frames=FRAMES, max_pixels=side_px * side_px)


def manifest_videos(manifest: str, video: str, count: int) -> Videos:
    """A seeded choice of `count` videos of a manifest, in random order. video: as `data.video`."""
    from rbft_ray.pipeline.dataset import load_dataset

    dataset = load_dataset(DataConfig(manifest=manifest, video=video), seed=0)
    chosen = random.Random(0).sample(dataset.rows, min(count, len(dataset.rows)))
    return Videos([{**row, "split": "train"} for row in chosen], Task(dataset.labels))


def rendered_videos(scratch: Path, count: int) -> Videos:
    """So many training videos of one demo domain, rendered under `scratch`."""
    from rbft_ray.demo.world import domain_task, write_world
    from rbft_ray.pipeline.dataset import load_dataset

    world = scratch / f"world-{count}"
    if not world.exists():
        per_class = [-(-count // 4)] * 4
        write_world(world, domain_seed=DOMAIN_SEED, train_per_class=per_class, val_per_class=1, test_per_class=1)
    rows = load_dataset(DataConfig(manifest=str(world / "manifest.csv")), seed=0).rows
    return Videos([row for row in rows if row["split"] == "train"][:count], domain_task(DOMAIN_SEED))


def ingested(videos: Videos, contract: SamplingContract, out: str) -> list[dict[str, Any]]:
    """The clips of `videos`, decoded in this process."""
    from rbft_ray.runtime.blocks import part
    from rbft_ray.stages.ingest import ingest_row

    kept = [clip for clip, _ in (ingest_row(row, contract) for row in videos.rows) if clip]
    storage.write_table(part(out, CLIPS_TABLE, 0), kept, CLIPS)
    return list_clips(out, ["train"])


def train_job(
    base: str,
    clips: Sequence[Mapping[str, Any]],
    task: Task,
    out: Path,
    *,
    epochs: float,
    parts: tuple[Any, ...] = ALL_PARTS,
    zero_stage: Any = 2,
) -> TrainJob:
    """Labels to be learned with the demo's settings, without a validation: the peers have none."""
    config = TrainConfig.model_validate(
        {"lora": LoraConfig(r=16, alpha=32), "parts": parts, "deepspeed": {"zero_stage": zero_stage}}
    )
    return TrainJob(
        stage="train_speed",
        base=base,
        revision=None,
        prompt=label_prompt(task),
        samples=tuple({**clip, "answer": clip["label"]} for clip in clips),
        config=config,
        recipe=StageRecipe(epochs=epochs, global_batch=GLOBAL_BATCH, learning_rate=LEARNING_RATE),
        seed=0,
        out=str(out),
        labels=task.labels,
    )
