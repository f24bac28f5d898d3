"""What is looked at before anything long starts: the machine, the base, and settings that do not go together."""

import os
import pathlib

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError, StorageError
from rbft_ray.core.prompts import hinted_rationale_prompt, label_prompt
from rbft_ray.core.resources import Cluster
from rbft_ray.io import storage
from rbft_ray.model.base import DEMO_BASE
from rbft_ray.pipeline.doctor import require_quick
from rbft_ray.pipeline.recipes import Plan
from rbft_ray.runtime.session import wants_gpus


def check_machine(root: str) -> None:
    """What must hold before anything long starts: a sound machine and a place that can be written to."""
    probe = storage.join(root, ".rbft-write-test")
    storage.write_bytes(probe, b"")
    storage.delete_file(probe)
    if not storage.scheme(root):
        require_quick(root)


def check_place(root: str) -> None:
    """Whether `root` can be written to, as far as that shows without writing: the nearest directory of it that is there.

    Raises:
        StorageError: not so, or its file system cannot be reached.
    """
    if storage.scheme(root):
        try:
            storage.exists(root)
        except OSError as error:
            raise StorageError(f"storage: {root} cannot be reached: {error}") from None
        return
    place = pathlib.Path(root).absolute()
    there = next(above for above in (place, *place.parents) if above.exists())
    if not there.is_dir():
        raise StorageError(f"storage: {there} is a file, so that {root} cannot be made")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"storage: {there} cannot be written to; choose another place")


def check_base(planned: Plan) -> None:
    """Whether the base takes video, and frames of the size that the sampling contract stores.

    Raises:
        ConfigError, DataError: names the setting to change.
    """
    from rbft_ray.model.video_input import frame_multiple_px
    from rbft_ray.model.vlm import load_processor

    stored = planned.config.sampling.multiple_px
    multiple = frame_multiple_px(load_processor(planned.base, planned.config.model.revision))
    if multiple is not None and stored % multiple:
        raise ConfigError(
            f"sampling.multiple_px: {planned.base} takes frames whose sides are multiples of {multiple} px "
            f"(its patch size x spatial merge), not of {stored}; set it to {multiple}"
        )


def precision_warnings(config: RunConfig, cluster: Cluster) -> list[str]:
    """What a base of one's own costs on GPUs in fp32, which is the demo's precision and the default."""
    if config.model.base == DEMO_BASE or not wants_gpus(config.ray, cluster):
        return []
    settings = {
        "model.dtype": (config.model.dtype, "float32", "bfloat16"),
        "train.precision": (config.train.precision, "fp32", "bf16"),
    }
    return [
        f"{name}: {default} takes twice the memory of {better} and leaves tensor cores and FlashAttention idle; set it to {better}"
        for name, (value, default, better) in settings.items()
        if value == default
    ]


def length_warnings(planned: Plan) -> list[str]:
    """Where a clip with all its frames is longer than generation or training takes: such clips are rejected."""
    from rbft_ray.model.token_counts import TokenCounts, largest_clip

    config, task = planned.config, planned.task
    tokens = TokenCounts(planned.base, config.model.revision)
    if tokens.missing:
        return []
    clip = tokens.clip(largest_clip(config.sampling, config.sampling.multiple_px))
    rationale = clip + max(tokens.prompt(hinted_rationale_prompt(task, label)) for label in task.labels)
    label = clip + tokens.prompt(label_prompt(task)) + max(map(tokens.text, task.labels))
    wholes = {
        "rationalize.max_model_len": (rationale + config.rationalize.max_tokens, config.rationalize.max_model_len),
        "train.max_tokens": (max(rationale + config.rationalize.max_tokens, label), config.train.max_tokens),
    }
    return [
        f"{name}: a clip with all frames that sampling allows takes {whole:,} tokens with prompt and answer; those above "
        f"{most:,} are rejected. Raise it, or lower sampling.fps, sampling.num_frames or sampling.max_pixels"
        for name, (whole, most) in wholes.items()
        if whole > most
    ]
