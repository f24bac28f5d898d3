"""Bytes of a video file -> sampled frames, and the stored encoding of frames. Everything the sampling contract promises."""

import io
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from rbft_ray.core.sampling import SamplingContract, frame_size, plan_frames
from rbft_ray.core.schema import Reason


class VideoError(Exception):
    """A file that gives no clip. `reason` goes into the reject row."""

    def __init__(self, reason: Reason, detail: str):
        super().__init__(detail)
        self.reason = reason


class Clip(NamedTuple):
    """T frames of one video. frames: T encoded images; frame_times_sec: their true times; fps: of the time grid."""

    frames: list[bytes]
    frame_times_sec: list[float]
    fps: float
    height_px: int
    width_px: int
    duration_sec: float
    source_fps: float
    source_frames: int


def encode_frame(frame: Image.Image, contract: SamplingContract) -> bytes:
    """One frame in the contract's stored encoding."""
    out = io.BytesIO()
    if contract.codec == "jpeg":
        frame.save(out, "JPEG", quality=contract.quality, subsampling=0)
    else:
        frame.save(out, "PNG")
    return out.getvalue()


def decode_frames(frames: Sequence[bytes]) -> np.ndarray:
    """Stored frames -> uint8 (T, H, W, 3), RGB."""
    return np.stack([np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")) for frame in frames])


_SOURCE_POSITION = re.compile(
    r"\S+\.cc:\d+:\s*|\[\d+:\d+:\d+\]\s*"
)  # decord's messages start with where they were raised


def _open(content: bytes):  # type: ignore[no-untyped-def]  # decord has no types
    import decord

    if not content:
        raise VideoError(Reason.NO_VIDEO, "the file is empty")
    try:
        reader = decord.VideoReader(io.BytesIO(content), num_threads=1)
        count = len(reader)
    except Exception as error:  # decord raises DECORDError and RuntimeError, both with a C++ trace below the first line
        raise VideoError(Reason.NO_VIDEO, f"decord cannot open it: {_first_line(error)}") from None
    if count == 0:
        raise VideoError(Reason.NO_VIDEO, "the video has no frames")
    return reader, count


def _first_line(error: BaseException) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return _SOURCE_POSITION.sub("", line).strip()[:300]


def read_clip(content: bytes, contract: SamplingContract) -> Clip:
    """Decodes a video and samples it by the contract.

    Args:
        content: the bytes of a video file of any container and codec that FFmpeg reads.

    Raises:
        VideoError: no video, no usable times, or frames that do not decode; `reason` says which.
    """
    reader, count = _open(content)
    try:
        spans_sec = np.asarray(reader.get_frame_timestamp(np.arange(count)), dtype=np.float64).reshape(count, 2)
        starts_sec = spans_sec[:, 0] - spans_sec[:, 0].min()
        source_fps = float(reader.get_avg_fps())
    except Exception as error:
        raise VideoError(Reason.BAD_TIMES, f"no frame times: {_first_line(error)}") from None
    if not np.isfinite(source_fps) or source_fps <= 0:
        raise VideoError(Reason.BAD_TIMES, f"the frame rate is {source_fps}")
    duration_sec = float(spans_sec[:, 1].max() - spans_sec[:, 0].min())
    if not (np.isfinite(duration_sec) and duration_sec > 0):
        duration_sec = count / source_fps  # containers without times of their own
        starts_sec = np.arange(count) / source_fps
    try:
        plan = plan_frames(contract, starts_sec, duration_sec)
        wanted, inverse = np.unique(plan.indices, return_inverse=True)
        decoded = reader.get_batch(wanted.tolist()).asnumpy()  # (unique, H, W, 3)
        height_px, width_px = frame_size(contract, decoded.shape[1], decoded.shape[2])
    except ValueError as error:
        raise VideoError(Reason.BAD_TIMES, str(error)) from None
    except Exception as error:
        raise VideoError(Reason.NO_VIDEO, f"frames do not decode: {_first_line(error)}") from None
    encoded = [encode_frame(_resize(frame, height_px, width_px), contract) for frame in decoded]
    return Clip(
        frames=[encoded[i] for i in inverse],
        frame_times_sec=[float(starts_sec[i]) for i in plan.indices],
        fps=plan.fps,
        height_px=height_px,
        width_px=width_px,
        duration_sec=duration_sec,
        source_fps=source_fps,
        source_frames=count,
    )


def _resize(frame: np.ndarray, height_px: int, width_px: int) -> Image.Image:
    image = Image.fromarray(frame)
    return (
        image if image.size == (width_px, height_px) else image.resize((width_px, height_px), Image.Resampling.BICUBIC)
    )
