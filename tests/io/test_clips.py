"""Clips come back from the files of an ingest step as they were written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rbft_ray.core.errors import DataError
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import CLIPS, REJECTS
from rbft_ray.io import storage
from rbft_ray.io.clips import CLIPS_TABLE, list_clips, read_clip_rows, read_frames
from rbft_ray.io.video import encode_frame

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 28, 56, 3), dtype=np.uint8)  # 5 clips of 4 frames
SPLITS = ["train", "test", "train", "validation", "train"]


def record(number: int) -> dict[str, Any]:
    contract = SamplingContract(num_frames=4, codec="png")
    return {
        "id": f"clip{number}",
        "label": "cat",
        "split": SPLITS[number],
        "group": "",
        "video": f"{number}.mp4",
        "frames": [encode_frame(Image.fromarray(frame), contract) for frame in PIXELS[number]],
        "fps": number + 0.5,
    }


@pytest.fixture
def ingest_dir(tmp_path: Path) -> str:
    """Two blocks, the second written first, beside files that are no blocks."""
    for name, numbers in {"00001.parquet": (3, 4), "00000.parquet": (0, 1, 2)}.items():
        storage.write_table(str(tmp_path / CLIPS_TABLE / name), map(record, numbers), CLIPS)
    (tmp_path / CLIPS_TABLE / "00002.parquet.ab12.tmp").write_bytes(b"half")
    (tmp_path / CLIPS_TABLE / "notes.parquet").write_bytes(b"none")
    return str(tmp_path)


def test_clips_are_listed_in_a_fixed_order(ingest_dir: str) -> None:
    clips = list_clips(ingest_dir, ["train", "validation", "test"])
    assert [clip["id"] for clip in clips] == [f"clip{number}" for number in range(5)]
    assert "frames" not in clips[0]


@pytest.mark.parametrize(
    ("splits", "numbers"), [(["train"], [0, 2, 4]), (["test", "validation"], [1, 3]), (["none"], []), ([], [])]
)
def test_only_the_splits_asked_for_are_listed(ingest_dir: str, splits: list[str], numbers: list[int]) -> None:
    assert [clip["id"] for clip in list_clips(ingest_dir, iter(splits))] == [f"clip{number}" for number in numbers]


def test_frames_and_rate_come_back(ingest_dir: str) -> None:
    order = [3, 0, 4, 0, 2, 1]  # neither that of the file nor each once
    clips = list_clips(ingest_dir, set(SPLITS))
    for number, (frames, fps) in zip(order, read_frames([clips[number] for number in order]), strict=True):
        np.testing.assert_array_equal(frames, PIXELS[number])
        assert fps == number + 0.5
    assert read_frames([]) == []


def test_single_columns_of_a_clip_are_read(ingest_dir: str) -> None:
    [clip] = list_clips(ingest_dir, ["validation"])
    assert read_clip_rows([clip], ["id", "video"]) == [{"id": "clip3", "video": "3.mp4"}]


def test_an_ingest_step_without_clips_lists_none(tmp_path: Path) -> None:
    assert list_clips(str(tmp_path), ["train"]) == []


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / CLIPS_TABLE / "00000.parquet")
    storage.write_table(file, [], REJECTS)
    with pytest.raises(DataError, match="expected 'clips'"):
        list_clips(str(tmp_path), ["train"])
    with pytest.raises(DataError, match="expected 'clips'"):
        read_clip_rows([{"file": file, "row": 0}], ["id"])
