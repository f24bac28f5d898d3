"""Manifest rows -> clips. Every video is opened once, sampled by the contract, and stored as encoded frames.

in:   rows {id, video, label, split, group}
out:  clips/NNNNN.parquet (schema CLIPS), rejects/NNNNN.parquet; one row in, one clip or one reject out
"""

from functools import partial
from typing import Any

from rbft_ray.core.resources import Needs
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import CLIPS, Reason, reject
from rbft_ray.io import storage
from rbft_ray.io.clips import CLIPS_TABLE
from rbft_ray.io.video import VideoError, read_clip
from rbft_ray.runtime.block_runs import run_blocks
from rbft_ray.runtime.blocks import BlockOutput, BlockWorker, Counts, uncommit

STAGE = "ingest"


def ingest_row(row: dict[str, Any], contract: SamplingContract) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(clip, None) or (None, reject) of one manifest row."""
    try:
        clip = read_clip(storage.read_bytes(row["video"]), contract)
    except FileNotFoundError:
        return None, reject(row, STAGE, Reason.MISSING_FILE, f"{row['video']}: no such file")
    except VideoError as error:
        return None, reject(row, STAGE, error.reason, f"{row['video']}: {error}")
    except Exception as error:  # a network or permission error of one file must not end the stage
        return None, reject(row, STAGE, Reason.UNREADABLE_FILE, f"{row['video']}: {type(error).__name__}: {error}")
    named = {name: row[name] for name in ("id", "label", "split", "group", "video")}
    return {**named, **clip._asdict(), "sampling": contract.model_dump_json()}, None


def _ingest_block(contract_json: str) -> BlockWorker:
    contract = SamplingContract.model_validate_json(contract_json)

    def work(rows: list[dict[str, Any]]) -> BlockOutput:
        clips: list[dict[str, Any]] = []
        rejects: list[dict[str, Any]] = []
        for row in rows:
            clip, rejected = ingest_row(row, contract)
            if clip is not None:
                clips.append(clip)
            if rejected is not None:
                rejects.append(rejected)
        counts = Counts(len(rows), len(clips), len(rejects))
        return BlockOutput({CLIPS_TABLE: (CLIPS, clips)}, rejects, counts)

    return work


def ingest(
    out: str,
    rows: list[dict[str, Any]],
    contract: SamplingContract,
    needs: Needs,
    *,
    block_clips: int,
    no_progress_timeout_sec: float,
) -> Counts:
    """Decodes and samples every row's video into `out`. Returns the counts of these rows.

    Files that are there and cannot be read (a network, a permission) are tried twice, and again where the step goes on later.
    """
    work = partial(
        run_blocks,
        STAGE,
        out,
        rows,
        partial(_ingest_block, contract.model_dump_json()),
        needs,
        block_rows=block_clips,
        no_progress_timeout_sec=no_progress_timeout_sec,
    )
    uncommit(out, Reason.UNREADABLE_FILE)
    counts = work()
    return work() if uncommit(out, Reason.UNREADABLE_FILE) else counts
