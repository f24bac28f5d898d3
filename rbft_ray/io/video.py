"""Bytes of a video file -> sampled frames, and the stored encoding of frames. Everything the sampling contract promises."""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

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


MOST_PIXELS = 8192 * 4608  # of a frame: 8K
_FRAMES_AT_A_TIME = 2  # decoded, of the size that the source has
_NO_TIME_SEC = -1e9  # FFmpeg's mark for a frame without a time, -2^63 ticks, is below it in every time base


class _Source(NamedTuple):
    """A video that can be sampled. starts_sec: (F,) times from 0; fetch: n ascending indices -> n frames, uint8 (H, W, 3) each."""

    starts_sec: np.ndarray
    duration_sec: float
    fps: float
    fetch: Callable[[Sequence[int]], Iterator[np.ndarray]]


_SOURCE_POSITION = re.compile(
    r"\S+\.cc:\d+:\s*|\[\d+:\d+:\d+\]\s*"
)  # decord's messages start with where they were raised


def _first_line(error: BaseException) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return _SOURCE_POSITION.sub("", line).strip()[:300]


# Containers by their bytes at (start, end). Nothing else is opened: FFmpeg follows what a playlist names, to files and networks.
_BOXES = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot"]
_SEEKABLE = (
    *({(4, 8): box} for box in _BOXES),  # MP4, MOV, 3GP
    {(0, 4): b"\x1a\x45\xdf\xa3"},  # Matroska, WebM
    {(0, 4): b"OggS"},
    {(0, 4): b"GIF8"},
    {(0, 3): b"\x00\x00\x01"},  # streams without a container: MPEG-1, 2 and 4, H.264, HEVC
    {(0, 4): b"\x00\x00\x00\x01"},
    {(0, 4): b"DKIF"},  # IVF
    {(0, 4): b"\x06\x0e\x2b\x34"},  # MXF
    {(0, 4): b".RMF"},  # RealMedia
)
_SEQUENTIAL = (  # not every frame has a time in these, so that decord finds others than asked for
    {(0, 4): b"RIFF", (8, 12): b"AVI "},
    {(0, 4): b"\x00\x00\x01\xba"},  # MPEG program stream: .mpg, .vob
    {(0, 4): b"\x30\x26\xb2\x75"},  # ASF: .wmv
    {(0, 3): b"FLV"},
    {(0, 1): b"\x47", (188, 189): b"\x47"},  # MPEG transport stream
    {(4, 5): b"\x47", (196, 197): b"\x47"},  # the same with a time before each packet: .m2ts
)


def _has_any(content: bytes, containers: Iterable[Mapping[tuple[int, int], bytes]]) -> bool:
    return any(all(content[slice(*place)] == mark for place, mark in marks.items()) for marks in containers)


def _open_decord(content: bytes) -> _Source:
    import decord

    try:
        reader = decord.VideoReader(io.BytesIO(content), num_threads=1)
        count = len(reader)
    except Exception as error:  # decord raises DECORDError and RuntimeError, both with a C++ trace below the first line
        raise VideoError(Reason.NO_VIDEO, f"decord cannot open it: {_first_line(error)}") from None
    if count == 0:
        raise VideoError(Reason.NO_VIDEO, "the video has no frames")
    try:
        spans_sec = np.asarray(reader.get_frame_timestamp(np.arange(count)), dtype=np.float64).reshape(count, 2)
        fps = float(reader.get_avg_fps())
    except Exception as error:
        raise VideoError(Reason.BAD_TIMES, f"no frame times: {_first_line(error)}") from None
    first_sec = spans_sec[:, 0].min()
    if not np.isfinite(spans_sec).all() or first_sec < _NO_TIME_SEC:
        raise VideoError(Reason.BAD_TIMES, "frames without a time")
    duration_sec = float(spans_sec[:, 1].max() - first_sec)

    def fetch(indices: Sequence[int]) -> Iterator[np.ndarray]:
        for start in (0, *range(1, len(indices), _FRAMES_AT_A_TIME)):  # the first alone: it tells the size
            end = start + _FRAMES_AT_A_TIME if start else 1
            yield from reader.get_batch(list(indices[start:end])).asnumpy()

    return _Source(spans_sec[:, 0] - first_sec, duration_sec, fps, fetch)


def _open_sequential(content: bytes) -> _Source:
    """Reads the whole video in order with PyAV: slower, and right where there is no index to seek by."""
    import av

    def frames() -> Iterator[Any]:
        with av.open(io.BytesIO(content), mode="r") as container:
            if not container.streams.video:
                raise VideoError(Reason.NO_VIDEO, "the file has no video stream")
            container.streams.video[0].thread_type = "NONE"
            yield from container.decode(video=0)

    def fetch(indices: Sequence[int]) -> Iterator[np.ndarray]:
        wanted = set(indices)
        return (_upright(frame) for index, frame in enumerate(frames()) if index in wanted)

    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            rate = container.streams.video[0].average_rate if container.streams.video else None
        times_sec = [frame.time for frame in frames()]
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(Reason.NO_VIDEO, f"FFmpeg cannot read it: {_first_line(error)}") from None
    if not times_sec:
        raise VideoError(Reason.NO_VIDEO, "the video has no frames")
    fps = float(rate) if rate else 0.0
    known = None not in times_sec and all(a < b for a, b in pairwise(times_sec))
    if not known and fps <= 0:
        raise VideoError(Reason.BAD_TIMES, "neither frame times nor a frame rate")
    starts_sec = np.asarray(times_sec, dtype=np.float64) if known else np.arange(len(times_sec)) / fps
    starts_sec -= starts_sec[0]
    last_sec = float(np.median(np.diff(starts_sec))) if len(starts_sec) > 1 else 1.0 / (fps or 1.0)
    duration_sec = float(starts_sec[-1]) + last_sec
    return _Source(starts_sec, duration_sec, fps if fps > 0 else len(starts_sec) / duration_sec, fetch)


def _upright(frame: Any) -> np.ndarray:
    """A decoded frame turned by the container's display rotation, as decord does: uint8 (H, W, 3)."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def _open(content: bytes) -> _Source:
    if not content:
        raise VideoError(Reason.NO_VIDEO, "the file is empty")
    if _has_any(content, _SEQUENTIAL):
        return _open_sequential(content)
    if not _has_any(content, _SEEKABLE):
        raise VideoError(
            Reason.NO_VIDEO, "no container of videos begins like this (MP4, MOV, MKV, WebM, AVI, TS, MPG, ...)"
        )
    try:
        return _open_decord(content)
    except VideoError as error:  # AV1, no duration in the header: FFmpeg itself may read what decord's build does not
        try:
            return _open_sequential(content)
        except VideoError:
            raise error from None


def read_clip(content: bytes, contract: SamplingContract) -> Clip:
    """Decodes a video and samples it by the contract: with decord, or frame by frame with PyAV where decord cannot seek.

    Args:
        content: the bytes of a video file of any container and codec that FFmpeg reads.

    Raises:
        VideoError: no video, no usable times, or frames that do not decode; `reason` says which.
    """
    source = _open(content)
    try:
        if not np.isfinite(source.fps) or source.fps <= 0:
            raise ValueError(f"the frame rate is {source.fps}")
        plan = plan_frames(contract, source.starts_sec, source.duration_sec)
    except ValueError as error:
        raise VideoError(Reason.BAD_TIMES, str(error)) from None
    wanted, inverse = np.unique(plan.indices, return_inverse=True)
    encoded, (height_px, width_px) = _sampled(source, wanted.tolist(), contract)
    return Clip(
        frames=[encoded[i] for i in inverse],
        frame_times_sec=[float(source.starts_sec[i]) for i in plan.indices],
        fps=plan.fps,
        height_px=height_px,
        width_px=width_px,
        duration_sec=source.duration_sec,
        source_fps=source.fps,
        source_frames=len(source.starts_sec),
    )


def _sampled(source: _Source, wanted: list[int], contract: SamplingContract) -> tuple[list[bytes], tuple[int, int]]:
    """The stored frames at these indices, and their (height, width) in px."""
    encoded: list[bytes] = []
    shape: tuple[int, ...] = ()
    try:
        for frame in source.fetch(wanted):
            height, width = frame.shape[:2]
            if height * width > MOST_PIXELS:
                detail = f"frames of {width} x {height} px; {MOST_PIXELS} pixels are the limit"
                raise VideoError(Reason.TOO_LARGE, detail)
            if shape not in ((), frame.shape):
                raise ValueError(f"frames of several sizes: {shape[1]} x {shape[0]} and {width} x {height} px")
            shape, size = frame.shape, frame_size(contract, height, width)
            encoded.append(encode_frame(_resize(frame, *size), contract))
    except VideoError:
        raise
    except Exception as error:
        raise VideoError(Reason.NO_VIDEO, f"frames do not decode: {_first_line(error)}") from None
    if len(encoded) != len(wanted):
        raise VideoError(Reason.NO_VIDEO, f"{len(encoded)} of {len(wanted)} frames decode")
    return encoded, size


def _resize(frame: np.ndarray, height_px: int, width_px: int) -> Image.Image:
    image = Image.fromarray(frame)
    return (
        image if image.size == (width_px, height_px) else image.resize((width_px, height_px), Image.Resampling.BICUBIC)
    )
