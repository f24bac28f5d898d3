"""How a family takes a clip: at which size, what its processor is told, and the text that stands for it in a prompt.

There are two kinds. Qwen-VL models cut frames of any size into patches: their processor must not resize what was stored. InternVL
and others see every frame at one size of their own: their processor resizes. Which kind a model is, its processor says, so that
training, scoring, generation and serving do the same, with Transformers and with vLLM.

Shapes: T frames of H x W px.
"""

from typing import Any

import numpy as np
import torch

from rbft_ray.core.errors import DataError
from rbft_ray.io.clips import ClipFrames


def frame_multiple_px(processor: Any) -> int | None:
    """Both sides of a frame must be multiples of this; None: the processor resizes frames of any size."""
    video = processor.video_processor
    return int(video.patch_size * video.merge_size) if hasattr(video, "merge_size") else None


def video_options(processor: Any) -> dict[str, bool]:
    """What a processor does to frames that were sampled before, here and in vLLM."""
    return {"do_sample_frames": False, "do_resize": frame_multiple_px(processor) is None}


def video_metadata(clip: ClipFrames) -> dict[str, Any]:
    """What Transformers and vLLM are told of a clip: already sampled, at `clip.fps`."""
    count = len(clip.frames)
    return {
        "fps": clip.fps,
        "total_num_frames": count,
        "duration": count / clip.fps,
        "frames_indices": list(range(count)),
        "video_backend": "decord",
    }


def check_frames(processor: Any, clip: ClipFrames) -> None:
    """Refuses frames that the model's patches do not fit.

    Raises:
        DataError: names the setting to change.
    """
    multiple, (_, height, width, _) = frame_multiple_px(processor), clip.frames.shape
    if multiple is not None and (height % multiple or width % multiple):
        raise DataError(
            f"frames of {width}x{height} px do not suit the model: set sampling.multiple_px to {multiple} "
            "(its patch size x spatial merge)"
        )


def check_family(processor: Any) -> None:
    """Refuses families whose video tokens `video_text` does not know.

    Raises:
        DataError: names the processor.
    """
    side = frame_multiple_px(processor) or 1
    video_text(processor, ClipFrames(np.zeros((2, side, side, 3), dtype=np.uint8), 1.0))


def video_text(processor: Any, clip: ClipFrames) -> str:
    """What the processor puts in the place of the video's token in a rendered prompt. Looks at no pixel.

    Raises:
        DataError: the model cannot take frames of this size, or its family makes a video's tokens in a way that is not known here.
    """
    check_frames(processor, clip)
    try:
        return str(processor.replace_video_token(_processed(processor, clip), 0))
    except (AttributeError, KeyError, NotImplementedError, TypeError) as error:
        name = type(processor).__name__.removesuffix("Processor")
        raise DataError(
            f"model.base: how {name} models count a video's tokens is not known, as vLLM needs it"
        ) from error


def _processed(processor: Any, clip: ClipFrames) -> dict[str, Any]:
    """What a processor knows of a clip when it writes the video's tokens: the patch grid, or frames of the model's size (empty)."""
    from transformers.video_utils import VideoMetadata

    video, (count, height, width, _) = processor.video_processor, clip.frames.shape
    metadata = [VideoMetadata(**video_metadata(clip))]
    if frame_multiple_px(processor) is None:
        size = (count, 3, video.size.height, video.size.width)
        return {"video_metadata": metadata, "pixel_values_videos": [torch.empty(size, device="meta")]}
    grid = [-(-count // video.temporal_patch_size), height // video.patch_size, width // video.patch_size]
    return {"video_metadata": metadata, "video_grid_thw": torch.tensor([grid])}
