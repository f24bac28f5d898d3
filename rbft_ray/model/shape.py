"""The shape of a model, from its configuration alone: built on PyTorch's meta device, so no weight is read or held."""

from collections.abc import Iterable
from typing import Any

import torch

from rbft_ray.core.errors import DataError
from rbft_ray.core.estimate import PARTS, ModelShape, Part, Tower
from rbft_ray.core.train_config import TrainConfig
from rbft_ray.model.base import local_base
from rbft_ray.model.trainable import make_trainable, part_of


def model_shape(base: str, revision: str | None, train: TrainConfig) -> ModelShape:
    """The shape of a model directory or hub id, made trainable as `train` says. Of a directory only config.json is read.

    Raises:
        DataError: there is no such model, it takes no video, or it is a mixture of experts.
        ConfigError: nothing would be trained.
    """
    config, model = _on_meta(base, revision)
    text, vision = config.get_text_config(), _vision_config(config, base)
    if any(getattr(text, key, None) for key in ("num_experts", "num_local_experts", "n_routed_experts")):
        raise DataError(f"model.base: {base!r} is a mixture of experts, for which there is no estimate")
    layers: dict[str, set[str]] = {name: set() for name in PARTS}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) or (name.endswith("q_norm") and any(True for _ in module.parameters())):
            layers[part_of(name)].add(name.rpartition(".")[2])
    tables = {id(table): table for table in (_table(model, "input"), _table(model, "output")) if table is not None}
    weights = _by_part((name, parameter.numel()) for name, parameter in model.named_parameters())
    trainable = make_trainable(model, train)
    trained_sizes = [(name, one.numel()) for name, one in trainable.named_parameters() if one.requires_grad]
    trained = _by_part(trained_sizes)
    is_adapter = train.method == "lora"
    parts = {
        name: Part(weights[name], 0 if is_adapter else trained[name], trained[name] if is_adapter else 0)
        for name in PARTS
    }
    fixed_px, merge = _frames(config, vision)
    return ModelShape(
        parts=parts,
        tables=sum(table.numel() for table in tables.values()),
        vocabulary=int(text.vocab_size),
        tensors=tuple(parameter.numel() for parameter in trainable.parameters()),
        largest_trained=max(size for _, size in trained_sizes),
        vision=_tower(vision, layers["vision"], base),
        language=_tower(text, layers["language"], base),
        patch_px=_number(vision, "patch_size"),
        merge=merge,
        frames_per_patch=int(getattr(vision, "temporal_patch_size", None) or 1),
        own_px=fixed_px,
    )


def _on_meta(base: str, revision: str | None) -> tuple[Any, Any]:
    """(configuration, model without weights)."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        config = AutoConfig.from_pretrained(local_base(base), revision=revision)
        with torch.device("meta"):
            return config, AutoModelForImageTextToText.from_config(config)
    except (OSError, ValueError, NotImplementedError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"model.base: the configuration of {base!r} does not load: {first}") from error


def _vision_config(config: Any, base: str) -> Any:
    vision = getattr(config, "vision_config", None)
    if vision is None:
        raise DataError(f"model.base: {base!r} takes no video (its configuration has no vision_config)")
    return vision


def _table(model: Any, which: str) -> torch.nn.Parameter | None:
    module = getattr(model, f"get_{which}_embeddings")()
    return None if module is None else module.weight


def _by_part(sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    total = dict.fromkeys(PARTS, 0)
    for name, size in sizes:
        total[part_of(name)] += size
    return total


def _frames(config: Any, vision: Any) -> tuple[int | None, int]:
    """(side in px that every frame is resized to, None: as it comes; patches per token along a side)."""
    merge = getattr(vision, "spatial_merge_size", None)
    if merge:
        return None, int(merge)
    shrink = getattr(config, "downsample_ratio", None) or 1.0  # InternVL
    return _number(vision, "image_size"), round(1 / shrink)


def _tower(config: Any, names: set[str], base: str) -> Tower:
    """A tower's blocks, by what the families call their sizes. names: last names of the part's linear layers and norms."""
    layers, heads = _number(config, "num_hidden_layers", "depth"), _number(config, "num_attention_heads", "num_heads")
    hidden = _number(
        config, "embed_dim", "hidden_size"
    )  # Qwen2-VL's vision tower has both, and means its output by the latter
    head = int(getattr(config, "head_dim", None) or hidden // heads)
    key_values = head * int(getattr(config, "num_key_value_heads", None) or heads)
    intermediate = getattr(config, "intermediate_size", None) or hidden * getattr(config, "mlp_ratio", 0)
    if not intermediate:
        raise DataError(f"model.base: the configuration of {base!r} does not say how wide its MLPs are")
    return Tower(
        layers=layers,
        hidden=hidden,
        attention=heads * head,
        key_values=key_values,
        intermediate=int(intermediate),
        gated=any("gate" in name for name in names),
        fused=any("qkv" in name for name in names),
        normed="q_norm" in names,
    )


def _number(config: Any, *names: str) -> int:
    """The first of these settings that there is; of a pair (height, width) the width.

    Raises:
        DataError: there is none of them.
    """
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return int(value[-1] if isinstance(value, list | tuple) else value)
    raise DataError(f"model.base: {type(config).__name__} has no {' or '.join(names)}")
