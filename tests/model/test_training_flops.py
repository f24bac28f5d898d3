"""The FLOPs that `core/estimate` counts, against those that PyTorch counts in a forward and backward pass."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rbft_ray.core.estimate import Sample, sample_flops, video_tokens
from rbft_ray.core.train_config import TrainConfig
from rbft_ray.model.shape import model_shape
from rbft_ray.model.trainable import make_trainable

TEXT, ANSWER = 200, 50


def counted(base: str, config: TrainConfig) -> float:
    """Of one sample with a clip of 4 frames of 84 x 84 px, in the demo base's tokens; logits of the answer alone."""
    from transformers import AutoModelForImageTextToText

    # PyTorch counts no FLOPs of the fused attention on CPUs.
    loaded = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = make_trainable(loaded, config).train()
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    ids = torch.tensor([[3, *[7] * 18, 4, *([50] * (TEXT - 2 + ANSWER))]])
    with FlopCounterMode(display=False) as counter:
        logits = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == 7).long() * 2,
            pixel_values_videos=torch.randn(72, 3 * 2 * 14 * 14),
            video_grid_thw=torch.tensor([[2, 6, 6]]),
            use_cache=False,
            logits_to_keep=ANSWER,
        ).logits
        logits.sum().backward()
    return float(counter.get_total_flops())


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "full"},
        {"method": "full", "gradient_checkpointing": True},
        {"method": "full", "parts": ("language",)},
        {"method": "full", "parts": ("vision", "merger")},
        {"method": "lora"},
        {"method": "lora", "parts": ("language",)},
    ],
    ids=str,
)
def test_flops_are_those_that_pytorch_counts(base_dir: str, settings: dict[str, Any]) -> None:
    config = TrainConfig(**settings)
    shape = model_shape(base_dir, None, config)
    video = video_tokens(shape, frames=4, frame_pixels=84 * 84)
    sample = Sample(video.tokens, TEXT, ANSWER, video.patches, video.frame_patches)
    said, found = sample_flops(shape, sample, recomputes=config.gradient_checkpointing), counted(base_dir, config)
    # A recomputation ends where nothing more is needed, before the last product of a block.
    assert said == pytest.approx(found, rel=0.08 if config.gradient_checkpointing else 0.02)
