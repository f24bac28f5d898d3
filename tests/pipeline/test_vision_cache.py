"""Training from a plan, with and without stored vision features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbft_ray.core.resources import Cluster
from rbft_ray.io import storage
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.runner import run_steps, step_dir
from rbft_ray.pipeline.settings import load_config
from rbft_ray.stages.train import LOG_FILE

pytestmark = pytest.mark.ray

SETTINGS = (
    "train.parts=[language]",
    "train.workers=1",
    "train.stage2={epochs: 3, global_batch: 8, learning_rate: 1.0e-3, validate_every_epochs: 3.0}",
    "data.demo.train_per_class=[4, 4, 4, 4]",
    "data.demo.val_per_class=1",
    "data.demo.test_per_class=1",
)


def training_log(root: Path, cluster: Cluster, *overrides: str) -> dict[str, Any]:
    planned = plan(load_config("demo", [*SETTINGS, *overrides]))
    trained = planned.step("train_direct_sft")
    run_steps(str(root), [*planned.steps[:2], *trained.caches, trained], cluster)
    return storage.read_json(storage.join(step_dir(str(root), trained), LOG_FILE))


def test_training_on_stored_features_is_training_on_frames(ray_cluster, tmp_path):
    of_features = training_log(tmp_path / "features", ray_cluster)
    of_frames = training_log(tmp_path / "frames", ray_cluster, "train.vision_cache=off")
    assert list(tmp_path.glob("features/steps/vision_features-*/features/*.parquet"))
    assert not list(tmp_path.glob("frames/steps/vision_features-*"))
    assert of_frames["losses"][-1] < 0.9 * of_frames["losses"][0]
    np.testing.assert_allclose(of_features["losses"], of_frames["losses"], rtol=1e-4)
    assert of_features["validations"] == of_frames["validations"]
