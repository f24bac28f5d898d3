"""Which weights are trained: adapters (PEFT) or everything, in which parts of the model, and at which rate.

Between stages adapters are merged: stage 2 starts from plain stage-1 weights with a fresh adapter.
"""

import re
from typing import Any

from rbft_ray.core.errors import ConfigError
from rbft_ray.core.train_config import StageRecipe, TrainConfig

_VISION = ("visual.", "vision_tower.", "vision_model.")
_MERGER = ("merger.", "merger_list.", "multi_modal_projector.", "connector.")


def part_of(name: str) -> str:
    """'merger', 'vision' or 'language', from a parameter's or module's name in any family that we know."""
    if any(part in f"{name}." for part in _MERGER):
        return "merger"
    return "vision" if any(part in f"{name}." for part in _VISION) else "language"


def make_trainable(model: Any, config: TrainConfig) -> Any:
    """Leaves only what `config` trains trainable: fresh adapters around `model`, or the named parts of it.

    Raises:
        ConfigError: nothing would be trained.
    """
    if config.method == "lora":
        return _with_adapter(model, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in config.parts)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"train.parts: the model has no weights in {', '.join(config.parts)}")
    return model


def _with_adapter(model: Any, config: TrainConfig) -> Any:
    import peft

    targets = adapter_targets(model, config)
    if not targets:
        raise ConfigError(
            f"train.lora.target_modules: no linear module of {', '.join(config.parts)} matches {config.lora.target_modules!r}"
        )
    settings = config.lora
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            use_rslora=settings.use_rslora,
            use_dora=settings.use_dora,
            target_modules=targets,
        ),
    )


def adapter_targets(model: Any, config: TrainConfig) -> list[str]:
    """Names of the linear modules that get an adapter; the output layer gets none."""
    import torch

    pattern, output = config.lora.target_modules, model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and module is not output
        and part_of(name) in config.parts
        and (pattern == "all-linear" or re.fullmatch(pattern, name))
    ]


def parameter_groups(model: Any, recipe: StageRecipe, method: str) -> list[dict[str, Any]]:
    """Trainable parameters by part of the model, each with its peak learning rate; biases and norms do not decay."""
    rates = recipe.learning_rates(method)
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part, decays = part_of(name), parameter.ndim > 1
        group = groups.setdefault(
            (part, decays),
            {
                "params": [],
                "lr": rates[part],
                "peak_lr": rates[part],
                "weight_decay": recipe.weight_decay if decays else 0.0,
                "name": f"{part}{'' if decays else '-no-decay'}",
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def merged(model: Any) -> Any:
    """The plain model with any adapter merged into its weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
