"""What preflight records of real clips."""

import pytest

from rbft_ray.core.config import RationalizeConfig
from rbft_ray.core.prompts import Task
from rbft_ray.model.engine import TransformersEngine
from rbft_ray.stages.preflight import examine_block

TASK = Task(("calm", "busy"))


@pytest.mark.parametrize("samples", [1, 3])
def test_a_clip_has_its_scores_and_its_own_samples(vlm, clips, samples):
    config = RationalizeConfig(max_tokens=8)
    output = examine_block(clips[:3], TransformersEngine(vlm), TASK, samples, config, seed=0)
    _, rows = output.tables["examined"]
    assert output.counts == (3, 3, 0)
    assert [row["id"] for row in rows] == [clip["id"] for clip in clips[:3]]
    assert all(len(row["texts"]) == len(row["answers"]) == samples for row in rows)
    assert all(len(row["log_probabilities"]) == 2 and row["truncated"] <= samples for row in rows)
