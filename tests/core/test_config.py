"""The configuration: valid defaults, frozen, and an identity without what does not affect results."""

import json
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from rbft_ray.core import config
from rbft_ray.core.config import EvaluateConfig, RunConfig
from rbft_ray.core.section import Section, result_config
from rbft_ray.core.train_config import StageRecipe, TrainConfig

SECTIONS = [value for value in vars(config).values() if isinstance(value, type) and issubclass(value, Section)]


def no_effect_fields(section: type[BaseModel]) -> Iterator[str]:
    for name, info in section.model_fields.items():
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("affects_results") is False:
            yield name


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_the_defaults_are_valid(section: type[Section]) -> None:
    defaults = section()
    assert section.model_validate_json(defaults.model_dump_json()) == defaults


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_a_section_is_frozen_and_refuses_unknown_keys(section: type[Section]) -> None:
    name = next(iter(section.model_fields), None)
    if name:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section(), name, None)
    with pytest.raises(ValidationError, match="Extra inputs"):
        section.model_validate({"no_such_key": 1})


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_the_identity_holds_every_field_but_those_without_effect(section: type[Section]) -> None:
    assert set(result_config(section())) == set(section.model_fields) - set(no_effect_fields(section))


def test_sections_within_a_section_are_cleaned_as_well() -> None:
    kept = result_config(RunConfig())
    assert "workers" not in kept["train"] and "offload_optimizer" not in kept["train"]["deepspeed"]
    assert kept["train"]["deepspeed"] == {"zero_stage": 2}
    assert kept["train"]["stage1"]["epochs"] == 3.0


def test_workers_leave_the_identity_as_it_is_and_the_recipe_does_not() -> None:
    spread = TrainConfig(
        workers=4, micro_batch_tokens=512, min_workers=2, checkpoint_every_steps=1, gradient_checkpointing=True
    )
    assert result_config(spread) == result_config(TrainConfig())
    assert result_config(EvaluateConfig(replicas=7, block_clips=3, batch_clips=5)) == result_config(EvaluateConfig())
    assert result_config(TrainConfig(stage1=StageRecipe(epochs=1))) != result_config(TrainConfig())


def test_the_identity_is_made_of_json_values() -> None:
    kept = result_config(RunConfig())
    assert json.loads(json.dumps(kept)) == kept


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"workers": 2, "min_workers": 3}, "min_workers must not be above workers"),
        (
            {"stage2": {"patience": 2, "validate_every_epochs": None}},
            "stage2.patience needs stage2.validate_every_epochs",
        ),
        ({"parts": []}, "parts"),
        ({"precision": "fp16", "deepspeed": {"zero_stage": 0}}, "fp16 needs deepspeed.zero_stage 1, 2 or 3"),
    ],
)
def test_training_settings_that_contradict_each_other_are_refused(section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate_json(json.dumps(section))


def test_the_authors_rates_are_the_default_of_full_fine_tuning() -> None:
    assert StageRecipe().learning_rates("full") == {"language": 1e-5, "merger": 1e-5, "vision": 2e-6}
    assert StageRecipe().learning_rates("lora") == {"language": 1e-4, "merger": 1e-4, "vision": 1e-4}
    assert StageRecipe(learning_rate=3e-4).learning_rates("full") == dict.fromkeys(
        ("language", "merger", "vision"), 3e-4
    )


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "-x"])
def test_a_run_name_that_is_no_directory_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        RunConfig(name=name)
