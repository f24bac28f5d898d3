"""Finding clips in the Parquet files of an ingest step, and reading single ones. A video is never opened again."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rbft_ray.core.schema import CLIPS, check_schema
from rbft_ray.io import storage
from rbft_ray.io.video import decode_frames

FRAME_COLUMNS = ["frames", "fps"]
CLIPS_TABLE = "clips"
PART_NAME = re.compile(r"(\d{5}|manifest|selection)\.parquet")  # one per block; others: rejects before and after blocks


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


def read_frames(clips: Sequence[dict[str, Any]]) -> list[ClipFrames]:
    """The frames of clips of `list_clips`."""
    return [decoded(row) for row in read_clip_rows(clips, FRAME_COLUMNS)]


def decoded(row: dict[str, Any]) -> ClipFrames:
    """The frames of a row of FRAME_COLUMNS."""
    return ClipFrames(decode_frames(row["frames"]), row["fps"])


def read_clip_rows(clips: Sequence[dict[str, Any]], columns: list[str]) -> list[dict[str, Any]]:
    """Columns of clips of `list_clips`."""
    return read_rows_at(clips, CLIPS, columns)


def read_rows_at(
    places: Sequence[dict[str, Any]], schema: pa.Schema, columns: list[str] | None = None
) -> list[dict[str, Any]]:
    """Rows of a table by where they lie (file, row), each file opened once.

    The schema has one row per row group, so that nothing else is read.
    """
    by_file: dict[str, list[int]] = {}
    for index, place in enumerate(places):
        by_file.setdefault(place["file"], []).append(index)
    found: dict[int, dict[str, Any]] = {}
    for uri, indices in by_file.items():
        fs, path = storage.filesystem(uri)
        with fs.open_input_file(path) as source:
            file = pq.ParquetFile(source)
            check_schema(file.schema_arrow, schema, uri)
            rows = file.read_row_groups([places[index]["row"] for index in indices], columns=columns).to_pylist()
        found.update(zip(indices, rows, strict=True))
    return [found[index] for index in range(len(places))]
