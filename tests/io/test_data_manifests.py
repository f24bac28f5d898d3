"""Manifests in every form give the same rows, as text."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbft_ray.core.config import DataConfig
from rbft_ray.core.errors import ConfigError, DataError, RbftError
from rbft_ray.io.manifests import read_manifest

RECORDS = [
    {"id": "007", "path": "a.mp4", "label": "cat", "split": "train", "group": "12"},
    {"id": "-1", "path": "sub/b.mp4", "label": "NA", "split": "val", "group": ""},
    {"id": "1e5", "path": "c d.mp4", "label": "dog, small", "split": "", "group": "2020-01-01"},
    {"id": "0x1F", "path": "ä.mp4", "label": "null", "split": "test", "group": "True"},
]


def csv_bytes(frame: pd.DataFrame, separator: str = ",", line_end: str = "\n", encoding: str = "utf-8") -> bytes:
    return frame.to_csv(sep=separator, lineterminator=line_end, index=False).encode(encoding)


FORMS: dict[str, tuple[str, Callable[[pd.DataFrame], bytes]]] = {
    "csv": (".csv", csv_bytes),
    "csv with BOM and CRLF": (".csv", lambda frame: csv_bytes(frame, line_end="\r\n", encoding="utf-8-sig")),
    "tsv": (".tsv", lambda frame: csv_bytes(frame, separator="\t")),
    "jsonl": (".jsonl", lambda frame: frame.to_json(orient="records", lines=True).encode()),
    "parquet": (".parquet", lambda frame: frame.to_parquet()),
    "upper case": (".CSV", csv_bytes),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Writes a file below a temporary folder and gives its path."""

    def write(name: str, content: str | bytes = b"") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def class_folder(write, tmp_path: Path) -> Callable[..., str]:
    def make(*names: str) -> str:
        for name in names:
            write(f"set/{name}")
        (tmp_path / "set").mkdir(exist_ok=True)
        return str(tmp_path / "set")

    return make


def rows_of(manifest: str | dict[str, str], **data: object) -> list[dict[str, str]]:
    return read_manifest(DataConfig(manifest=manifest, **data))[0]


def column(rows: list[dict[str, str]], name: str) -> list[str]:
    return [row[name] for row in rows]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows_as_text(write, tmp_path: Path, form: str) -> None:
    suffix, encode = FORMS[form]
    rows, rejects = read_manifest(DataConfig(manifest=write(f"set{suffix}", encode(pd.DataFrame(RECORDS)))))
    assert not rejects
    for name in ("id", "label", "split", "group"):
        assert column(rows, name) == [record[name] for record in RECORDS]
    assert column(rows, "video") == [f"{tmp_path}/{record['path']}" for record in RECORDS]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "texts", [["007", "08"], ["-1", "-2.50"], ["2020-01-01", "2020-1-2"], ["true", "false"], ["1", ""]]
)
def test_columns_that_look_like_another_type_stay_text(write, form: str, texts: list[str]) -> None:
    suffix, encode = FORMS[form]
    frame = pd.DataFrame({"path": ["a.mp4", "b.mp4"], "label": ["cat", "dog"], "group": texts, "date": texts})
    assert column(rows_of(write(f"set{suffix}", encode(frame))), "group") == texts
    assert column(rows_of(write(f"set{suffix}", encode(frame)), group="date"), "group") == texts


def test_a_manifest_is_read_from_a_uri(write, tmp_path: Path) -> None:
    write("set.csv", "path,label\na.mp4,cat\n")
    assert column(rows_of(f"{tmp_path.as_uri()}/set.csv"), "video") == [f"{tmp_path.as_uri()}/a.mp4"]


def test_an_id_falls_back_to_the_video_path(write) -> None:
    assert column(rows_of(write("set.csv", "path,label\nsub/a.mp4,cat\n")), "id") == ["sub/a.mp4"]


def test_videos_lie_below_the_video_root(write) -> None:
    manifest = write("set.csv", "path,label\na.mp4,cat\n/abs/b.mp4,dog\ns3://bucket/c.mp4,dog\n")
    videos = column(rows_of(manifest, video_root="s3://videos/x"), "video")
    assert videos == ["s3://videos/x/a.mp4", "/abs/b.mp4", "s3://bucket/c.mp4"]


def test_manifests_of_splits_may_name_different_videos_alike(write, tmp_path: Path) -> None:
    train, test = (write(f"{split}/list.csv", "path,label\nv0.mp4,cat\n") for split in ("train", "test"))
    rows = rows_of({"train": train, "test": test})
    assert column(rows, "id") == ["train/v0.mp4", "test/v0.mp4"]
    assert column(rows, "video") == [f"{tmp_path}/train/v0.mp4", f"{tmp_path}/test/v0.mp4"]


def test_a_nameless_column_such_as_an_index_is_passed_over(write) -> None:
    frame = pd.DataFrame({"path": ["a.mp4", "b.mp4"], "label": ["cat", "dog"]})
    assert column(rows_of(write("set.csv", frame.to_csv())), "video")[1].endswith("/b.mp4")
    with pytest.raises(DataError, match="line 2 has more values than the header has columns"):
        rows_of(write("long.csv", "path,label\na.mp4,cat,x\n"))


@pytest.mark.parametrize("key", ["video", "id"])
def test_a_column_where_a_template_belongs_is_told_apart(write, key: str) -> None:
    manifest = write("set.csv", "path,label\na.mp4,cat\n")
    with pytest.raises(ConfigError, match=rf"data\.{key}: 'path' is the same for every row; write {{path}}"):
        rows_of(manifest, **{key: "path"})


def test_templates_name_columns_and_their_stems(write) -> None:
    manifest = write("set.csv", "name,camera,class\nraw/clip.avi,7,cat\n")
    [row] = rows_of(
        manifest, video="cam{camera}/{name_stem}.mp4", id="{camera}-{name_stem}", label="class", group="camera"
    )
    assert (row["id"], row["relative"], row["label"], row["group"]) == ("7-clip", "cam7/clip.mp4", "cat", "7")


def test_a_column_that_ends_in_stem_wins_over_the_stem(write) -> None:
    manifest = write("set.csv", "path,path_stem,label\nraw/clip.avi,other,cat\n")
    assert column(rows_of(manifest, id="{path_stem}"), "id") == ["other"]


@pytest.mark.parametrize(
    ("data", "lacking"),
    [
        ({"label": "class"}, "class"),
        ({"video": "{file}"}, "file"),
        ({"video": "{file_stem}.mp4"}, "file"),
        ({"id": "{clip}"}, "clip"),
    ],
)
def test_a_missing_column_is_named(write, data: dict[str, str], lacking: str) -> None:
    manifest = write("set.csv", "path,label\na.mp4,cat\n")
    with pytest.raises(DataError, match=rf"set\.csv: has no column '{lacking}' \(it has \['path', 'label'\]\)"):
        read_manifest(DataConfig(manifest=manifest, **data))


def test_columns_of_split_and_group_may_be_missing_or_switched_off(write) -> None:
    manifest = write("set.csv", "path,label,split\na.mp4,cat,train\n")
    [row] = rows_of(manifest)
    assert (row["split"], row["group"]) == ("train", "")
    [row] = rows_of(manifest, split=None, group=None)
    assert (row["split"], row["group"]) == ("", "")


def test_a_manifest_per_split_names_the_split(write) -> None:
    train, test = (
        write("a.csv", "path,label,split\na.mp4,cat,x\n"),
        write("b.jsonl", '{"path": "b.mp4", "label": "dog"}\n'),
    )
    rows = rows_of({"train": train, "test": test})
    assert column(rows, "split") == ["train", "test"] and column(rows, "label") == ["cat", "dog"]


def test_a_row_without_a_video_is_a_reject_that_names_its_place(write) -> None:
    manifest = write("set.csv", "path,label\n,cat\na.mp4,dog\n")
    rows, rejects = read_manifest(DataConfig(manifest=manifest))
    assert column(rows, "label") == ["dog"]
    assert [(reject["id"], reject["reason"]) for reject in rejects] == [("set.csv#1", "bad_row")]
    assert "'{path}' names no file" in rejects[0]["detail"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "empty"),
        ("x.csv", b"\xef\xbb\xbf \r\n", "x.csv: "),
        ("x.csv", b"path,label\n", "empty"),
        ("x.tsv", b"\n", "empty"),
        ("x.jsonl", b"\n", "empty"),
        ("x.jsonl", b"{no json}\n", "cannot be read as JSONL"),
        ("x.csv", b"path,label\n\xff,cat\n", "cannot be read as CSV"),
        ("x.csv", b"path,label\na,b\na,b,c,d\n", "cannot be read as CSV"),
        ("x.csv", b"path;label\na.mp4;cat\n", "separated by ';': separate them by commas"),
        ("x.tsv", b"path,label\na.mp4,cat\n", "separated by ','.*tabs in a .tsv"),
        ("x.parquet", b"no parquet", "cannot be read as PARQUET"),
        ("x.csv", b"path,label\n,cat\n", "no usable row in the manifest; the first row: data.video"),
    ],
)
def test_a_manifest_without_rows_is_refused_by_name(write, name: str, content: bytes, message: str) -> None:
    manifest = write(name, content)
    with pytest.raises(DataError, match=message) as error:
        read_manifest(DataConfig(manifest=manifest))
    assert str(error.value).startswith(f"{manifest}: ")


@pytest.mark.parametrize("name", ["missing.csv", "missing.jsonl", "missing"])
def test_a_missing_manifest_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no such"):
        read_manifest(DataConfig(manifest=str(tmp_path / name)))


def test_no_manifest_is_refused_with_the_key() -> None:
    with pytest.raises(DataError, match=r"^data\.manifest: "):
        read_manifest(DataConfig())


def test_a_folder_of_classes(class_folder) -> None:
    folder = class_folder("cat/a.mp4", "cat/sub/b.mp4", "dog/c.avi", "notes.txt", "dog/.hidden", ".cache/x/d.mp4")
    rows = rows_of(folder)
    assert column(rows, "id") == ["cat/a.mp4", "cat/sub/b.mp4", "dog/c.avi"]
    assert column(rows, "label") == ["cat", "cat", "dog"]
    assert column(rows, "video") == [f"{folder}/{row['id']}" for row in rows]
    assert set(column(rows, "split")) == {""}


def test_a_folder_of_classes_below_splits(class_folder) -> None:
    rows = rows_of(class_folder("train/cat/a.mp4", "val/dog/b.mp4", "test/cat/c.mp4", "test/loose.mp4"))
    found = [(row["split"], row["label"]) for row in rows]
    assert found == [("test", "cat"), ("", "test"), ("train", "cat"), ("val", "dog")]


def test_folders_of_splits_may_be_in_any_case(class_folder) -> None:
    rows = rows_of(class_folder("Train/cat/a.mp4", "VAL/dog/b.mp4", "Test/cat/c.mp4"))
    assert {(row["split"], row["label"]) for row in rows} == {("Train", "cat"), ("VAL", "dog"), ("Test", "cat")}


def test_a_link_to_nothing_in_a_folder_of_classes_is_a_row(class_folder) -> None:
    folder = class_folder("cat/a.mp4")
    Path(folder, "cat", "b.mp4").symlink_to("/nowhere/b.mp4")
    Path(folder, "cat", "c.mp4").symlink_to(Path(folder, "cat", "a.mp4"))
    assert column(rows_of(folder), "id") == ["cat/a.mp4", "cat/b.mp4", "cat/c.mp4"]


def test_a_folder_per_split(class_folder) -> None:
    folder = class_folder("one/cat/a.mp4", "other/dog/b.mp4")
    rows = rows_of({"train": f"{folder}/one", "test": f"{folder}/other"})
    assert [(row["split"], row["label"], row["video"]) for row in rows] == [
        ("train", "cat", f"{folder}/one/cat/a.mp4"),
        ("test", "dog", f"{folder}/other/dog/b.mp4"),
    ]


def test_an_empty_folder_is_refused(class_folder) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        rows_of(class_folder())


def test_a_folder_without_classes_is_refused(class_folder) -> None:
    with pytest.raises(DataError, match="no usable row"):
        rows_of(class_folder("a.mp4", "b.mp4"))


def test_a_file_of_an_unknown_form_is_refused_by_name(write) -> None:
    with pytest.raises(DataError, match=r"set\.txt"):
        rows_of(write("set.txt", "a.mp4 cat\n"))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_whole_numbers_stay_whole_where_another_row_has_none(write, suffix: str) -> None:
    records = [{"path": "a.mp4", "label": "cat", "group": 7}, {"path": "b.mp4", "label": "dog", "group": None}]
    if suffix == ".jsonl":
        content = "\n".join(json.dumps(record) for record in records).encode()
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(records), sink)
        content = sink.getvalue().to_pybytes()
    assert column(rows_of(write(f"set{suffix}", content)), "group") == ["7", ""]


def test_a_separator_at_the_end_of_every_row_shifts_no_column(write) -> None:
    rows = rows_of(write("set.csv", "path,label\na.mp4,cat,\nb.mp4,dog,\n"))
    assert column(rows, "label") == ["cat", "dog"]


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\r"])
def test_a_line_separator_within_a_text_ends_no_line_of_jsonl(write, separator: str) -> None:
    lines = f'{{"path": "a.mp4", "label": "cat", "note": "one{separator}two"}}\n{{"path": "b.mp4", "label": "dog"}}\r\n'
    if separator == "\r":  # a control character, which JSON escapes
        lines = lines.replace("one\rtwo", "one\\rtwo")
    assert column(rows_of(write("set.jsonl", lines)), "label") == ["cat", "dog"]


def test_a_bom_in_jsonl_is_no_part_of_the_text(write) -> None:
    assert column(rows_of(write("set.jsonl", '\ufeff{"path": "a.mp4", "label": "cat"}\n')), "label") == ["cat"]


def test_a_template_that_does_not_parse_is_refused_with_the_key(write) -> None:
    with pytest.raises(RbftError, match=r"data\.video"):
        rows_of(write("set.csv", "path,label\na.mp4,cat\n"), video="{path")


def test_clips_of_equal_names_in_two_split_folders_have_ids_of_their_own(class_folder) -> None:
    folder = class_folder("one/cat/a.mp4", "other/cat/a.mp4")
    ids = column(rows_of({"train": f"{folder}/one", "test": f"{folder}/other"}), "id")
    assert len(set(ids)) == 2


def test_a_folder_of_a_configured_split_name_is_a_split(class_folder) -> None:
    rows = rows_of(class_folder("training/cat/a.mp4"), split_names={"training": "train"})
    assert [(row["split"], row["label"]) for row in rows] == [("training", "cat")]
