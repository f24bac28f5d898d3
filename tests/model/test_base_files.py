"""Where the files of a base are, and which it is."""

import os
import tempfile
from pathlib import Path

import pytest

from rbft_ray.core.errors import DataError
from rbft_ray.model.base import DEMO_BASE, base_identity, local_base, resolve_base
from rbft_ray.model.vlm import load, load_processor


def test_a_model_at_a_uri_is_copied_once_and_loads(base_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uri = f"local://{base_dir}"  # by fsspec, as an object store
    folder = Path(local_base(uri))
    assert folder.is_relative_to(tmp_path) and base_identity(str(folder), None) == base_identity(base_dir, None)
    copied = (folder / "config.json").stat().st_mtime_ns
    loaded = load(uri, dtype="float32")
    assert loaded.end_of_turn == load(base_dir, dtype="float32").end_of_turn
    assert type(load_processor(uri)) is type(loaded.processor)
    assert (folder / "config.json").stat().st_mtime_ns == copied
    assert local_base(base_dir) == base_dir and local_base("org/base") == "org/base"


def test_half_a_copy_is_not_taken_for_a_whole_one(base_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uri = f"local://{base_dir}"
    folder = Path(local_base(uri))
    folder.rename(folder.with_suffix(".part"))
    (folder.with_suffix(".part") / "model.safetensors").unlink()
    assert (Path(local_base(uri)) / "model.safetensors").is_file()


def test_a_model_that_was_trained_again_is_copied_again(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    trained = tmp_path / "model"
    trained.mkdir()
    for time, weights in enumerate(("first", "other")):  # of the same size
        (trained / "model.safetensors").write_text(weights)
        os.utime(trained / "model.safetensors", (time, time))
        assert (Path(local_base(f"local://{trained}")) / "model.safetensors").read_text() == weights


def test_a_directory_without_a_model_is_refused_by_name(tmp_path, base_dir):
    assert resolve_base(DEMO_BASE, base_dir) == base_dir
    assert resolve_base("org/base", base_dir) == "org/base"
    with pytest.raises(DataError, match="is no model directory"):
        resolve_base(str(tmp_path), base_dir)


def test_a_tensor_that_changes_in_a_large_file_changes_the_identity(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    content = bytearray(80 << 20)
    weights.write_bytes(content)
    before = base_identity(str(tmp_path), None)
    assert base_identity(str(tmp_path), None) == before
    content[50 << 20 : 51 << 20] = b"\x01" * (1 << 20)  # one tensor in the middle
    weights.write_bytes(content)
    assert base_identity(str(tmp_path), None) != before
