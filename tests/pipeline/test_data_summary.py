"""What a run says of its manifest before it starts, and when a finished run's report is out of date."""

from pathlib import Path

import pytest

from rbft_ray.core.errors import DataError
from rbft_ray.io import storage
from rbft_ray.pipeline.data_summary import missing_videos, print_data, refused, unmapped
from rbft_ray.pipeline.dataset import read_dataset
from rbft_ray.pipeline.job import _report_is_current
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.report import FILES
from rbft_ray.pipeline.run_files import run_facts
from rbft_ray.pipeline.settings import load_config, parse_config


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(b"video")
    rows = ["a,cat,train", "b,dog,train", "c,cat,test", "d,dog,test", "gone,cat,train", "e" * 300 + ",dog,train"]
    (tmp_path / "m.csv").write_text("name,label,split\n" + "\n".join([*rows, "a,dog,test", "x,,train"]) + "\n")
    return tmp_path / "m.csv"


def test_missing_videos_and_refused_rows_are_told_before_a_run(manifest, capsys):
    dataset = read_dataset(parse_config({"data": {"manifest": str(manifest), "video": "{name}.mp4"}}))
    (missing,) = missing_videos(dataset)
    assert missing.startswith(f"2 of {len(dataset.rows)} videos are not there, such as {manifest.parent}/")
    duplicate, blank = refused(dataset)
    assert "1 rows of the manifest are rejected as other_label, such as 'a.mp4'" in duplicate
    assert "under the label 'cat' and not 'dog'" in duplicate
    assert "no_label" in blank
    assert unmapped(dataset) == []
    print_data(dataset)
    assert "6 clips, 2 classes" in capsys.readouterr().out


def test_a_renamed_label_that_is_not_there_is_told(manifest):
    data = {"manifest": str(manifest), "video": "{name}.mp4", "label_map": {"Cat": "cat", "dog": "hound"}}
    (line,) = unmapped(read_dataset(parse_config({"data": data})))
    assert line == "data.label_map: no row has the label 'Cat'; the labels are 'cat', 'hound'."


@pytest.mark.parametrize(
    ("test_split", "says"),
    [
        ("tset", "data.split: no row is in the test split.*2 rows are of no known split, the first: 'tset'"),
        ("train", "null"),
    ],
)
def test_a_split_that_nobody_knows_is_named(tmp_path, test_split, says):
    rows = ["a,cat,train", "b,dog,train", f"c,cat,{test_split}", f"d,dog,{test_split}"]
    (tmp_path / "m.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=says):
        read_dataset(parse_config({"data": {"manifest": str(tmp_path / "m.csv")}}))


def test_a_report_is_out_of_date_where_any_setting_has_changed(manifest, tmp_path):
    def planned(*overrides: str):
        return plan(load_config("demo", [f"data.manifest={manifest}", "data.video='{name}.mp4'", *overrides]))

    run_dir = tmp_path / "demo"
    run_dir.mkdir()
    for name in FILES:
        (run_dir / name).write_text("{}")
    made = planned()
    storage.write_json(str(run_dir / "run.json"), run_facts(made.steps, made.config, str(tmp_path), "rbft run"))
    assert _report_is_current(planned(), str(tmp_path), str(run_dir))
    assert not _report_is_current(planned("serve.port=9001"), str(tmp_path), str(run_dir))
