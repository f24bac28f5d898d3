"""The DeepSpeed configuration, built in one place from few settings."""

from typing import Any

from rbft_ray.core.config import DeepSpeedConfig


def deepspeed_config(
    settings: DeepSpeedConfig,
    *,
    precision: str,
    global_batch: int,
    micro_batch: int,
    workers: int,
    max_grad_norm: float,
) -> dict[str, Any]:
    """A DeepSpeed JSON as a dict (keys: deepspeed.ai/docs/config-json). The optimizer and the schedule are ours."""
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if settings.offload_optimizer and settings.zero_stage >= 1:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if settings.offload_parameters and settings.zero_stage == 3:
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return {
        "train_batch_size": global_batch,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": global_batch // (micro_batch * workers),
        "gradient_clipping": max_grad_norm,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # with offload, PyTorch's AdamW: DeepSpeed's CPUAdam needs a compiler
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
