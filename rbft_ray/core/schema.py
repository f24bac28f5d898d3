"""The tables between stages, as Arrow schemas. Every file carries its kind and schema version; an unknown one is refused."""

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa

from rbft_ray.core.errors import DataError

SCHEMA_VERSION = 2
SPLITS = ("train", "validation", "test")


class Reason(StrEnum):
    """Why a row ended as a reject."""

    NO_LABEL = "no_label"
    UNKNOWN_LABEL = "unknown_label"
    UNKNOWN_SPLIT = "unknown_split"
    DUPLICATE_ID = "duplicate_id"
    DUPLICATE_VIDEO = "duplicate_video"
    OTHER_LABEL = "other_label"  # the clip is there, under another label
    BAD_ROW = "bad_row"
    MISSING_FILE = "missing_file"
    UNREADABLE_FILE = "unreadable_file"
    NO_VIDEO = "no_video"
    TOO_LARGE = "too_large"
    BAD_TIMES = "bad_times"
    NO_ANSWER = "no_answer"
    MALFORMED_ANSWER = "malformed_answer"
    REFUSAL = "refusal"
    REPETITION = "repetition"
    OTHER_LANGUAGE = "other_language"
    GENERIC = "generic"
    CONTRADICTION = "contradiction"
    UNSUPPORTED = "unsupported"
    EMPTY_REASONING = "empty_reasoning"
    WRONG_ANSWER = "wrong_answer"
    MENTIONS_HINT = "mentions_hint"
    TRUNCATED = "truncated"
    TOO_LONG = "too_long"
    ENGINE_ERROR = "engine_error"
    WORKER_DIED = "worker_died"


DUPLICATES = frozenset(
    {Reason.DUPLICATE_ID, Reason.DUPLICATE_VIDEO, Reason.OTHER_LABEL}
)  # their clip is there, under another row


def _schema(kind: str, fields: list[tuple[str, pa.DataType]], **metadata: str) -> pa.Schema:
    return pa.schema(fields, metadata={"kind": kind, "schema_version": str(SCHEMA_VERSION), **metadata})


_ROW = [("id", pa.string()), ("label", pa.string()), ("split", pa.string()), ("group", pa.string())]

CLIPS = _schema(
    "clips",
    [
        *_ROW,
        ("video", pa.string()),
        ("frames", pa.list_(pa.binary())),  # T encoded frames, as the sampling contract says
        ("frame_times_sec", pa.list_(pa.float64())),  # (T,) true times
        ("fps", pa.float64()),  # rate of the time grid, frames per second
        ("height_px", pa.int32()),
        ("width_px", pa.int32()),
        ("duration_sec", pa.float64()),
        ("source_fps", pa.float64()),
        ("source_frames", pa.int64()),
        ("sampling", pa.string()),  # the sampling contract as JSON
    ],
    row_group_rows="1",  # training and scoring read single clips
)

FEATURES = _schema(
    "features",
    [
        ("id", pa.string()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),  # (video tokens, numbers per token)
        ("values", pa.large_binary()),  # in the order of memory, little-endian
        ("beside", pa.string()),  # JSON: the model's other inputs of the video, by name
        ("frames", pa.int32()),
        ("height_px", pa.int32()),
        ("width_px", pa.int32()),
        ("fps", pa.float64()),  # as in CLIPS
    ],
    row_group_rows="1",  # training reads single clips
)

CANDIDATES_TABLE = "candidates"
CANDIDATES = _schema(
    "rationale_candidates",
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("candidate", pa.int32()),
        ("hinted", pa.bool_()),
        ("text", pa.string()),
        ("answer", pa.string()),
        ("accepted", pa.bool_()),
        ("kept", pa.bool_()),  # the one that stage 1 trains on
        ("reason", pa.string()),  # a Reason; empty where accepted
        ("detail", pa.string()),
        ("closings", pa.list_(pa.float64())),  # (labels,) scores of `rationale_support.closings`; null where not judged
        ("margin", pa.float64()),  # of the label over the best other one, by the text alone; null where not judged
        ("log_probability", pa.float64()),  # mean over the answer's tokens; null where there was nothing to choose from
        ("prompt_hash", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
    ],
)

EXAMINED = _schema(  # preflight
    "examined",
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("log_probabilities", pa.list_(pa.float64())),  # as in SCORES
        ("texts", pa.list_(pa.string())),  # sampled rationales
        ("answers", pa.list_(pa.string())),  # the class that each ends with, else null
        ("truncated", pa.int64()),
        ("prompt_tokens", pa.int64()),
    ],
)

SCORES = _schema(
    "scores",
    [
        *_ROW,
        (
            "log_probabilities",
            pa.list_(pa.float64()),
        ),  # (labels,) of each label's tokens, not normalised over the labels
        ("rationale", pa.string()),  # of the clips that are to be explained, else null
    ],
)

PREDICTIONS_FILE = "predictions.parquet"
PREDICTIONS = _schema(  # of one arm; the metadata hold the label set as JSON (`labels`)
    "predictions",
    [
        *_ROW,
        ("predicted", pa.string()),
        ("probabilities", pa.list_(pa.float64())),  # (labels,) calibrated, in the order of the label set
        ("abstained", pa.bool_()),
        ("log_probabilities", pa.list_(pa.float64())),  # (labels,) as in SCORES
        ("rationale", pa.string()),  # as in SCORES
        ("reasoned", pa.string()),  # the class that the rationale ends with, else null
    ],
)

REJECTS = _schema(
    "rejects",
    [
        ("id", pa.string()),
        ("video", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ],
)


def reject(row: Mapping[str, object], stage: str, reason: Reason, detail: str) -> dict[str, str]:
    """A row of REJECTS for `row` (with `id` and, where known, `video`, `label` and `split`)."""
    return {
        "id": str(row.get("id") or ""),
        **{name: str(row.get(name) or "") for name in ("video", "label", "split")},
        "stage": stage,
        "reason": reason.value,
        "detail": detail,
    }


def check_schema(schema: pa.Schema, expected: pa.Schema, where: str) -> None:
    """Refuses a table of another kind or of an unknown schema version.

    Raises:
        DataError: names the file, what it holds and what was expected.
    """
    found = schema.metadata or {}
    kind, version = found.get(b"kind", b"?").decode(), found.get(b"schema_version", b"?").decode()
    want = expected.metadata[b"kind"].decode()
    if kind != want:
        raise DataError(f"{where}: holds {kind!r}, expected {want!r}")
    if version != str(SCHEMA_VERSION):
        raise DataError(
            f"{where}: schema version {version} is unknown to this rbft (it knows {SCHEMA_VERSION}); "
            "use the version of rbft that wrote it, or delete the step's directory to write it again"
        )
