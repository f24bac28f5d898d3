"""Scores of real clips, and what becomes of them: calibration on the validation split, predictions, metrics."""

import math

import numpy as np
import pytest

from rbft_ray.core.config import EvaluateConfig
from rbft_ray.core.prompts import Task
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import CLIPS
from rbft_ray.io.clips import read_clip_rows
from rbft_ray.io.storage import write_table
from rbft_ray.model.engine import TransformersEngine
from rbft_ray.pipeline.arms import Arms
from rbft_ray.pipeline.settings import load_config
from rbft_ray.pipeline.step import Step
from rbft_ray.runtime.blocks import Counts, part
from rbft_ray.stages.evaluate import calibrate, label_lengths, metrics, score_block

TASK = Task(("calm", "busy", "busy street"))


def scored(split: str, label: str, values: list[float], number: int, **more: object) -> dict:
    row = {"id": f"{split}{number}", "label": label, "split": split, "group": None}
    return {**row, "log_probabilities": values, "rationale": None, **more}


@pytest.fixture
def overconfident() -> list[dict]:
    """Validation and test rows: sure of the right class two times in three, sure of a wrong one else."""
    rows = []
    for split in ("validation", "test"):
        for number in range(63):
            gold, said = number % 3, (number + (number % 9 < 3)) % 3
            values = [0.0 if index == said else -9.0 for index in range(3)]
            rows.append(scored(split, TASK.labels[gold], values, number))
    return rows


def test_a_block_has_a_row_of_scores_per_clip_and_rationales_where_asked(vlm, clips):
    marked = [{**clip, "explain": index == 0} for index, clip in enumerate(clips[:5])]
    config = EvaluateConfig(max_rationale_tokens=8)
    output = score_block(marked, TransformersEngine(vlm, 2), TASK, "evaluate", config)
    _, rows = output.tables["scores"]
    assert [row["id"] for row in rows] == [clip["id"] for clip in marked]
    assert output.counts == (5, 5, 0)
    assert all(len(row["log_probabilities"]) == 3 and max(row["log_probabilities"]) < 0 for row in rows)
    assert [row["rationale"] is not None for row in rows] == [True, False, False, False, False]


def test_temperature_comes_from_the_validation_split_alone(overconfident):
    calibration = calibrate(overconfident * 50, TASK, EvaluateConfig(), [])
    assert calibration.temperature == pytest.approx(9 / math.log(4), rel=0.01)  # two in three: odds of 2 : 1/2 each
    assert calibration.abstain_below is None
    test_rows = [row for row in overconfident if row["split"] == "test"]
    assert calibrate(test_rows, TASK, EvaluateConfig(), []).temperature == 1.0
    unknown = calibrate(test_rows, TASK, EvaluateConfig(wanted_precision=0.9), [])
    assert unknown.abstain_below is not None and unknown.abstain_below > 1  # nothing can be promised


def test_a_precision_that_no_threshold_reaches_abstains_always(overconfident):
    calibration = calibrate(overconfident, TASK, EvaluateConfig(wanted_precision=0.9), [])
    assert calibration.abstains(np.array([1.0, 0.0, 0.0]))
    assert calibrate(overconfident * 50, TASK, EvaluateConfig(wanted_precision=0.5), []).abstain_below < 0.7


def test_another_prior_shifts_the_posterior_by_the_ratio(overconfident):
    prior = {"calm": 0.5, "busy": 0.25, "busy street": 0.25}
    calibration = calibrate(
        overconfident, TASK, EvaluateConfig(target_prior=prior), ["calm"] + ["busy"] * 2 + ["busy street"]
    )
    plain = calibration.model_copy(update={"log_prior_ratio": ()})
    odds = calibration.posterior([[0.0, 0.0, 0.0]])[0] / plain.posterior([[0.0, 0.0, 0.0]])[0]
    assert np.allclose(odds / odds[2], [2.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("balance", "shift"), [("none", [0.9 / 0.75, 0.1 / 0.25]), ("sampling", [1.8, 0.2]), ("loss", [1.8, 0.2])]
)
def test_the_prior_that_is_replaced_is_the_one_that_was_trained_on(clips, tmp_path, balance, shift):
    ingested = tmp_path / "ingest"
    rows = [{**row, "label": "ab"[number % 4 == 0]} for number, row in enumerate(read_clip_rows(clips, CLIPS.names))]
    write_table(part(str(ingested), "clips", 0), rows, CLIPS)
    overrides = [f"train.stage2.class_balance={balance}", "evaluate.target_prior={a: 0.9, b: 0.1}"]
    config = load_config(None, overrides)
    task = Task(("a", "b"), {}, "", "")
    step = Step("ingest", {}, lambda cluster: Needs(), lambda context: Counts())
    arms = Arms(config, task, "base", "identity", step)
    trained = calibrate([], task, config.evaluate, arms.prior_labels(step, str(ingested)))
    assert np.allclose(np.exp(trained.log_prior_ratio), shift)
    base = calibrate([], task, config.evaluate, arms.prior_labels(None, str(ingested)))
    assert np.allclose(np.exp(base.log_prior_ratio), [1.8, 0.2])


def test_metrics_count_what_never_came_and_what_was_abstained(overconfident):
    calibration = calibrate(overconfident, TASK, EvaluateConfig(), [])
    probabilities = calibration.posterior([row["log_probabilities"] for row in overconfident])
    rows = [
        {**row, "predicted": TASK.labels[int(own.argmax())], "abstained": number % 4 == 0, "reasoned": row["label"]}
        for number, (row, own) in enumerate(zip(overconfident, probabilities, strict=True))
    ]
    missing = [
        {"split": "test", "label": "calm"},
        {"split": "test", "label": "calm"},
        {"split": "train", "label": "calm"},
    ]
    found = metrics(rows, missing, TASK, calibration, True, seed=0)["splits"]
    assert set(found) == {"validation", "test"}
    test = found["test"]
    assert (test["clips"], test["scored"], test["rejected"]) == (65, 63, 2)
    assert test["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert test["strict"]["accuracy"] == pytest.approx(42 / 65)
    assert test["reasoned"]["accuracy"] == 1.0
    assert test["answered"]["coverage"] == pytest.approx(0.75, abs=0.02)
    assert test["scores"]["nll"] < test["uncalibrated"]["nll"]


def test_lengths_count_the_end_of_turn_token(base_dir, vlm):
    from rbft_ray.core.config import ModelConfig

    assert label_lengths(base_dir, ModelConfig(), TASK)[2] > label_lengths(base_dir, ModelConfig(), TASK)[1] >= 2
