"""What a protocol says of each run: its arm, and its configuration."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import pydantic

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError
from rbft_ray.core.experiment import Protocol, turned
from rbft_ray.pipeline.experiment_runs import Run
from rbft_ray.pipeline.settings import described, parse_config, read_yaml, with_overrides

OWN_SETTINGS = (  # what `run_config` sets: by worlds, seeds, budgets, arms and answer
    "name",
    "seed",
    "data.train_per_class",
    "data.demo",
    "rationalize.mode",
    "train.stage2.validate_every_epochs",
    "evaluate.reason_then_label",
    "evaluate.example_rationales",
)


class Arm(NamedTuple):
    """stage1: what it learns (of `arms.STAGE1`), None: no stage 1; mode: of the rationales; reasons: at test, too."""

    stage1: str | None = None
    mode: str = "bootstrap"
    trained: bool = True
    reasons: bool = False


ARMS: Mapping[str, Arm] = {
    "zero_shot": Arm(trained=False),
    "zero_shot_reasoned": Arm(trained=False, reasons=True),
    "direct_sft": Arm(),
    "direct_sft_same_steps": Arm("labels"),
    "rb_ft_blind": Arm("rationales", "blind"),
    "rb_ft_label_conditioned": Arm("rationales", "label_conditioned"),
    "rb_ft_gated": Arm("rationales"),
    "rb_ft_shuffled": Arm("shuffled"),
    "rb_ft_definitions": Arm("definitions"),
    "rb_ft_captions": Arm("captions"),
    "rb_ft_oracle": Arm("facts"),
}


def read_protocol(source: str, overrides: Sequence[str] = ()) -> Protocol:
    """A protocol from a YAML file.

    Args:
        overrides: `KEY.PATH=VALUE` of the protocol, or of the configuration of its runs.

    Raises:
        ConfigError: a key is wrong, or an arm is unknown.
        StorageError: the file cannot be read.
    """
    own = [text if section_of(text) in Protocol.model_fields else f"config.{text}" for text in overrides]
    values = with_overrides(read_yaml(source, {}), own)
    misplaced = [key for key in values if key in RunConfig.model_fields and key not in Protocol.model_fields]
    if misplaced:
        raise ConfigError(f"{source}: {misplaced[0]}: is of the runs' configuration; put it under `config:`")
    try:
        protocol = Protocol.model_validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        keys = ", ".join(Protocol.model_fields)
        raise ConfigError(f"{source}: {described(error)}. A protocol has the keys {keys}") from None
    unknown = sorted(set(protocol.arms) - set(ARMS))
    if unknown:
        raise ConfigError(f"{source}: arms: {unknown[0]} is unknown; known: {', '.join(ARMS)}")
    oracles = [arm for arm in protocol.arms if ARMS[arm].stage1 == "facts"]
    if oracles and protocol.manifest is not None:
        raise ConfigError(
            f"{source}: arms: {oracles[0]} learns the facts of a demo world; of data.manifest nobody knows them"
        )
    for key in OWN_SETTINGS:
        if _is_set(protocol.config, key.split(".")):
            raise ConfigError(
                f"{source}: config.{key}: an experiment sets it itself, by worlds, seeds, budgets, arms and answer"
            )
    return protocol


def _is_set(values: Any, path: Sequence[str]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def section_of(override: str) -> str:
    return override.partition("=")[0].partition(".")[0]


def run_config(protocol: Protocol, run: Run, place: Sequence[str] = ()) -> RunConfig:
    """The configuration of one run. Its world is drawn and ingested once; each seed draws its training clips from the same pool.

    Steps are counted, nothing is stopped early: validation labels choose nothing but the temperature, which moves no prediction.

    Args:
        place: overrides that no result depends on (`PLACE`).
    """
    arm = ARMS[run.arm]
    values = with_overrides(deepcopy(protocol.config), place)
    world = {
        "domain_seed": run.world,
        "train_per_class": [protocol.pool_per_class] * 4,
        "val_per_class": protocol.val_per_class,
        "test_per_class": protocol.test_per_class,
    }
    own = {
        "name": protocol.name,
        "seed": run.seed,
        "data": {
            "train_per_class": run.budget if isinstance(run.budget, int) else turned(run.budget, run.seed),
            **({"demo": world} if protocol.manifest is None else {}),
        },
        "rationalize": {"mode": arm.mode},
        "train": {"stage2": {"validate_every_epochs": None}},
        "evaluate": {"reason_then_label": arm.reasons or protocol.answer == "reasoned", "example_rationales": 0},
    }
    return parse_config(_merged(_merged({"data": {"seed": 0}}, values), own))


def _merged(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with those of `own` over them, at any depth."""
    both = {
        key: _merged(values[key], value)
        if isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        else value
        for key, value in own.items()
    }
    return {**values, **both}
