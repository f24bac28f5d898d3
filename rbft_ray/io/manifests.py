"""Data sets as they lie on disk -> rows with id, video, label, split, group. Which column is what comes from the configuration.

Manifests are read as text and not by Ray Data's readers: those infer types ("007" becomes 7), and the rows are needed before a
cluster exists, for the identity of the run and for the dry run. Ray Data takes over with the rows.
"""

import csv
import io
import json
import posixpath
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from rbft_ray.core.config import DataConfig
from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.labels import Row
from rbft_ray.core.schema import SPLITS, Reason, reject
from rbft_ray.io import storage

STAGE = "ingest"
FORMS = "CSV, TSV, JSONL or Parquet file or a folder of classes"


def read_manifest(data: DataConfig, *, labelled: bool = True) -> tuple[list[Row], list[Row]]:
    """(rows, rejects) of every manifest that `data` names, in order. `video` is a path or URI that can be opened.

    Args:
        labelled: False: a column of labels is not needed.

    Raises:
        ConfigError: a template that does not parse.
        DataError: a manifest is missing, empty, of an unknown form, or lacks a configured column.
    """
    if data.manifest is None:
        raise DataError("data.manifest: is not set")
    sources = data.manifest if isinstance(data.manifest, dict) else {"": data.manifest}
    rows: list[Row] = []
    rejects: list[Row] = []
    for split, uri in sources.items():
        for number, record in enumerate(_records(uri, data, labelled), start=1):
            try:
                rows.append(_row(record if labelled else {data.label: "", **record}, data, uri, split))
            except (KeyError, ValueError) as error:
                detail = str(error.args[0]) if error.args else str(error)
                row_id = f"{posixpath.basename(uri)}#{number}"
                rejects.append(reject({"id": row_id}, STAGE, Reason.BAD_ROW, detail))
    if not rows:
        named = ", ".join(sources.values())
        why = f"; the first row: {rejects[0]['detail']}" if rejects else ""
        raise DataError(f"{named}: no usable row in the manifest{why}")
    return rows, rejects


def read_videos(uri: str, data: DataConfig) -> tuple[list[Row], list[Row]]:
    """As `read_manifest`, of what nobody has labelled: a manifest, a folder of videos at any depth, or one video.

    Split and group are empty, and labels that a manifest has are not looked at. A row whose id an earlier one has is rejected.

    Raises:
        ConfigError, DataError: as `read_manifest`.
    """
    if _suffix(uri) in _READERS:
        unlabelled = data.model_copy(update={"manifest": uri, "split": None, "group": None})
        rows, rejects = read_manifest(unlabelled, labelled=False)
    elif storage.size_bytes(uri) is not None:
        rows, rejects = [_unlabelled(posixpath.basename(uri), uri)], []
    else:
        names = [name for name in storage.list_files(uri, recursive=True) if not re.search(r"(^|/)\.", name)]
        if not names:
            what = "the folder has no file" if storage.exists(uri) else "no such file or folder"
            raise DataError(f"{uri}: {what}; name a video, a folder of videos, or a manifest")
        rows, rejects = [_unlabelled(name, storage.join(uri, name)) for name in names], []
    first = {row["id"]: index for index, row in reversed(list(enumerate(rows)))}
    for index, row in enumerate(rows):
        if first[row["id"]] != index:
            rejects.append(reject(row, STAGE, Reason.DUPLICATE_ID, "an earlier row has the same id"))
    return [rows[index] for index in sorted(first.values())], rejects


def _unlabelled(name: str, video: str) -> Row:
    return {"id": name, "video": video, "relative": name, "label": "", "split": "", "group": ""}


def _suffix(uri: str) -> str:
    return posixpath.splitext(uri)[1].lower()


def _records(uri: str, data: DataConfig, labelled: bool) -> Iterator[dict[str, str]]:
    suffix = _suffix(uri)
    if suffix not in _READERS:
        yield from _folder_of_classes(uri, {*SPLITS, *map(str.lower, data.split_names)})
        return
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        raise DataError(f"{uri}: no such manifest; set data.manifest to a file or a folder of classes") from None
    try:
        records = _READERS[suffix](content) if content.strip() else []
    except (ValueError, csv.Error, pa.ArrowException) as error:
        raise DataError(f"{uri}: cannot be read as {suffix[1:].upper()}: {str(error).splitlines()[0]}") from None
    if not records:
        raise DataError(f"{uri}: the manifest is empty")
    columns = list(dict.fromkeys(key for record in records for key in record if key))  # a nameless one: pandas' index
    wanted = {*_columns("data.video", data.video, columns), *_columns("data.id", data.id or "", columns)}
    wanted |= {data.label} if labelled else set()
    lacking = sorted(wanted - set(columns))
    if lacking:
        mend = "name the columns with data.video, data.label, data.id"
        if len(columns) == 1 and (other := next((mark for mark in ";|\t," if mark in columns[0]), None)):
            mend = f"its columns are separated by {other!r}: separate them by commas, or by tabs in a .tsv"
        raise DataError(f"{uri}: has no column {lacking[0]!r} (it has {columns}); {mend}")
    for record in records:
        if labelled and isinstance(record.get(data.label), (list, dict)):
            raise DataError(
                f"{uri}: column {data.label!r} holds {record[data.label]!r}: the task is one label per clip"
            )
        yield {column: _text(record.get(column)) for column in columns}


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()  # NaN is not equal to itself


def _read_csv(content: bytes, separator: str) -> list[dict[str, object]]:
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
    records: list[dict[str, object]] = []
    for record in reader:
        if any(record.pop(None, [])):
            raise ValueError(f"line {reader.line_num} has more values than the header has columns")
        records.append({str(key): value for key, value in record.items()})
    return records


def _read_jsonl(content: bytes) -> list[dict[str, object]]:
    records = [json.loads(line) for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    if any(not isinstance(record, dict) for record in records):
        raise ValueError("every line must hold one JSON object")
    return records


_READERS: dict[str, Callable[[bytes], list[dict[str, object]]]] = {
    ".csv": lambda content: _read_csv(content, ","),
    ".tsv": lambda content: _read_csv(content, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": lambda content: pq.read_table(io.BytesIO(content)).to_pylist(),
}


def _columns(key: str, template: str, columns: Sequence[str]) -> set[str]:
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    except ValueError as error:
        raise ConfigError(f"{key}: {template!r} is no template: {error}") from None
    if not names and template in columns:
        raise ConfigError(
            f"{key}: {template!r} is the same for every row; write {{{template}}} for what the column holds"
        )
    stems = {name for name in names if name.endswith("_stem") and name not in columns}
    return (names - stems) | {name.removesuffix("_stem") for name in stems}


def _fill(template: str, record: Mapping[str, str]) -> str:
    stems = {f"{key}_stem": posixpath.splitext(posixpath.basename(value))[0] for key, value in record.items()}
    return template.format_map({**stems, **record})


def _row(record: Mapping[str, str], data: DataConfig, uri: str, split: str) -> Row:
    video = _fill(data.video, record)
    if not posixpath.basename(video):
        raise ValueError(f"data.video {data.video!r} names no file in this row")
    root = data.video_root or (uri if "folder_root" in record else posixpath.dirname(uri))
    named_id = _fill(data.id, record) if data.id else record.get("id", "")
    default_id = f"{split}/{video}" if split else video
    return {
        "id": named_id or default_id,
        "video": storage.join(root, video),
        "relative": video,
        "label": record[data.label],
        "split": split or (record.get(data.split, "") if data.split else ""),
        "group": record.get(data.group, "") if data.group else "",
    }


def _folder_of_classes(uri: str, split_names: set[str]) -> Iterator[dict[str, str]]:
    """`class/file` or `split/class/file` below `uri`. Files above the class level and hidden files are no clips.

    A link to a file that is not there is a row: its video is missing.
    """
    if storage.size_bytes(uri) is not None:
        raise DataError(f"{uri}: of an unknown form; data.manifest names a {FORMS}")
    names = sorted([*storage.list_files(uri, recursive=True), *storage.broken_links(uri)])
    if not names:
        what = "the folder is empty" if storage.exists(uri) else "no such file or folder"
        raise DataError(f"{uri}: {what}; data.manifest names a {FORMS}")
    for name in names:
        *above, file = name.split("/")
        if not above or any(part.startswith(".") for part in (*above, file)):
            continue
        with_split = len(above) > 1 and above[0].lower() in split_names
        label = above[1] if with_split else above[0]
        yield {"path": name, "label": label, "split": above[0] if with_split else "", "folder_root": uri}
