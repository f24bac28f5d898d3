"""Files on any file system: local paths, s3:// and gs:// (pyarrow), anything else that fsspec knows (http://, hf://).

A file that appears under its final name is whole: writes go to a temporary name and are renamed (object stores commit a file
when it is closed).
"""

import contextlib
import hashlib
import json
import pathlib
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from rbft_ray.core.errors import StorageError
from rbft_ray.core.schema import check_schema

_ARROW_SCHEMES = ("s3", "gs", "gcs")


def join(base: str, *parts: str) -> str:
    """`base` (path or URI) with `parts` below it; an absolute part or URI stands alone."""
    for part in parts:
        base = part if "://" in part else posixpath.join(base, part)
    return base


def scheme(uri: str) -> str:
    """The scheme of a URI, or '' for a local path."""
    return uri.partition("://")[0] if "://" in uri else ""


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """(file system, path in it) of a path or URI.

    Raises:
        StorageError: the scheme is unknown or its client is not installed.
    """
    kind = scheme(uri)
    try:
        if not kind:
            return pafs.LocalFileSystem(), uri
        below = uri.removeprefix(f"{kind}://")
        if kind == "file":
            return pafs.LocalFileSystem(), below
        if kind in _ARROW_SCHEMES:  # only the bucket goes through the URI parser: names may hold '#', '?' and '%'
            return pafs.FileSystem.from_uri(f"{kind}://{below.partition('/')[0]}")[0], below
        import fsspec

        fs, path = fsspec.core.url_to_fs(uri)
        return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path
    except (ValueError, ImportError, OSError) as error:
        raise StorageError(f"{uri}: cannot be opened: {error}") from error


def exists(uri: str) -> bool:
    """Whether a file or directory of that name is there."""
    fs, path = filesystem(uri)
    return fs.get_file_info(path).type != pafs.FileType.NotFound


def size_bytes(uri: str) -> int | None:
    """Size of a file; None where it is missing or no file."""
    fs, path = filesystem(uri)
    info = fs.get_file_info(path)
    return info.size if info.type == pafs.FileType.File else None


def list_files(uri: str, *, recursive: bool = False) -> list[str]:
    """Sorted paths of the files under a directory, relative to it; empty where the directory is missing."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True, recursive=recursive))
    return sorted(posixpath.relpath(info.path, path) for info in found if info.type == pafs.FileType.File)


def broken_links(uri: str) -> list[str]:
    """Sorted paths of links below a local directory that lead to nothing, which `list_files` passes over."""
    fs, path = filesystem(uri)
    if not isinstance(fs, pafs.LocalFileSystem):
        return []
    links = (found for found in pathlib.Path(path).rglob("*") if found.is_symlink() and not found.exists())
    return sorted(found.relative_to(path).as_posix() for found in links)


def read_bytes(uri: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: it cannot be read.
    """
    fs, path = filesystem(uri)
    try:
        with fs.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        if refusal := _refusal(fs, path):
            raise StorageError(f"{uri}: cannot be read: {refusal}") from None
        raise FileNotFoundError(uri) from None
    except OSError as error:
        raise StorageError(f"{uri}: cannot be read: {error}") from error


def _refusal(fs: pafs.FileSystem, path: str) -> str:
    """What an HTTP server answers for a file, unless that it is not there: fsspec takes every error for that."""
    if not isinstance(fs, pafs.PyFileSystem):
        return ""
    try:
        fs.handler.fs.info(path)
    except FileNotFoundError as error:
        cause = error.__cause__
        return "" if getattr(cause, "status", 404) in (404, 410) else str(cause)
    return ""


def write_bytes(uri: str, content: bytes) -> None:
    """Writes a file atomically, with its directories.

    Raises:
        StorageError: no permission, no space, or another failure to write.
    """
    fs, path = filesystem(uri)
    local = isinstance(fs, pafs.LocalFileSystem)
    target = f"{path}.{uuid.uuid4().hex[:8]}.tmp" if local else path
    try:
        fs.create_dir(posixpath.dirname(path) or ".", recursive=True)
        with fs.open_output_stream(target) as stream:
            stream.write(content)
        if local:
            fs.move(target, path)
    except OSError as error:
        if local:
            with contextlib.suppress(OSError):
                fs.delete_file(target)
        raise StorageError(f"{uri}: cannot be written: {error}. Choose another place with --set storage=DIR") from error


def make_dir(uri: str) -> None:
    """Makes a directory with its parents.

    Raises:
        StorageError: no permission, or a file is in the way.
    """
    fs, path = filesystem(uri)
    try:
        fs.create_dir(path, recursive=True)
    except OSError as error:
        raise StorageError(f"{uri}: cannot be made: {error}. Choose another place with --set storage=DIR") from error


def upload_dir(local_dir: str, uri: str) -> None:
    """Copies a local directory's files to `uri`.

    Raises:
        StorageError: the files cannot be written.
    """
    fs, path = filesystem(uri)
    try:
        fs.create_dir(path, recursive=True)
        pafs.copy_files(local_dir, path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=fs)
    except OSError as error:
        raise StorageError(f"{uri}: cannot be written: {error}") from error


def local_copy(uri: str, local_dir: str) -> str:
    """A local directory with the files of `uri`: `uri` itself where it is local, else a copy in `local_dir`."""
    fs, path = filesystem(uri)
    if isinstance(fs, pafs.LocalFileSystem):
        return path
    pafs.copy_files(path, local_dir, source_filesystem=fs, destination_filesystem=pafs.LocalFileSystem())
    return local_dir


def _node_folder(uri: str, kind: str) -> pathlib.Path:
    return pathlib.Path(tempfile.gettempdir(), f"rbft-{kind}", sha256(uri.encode()))


def node_copy(uri: str, kind: str) -> str:
    """`local_copy` for all processes of a node: made once, in the temporary directory (TMPDIR), by whichever asks first.

    Where files there have changed since, it is made again.
    """
    if not scheme(uri):
        return uri
    folder = _node_folder(uri, kind)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source, begun = folder.with_suffix(".source"), folder.with_suffix(".part")
    with filelock.FileLock(f"{folder}.lock"):
        there = _listing(uri)
        if not folder.exists() or not source.exists() or source.read_text("utf-8") != there:
            for old in (folder, begun):
                shutil.rmtree(old, ignore_errors=True)
            begun.mkdir()
            found = local_copy(uri, str(begun))
            if found != str(begun):  # it is on this node
                return found
            source.write_text(there, "utf-8")
            begun.rename(folder)
    return str(folder)


def _listing(uri: str) -> str:
    """Names, sizes and times of change of the files below a directory, as JSON."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(pafs.FileSelector(path, recursive=True))
    return json.dumps(sorted([one.path, one.size, str(one.mtime_ns)] for one in found if one.is_file))


def drop_node_copy(uri: str, kind: str) -> None:
    """Deletes the copy of `node_copy`, if there is one."""
    folder = _node_folder(uri, kind)
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".source").unlink(missing_ok=True)


def delete_file(uri: str) -> None:
    """Deletes a file."""
    fs, path = filesystem(uri)
    fs.delete_file(path)


def delete_dir(uri: str) -> None:
    """Deletes a directory with all that is in it, if it is there."""
    fs, path = filesystem(uri)
    if fs.get_file_info(path).type == pafs.FileType.Directory:
        fs.delete_dir(path)


def read_json(uri: str) -> Any:
    """A JSON file's value.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: it is no JSON.
    """
    try:
        return json.loads(read_bytes(uri))
    except ValueError as error:
        raise StorageError(f"{uri}: is no JSON: {error}") from error


def write_json(uri: str, value: Any, indent: int | None = 2) -> None:
    """Writes a JSON file atomically, keys in the order given; None for `indent`: on one line, for large values."""
    write_bytes(uri, (json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_table(uri: str, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows as one Parquet file atomically. The schema's metadata (kind, version) goes along.

    `row_group_rows` in the metadata sets the rows per row group, for tables that are read row by row.
    """
    sink = pa.BufferOutputStream()
    group_rows = int(schema.metadata.get(b"row_group_rows", b"65536"))
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd", row_group_size=group_rows)
    write_bytes(uri, sink.getvalue().to_pybytes())


def read_table(uri: str, expected: pa.Schema, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file as a table, checked for its kind and schema version.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: it is no Parquet file.
        DataError: another kind of table, or an unknown schema version.
    """
    fs, path = filesystem(uri)
    with fs.open_input_file(path) as source:
        try:
            file = pq.ParquetFile(source)
        except pa.ArrowInvalid as error:
            raise StorageError(f"{uri}: is no Parquet file: {error}") from None
        check_schema(file.schema_arrow, expected, uri)
        return file.read(columns=columns)


def sha256(content: bytes) -> str:
    """First 16 hex digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
