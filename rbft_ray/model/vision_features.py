"""What the vision tower and the merger make of a clip: computed once and stored, where training leaves both frozen.

Everything else that a model is told of a clip follows from its number of frames, their size and their rate, without a pixel.

Shapes: N video tokens of a clip, W numbers per token (the language model's width; Qwen3-VL has more, for its deeper layers).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedConfig, ProcessorMixin

from rbft_ray.core.errors import DataError
from rbft_ray.core.train_config import TrainConfig
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.base import local_base
from rbft_ray.model.video_input import video_text
from rbft_ray.model.vlm import DTYPES, PER_TOKEN, Vlm, encode_prompts, render_prompt, to_device

# How a family's encoder takes the frames of a clip: as one video or as so many images.
FAMILIES = {"qwen2_vl": "video", "qwen2_5_vl": "video", "qwen3_vl": "video", "internvl": "image"}
FEATURED_PARTS = {"vision", "merger"}  # of the model: what the features save
FEATURES_INPUT = "vision_features"
_PIXELS = ("pixel_values_videos", "pixel_values")


class ClipFeatures(NamedTuple):
    """values: (N, W) in the model's dtype; beside: the processor's other tensors of the video, such as its grid of patches."""

    values: torch.Tensor
    beside: dict[str, torch.Tensor]


def takes_features(base: str, revision: str | None = None) -> bool:
    """Whether a model directory or hub id is of a family that can be given features. Reads its config.json only.

    Raises:
        DataError: there is no such model.
    """
    try:
        config, _ = PreTrainedConfig.get_config_dict(local_base(base), revision=revision)
    except (OSError, ValueError) as error:
        raise DataError(f"model.base: the configuration of {base!r} does not load: {error}") from error
    return config.get("model_type") in FAMILIES


def caches_features(base: str, config: TrainConfig) -> bool:
    """Whether training takes stored features: wanted, of frozen parts, and not ruled out by the base's family. That of a hub id
    is not asked for: planning needs no network."""
    if config.vision_cache == "off" or FEATURED_PARTS & set(config.parts):
        return False
    return not Path(base).is_dir() or takes_features(base)


@torch.inference_mode()
def vision_features(loaded: Vlm, clip: ClipFrames) -> ClipFeatures:
    """Runs vision tower and merger on one clip; `loaded` is of one of FAMILIES and in evaluation mode.

    Raises:
        DataError: the model cannot take frames of this size.
    """
    encoded = encode_prompts(loaded.processor, [clip], [""])
    beside = {name: value for name, value in encoded.items() if name not in (*PER_TOKEN, *_PIXELS)}
    inputs = to_device(encoded, loaded.model.device, loaded.model.dtype)
    inner = loaded.model.model
    if FAMILIES[loaded.model.config.model_type] == "video":
        found = inner.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"], return_dict=True)
    else:
        found = inner.get_image_features(inputs["pixel_values"], return_dict=True)
    deeper = [torch.cat(list(layer)) for layer in getattr(found, "deepstack_features", None) or ()]
    return ClipFeatures(torch.cat([torch.cat(list(found.pooler_output)), *deeper], dim=1).cpu(), beside)


def accept_features(model: Any) -> None:
    """Lets a model of one of FAMILIES take the input FEATURES_INPUT instead of pixels: (sum of N, W), clip after clip.

    With pixels it works as before. Call it before an adapter is put around the model.
    """
    modality, width = FAMILIES[model.config.model_type], model.config.get_text_config().hidden_size

    def put_features(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        features = kwargs.pop(FEATURES_INPUT, None)
        if features is not None:
            kwargs["mm_encoder_outputs"] = {modality: _encoder_output(features, modality, width)}
        return args, kwargs

    model.model.register_forward_pre_hook(put_features, with_kwargs=True)


def _encoder_output(features: torch.Tensor, modality: str, width: int) -> Any:
    """The type in which the vision encoders of all families give their output."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    pooled, *deeper = features.split(width, dim=1)
    # Of videos the models join the parts of a tuple; of images they take one tensor (frames, tokens, width).
    return BaseModelOutputWithDeepstackFeatures(
        pooler_output=(pooled,) if modality == "video" else pooled.unsqueeze(0),
        deepstack_features=[(layer,) for layer in deeper],
    )


def features_row(clip_id: str, clip: ClipFrames, features: ClipFeatures) -> dict[str, Any]:
    """A row of the schema FEATURES."""
    values = features.values.contiguous()
    count, height, width, _ = clip.frames.shape
    return {
        "id": clip_id,
        "dtype": str(values.dtype).removeprefix("torch."),
        "shape": list(values.shape),
        "values": values.view(torch.uint8).numpy().tobytes(),
        "beside": json.dumps({name: value.tolist() for name, value in features.beside.items()}),
        "frames": count,
        "height_px": height,
        "width_px": width,
        "fps": clip.fps,
    }


def encode_prompt(processor: Any, row: Mapping[str, Any], prompt: str) -> dict[str, torch.Tensor]:
    """Model inputs of one prompt with the clip of a row of FEATURES: as `vlm.encode_prompts` gives them for its frames,
    with FEATURES_INPUT (N, W) in the place of pixels."""
    shape = (row["frames"], row["height_px"], row["width_px"], 3)
    blank = ClipFrames(np.broadcast_to(np.uint8(0), shape), row["fps"])
    text = render_prompt(processor, prompt).replace(processor.video_token, video_text(processor, blank))
    # The families' own __call__ looks for the pixels of every video token; the common one takes the text as it is.
    encoded = ProcessorMixin.__call__(processor, text=[text], return_tensors="pt")
    values = torch.frombuffer(bytearray(row["values"]), dtype=DTYPES[row["dtype"]]).view(row["shape"])
    beside = {name: torch.tensor(value) for name, value in json.loads(row["beside"]).items()}
    return {**encoded, **beside, FEATURES_INPUT: values}
