"""What preflight records of real clips."""

import numpy as np
import pytest

from rbft_ray.core.config import RationalizeConfig
from rbft_ray.core.prompts import Task
from rbft_ray.model.engine import Completion, TransformersEngine
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


class FailingEngine:
    """Says the label of a clip; fails on the second sample of the second clip, and on the scores of the third."""

    def generate(self, requests, *, max_tokens, temperature):
        answers = [Completion("It waits.\nAnswer: calm", False, 20, 5) for _ in requests]
        answers[3] = Completion("", False, 20, 0, "RuntimeError: no memory")
        answers[7] = Completion("", False, 900, 0, "prompt of 900", too_long=True)
        return answers

    def score(self, clips, prompt, labels):
        return np.array([[0.0, -1.0], [np.nan, np.nan]])


def test_clips_that_the_engine_fails_on_are_rejects_with_their_reason(clips):
    output = examine_block(clips[:4], FailingEngine(), TASK, 2, RationalizeConfig(), seed=0)
    assert output.counts == (4, 1, 3)
    assert {row["id"]: row["reason"] for row in output.rejects} == {
        clips[1]["id"]: "engine_error",
        clips[2]["id"]: "engine_error",
        clips[3]["id"]: "too_long",
    }
    assert [row["id"] for row in output.tables["examined"][1]] == [clips[0]["id"]]
