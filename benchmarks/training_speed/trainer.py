"""The stage's second peer, the way of the RB-FT authors' scripts: Transformers' Trainer on a data set that opens the video of
every sample in every epoch."""

import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rbft_ray.core.sampling import SamplingContract, frame_size, plan_frames
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model import trainable, vlm
from rbft_ray.stages.train import TrainJob
from training_speed.inputs import Videos

SAMPLES_PER_PASS = 4
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class VideoSamples(torch.utils.data.Dataset):
    """Each access opens the video with decord, takes the contract's frames, and runs the processor on them."""

    def __init__(self, videos: Videos, contract: SamplingContract, loaded: vlm.Vlm, prompt: str):
        self._rows, self._contract, self._prompt = videos.rows, contract, prompt
        self._processor, self._end_of_turn = loaded.processor, loaded.end_of_turn

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Model inputs of the prompt with the clip, and the answer's tokens."""
        row = self._rows[index]
        inputs = vlm.encode_prompts(self._processor, [decoded(row["video"], self._contract)], [self._prompt])
        return inputs, vlm.answer_tokens(self._processor, self._end_of_turn, row["label"])

    def collate(self, items: Sequence[tuple[dict[str, torch.Tensor], list[int]]]) -> dict[str, torch.Tensor]:
        """One batch, with `labels`."""
        prompts, answers = zip(*items, strict=True)
        pad = vlm.pad_token(self._processor)
        return vlm.with_answers(vlm.collate(prompts, pad), answers, pad)


def decoded(path: str, contract: SamplingContract) -> ClipFrames:
    """The contract's frames of a video file."""
    import decord
    from PIL import Image

    reader = decord.VideoReader(path)
    times_sec = np.arange(len(reader)) / float(reader.get_avg_fps())
    plan = plan_frames(contract, times_sec, len(reader) / float(reader.get_avg_fps()))
    taken = reader.get_batch(plan.indices.tolist()).asnumpy()
    height, width = frame_size(contract, *taken.shape[1:3])
    resized = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in taken]
    return ClipFrames(np.stack([np.asarray(frame) for frame in resized]), plan.fps)


class Trained(NamedTuple):
    """Of one process: seconds of `Trainer.train`, and the optimizer steps that it took."""

    seconds: float
    steps: int


def transformers_trainer(videos: Videos, contract: SamplingContract, job: TrainJob, loaders: int) -> Trained:
    """Transformers' Trainer on the videos, in a process of `in_group`.

    Args:
        job: what is trained, and how; its samples are not looked at.
        loaders: processes that open videos for this one; 0: itself.
    """
    from transformers import PrinterCallback, Trainer

    workers = int(os.environ["WORLD_SIZE"])
    if workers == 1:  # else Trainer would prepare even a lone model for communication
        for name in _LAUNCHER:
            del os.environ[name]
    loaded = vlm.load(job.base, dtype="float32")
    torch.manual_seed(job.seed)
    model = trainable.make_trainable(loaded.model, job.config)
    data = VideoSamples(videos, contract, loaded, job.prompt)
    with tempfile.TemporaryDirectory() as folder:
        settings = trainer_settings(job, workers, loaders, folder)
        trainer = Trainer(model=model, args=settings, train_dataset=data, data_collator=data.collate)
        trainer.remove_callback(PrinterCallback)
        start = time.monotonic()
        trainer.train()
        spent = time.monotonic() - start
        trainer.save_model(folder)
    return Trained(spent, trainer.state.global_step)


def trainer_settings(job: TrainJob, workers: int, loaders: int, folder: str) -> Any:
    """The recipe of `job` as Transformers' arguments, without checkpoints and without trackers."""
    from transformers import TrainingArguments

    recipe = job.recipe
    return TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=SAMPLES_PER_PASS,
        gradient_accumulation_steps=recipe.global_batch // (SAMPLES_PER_PASS * workers),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup_ratio,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        dataloader_num_workers=loaders,
        dataloader_persistent_workers=loaders > 0,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=vlm.best_device() == "cpu",
        ddp_backend="gloo" if workers > 1 else None,
        ddp_find_unused_parameters=False,
    )
