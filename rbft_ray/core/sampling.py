"""The sampling contract: which frames of a video the model sees, at which times and at which size.

Pure functions of one frozen value. The value is stored with every clip and in every classifier card, and the server
samples with the one in the card, so training and serving see the same pixels.

Shapes: F source frames, T sampled frames (even: Qwen2.5-VL merges two frames into one temporal patch).
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

TEMPORAL_PATCH_FRAMES = 2  # Qwen2.5-VL, Qwen3-VL: vision_config.temporal_patch_size


class SamplingContract(BaseModel):
    """Either a fixed number of frames (`num_frames`) or a rate (`fps`, kept between `min_frames` and `max_frames`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    num_frames: int | None = Field(8, ge=2, description="frames per clip, spread over the whole clip; null: use fps")
    fps: float | None = Field(None, gt=0, description="frames per second; null: use num_frames")
    min_frames: int = Field(4, ge=2, description="with fps: at least so many")
    max_frames: int = Field(64, ge=2, description="with fps: at most so many; the rate drops for longer clips")
    max_pixels: int = Field(360 * 420, ge=28 * 28, description="pixels per frame, height x width, at most")
    multiple_px: int = Field(
        28, ge=1, description="height and width are multiples of this (patch size x spatial merge)"
    )
    codec: Literal["jpeg", "png"] = Field("jpeg", description="of the stored frames; png is without loss")
    quality: int = Field(95, ge=1, le=100, description="of the stored JPEG frames")

    def model_post_init(self, _context: object) -> None:
        if (self.num_frames is None) == (self.fps is None):
            raise ValueError("set exactly one of num_frames and fps (the other null)")
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames={self.min_frames} is more than max_frames={self.max_frames}")
        if self.max_pixels < self.multiple_px**2:
            raise ValueError(
                f"max_pixels={self.max_pixels} is less than one {self.multiple_px} x {self.multiple_px} px patch"
            )


class FramePlan(NamedTuple):
    """indices: (T,) int64 into the source frames; grid_sec: (T,) float64 wanted times; fps: rate of the grid."""

    indices: np.ndarray
    grid_sec: np.ndarray
    fps: float


def frame_count(contract: SamplingContract, duration_sec: float) -> int:
    """T, an even number of frames for a clip of `duration_sec`: rounded down, and up where `min_frames` asks for it."""
    least = contract.min_frames + contract.min_frames % TEMPORAL_PATCH_FRAMES
    wanted = contract.num_frames
    if wanted is None:
        assert contract.fps is not None
        wanted = max(min(round(duration_sec * contract.fps), contract.max_frames), least)
    return max(TEMPORAL_PATCH_FRAMES, wanted - wanted % TEMPORAL_PATCH_FRAMES)


def plan_frames(contract: SamplingContract, times_sec: np.ndarray, duration_sec: float) -> FramePlan:
    """Places T points at the centres of T equal parts of the clip and takes the nearest true frame of each.

    Args:
        times_sec: (F,) presentation times of the source frames, in any order.
        duration_sec: length of the clip; the grid's rate is T / duration_sec.

    Raises:
        ValueError: no frames, or a duration that is not positive and finite.
    """
    if len(times_sec) == 0:
        raise ValueError("the video has no frames")
    if not (math.isfinite(duration_sec) and duration_sec > 0):
        raise ValueError(f"the video's duration is {duration_sec} s")
    count = frame_count(contract, duration_sec)
    grid_sec = (np.arange(count) + 0.5) * (duration_sec / count)
    order = np.argsort(times_sec, kind="stable")
    ordered = np.asarray(times_sec, dtype=np.float64)[order]
    right = np.searchsorted(ordered, grid_sec).clip(0, len(ordered) - 1)
    left = (right - 1).clip(0)
    nearest = np.where(np.abs(ordered[left] - grid_sec) <= np.abs(ordered[right] - grid_sec), left, right)
    return FramePlan(order[nearest].astype(np.int64), grid_sec, count / duration_sec)


def frame_size(contract: SamplingContract, height_px: int, width_px: int) -> tuple[int, int]:
    """(height, width) of the stored frames: the source's aspect, never enlarged beyond one multiple, within `max_pixels`.

    Both are multiples of `multiple_px`, as in Qwen2-VL's `smart_resize`.

    Raises:
        ValueError: a side is not positive.
    """
    if height_px <= 0 or width_px <= 0:
        raise ValueError(f"the video's frames are {width_px}x{height_px} px")
    unit = contract.multiple_px
    scale = min(1.0, math.sqrt(contract.max_pixels / (height_px * width_px)))
    height = max(unit, round(height_px * scale / unit) * unit)
    width = max(unit, round(width_px * scale / unit) * unit)
    while height * width > contract.max_pixels:
        if height >= width:
            height -= unit
        else:
            width -= unit
    return height, width
