"""Tiny models of every family that the tests try: random weights, a small tokenizer, chat template and processor files.

A directory that `write_family` makes is loaded by Transformers and by vLLM like a published checkpoint, without a network.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerBase, Qwen2TokenizerFast

from rbft_ray.demo import BASE_DIR

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl")
MAX_PARAMETERS = 5_000_000

_HIDDEN, _LAYERS, _VISION_HIDDEN, _VISION_LAYERS = 128, 3, 64, 2
_INTERNVL_PX, _INTERNVL_PATCH_PX, _INTERNVL_SHRINK = 112, 14, 0.5
_INTERNVL_TOKENS = {  # what InternVLProcessor asks its tokenizer for
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
# Larger than models are trained from: with so few layers, smaller ones give nearly the same answer to everything.
_WEIGHT_STD = 0.08


class _Family(NamedTuple):
    """system: turn that the template puts before a user's; video: placeholder; patch_px: of the vision tower."""

    processor: str
    video_processor: str
    image_processor: str
    system: str
    video: str
    image: str
    patch_px: int


_QWEN_VIDEO, _QWEN_IMAGE = "<|vision_start|><|video_pad|><|vision_end|>", "<|vision_start|><|image_pad|><|vision_end|>"
_QWEN_SYSTEM = "You are a helpful assistant."
_QWEN2_PROCESSORS = ("Qwen2VLVideoProcessor", "Qwen2VLImageProcessor")
_DETAILS = {
    "qwen2_vl": _Family("Qwen2VLProcessor", *_QWEN2_PROCESSORS, _QWEN_SYSTEM, _QWEN_VIDEO, _QWEN_IMAGE, 14),
    "qwen2_5_vl": _Family("Qwen2_5_VLProcessor", *_QWEN2_PROCESSORS, _QWEN_SYSTEM, _QWEN_VIDEO, _QWEN_IMAGE, 14),
    "qwen3_vl": _Family(
        "Qwen3VLProcessor", "Qwen3VLVideoProcessor", "Qwen2VLImageProcessor", "", _QWEN_VIDEO, _QWEN_IMAGE, 16
    ),
    "internvl": _Family(
        "InternVLProcessor",
        "InternVLVideoProcessor",
        "GotOcr2ImageProcessor",
        "",
        "<video>\n",
        "<IMG_CONTEXT>\n",
        _INTERNVL_PATCH_PX,
    ),
}


def write_family(name: str, folder: Path) -> str:
    """Writes a tiny model of a family (one of FAMILIES) into `folder`, which is made; the same files on every call.

    Returns:
        the folder's path, for `model.base`. Weights are random and float32, at most MAX_PARAMETERS of them.
    """
    family = _DETAILS[name]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(family)
    config = AutoConfig.for_model(name, **_config(name, tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(FAMILIES.index(name))
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    assert sum(parameter.numel() for parameter in model.parameters()) <= MAX_PARAMETERS
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file, content in _processor_files(name).items():
        (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return str(folder)


def multiple_px(name: str) -> int:
    """Frames of a family have sides that are multiples of this (patch size x spatial merge)."""
    return 2 * _DETAILS[name].patch_px


def _tokenizer(family: _Family) -> PreTrainedTokenizerBase:
    """The demo's tokenizer with the family's chat template, and with InternVL's tokens where it needs them."""
    needed = _INTERNVL_TOKENS if family.processor == "InternVLProcessor" else {}
    tokenizer = Qwen2TokenizerFast.from_pretrained(BASE_DIR, extra_special_tokens=needed)
    tokenizer.add_special_tokens({"additional_special_tokens": list(needed.values())}, False)
    tokenizer.chat_template = _chat_template(family)
    return tokenizer


def _chat_template(family: _Family) -> str:
    """Qwen's turns around the family's placeholders, as in the published checkpoints."""
    system = (
        "{% if loop.first and message['role'] != 'system' %}"
        f"<|im_start|>system\n{family.system}<|im_end|>\n{{% endif %}}"
        if family.system
        else ""
    )
    return (
        "{% for message in messages %}" + system + "<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for content in message['content'] %}"
        f"{{% if content['type'] == 'image' %}}{{{{ {family.image!r} }}}}"
        f"{{% elif content['type'] == 'video' %}}{{{{ {family.video!r} }}}}"
        "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _config(name: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    def token(text: str) -> int:
        found = tokenizer.convert_tokens_to_ids(text)
        assert isinstance(found, int)
        return found

    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "initializer_range": _WEIGHT_STD,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    if name == "internvl":
        return {
            "text_config": text | {"model_type": "qwen2", "rope_parameters": rope},
            "vision_config": {
                "hidden_size": _VISION_HIDDEN,
                "intermediate_size": 2 * _VISION_HIDDEN,
                "num_hidden_layers": _VISION_LAYERS,
                "num_attention_heads": 2,
                "image_size": [_INTERNVL_PX, _INTERNVL_PX],
                "patch_size": [_INTERNVL_PATCH_PX, _INTERNVL_PATCH_PX],
                "initializer_range": _WEIGHT_STD,
                "layer_scale_init_value": 1.0,
            },
            "image_token_id": token("<IMG_CONTEXT>"),
            "image_seq_length": _internvl_frame_tokens(),
            "downsample_ratio": _INTERNVL_SHRINK,
            "tie_word_embeddings": True,
        }
    vision: dict[str, Any] = {
        "depth": _VISION_LAYERS,
        "num_heads": 2,
        "patch_size": _DETAILS[name].patch_px,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": _WEIGHT_STD,
    }
    if name == "qwen2_vl":
        vision |= {"embed_dim": _VISION_HIDDEN, "hidden_size": _HIDDEN, "mlp_ratio": 2}
        rope["mrope_section"] = [8, 12, 12]
    else:
        vision |= {
            "hidden_size": _VISION_HIDDEN,
            "intermediate_size": 2 * _VISION_HIDDEN,
            "out_hidden_size": _HIDDEN,
        }
    if name == "qwen2_5_vl":
        vision |= {"tokens_per_second": 2, "window_size": 112, "fullatt_block_indexes": [_VISION_LAYERS - 1]}
        rope["mrope_section"] = [8, 12, 12]
    if name == "qwen3_vl":
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
        text["head_dim"] = 64
        rope |= {"mrope_section": [12, 10, 10], "mrope_interleaved": True}
    return {
        "text_config": text | {"rope_parameters": rope},
        "vision_config": vision,
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": True,
    }


def _internvl_frame_tokens() -> int:
    return int((_INTERNVL_PX // _INTERNVL_PATCH_PX * _INTERNVL_SHRINK) ** 2)


def _processor_files(name: str) -> dict[str, dict[str, Any]]:
    """File name to content: for images and videos alone, as vLLM reads them, and together."""
    family = _DETAILS[name]
    common: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 3,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    if name == "internvl":
        size = {"height": _INTERNVL_PX, "width": _INTERNVL_PX}
        image = common | {"size": size, "crop_to_patches": False, "min_patches": 1, "max_patches": 4}
        video = common | {"size": size}
        rest: dict[str, Any] = {"image_seq_length": _internvl_frame_tokens()}
    else:
        unit = multiple_px(name) ** 2
        common |= {"patch_size": family.patch_px, "merge_size": 2, "temporal_patch_size": 2}
        image = common | {"size": {"shortest_edge": unit, "longest_edge": 64 * unit}}
        # Qwen3-VL counts the pixels of all frames, Qwen2-VL those of one.
        most = 64 * unit * (16 if name == "qwen3_vl" else 1)
        video = common | {"size": {"shortest_edge": unit, "longest_edge": most}, "cap_pixels_per_frame": True}
        rest = {}
    image["image_processor_type"], video["video_processor_type"] = family.image_processor, family.video_processor
    video["do_sample_frames"] = False
    whole = {"processor_class": family.processor, "image_processor": image, "video_processor": video, **rest}
    return {
        "preprocessor_config.json": image | {"processor_class": family.processor},
        "video_preprocessor_config.json": video | {"processor_class": family.processor},
        "processor_config.json": whole,
    }
