"""The base model's architecture (Qwen2.5-VL, about 5 M parameters), its processor, and saving both as one directory."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from rbft_ray.demo.scenes import FRAME_PX
from rbft_ray.demo.tokenizer import MAX_TOKENS

PATCH_PX, MERGE, TEMPORAL_PATCH_FRAMES = 14, 2, 2
TEXT_HIDDEN, TEXT_LAYERS, TEXT_MLP = 256, 5, 640
VISION_HIDDEN, VISION_LAYERS, VISION_MLP = 128, 3, 384
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
_MIN_PIXELS, _MAX_PIXELS = 28 * 28, 16 * FRAME_PX * FRAME_PX


def base_config(tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLConfig:
    """The configuration for a tokenizer (its size and its special tokens)."""
    token_id = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_HIDDEN,
        "intermediate_size": TEXT_MLP,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_TOKENS,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 12, 12]},
        "tie_word_embeddings": True,
        "bos_token_id": token_id("<|endoftext|>"),
        "eos_token_id": token_id("<|im_end|>"),
        "pad_token_id": token_id("<|endoftext|>"),
    }
    vision = {
        "depth": VISION_LAYERS,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": VISION_MLP,
        "num_heads": 4,
        "out_hidden_size": TEXT_HIDDEN,
        "patch_size": PATCH_PX,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": TEMPORAL_PATCH_FRAMES,
        "tokens_per_second": 2,
        "window_size": 8 * PATCH_PX,
        "fullatt_block_indexes": list(range(VISION_LAYERS)),
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def processor_files() -> dict[str, dict[str, Any]]:
    """File name to content of the processor's configuration; frames of 84x84 px keep their size.

    Written as plain values, so that a machine without torchvision can save a base too.
    """
    common: dict[str, Any] = {
        "patch_size": PATCH_PX,
        "merge_size": MERGE,
        "temporal_patch_size": TEMPORAL_PATCH_FRAMES,
        "do_convert_rgb": True,
        "do_resize": True,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(PIXEL_MEAN),
        "image_std": list(PIXEL_STD),
        "size": {"shortest_edge": _MIN_PIXELS, "longest_edge": _MAX_PIXELS},
    }
    image = common | {"image_processor_type": "Qwen2VLImageProcessor"}
    video = common | {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "do_sample_frames": False,
        "min_frames": 4,
        "max_frames": 768,
        "cap_pixels_per_frame": True,
        "max_video_tokens": 128000,
    }
    whole = {"processor_class": "Qwen2_5_VLProcessor", "image_processor": image, "video_processor": video}
    return {
        "preprocessor_config.json": image | {"processor_class": "Qwen2_5_VLProcessor"},
        "video_preprocessor_config.json": video | {"processor_class": "Qwen2_5_VLProcessor"},
        "processor_config.json": whole,
    }


def save_base(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, out_dir: Path) -> None:
    """Writes a directory that `from_pretrained` and vLLM load: bfloat16 weights, tokenizer, processor.

    The model passed in keeps its weights' type.
    """
    half = Qwen2_5_VLForConditionalGeneration(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    half.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    half.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    for name, content in processor_files().items():
        (out_dir / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
