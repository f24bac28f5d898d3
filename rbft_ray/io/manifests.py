"""Data sets as they lie on disk -> rows with id, video, label, split, group. Which column is what comes from the configuration.

Manifests are read as text by pandas, not by Ray Data's readers: those infer types ("007" becomes 7), and the rows are needed
before a cluster exists, for the identity of the run and for the dry run. Ray Data takes over with the rows.
"""

import io
import posixpath
import string
from collections.abc import Iterator, Mapping

import pandas as pd

from rbft_ray.core.config import DataConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.labels import Row
from rbft_ray.core.schema import SPLITS, Reason, reject
from rbft_ray.io import storage

STAGE = "ingest"


def read_manifest(data: DataConfig) -> tuple[list[Row], list[Row]]:
    """(rows, rejects) of every manifest that `data` names, in order. `video` is a path or URI that can be opened.

    Raises:
        DataError: a manifest is missing, empty, of an unknown form, or lacks a configured column.
    """
    if data.manifest is None:
        raise DataError("data.manifest: is not set")
    sources = data.manifest if isinstance(data.manifest, dict) else {"": data.manifest}
    rows: list[Row] = []
    rejects: list[Row] = []
    for split, uri in sources.items():
        for number, record in enumerate(_records(uri, data), start=1):
            try:
                rows.append(_row(record, data, uri, split))
            except (KeyError, ValueError) as error:
                detail = str(error.args[0]) if error.args else str(error)
                rejects.append(reject({"id": f"{uri}#{number}"}, STAGE, Reason.BAD_ROW, detail))
    if not rows:
        named = ", ".join(sources.values())
        why = f"; the first row: {rejects[0]['detail']}" if rejects else ""
        raise DataError(f"{named}: no usable row in the manifest{why}")
    return rows, rejects


def _records(uri: str, data: DataConfig) -> Iterator[dict[str, str]]:
    suffix = posixpath.splitext(uri)[1].lower()
    if suffix not in _READERS:
        yield from _folder_of_classes(uri)
        return
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        raise DataError(f"{uri}: no such manifest; set data.manifest to a file or a folder of classes") from None
    try:
        frame = _READERS[suffix](content) if content.strip() else pd.DataFrame()
    except Exception as error:  # pandas raises its own, ValueError, ArrowInvalid
        raise DataError(f"{uri}: cannot be read as {suffix[1:].upper()}: {str(error).splitlines()[0]}") from None
    if frame.empty:
        raise DataError(f"{uri}: the manifest is empty")
    wanted = {data.label, *_columns(data.video, frame), *_columns(data.id or "", frame)}
    lacking = sorted(wanted - set(frame.columns))
    if lacking:
        raise DataError(
            f"{uri}: has no column {lacking[0]!r} (it has {list(frame.columns)}); "
            "name the columns with data.video, data.label, data.id"
        )
    for record in frame.astype(object).where(frame.notna(), "").to_dict("records"):
        yield {str(key): str(value).strip() for key, value in record.items()}


def _read_csv(content: bytes, separator: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")


_READERS = {
    ".csv": lambda content: _read_csv(content, ","),
    ".tsv": lambda content: _read_csv(content, "\t"),
    ".jsonl": lambda content: pd.read_json(io.BytesIO(content), lines=True, dtype=False, convert_dates=False),
    ".parquet": lambda content: pd.read_parquet(io.BytesIO(content)),
}


def _columns(template: str, frame: pd.DataFrame) -> set[str]:
    names = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    stems = {name for name in names if name.endswith("_stem") and name not in frame.columns}
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
    return {
        "id": named_id or video,
        "video": storage.join(root, video),
        "relative": video,
        "label": record[data.label],
        "split": split or (record.get(data.split, "") if data.split else ""),
        "group": record.get(data.group, "") if data.group else "",
    }


def _folder_of_classes(uri: str) -> Iterator[dict[str, str]]:
    """`class/file` or `split/class/file` below `uri`. Files above the class level and hidden files are no clips."""
    names = storage.list_files(uri, recursive=True)
    if not names:
        what = "the folder is empty" if storage.exists(uri) else "no such file or folder"
        raise DataError(f"{uri}: {what}; data.manifest names a CSV, TSV, JSONL or Parquet file or a folder of classes")
    split_names = {*SPLITS, "val", "valid", "dev"}
    for name in names:
        *above, file = name.split("/")
        if not above or any(part.startswith(".") for part in (*above, file)):
            continue
        with_split = len(above) > 1 and above[0] in split_names
        label = above[1] if with_split else above[0]
        yield {"path": name, "label": label, "split": above[0] if with_split else "", "folder_root": uri}
