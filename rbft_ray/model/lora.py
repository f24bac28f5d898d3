"""Which weights are trained: adapters (PEFT) or everything, and how a trained model becomes plain weights again.

Between stages adapters are merged: stage 2 starts from plain stage-1 weights with a fresh adapter.
"""

from typing import Any

from rbft_ray.core.config import LoraConfig, StageRecipe

_VISION = ("visual.", "vision_tower.", "vision_model.")
_MERGER = ("merger.", "multi_modal_projector.", "connector.")


def add_adapter(model: Any, lora: LoraConfig) -> Any:
    """Wraps `model` with a fresh LoRA adapter; only the adapter's weights are trainable afterwards."""
    import peft

    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules,
        ),
    )


def module_kind(parameter_name: str) -> str:
    """'merger', 'vision' or 'language', from a parameter's name in any family that we know."""
    if any(part in parameter_name for part in _MERGER):
        return "merger"
    return "vision" if any(part in parameter_name for part in _VISION) else "language"


def parameter_groups(model: Any, recipe: StageRecipe) -> list[dict[str, Any]]:
    """Trainable parameters by part of the model, each with its peak learning rate; biases and norms do not decay."""
    rates = {
        "language": recipe.learning_rate,
        "merger": recipe.learning_rate_merger or recipe.learning_rate,
        "vision": recipe.learning_rate_vision or recipe.learning_rate,
    }
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kind, decays = module_kind(name), parameter.ndim > 1
        group = groups.setdefault(
            (kind, decays),
            {
                "params": [],
                "lr": rates[kind],
                "peak_lr": rates[kind],
                "weight_decay": recipe.weight_decay if decays else 0.0,
                "name": f"{kind}{'' if decays else '-no-decay'}",
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def merged(model: Any) -> Any:
    """The plain model with any adapter merged into its weights."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
