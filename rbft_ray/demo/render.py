"""Scenes to pixels, and pixels to H.264 files.

Shapes: T frames, H = W = 84 px. The general appearance is plain; a domain's appearance has a texture, sensor noise,
distractors and objects of other sizes.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from rbft_ray.demo.scenes import (
    BLINK_SEC,
    DURATION_SEC,
    FRAME_PX,
    GROWTH,
    NUM_STEPS,
    RISE_PX,
    SHAKE_PX,
    STEP_SEC,
    Scene,
    SceneObject,
)

SOURCE_FPS = 8
SOURCE_TIMES_SEC = np.arange(int(DURATION_SEC * SOURCE_FPS)) / SOURCE_FPS
NUM_SAMPLED = 8
SAMPLED_TIMES_SEC = (np.arange(NUM_SAMPLED) + 0.5) * DURATION_SEC / NUM_SAMPLED

RGB = {
    "red": (222, 38, 38),
    "green": (38, 176, 62),
    "blue": (48, 84, 240),
    "yellow": (238, 214, 44),
    "white": (242, 242, 242),
    "purple": (178, 58, 214),
}
_PIXELS = np.arange(FRAME_PX, dtype=np.float32)


@dataclass(frozen=True)
class Appearance:
    """How a world is drawn. Levels and amplitudes are in units of 8-bit pixel values.

    background: lowest and highest level of the background. tint: largest shift of one colour channel of it.
    colour_jitter: largest shift of an object's colour. noise: standard deviation of the sensor noise.
    texture: amplitude of the background's texture, texture_px: its grain. distractors: number of small dots.
    size: factor of all radii.
    """

    background: tuple[float, float] = (8.0, 60.0)
    tint: float = 8.0
    colour_jitter: float = 14.0
    noise: float = 3.0
    texture: float = 0.0
    texture_px: int = 12
    distractors: int = 0
    size: float = 1.0


GENERAL = Appearance()


def _done_share(times_sec: np.ndarray, step: int) -> np.ndarray:
    """(T,) share of a step that is over at each time, 0 to 1."""
    return np.clip((times_sec - step * STEP_SEC) / STEP_SEC, 0.0, 1.0)


def object_track(thing: SceneObject, times_sec: np.ndarray) -> np.ndarray:
    """Where the object is: (T, 4) float32 of x_px, y_px, radius_px and visibility (0 or 1) at each time."""
    count = len(times_sec)
    x_px, y_px = np.full(count, thing.x_px), np.full(count, thing.y_px)
    log_size, shown = np.zeros(count), np.ones(count)
    current = np.minimum((times_sec / STEP_SEC).astype(int), NUM_STEPS - 1)
    for step, action in enumerate(thing.actions):
        share, active = _done_share(times_sec, step), current == step
        y_px += RISE_PX * share * ((action == "falls") - float(action == "rises"))
        log_size += share * ((action == "grows") - float(action == "shrinks"))
        if action == "blinks":
            shown[active & ((times_sec / BLINK_SEC).astype(int) % 2 == 1)] = 0.0
        if action == "shakes":
            x_px += active * SHAKE_PX * np.sin(np.pi * times_sec / BLINK_SEC)
    return np.stack([x_px, y_px, thing.radius_px * GROWTH**log_size, shown], axis=1).astype(np.float32)


def _distance_px(shape: str, dx: np.ndarray, dy: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, negative inside; arrays broadcast against each other, in pixels."""
    if shape == "circle":
        return np.sqrt(dx * dx + dy * dy) - radius
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - 0.86 * radius
    if shape == "triangle":
        return np.maximum(0.866 * np.abs(dx) - 0.5 * dy - 0.55 * radius, dy - 0.72 * radius)
    if shape == "cross":
        ax, ay = np.abs(dx), np.abs(dy)
        thin = 0.34 * radius
        return np.minimum(np.maximum(ax - radius, ay - thin), np.maximum(ax - thin, ay - radius))
    raise ValueError(f"unknown shape {shape!r}")


def _background(rng: np.random.Generator, look: Appearance) -> np.ndarray:
    """(H, W, 3) float32: a plain colour, with a smooth texture and dots if the appearance has them."""
    colour = rng.uniform(*look.background) + rng.uniform(-look.tint, look.tint, 3)
    canvas = np.broadcast_to(colour, (FRAME_PX, FRAME_PX, 3)).astype(np.float32)
    if look.texture:
        cells = FRAME_PX // look.texture_px + 2
        coarse = rng.normal(0.0, look.texture, (cells, cells, 3))
        where = np.arange(FRAME_PX) / look.texture_px
        low, share = where.astype(int), (where % 1.0)
        rows = coarse[low] * (1 - share)[:, None, None] + coarse[low + 1] * share[:, None, None]
        canvas = canvas + rows[:, low] * (1 - share)[:, None] + rows[:, low + 1] * share[:, None]
    for _ in range(look.distractors):
        x_px, y_px = rng.uniform(2, FRAME_PX - 2, 2)
        inside = (_PIXELS - x_px) ** 2 + (_PIXELS[:, None] - y_px) ** 2 < rng.uniform(1.0, 2.2) ** 2
        canvas = np.where(inside[..., None], rng.uniform(40, 230, 3), canvas)
    return canvas.astype(np.float32)


@cache
def _noise_bank() -> np.ndarray:
    """(8 Mi,) float32 standard normal values; clips take random slices of it, which is faster than drawing each."""
    return np.random.default_rng(7003).standard_normal(1 << 23, dtype=np.float32)


def _draw_object(
    frames: np.ndarray, thing: SceneObject, colour: np.ndarray, size: float, times_sec: np.ndarray
) -> None:
    """Draws one object into (T, H, W, 3) float32 frames, in place, within the box that it ever covers."""
    track = object_track(thing, times_sec)
    radius = size * track[:, 2]
    reach = float(radius.max()) + 2.0
    low_x, low_y = np.maximum(track[:, :2].min(axis=0) - reach, 0).astype(int)
    high_x, high_y = np.minimum(track[:, :2].max(axis=0) + reach, FRAME_PX).astype(int) + 1
    dx = _PIXELS[None, None, low_x:high_x] - track[:, 0, None, None]
    dy = _PIXELS[None, low_y:high_y, None] - track[:, 1, None, None]
    inside = np.clip(0.5 - _distance_px(thing.shape, dx, dy, radius[:, None, None]), 0.0, 1.0)
    inside *= track[:, 3, None, None]
    box = frames[:, low_y:high_y, low_x:high_x]
    box += inside[..., None] * (colour - box)


def render_frames(
    scene: Scene, rng: np.random.Generator, look: Appearance = GENERAL, times_sec: np.ndarray = SOURCE_TIMES_SEC
) -> np.ndarray:
    """Draws the scene at the given times.

    Args:
        times_sec: (T,) float64.

    Returns:
        (T, H, W, 3) uint8.
    """
    frames = np.repeat(_background(rng, look)[None], len(times_sec), axis=0)
    for thing in scene.objects:
        colour = np.asarray(RGB[thing.colour]) + rng.uniform(-look.colour_jitter, look.colour_jitter, 3)
        _draw_object(frames, thing, colour.astype(np.float32), look.size, times_sec)
    if look.noise:
        noise = _noise_bank()
        start = int(rng.integers(len(noise) - frames.size))
        frames += look.noise * noise[start : start + frames.size].reshape(frames.shape)
    return np.clip(frames + 0.5, 0, 255).astype(np.uint8)


def yuv420p(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to planar BT.601 YUV of limited range: (1.5 H, W) uint8. H and W must be multiples of 4.

    In numpy, so that the bytes of a clip do not depend on the version of swscale.
    """
    rgb = frame.astype(np.float32) / 255.0
    luma = 16.0 + rgb @ np.array([65.481, 128.553, 24.966], np.float32)
    small = rgb.reshape(rgb.shape[0] // 2, 2, rgb.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    blue = 128.0 + small @ np.array([-37.797, -74.203, 112.0], np.float32)
    red = 128.0 + small @ np.array([112.0, -93.786, -18.214], np.float32)
    planes = [luma, blue.reshape(-1, frame.shape[1]), red.reshape(-1, frame.shape[1])]
    return np.clip(np.concatenate(planes) + 0.5, 0, 255).astype(np.uint8)


def mp4_bytes(frames: np.ndarray, fps: int = SOURCE_FPS, gop: int = 16, crf: int = 18) -> bytes:
    """Encodes (T, H, W, 3) uint8 frames as H.264 (yuv420p) in MP4; the same frames give the same bytes.

    Args:
        gop: frames from one key frame to the next.
        crf: libx264's constant rate factor, 0 (lossless) to 51.

    x264's newer vector code was seen to give other bytes from run to run: only its SSE2 code is used, whose bytes are
    those of plain C.
    """
    import av  # not at the top: schooling draws clips without encoding them, on machines without PyAV

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.options = {"crf": str(crf), "g": str(gop), "preset": "veryfast", "x264-params": "asm=SSE2"}
        stream.codec_context.thread_count = 1
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(yuv420p(pixels), format="yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


def write_mp4(path: Path, frames: np.ndarray, crf: int = 18) -> None:
    """Writes (T, H, W, 3) uint8 frames to `path`."""
    path.write_bytes(mp4_bytes(frames, crf=crf))
