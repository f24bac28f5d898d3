"""Finding clips in the Parquet files of an ingest step, and reading single ones. A video is never opened again."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from rbft_ray.core.schema import CLIPS, check_schema
from rbft_ray.io import storage
from rbft_ray.io.video import decode_frames

CLIPS_TABLE = "clips"
PART_NAME = re.compile(
    r"(\d{5}|manifest|selection)\.parquet"
)  # one per block; others: rejected before or after the blocks


class ClipFrames(NamedTuple):
    """frames: uint8 (T, H, W, 3), RGB; fps: rate of the time grid, frames per second."""

    frames: np.ndarray
    fps: float


def part_files(step_dir: str, table: str) -> list[str]:
    """The Parquet files of a table in a step's directory, in the order of the blocks."""
    names = storage.list_files(storage.join(step_dir, table))
    return [storage.join(step_dir, table, name) for name in names if PART_NAME.fullmatch(name)]


def list_clips(ingest_dir: str, splits: Iterable[str]) -> list[dict[str, Any]]:
    """One row per clip of these splits, in a fixed order: id, label, split, group, video and where it lies (file, row)."""
    wanted = set(splits)
    clips: list[dict[str, Any]] = []
    for file in part_files(ingest_dir, CLIPS_TABLE):
        table = storage.read_table(file, CLIPS, ["id", "label", "split", "group", "video"])
        for row, record in enumerate(table.to_pylist()):
            if record["split"] in wanted:
                clips.append({**record, "file": file, "row": row})
    return clips


def read_frames(clip: dict[str, Any]) -> ClipFrames:
    """The frames of one clip of `list_clips`."""
    record = read_clip_row(clip, ["frames", "fps"])
    return ClipFrames(decode_frames(record["frames"]), record["fps"])


def read_clip_row(clip: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    """Columns of one clip of `list_clips`. A clip is a row group, so nothing else is read."""
    fs, path = storage.filesystem(clip["file"])
    with fs.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        check_schema(file.schema_arrow, CLIPS, clip["file"])
        return file.read_row_group(clip["row"], columns=columns).to_pylist()[0]
