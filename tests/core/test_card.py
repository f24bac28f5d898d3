"""The classifier card: a server gets back what training wrote, or an error."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from rbft_ray.core.card import Calibration, ClassifierCard, make_card, parse_card
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import Task, label_prompt, prompt_hash
from rbft_ray.core.sampling import SamplingContract

TASK = Task(("dog", "cat"), {"cat": "It purrs."}, role="You watch animals.", guidance="Look at the ears.")


@pytest.fixture
def card() -> ClassifierCard:
    sampling = SamplingContract(num_frames=None, fps=2.0, codec="png")
    return make_card("rbft", TASK, sampling, base="demo", base_identity="b1", data_identity="d1")


def changed(card: ClassifierCard, **values: object) -> bytes:
    return json.dumps(card.model_dump(mode="json") | values).encode()


def test_a_card_and_its_task_survive_json(card: ClassifierCard) -> None:
    read = parse_card(card.model_dump_json().encode(), "card")
    assert read == card
    assert read.task() == TASK
    assert read.label_prompt_hash == prompt_hash(label_prompt(TASK))


@pytest.mark.parametrize(
    "edit",
    [
        {"role": "Be brief."},
        {"guidance": ""},
        {"labels": ["cat", "dog"]},
        {"definitions": {}},
        {"label_prompt_hash": "0" * 16},
    ],
    ids=lambda edit: next(iter(edit)),
)
def test_a_card_whose_prompt_would_be_worded_otherwise_is_refused(
    card: ClassifierCard, edit: dict[str, object]
) -> None:
    with pytest.raises(DataError, match=r"prompt version 1, which this rbft .* renders differently"):
        parse_card(changed(card, **edit), "card").task()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b"no json"], ids=["empty", "no field", "list", "no utf-8", "text"]
)
def test_what_is_no_card_is_refused_with_the_file_named(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^runs/x/card\.json: is no classifier card of schema version 1"):
        parse_card(content, "runs/x/card.json")


@pytest.mark.parametrize("edit", [{"schema_version": 2}, {"new_field": 1}, {"sampling": {"fps": 1}}], ids=str)
def test_a_card_of_another_schema_is_refused(card: ClassifierCard, edit: dict[str, object]) -> None:
    with pytest.raises(DataError, match="schema version 1"):
        parse_card(changed(card, **edit), "card")


def test_the_message_of_a_refused_card_is_one_line(card: ClassifierCard) -> None:
    with pytest.raises(DataError) as error:
        parse_card(changed(card, schema_version=2), "card")
    assert "\n" not in str(error.value)


def test_a_card_is_frozen(card: ClassifierCard) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        card.temperature = 2.0


@pytest.mark.parametrize("shift", [0.0, -1e4, 700.0])
def test_posterior_is_a_softmax_that_does_not_overflow(shift: float) -> None:
    expected = np.exp([0.0, -1.0, -2.0]) / np.exp([0.0, -1.0, -2.0]).sum()
    assert np.allclose(Calibration().posterior(np.array([[0.0, -1.0, -2.0]]) + shift), expected)


def test_lengths_temperature_and_priors_enter_the_posterior() -> None:
    calibration = Calibration(label_lengths=(1, 4), temperature=2.0, log_prior_ratio=(0.0, float(np.log(3))))
    odds = np.exp(np.array([-1.0, -2.0]) / 2.0) * [1, 3]
    assert np.allclose(calibration.posterior([[-1.0, -8.0]]), odds / odds.sum())
    adjusted = calibration.adjusted([[-1.0, -8.0]]) / 2.0
    assert np.allclose(np.exp(adjusted) / np.exp(adjusted).sum(), odds / odds.sum())


def test_a_classifier_abstains_below_its_threshold_only() -> None:
    probabilities = np.array([0.6, 0.4])
    assert not Calibration().abstains(probabilities)
    assert not Calibration(abstain_below=0.6).abstains(probabilities)
    assert Calibration(abstain_below=0.61).abstains(probabilities)
