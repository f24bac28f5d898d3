"""The DeepSpeed configuration, built in one place from few settings and the user's own file."""

from collections.abc import Mapping
from typing import Any

from rbft_ray.core.errors import ConfigError, StorageError
from rbft_ray.core.train_config import DeepSpeedConfig
from rbft_ray.io import storage

# What the recipe decides: batches, optimizer, schedule and precision.
OURS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "optimizer",
    "scheduler",
    "fp16",
    "bf16",
)


def own_settings(settings: DeepSpeedConfig) -> dict[str, Any]:
    """The keys of the user's DeepSpeed JSON (`deepspeed.file`). Values 'auto', as Transformers writes them, are left out.

    Raises:
        ConfigError: the file cannot be read, is no JSON object, or sets something that the recipe decides.
    """
    if settings.file is None:
        return {}
    try:
        found = storage.read_json(settings.file)
    except (FileNotFoundError, StorageError) as error:
        raise ConfigError(f"train.deepspeed.file: {error}") from error
    if not isinstance(found, Mapping):
        raise ConfigError(f"train.deepspeed.file: {settings.file} holds no JSON object")
    kept = _without_auto(found)
    decided = [key for key in OURS if key in kept]
    if decided:
        raise ConfigError(
            f"train.deepspeed.file: {settings.file} sets {', '.join(decided)}, which train.stage1, train.stage2, "
            "train.precision and train.micro_batch_tokens decide; take it out or write 'auto'"
        )
    return kept


def _without_auto(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are set, at any depth; an object of which nothing is left goes too."""
    kept = {key: _without_auto(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value not in ("auto", {})}


def deepspeed_config(
    settings: DeepSpeedConfig, own: Mapping[str, Any], *, precision: str, max_grad_norm: float
) -> dict[str, Any]:
    """A DeepSpeed JSON as a dict (keys: deepspeed.ai/docs/config-json). The optimizer and the schedule are ours.

    Args:
        own: of `own_settings`; its keys come before those of `settings`.
    """
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if settings.offload_optimizer and settings.zero_stage >= 1:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if settings.offload_parameters and settings.zero_stage == 3:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return {
        # How many samples and micro-batches a step has changes from step to step: TrainEngine scales and marks boundaries
        # itself. Above 1, as with 1 the offloading optimizer keeps no gradients between micro-batches.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "fp16": {"enabled": precision == "fp16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # with offload, PyTorch's AdamW: DeepSpeed's CPUAdam needs a compiler
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
        **own,
        "zero_optimization": {**zero, **own.get("zero_optimization", {})},
    }
