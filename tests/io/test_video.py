"""Decoding and sampling of real small videos, and files that are none."""

import io
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import Reason
from rbft_ray.io.video import VideoError, decode_frames, encode_frame, read_clip

LEVELS = range(10, 250, 10)  # 24 frames, 0.1 s each
SIX_LEVELS = [30, 70, 110, 150, 190, 230]  # of its frames 2, 6, 10, 14, 18, 22
PNG = SamplingContract(codec="png")


def grey_levels(frames: list[bytes]) -> list[float]:
    return [float(frame.mean()) for frame in decode_frames(frames)]


def png(**values: object) -> SamplingContract:
    return SamplingContract.model_validate({"codec": "png", **values})


def refused(content: bytes) -> VideoError:
    with pytest.raises(VideoError) as error:
        read_clip(content, PNG)
    return error.value


def test_the_frames_are_those_of_the_grid(make_video) -> None:
    clip = read_clip(make_video(LEVELS), png(num_frames=8))
    assert clip.frame_times_sec == pytest.approx([0.2, 0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.3], abs=0.101)
    expected = [LEVELS[round(10 * time)] for time in clip.frame_times_sec]
    assert grey_levels(clip.frames) == pytest.approx(expected, abs=3)
    assert clip.fps == pytest.approx(8 / 2.4, rel=1e-4) and clip.duration_sec == pytest.approx(2.4, rel=1e-4)
    assert (clip.source_frames, clip.source_fps) == (24, pytest.approx(10, rel=1e-3))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mp4", "mpeg4"),
        (".mkv", "libx264"),
        (".mov", "libx264"),
        (".webm", "libvpx-vp9"),
        (".avi", "mpeg4"),
        (".avi", "libx264"),
        (".ts", "libx264"),
        (".ts", "mpeg2video"),
        (".m2ts", "libx264"),
        (".mpg", "mpeg2video"),
        (".vob", "mpeg2video"),
        (".wmv", "wmv2"),
        (".flv", "flv1"),
    ],
)
def test_other_containers_and_codecs_give_the_same_frames(make_video, suffix: str, codec: str) -> None:
    clip = read_clip(make_video(LEVELS, suffix=suffix, codec=codec), png(num_frames=6))
    assert grey_levels(clip.frames) == pytest.approx(SIX_LEVELS, abs=4)


def test_the_same_bytes_give_the_same_frames_without_times_in_the_container(make_video) -> None:
    content = make_video(LEVELS, suffix=".avi")
    for _ in range(20):
        assert grey_levels(read_clip(content, png(num_frames=6)).frames) == pytest.approx(SIX_LEVELS, abs=4)


def test_frames_of_a_variable_rate_are_taken_by_time(make_video) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 2.0, 4.0]
    clip = read_clip(make_video([20, 60, 100, 140, 180, 220], times_sec=times), png(num_frames=4))
    assert clip.frame_times_sec == pytest.approx([0.3, 2.0, 2.0, 4.0], abs=1e-3)
    assert grey_levels(clip.frames) == pytest.approx([140, 180, 180, 220], abs=3)


def test_times_count_from_the_first_frame(make_video) -> None:
    shifted = read_clip(make_video(LEVELS, times_sec=[5 + i / 10 for i in range(24)]), png(num_frames=4))
    assert shifted.frame_times_sec == pytest.approx([0.3, 0.9, 1.5, 2.1], abs=0.101)
    assert shifted.duration_sec == pytest.approx(2.4, abs=0.01)


def test_a_rate_gives_frames_by_the_duration(make_video) -> None:
    clip = read_clip(make_video(LEVELS), png(num_frames=None, fps=5.0))
    assert len(clip.frames) == 12 and clip.fps == pytest.approx(5, rel=1e-4)


@pytest.mark.parametrize("levels", [[100], [100, 200]])
def test_a_short_video_repeats_its_frames(make_video, levels: list[int]) -> None:
    clip = read_clip(make_video(levels), png(num_frames=8))
    assert len(clip.frames) == len(clip.frame_times_sec) == 8
    assert {round(level, -1) for level in grey_levels(clip.frames)} == set(levels)


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_frames_are_resized_as_the_clip_says(make_video, codec: str) -> None:
    contract = SamplingContract(num_frames=4, max_pixels=56 * 84, codec=codec)
    clip = read_clip(make_video([100] * 4, height=112, width=168), contract)
    assert (clip.height_px, clip.width_px) == (56, 84)
    assert decode_frames(clip.frames).shape == (4, 56, 84, 3)


def test_the_stored_encodings_are_png_and_jpeg_of_the_quality() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 56, 3), dtype=np.uint8)
    frame = Image.fromarray(noise)
    lossless = encode_frame(frame, PNG)
    good, poor = (encode_frame(frame, SamplingContract(quality=quality)) for quality in (95, 20))
    assert [Image.open(io.BytesIO(data)).format for data in (lossless, good)] == ["PNG", "JPEG"]
    np.testing.assert_array_equal(decode_frames([lossless])[0], noise)
    errors = [np.abs(decode_frames([data])[0].astype(int) - noise).mean() for data in (good, poor)]
    assert errors[0] < 6 < errors[1] and len(good) > len(poor)


def test_decoded_frames_are_rgb_bytes() -> None:
    grey = encode_frame(Image.new("L", (6, 4), 90), PNG)
    frames = decode_frames([grey, grey])
    assert frames.shape == (2, 4, 6, 3) and frames.dtype == np.uint8 and (frames == 90).all()


def test_an_empty_file_is_no_video() -> None:
    error = refused(b"")
    assert error.reason is Reason.NO_VIDEO and str(error) == "the file is empty"


@pytest.mark.parametrize(
    "content", [b"hello", b"\x00garbage" * 1000, b"RIFF\x24\x00\x00\x00WAVE"], ids=["text", "bytes", "wav"]
)
def test_garbage_is_no_video(content: bytes) -> None:
    error = refused(content)
    assert error.reason is Reason.NO_VIDEO and "\n" not in str(error) and ".cc:" not in str(error)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("container", [{}, {"movflags": "faststart"}], ids=["index at the end", "index first"])
def test_a_truncated_file_is_no_video(make_video, container: dict[str, str], part: float) -> None:
    content = make_video(range(20, 220), **container)
    assert read_clip(content, PNG).source_frames == 200
    assert refused(content[: int(part * len(content))]).reason is Reason.NO_VIDEO


PLAYLISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{url}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {url}\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "DASH": '<?xml version="1.0"?><MPD profiles="urn:mpeg:dash:profile:isoff-main:2011"><BaseURL>{url}</BaseURL></MPD>',
}


@pytest.mark.parametrize("form", PLAYLISTS)
def test_what_names_other_files_is_no_video(make_video, tmp_path: Path, form: str) -> None:
    (tmp_path / "private.ts").write_bytes(make_video(LEVELS, suffix=".ts"))
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for url in (f"http://127.0.0.1:{server.server_port}/segment.ts", str(tmp_path / "private.ts")):
            error = refused(PLAYLISTS[form].format(url=url).encode())
            assert error.reason is Reason.NO_VIDEO and "no container" in str(error)
        server.shutdown()
    assert not asked


def test_frames_beyond_the_limit_are_refused(make_video, monkeypatch) -> None:
    monkeypatch.setattr("rbft_ray.io.video.MOST_PIXELS", 84 * 56 - 1)
    error = refused(make_video([10, 20]))
    assert error.reason is Reason.TOO_LARGE and "frames of 84 x 56 px; 4703 pixels are the limit" in str(error)


def test_large_frames_are_not_all_held_at_once(make_video, tmp_path: Path) -> None:
    (tmp_path / "large.mp4").write_bytes(make_video(LEVELS, height=2048, width=2048))
    code = (
        "import resource, sys; from rbft_ray.io.video import *; content = open(sys.argv[1], 'rb').read(); "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; read_clip(content, SamplingContract(num_frames=24)); "
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "large.mp4")]
    grown_mib = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown_mib < 500  # the 24 frames are 288 MiB; all held, with copies of them, 700
