"""Tables carry their kind and version; rejects are rows of the table of rejects."""

import pyarrow as pa
import pytest

from rbft_ray.core.errors import EXIT_CODES, DataError, RbftError
from rbft_ray.core.schema import CANDIDATES, CLIPS, PREDICTIONS, REJECTS, Reason, check_schema, reject


@pytest.mark.parametrize(
    "schema", [CLIPS, CANDIDATES, PREDICTIONS, REJECTS], ids=lambda schema: schema.metadata[b"kind"]
)
def test_a_table_of_this_version_is_taken(schema: pa.Schema) -> None:
    check_schema(schema, schema, "part.parquet")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"kind": "clips", "schema_version": "99"}, "schema version 99 is unknown"),
        ({"kind": "clips"}, r"schema version \? is unknown"),
        ({"kind": "rejects", "schema_version": "2"}, "holds 'rejects', expected 'clips'"),
        (None, r"holds '\?', expected 'clips'"),
    ],
)
def test_another_kind_or_version_is_refused_with_the_file_named(metadata: dict[str, str] | None, message: str) -> None:
    with pytest.raises(DataError, match=rf"^runs/x/part.parquet: {message}"):
        check_schema(CLIPS.with_metadata(metadata), CLIPS, "runs/x/part.parquet")


@pytest.mark.parametrize(
    ("row", "named"),
    [({"id": "007", "video": "a.mp4", "label": "x"}, ("007", "a.mp4")), ({"id": None}, ("", "")), ({}, ("", ""))],
)
def test_a_reject_fits_its_table(row: dict[str, object], named: tuple[str, str]) -> None:
    record = reject(row, "ingest", Reason.NO_VIDEO, "why")
    assert pa.Table.from_pylist([record], schema=REJECTS).to_pylist() == [record]
    assert (record["id"], record["video"], record["reason"]) == (*named, "no_video")


def test_every_error_has_a_documented_exit_code_of_its_own() -> None:
    codes = [error.exit_code for error in (RbftError, *RbftError.__subclasses__())]
    assert len(set(codes)) == len(codes) and {0, *codes} == set(EXIT_CODES)
