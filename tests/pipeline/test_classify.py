"""A trained classifier on videos that nobody has labelled."""

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rbft_ray.core.card import CARD_FILE, Calibration, make_card
from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.prompts import Task
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.pipeline.classify import classify

LABELS = ("cat", "dog")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, base_dir: str) -> str:
    """The untuned base as a classifier that abstains below a probability of 0.99."""
    folder = tmp_path_factory.mktemp("classifier") / "model"
    shutil.copytree(base_dir, folder)
    contract = SamplingContract(num_frames=4, max_pixels=84 * 84)
    card = make_card("rb_ft", Task(LABELS), contract, base="demo", base_identity="b", data_identity="d")
    sure = card.model_copy(update={"calibration": Calibration(abstain_below=0.99)})
    (folder / CARD_FILE).write_text(sure.model_dump_json())
    return str(folder)


@pytest.fixture
def folder(tmp_path: Path, world: Path) -> Path:
    """Three videos at two depths, a hidden file, and a text."""
    videos = sorted((world / "videos").glob("*.mp4"))[:3]
    (tmp_path / "new" / "deep").mkdir(parents=True)
    for video, name in zip(videos, ("a.mp4", "deep/b.mp4", "deep/c.mp4"), strict=True):
        shutil.copy(video, tmp_path / "new" / name)
    (tmp_path / "new" / ".hidden").write_text("not a video")
    (tmp_path / "new" / "notes.txt").write_text("not a video either")
    return tmp_path / "new"


@pytest.mark.ray
def test_a_folder_is_answered_video_by_video_and_a_second_time_from_what_is_there(
    ray_cluster, model_dir, folder, tmp_path, capsys
):
    place, out = [f"storage={tmp_path / 'runs'}"], tmp_path / "answers.csv"
    counts = classify(model_dir, str(folder), str(out), [*place, "evaluate.max_rationale_tokens=8"], explain=True)
    assert sum(counts.values()) == 3
    rows = list(csv.DictReader(out.open()))
    assert [row["id"] for row in rows] == ["a.mp4", "deep/b.mp4", "deep/c.mp4", "notes.txt"]
    assert [row["rejected"] for row in rows] == ["", "", "", "no_video"]
    for row in rows[:3]:
        shares = [float(row[f"p_{label}"]) for label in LABELS]
        assert sum(shares) == pytest.approx(1.0)
        assert (row["label"], float(row["confidence"])) == (LABELS[shares.index(max(shares))], max(shares))
        assert row["abstained"] == ("true" if max(shares) < 0.99 else "false")
        assert row["rationale"]
    assert rows[3]["label"] == "" and "notes.txt" in rows[3]["detail"]
    said = capsys.readouterr().out
    assert "3 of 4 videos classified" in said and "1 x no_video" in said

    (tmp_path / "again").mkdir()
    classify(
        model_dir,
        str(folder),
        str(tmp_path / "again" / "a.parquet"),
        [*place, "evaluate.max_rationale_tokens=8"],
        explain=True,
    )
    again = pq.read_table(tmp_path / "again" / "a.parquet").to_pylist()
    assert [row["label"] or "" for row in again] == [row["label"] for row in rows]
    assert "started" not in capsys.readouterr().out


@pytest.mark.ray
def test_a_manifest_needs_no_labels_and_loses_no_row(ray_cluster, model_dir, folder, tmp_path):
    rows = ["x,a.mp4,12", "y,gone.mp4,13", "x,deep/b.mp4,14", "z,deep/c.mp4,15"]
    (folder / "list.csv").write_text("id,path,camera\n" + "\n".join(rows) + "\n")
    out = tmp_path / "a.jsonl"
    classify(model_dir, str(folder / "list.csv"), str(out), [f"storage={tmp_path / 'runs'}"])
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["id"], row["video"].replace(f"{folder}/", ""), row["rejected"]) for row in answers] == [
        ("x", "a.mp4", ""),
        ("y", "gone.mp4", "missing_file"),
        ("z", "deep/c.mp4", ""),
        ("x", "deep/b.mp4", "duplicate_id"),
    ]
    assert "rationale" not in answers[0]


@pytest.mark.parametrize(
    ("videos", "out", "error", "says"),
    [
        ("new", "answers.txt", ConfigError, "must end in .csv, .jsonl, .parquet"),
        (
            "gone",
            "answers.csv",
            DataError,
            "gone: no such file or folder; name a video, a folder of videos, or a manifest",
        ),
        ("empty", "answers.csv", DataError, "empty: the folder has no file"),
    ],
)
def test_a_mistake_is_named(model_dir, folder, tmp_path, videos, out, error, says):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=says):
        classify(model_dir, str(tmp_path / videos), str(tmp_path / out), [f"storage={tmp_path / 'runs'}"])
