"""The stage on a real Ray: every training clip has its features or is a reject."""

from pathlib import Path

import pytest
import torch
from families import multiple_px, write_family

from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import FEATURES, REJECTS
from rbft_ray.io.clips import read_frames, read_rows_at
from rbft_ray.model.vision_features import FEATURES_INPUT, encode_prompt, vision_features
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, read_rows
from rbft_ray.stages.vision_features import compute_features, with_features

pytestmark = pytest.mark.ray


def compute(out: Path, clips: list[dict], base: str) -> Counts:
    return compute_features(str(out), clips, base, None, "float32", Needs(2), no_progress_timeout_sec=300)


@pytest.fixture(scope="module")
def features_dir(ray_cluster, clips, base_dir, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("features")
    assert compute(out, clips, base_dir) == Counts(len(clips), len(clips), 0)
    return out


def test_every_clip_has_its_own_features(features_dir, clips, base_dir, vlm):
    found = with_features(clips, str(features_dir))
    assert [{**clip, "features": one["features"]} for clip, one in zip(clips, found, strict=True)] == found
    for one in (found[5], found[0]):
        (row,) = read_rows_at([one["features"]], FEATURES)
        assert row["id"] == one["id"]
        stored = encode_prompt(vlm.processor, row, "?")[FEATURES_INPUT]
        torch.testing.assert_close(stored, vision_features(vlm, read_frames([one])[0]).values, rtol=1e-4, atol=1e-5)
    assert compute(features_dir, clips, base_dir) == Counts(len(clips), len(clips), 0)  # nothing is left to do


def test_a_clip_whose_frames_the_model_does_not_take_is_rejected(ray_cluster, clips, tmp_path):
    base = write_family("qwen3_vl", tmp_path / "base")
    out = tmp_path / "out"
    assert multiple_px("qwen3_vl") == 32  # and the clips are of 84 x 84 px
    assert compute(out, clips[:2], base) == Counts(2, 0, 2)
    rejects = read_rows(str(out), REJECTS_TABLE, REJECTS)
    assert [row["id"] for row in rejects] == [clip["id"] for clip in clips[:2]]
    assert all("set sampling.multiple_px to 32" in row["detail"] for row in rejects)
    assert with_features(clips[:2], str(out)) == []


def test_a_family_that_cannot_be_given_features_is_trained_on_frames(clips, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava_onevision"}')
    assert compute(tmp_path / "out", clips, str(tmp_path)) == Counts()
    assert with_features(clips, str(tmp_path / "out")) == clips
