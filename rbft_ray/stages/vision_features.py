"""What the frozen vision tower and merger make of every training clip: computed once, for all epochs, stages and arms.

in:   training clips of `list_clips`, the base
out:  features/NNNNN.parquet (schema FEATURES), rejects/NNNNN.parquet: clips whose frames the model does not take
"""

from functools import partial
from typing import Any

from rbft_ray.core.errors import DataError, StorageError
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import FEATURES, REJECTS, Reason, reject
from rbft_ray.io import storage
from rbft_ray.io.clips import part_files, read_frames
from rbft_ray.model.vision_features import features_row, takes_features, vision_features
from rbft_ray.model.vlm import Vlm, load
from rbft_ray.runtime.block_runs import run_blocks
from rbft_ray.runtime.blocks import REJECTS_TABLE, BlockOutput, BlockWorker, Counts, read_rows

STAGE = "vision_features"
FEATURES_TABLE = "features"
BLOCK_CLIPS = 4  # a long clip has tens of MiB of features, and a block is in memory as a whole


def features_block(clips: list[dict[str, Any]], loaded: Vlm) -> BlockOutput:
    """The features of one block of clips."""
    rows, rejects = [], []
    for clip, frames in zip(clips, read_frames(clips), strict=True):
        try:
            rows.append(features_row(clip["id"], frames, vision_features(loaded, frames)))
        except DataError as error:
            rejects.append(reject(clip, STAGE, Reason.ENGINE_ERROR, str(error)))
    return BlockOutput({FEATURES_TABLE: (FEATURES, rows)}, rejects, Counts(len(clips), len(rows), len(rejects)))


def _make_worker(base: str, revision: str | None, dtype: str, device: str) -> BlockWorker:
    loaded = load(base, dtype=dtype, revision=revision, device=device)
    return lambda clips: features_block(clips, loaded)


def compute_features(
    out: str,
    clips: list[dict[str, Any]],
    base: str,
    revision: str | None,
    dtype: str,
    needs: Needs,
    *,
    no_progress_timeout_sec: float,
) -> Counts:
    """Writes the features of `clips` in `dtype` (a key of `vlm.DTYPES`); of a base whose family cannot be given any, none.

    Raises:
        DataError: there is no such base.
    """
    if not takes_features(base, revision):
        return Counts()
    return run_blocks(
        STAGE,
        out,
        clips,
        partial(_make_worker, base, revision, dtype, needs.device),
        needs,
        block_rows=BLOCK_CLIPS,
        no_progress_timeout_sec=no_progress_timeout_sec,
    )


def with_features(clips: list[dict[str, Any]], out: str) -> list[dict[str, Any]]:
    """`clips` with `features`, where each one's lie (file, row), without those that were rejected.

    Where the step in `out` wrote no features, since the base's family cannot be given any, `clips` as they are.

    Raises:
        StorageError: a clip is neither there nor rejected.
    """
    places = {
        row["id"]: {"file": file, "row": number}
        for file in part_files(out, FEATURES_TABLE)
        for number, row in enumerate(storage.read_table(file, FEATURES, ["id"]).to_pylist())
    }
    if not places and not part_files(out, FEATURES_TABLE):
        return clips
    refused = {row["id"] for row in read_rows(out, REJECTS_TABLE, REJECTS, ["id"])}
    if lost := [clip["id"] for clip in clips if clip["id"] not in places and clip["id"] not in refused]:
        raise StorageError(f"{out}: has no features of {len(lost)} clips, such as {lost[0]}; delete it and run again")
    return [{**clip, "features": places[clip["id"]]} for clip in clips if clip["id"] in places]
