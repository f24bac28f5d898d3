"""A stage's rows in numbered blocks that commit one by one: the shape of ingest, rationalize and evaluate.

Each block writes its Parquet files and, last, a receipt with its counts. A block with a receipt is never done again, so a
killed stage loses at most the blocks in flight, and a block that is written twice overwrites itself: the output has every row
once. `block_runs` has who does the blocks.

Layout of a stage's directory:
    layout.json           {"block_rows": 16, "rows": a hash of their ids}
    receipts/00007.json   {"read": 16, "written": 15, "rejected": 1}
    <table>/00007.parquet
"""

import posixpath
import re
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from rbft_ray.core.errors import StorageError
from rbft_ray.core.schema import REJECTS, Reason
from rbft_ray.io import storage
from rbft_ray.io.clips import part_files

REJECTS_TABLE = "rejects"


class Counts(NamedTuple):
    """Of one stage: read = written + rejected."""

    read: int = 0
    written: int = 0
    rejected: int = 0

    def plus(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    def check(self, stage: str) -> "Counts":
        if self.read != self.written + self.rejected:
            raise AssertionError(f"{stage}: {self.read} read, but {self.written} written + {self.rejected} rejected")
        return self


class BlockOutput(NamedTuple):
    """What a block gives: rows of the stage's tables ({table: (schema, rows)}), reject rows, and its counts."""

    tables: dict[str, tuple[pa.Schema, list[dict[str, Any]]]]
    rejects: list[dict[str, Any]]
    counts: Counts


def merged(outputs: Sequence[BlockOutput]) -> BlockOutput:
    """The outputs of parts of a block as that of the block."""
    tables: dict[str, tuple[pa.Schema, list[dict[str, Any]]]] = {}
    for output in outputs:
        for table, (schema, rows) in output.tables.items():
            tables.setdefault(table, (schema, []))[1].extend(rows)
    rejects = [row for output in outputs for row in output.rejects]
    return BlockOutput(tables, rejects, reduce(Counts.plus, (output.counts for output in outputs), Counts()))


class BlockWorker(Protocol):
    """A function of one block's rows. With several blocks in flight it is called from as many threads."""

    def __call__(self, rows: list[dict[str, Any]]) -> BlockOutput: ...


def part(out: str, table: str, block: int) -> str:
    """The file of one block of a table."""
    return storage.join(out, table, f"{block:05d}.parquet")


def commit(out: str, block: int, output: BlockOutput) -> Counts:
    """Writes a block's files, its receipt last. Returns its counts."""
    output.counts.check(f"{out}, block {block}")
    for table, (schema, rows) in output.tables.items():
        storage.write_table(part(out, table, block), rows, schema)
    storage.write_table(part(out, REJECTS_TABLE, block), output.rejects, REJECTS)
    storage.write_json(storage.join(out, "receipts", f"{block:05d}.json"), output.counts._asdict())
    return output.counts


def committed(out: str) -> dict[int, Counts]:
    """The counts of every committed block."""
    names = storage.list_files(storage.join(out, "receipts"))
    blocks = [int(name[:5]) for name in names if re.fullmatch(r"\d{5}\.json", name)]
    return {block: Counts(**storage.read_json(storage.join(out, "receipts", f"{block:05d}.json"))) for block in blocks}


def uncommit(out: str, reason: Reason) -> int:
    """Lets every block that rejected a row for this reason be done again. Returns how many there are."""
    files = part_files(out, REJECTS_TABLE)
    blocks = [
        posixpath.basename(file)[:5]
        for file in files
        if any(row["reason"] == reason for row in storage.read_table(file, REJECTS, ["reason"]).to_pylist())
    ]
    for block in blocks:
        storage.delete_file(storage.join(out, "receipts", f"{block}.json"))
    return len(blocks)


def layout(out: str, rows: Sequence[dict[str, Any]], block_rows: int) -> list[list[dict[str, Any]]]:
    """The rows of each block; a stage that was begun with another `block_rows` keeps that.

    Raises:
        StorageError: the stage was begun with other rows, or in another order.
    """
    uri = storage.join(out, "layout.json")
    begun = {"block_rows": block_rows, "rows": storage.sha256("\n".join(row["id"] for row in rows).encode())}
    if storage.exists(uri):
        found = storage.read_json(uri)
        if found["rows"] != begun["rows"]:
            raise StorageError(f"{out}: was begun with other clips, or in another order; delete it and run again")
        block_rows = found["block_rows"]
    else:
        storage.write_json(uri, begun)
    return [list(rows[start : start + block_rows]) for start in range(0, len(rows), block_rows)]


def read_rows(out: str, table: str, schema: pa.Schema, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """All rows of the committed blocks of a table, in the order of the blocks."""
    return [row for part in read_parts(out, table, schema, columns) for row in part.to_pylist()]


def read_parts(out: str, table: str, schema: pa.Schema, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Every committed block of a table, in the order of the blocks."""
    for file in part_files(out, table):
        yield storage.read_table(file, schema, columns)
