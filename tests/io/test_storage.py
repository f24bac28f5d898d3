"""Storage: the same behaviour on local paths, file:// URIs and an fsspec file system."""

import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from rbft_ray.core.errors import DataError, StorageError
from rbft_ray.core.schema import CLIPS, REJECTS, Reason, reject
from rbft_ray.io import storage

ROWS = [reject({"id": str(i), "video": f"{i}.mp4"}, "ingest", Reason.NO_VIDEO, "why") for i in range(3)]


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"path": str(tmp_path), "file": tmp_path.as_uri(), "memory": f"memory://{uuid.uuid4().hex}/dir"}[
        request.param
    ]


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that refuses every write, as for a user without permission (the tests may run as root)."""

    class ReadOnly(fsspec.get_filesystem_class("memory")):
        def mkdir(self, path: str, create_parents: bool = True, **kwargs: object) -> None:
            raise PermissionError(13, "Permission denied", path)

    refusing = pafs.PyFileSystem(pafs.FSSpecHandler(ReadOnly()))
    monkeypatch.setattr(storage, "filesystem", lambda uri: (refusing, uri))


def test_bytes_come_back_and_directories_are_made(place: str) -> None:
    uri = storage.join(place, "a", "b", "c.bin")
    assert not storage.exists(uri) and storage.size_bytes(uri) is None
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"other")
    assert storage.read_bytes(uri) == b"other"
    assert storage.exists(uri) and storage.size_bytes(uri) == 5
    assert storage.exists(storage.join(place, "a")) and storage.size_bytes(storage.join(place, "a")) is None


def test_files_are_listed_sorted_and_relative(place: str) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        storage.write_bytes(storage.join(place, name), b"")
    assert storage.list_files(place) == ["a.txt", "b.txt"]
    assert storage.list_files(place, recursive=True) == ["a.txt", "b.txt", "sub/c.txt"]
    assert storage.list_files(storage.join(place, "missing")) == []


def test_a_missing_file_is_named_as_it_was_asked_for(place: str) -> None:
    uri = storage.join(place, "missing.bin")
    with pytest.raises(FileNotFoundError) as error:
        storage.read_bytes(uri)
    assert str(error.value) == uri


def test_json_comes_back_in_its_order(place: str) -> None:
    uri, value = storage.join(place, "x.json"), {"b": [1, None, "ä"], "a": {"c": 0.5}}
    storage.write_json(uri, value)
    assert list(storage.read_json(uri)) == ["b", "a"] and storage.read_json(uri) == value
    assert "ä" in storage.read_bytes(uri).decode()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff"])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"x\.json: is no JSON"):
        storage.read_json(str(path))


def test_tables_come_back_with_kind_and_version(place: str) -> None:
    uri = storage.join(place, "rejects.parquet")
    storage.write_table(uri, ROWS, REJECTS)
    table = storage.read_table(uri, REJECTS)
    assert table.to_pylist() == ROWS and table.schema.metadata[b"kind"] == b"rejects"
    assert storage.read_table(uri, REJECTS, ["id"]).to_pylist() == [{"id": "0"}, {"id": "1"}, {"id": "2"}]
    with pytest.raises(DataError, match="holds 'rejects', expected 'clips'"):
        storage.read_table(uri, CLIPS)


def test_an_empty_table_keeps_its_schema(tmp_path: Path) -> None:
    uri = str(tmp_path / "none.parquet")
    storage.write_table(uri, [], REJECTS)
    assert storage.read_table(uri, REJECTS).schema.names == REJECTS.names


def test_a_table_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "rejects.parquet")
    newer = REJECTS.with_metadata({**REJECTS.metadata, b"schema_version": b"99"})
    storage.write_table(uri, ROWS, newer)
    with pytest.raises(DataError, match=r"rejects\.parquet: schema version 99 is unknown"):
        storage.read_table(uri, REJECTS)


def test_a_missing_table_is_a_missing_file(place: str) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_table(storage.join(place, "missing.parquet"), REJECTS)


def test_a_file_that_is_no_table_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no table")
    with pytest.raises((DataError, StorageError), match=r"x\.parquet"):
        storage.read_table(str(tmp_path / "x.parquet"), REJECTS)


def test_tables_that_are_read_by_row_have_a_row_group_per_row(tmp_path: Path) -> None:
    storage.write_table(str(tmp_path / "clips.parquet"), [{"id": str(i)} for i in range(3)], CLIPS)
    storage.write_table(str(tmp_path / "rejects.parquet"), ROWS, REJECTS)
    groups = [pq.ParquetFile(tmp_path / name).num_row_groups for name in ("clips.parquet", "rejects.parquet")]
    assert groups == [3, 1]


def test_a_write_leaves_only_the_file(tmp_path: Path) -> None:
    storage.write_bytes(str(tmp_path / "x.bin"), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "x.bin")
    storage.write_bytes(uri, b"old")

    class FullDisk(pafs.LocalFileSystem):
        def open_output_stream(self, path: str, *args: object, **kwargs: object) -> object:
            Path(path).write_bytes(b"ne")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pafs, "LocalFileSystem", FullDisk)
    with pytest.raises(StorageError, match="No space left"):
        storage.write_bytes(uri, b"new")
    assert storage.read_bytes(uri) == b"old"


def test_a_write_that_fails_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        storage.write_bytes(str(tmp_path / "x"), b"")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    "write", [lambda uri: storage.write_bytes(uri, b""), storage.make_dir], ids=["file", "directory"]
)
def test_a_refused_permission_says_what_to_do(read_only: None, write) -> None:
    with pytest.raises(StorageError, match=r"^/data/x: cannot be .*Permission denied.*--set storage=DIR$"):
        write("/data/x")


def test_an_upload_without_permission_names_the_place(read_only: None, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^/data/x: cannot be written: .*Permission denied"):
        storage.upload_dir(str(tmp_path), "/data/x")


@pytest.mark.parametrize(
    "write", [lambda uri: storage.write_bytes(uri, b""), storage.make_dir], ids=["file", "directory"]
)
def test_a_file_in_the_way_is_an_error_with_the_place(tmp_path: Path, write) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file/below: cannot be .*--set storage=DIR$"):
        write(str(tmp_path / "file" / "below"))


def test_reading_a_directory_is_an_error_with_the_place(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=f"^{tmp_path}: cannot be read"):
        storage.read_bytes(str(tmp_path))


@pytest.mark.parametrize("call", [storage.read_bytes, storage.exists, storage.list_files, storage.make_dir])
def test_an_unknown_scheme_is_refused(call) -> None:
    with pytest.raises(StorageError, match=r"^nosuch://a/b: cannot be opened"):
        call("nosuch://a/b")


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("runs", "a", "b.txt"), "runs/a/b.txt"),
        (("s3://bucket/x", "a.mp4"), "s3://bucket/x/a.mp4"),
        (("runs", "s3://bucket/a.mp4"), "s3://bucket/a.mp4"),
        (("s3://bucket/x", "/data/a.mp4"), "/data/a.mp4"),
        (("", "a.mp4"), "a.mp4"),
    ],
)
def test_join(parts: tuple[str, ...], joined: str) -> None:
    assert storage.join(*parts) == joined


@pytest.mark.parametrize("name", ["my clip.mp4", "take#2.mp4", "why?.mp4", "50%25.mp4"])
def test_any_file_name_can_be_read_below_a_file_uri(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"content")
    base = tmp_path.as_uri()
    assert storage.list_files(base) == [name]
    assert storage.read_bytes(storage.join(base, name)) == b"content"


def test_a_directory_goes_up_and_comes_back(place: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    (source / "sub").mkdir()
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.txt").write_text("b")
    uri = storage.join(place, "uploaded")
    storage.upload_dir(str(source), uri)
    copy = Path(storage.local_copy(uri, str(target)))
    assert (copy / "a.txt").read_text() == "a" and (copy / "sub" / "b.txt").read_text() == "b"
    assert (copy == target) == place.startswith("memory://")


def test_made_directories_exist(place: str) -> None:
    uri = storage.join(place, "a", "b")
    storage.make_dir(uri)
    storage.make_dir(uri)
    assert storage.exists(uri)


def test_a_deleted_file_is_gone(place: str) -> None:
    uri = storage.join(place, "x.bin")
    storage.write_bytes(uri, b"")
    storage.delete_file(uri)
    assert not storage.exists(uri)


def test_the_hash_tells_contents_apart() -> None:
    assert storage.sha256(b"") == "e3b0c44298fc1c14" and storage.sha256(b"a") != storage.sha256(b"b")


@pytest.mark.parametrize(("status", "error"), [(404, FileNotFoundError), (403, StorageError), (503, StorageError)])
def test_a_server_that_refuses_is_told_from_a_file_that_is_not_there(status: int, error: type[Exception]) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(status)

        do_GET = do_HEAD

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(error) as raised:
            storage.read_bytes(f"http://127.0.0.1:{server.server_port}/a.mp4")
        server.shutdown()
    assert status == 404 or str(status) in str(raised.value)
