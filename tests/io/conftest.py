from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

VideoMaker = Callable[..., bytes]


@pytest.fixture
def make_video(tmp_path: Path) -> VideoMaker:
    """Writes a video of plain grey frames with these levels and gives its bytes."""

    def make(
        levels: Sequence[int],
        *,
        times_sec: Sequence[float] | None = None,
        height: int = 56,
        width: int = 84,
        suffix: str = ".mp4",
        codec: str = "libx264",
        **container: str,
    ) -> bytes:
        path = tmp_path / f"made{suffix}"
        with av.open(str(path), "w", options=container) as out:
            stream = out.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for i, level in enumerate(levels):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")
                frame.time_base = Fraction(1, 1000)
                frame.pts = round(1000 * (times_sec[i] if times_sec else i / 10))
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        return path.read_bytes()

    return make
