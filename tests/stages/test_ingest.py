"""Ingest on a real Ray: what cannot be used becomes a reject row that names the file and the reason."""

import json
from pathlib import Path

import pytest

from rbft_ray.core.errors import DataError
from rbft_ray.core.resources import Cluster
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.core.schema import CLIPS, REJECTS, SPLITS
from rbft_ray.io.clips import list_clips, read_clip_rows, read_frames
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.settings import load_config
from rbft_ray.pipeline.step import StepContext
from rbft_ray.runtime.blocks import Counts, read_parts, read_rows

pytestmark = pytest.mark.ray


def run_ingest(manifest: Path, out: Path, cluster: Cluster, *overrides: str) -> Counts:
    settings = [f"data.manifest={manifest}", "ingest.block_clips=4", *overrides]
    step = plan(load_config("demo", settings)).step("ingest")
    return step.run(StepContext(str(out), {}, step.needs(cluster)))


@pytest.fixture
def messy(world: Path, tmp_path: Path) -> Path:
    """Six good clips and one of each kind of bad row."""
    good = sorted((world / "videos").glob("train-*.mp4"))[:8]
    (tmp_path / "cut.mp4").write_bytes(good[0].read_bytes()[:400])
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no video")
    rows = [f"{path.stem},{path},{'x' if index % 2 else 'y'},train" for index, path in enumerate(good[:6])]
    rows += [f"t{index},{path},{'x' if index % 2 else 'y'},test" for index, path in enumerate(good[6:])]
    rows += [
        "cut,cut.mp4,x,train",
        "empty,empty.mp4,x,train",
        "text,text.mp4,y,train",
        "missing,gone.mp4,y,train",
        f"alien,{good[0]},z,train",
        f"blank,{good[0]},,train",
        f"lost,{good[0]},x,holdout",
        f"{good[0].stem},{good[0]},y,train",
        f"{good[1].stem},{good[1]},y,train",
    ]
    (tmp_path / "m.csv").write_text("id,path,label,split\n" + "\n".join(rows) + "\n")
    return tmp_path / "m.csv"


def test_every_row_is_a_clip_or_a_reject_with_its_reason(ray_cluster, messy, tmp_path):
    out = tmp_path / "out"
    counts = run_ingest(messy, out, ray_cluster, "data.labels=[x, y]")
    rejects = {row["id"]: row for table in read_parts(str(out), "rejects", REJECTS) for row in table.to_pylist()}
    assert {clip_id: row["reason"] for clip_id, row in rejects.items()} == {
        "cut": "no_video",
        "empty": "no_video",
        "text": "no_video",
        "missing": "missing_file",
        "alien": "unknown_label",
        "blank": "no_label",
        "lost": "unknown_split",
        "train-00000": "duplicate_id",
        "train-00001": "other_label",
    }
    assert all(name in rejects[name]["detail"] for name in ("cut", "empty", "text"))
    assert "gone.mp4" in rejects["missing"]["detail"]
    clips = list_clips(str(out), SPLITS)
    assert counts == Counts(17, 8, 9)
    assert len(clips) == 8
    assert any(clip["split"] == "validation" for clip in clips)


def test_a_clip_holds_its_frames_times_and_contract(ray_cluster, messy, tmp_path):
    out = tmp_path / "out"
    run_ingest(messy, out, ray_cluster, "data.labels=[x, y]")
    clip = list_clips(str(out), ["train"])[0]
    (frames,) = read_frames([clip])
    assert frames.frames.shape == (8, 84, 84, 3)
    (row,) = read_clip_rows([clip], CLIPS.names)
    assert len(row["frame_times_sec"]) == 8
    assert frames.fps == pytest.approx(8 / row["duration_sec"])
    stored = SamplingContract.model_validate(json.loads(row["sampling"]))
    assert (stored.num_frames, stored.max_pixels) == (8, 7056)


def test_a_split_without_a_readable_video_is_an_error(ray_cluster, world, tmp_path):
    one, two = sorted((world / "videos").glob("train-*.mp4"))[:2]
    lines = [f"{one},x,train", f"{two},y,train", "gone1.mp4,x,test", "gone2.mp4,y,test"]
    (tmp_path / "m.csv").write_text("id,path,label,split\n" + "".join(f"{i},{line}\n" for i, line in enumerate(lines)))
    with pytest.raises(DataError, match=r"test split could be read; the first of 2: .*gone1.mp4: no such file"):
        run_ingest(tmp_path / "m.csv", tmp_path / "out", ray_cluster)


def test_a_file_that_could_not_be_read_for_once_is_read_when_the_step_goes_on(ray_cluster, world, tmp_path):
    videos = sorted((world / "videos").glob("train-*.mp4"))[:4]
    (tmp_path / "there.mp4").mkdir()  # to be read, it is no file
    lines = [f"{video},{'xy'[index % 2]},{'train' if index < 2 else 'test'}" for index, video in enumerate(videos)]
    (tmp_path / "m.csv").write_text("path,label,split\n" + "\n".join([*lines, "there.mp4,x,train"]) + "\n")
    out = tmp_path / "out"
    assert run_ingest(tmp_path / "m.csv", out, ray_cluster) == Counts(5, 4, 1)
    assert [row["reason"] for row in read_rows(str(out), "rejects", REJECTS)] == ["unreadable_file"]
    (tmp_path / "there.mp4").rmdir()
    (tmp_path / "there.mp4").write_bytes(videos[0].read_bytes())
    assert run_ingest(tmp_path / "m.csv", out, ray_cluster) == Counts(5, 5, 0)
    assert not read_rows(str(out), "rejects", REJECTS)
