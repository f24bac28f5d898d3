"""A YAML file and command-line values -> a RunConfig, or an error with the path of the key."""

import json
import pathlib
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import pydantic
import yaml

from rbft_ray import demo
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError

PACKAGED = {"demo": demo.CONFIG_FILE}


def load_config(source: str | None, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a file, of the name of a packaged one, or the defaults (None), with `KEY.PATH=VALUE` put over it.

    Raises:
        ConfigError: no such file, no YAML, an unknown key, or a value of a wrong type; names the key's path.
    """
    return parse_config(with_overrides(read_yaml(source) if source else {}, overrides))


def read_yaml(source: str, packaged: Mapping[str, pathlib.Path] = PACKAGED) -> dict[str, Any]:
    """The keys of a YAML file, or of a packaged one by its name; `name` is the file's, where it says none.

    Raises:
        ConfigError: no such file, no YAML, or something else than keys with values.
    """
    path = packaged.get(source) or pathlib.Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is no UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        known = f" or one of: {', '.join(packaged)}" if packaged else ""
        raise ConfigError(f"{source}: cannot be read ({error.strerror}); give a YAML file{known}") from None
    values = _parse(text, source)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: must hold keys with values, not a {type(values).__name__}")
    values.setdefault("name", path.stem)
    return values


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with `KEY.PATH=VALUE` put over them (in place); values are read as YAML.

    Raises:
        ConfigError: an override has another form.
    """
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: must have the form KEY=VALUE, such as train.stage1.epochs=2")
        _put(values, key.split("."), _parse(value, f"--set {override}"), override)
    return values


def parse_config(values: dict[str, Any]) -> RunConfig:
    """A RunConfig from plain values.

    Raises:
        ConfigError: names the path of the first key that is wrong.
    """
    _check_keys(values, "")
    try:
        return RunConfig.model_validate_json(json.dumps(_rationales_as_long_as_learned(values), default=str))
    except pydantic.ValidationError as error:
        raise ConfigError(f"{described(error)}. `rbft config show` lists every key") from None


def _rationales_as_long_as_learned(values: dict[str, Any]) -> dict[str, Any]:
    """`values` where evaluation and server cut rationales no earlier than those that are learned, unless they say so."""
    rationalize = values.get("rationalize")
    limit = rationalize.get("max_tokens") if isinstance(rationalize, dict) else None
    own = {name: values.get(name, {}) for name in ("evaluate", "serve") if limit is not None}
    return values | {name: {"max_rationale_tokens": limit} | one for name, one in own.items() if isinstance(one, dict)}


def dump_config(config: pydantic.BaseModel, indent: str = "") -> str:
    """Every value as YAML, what it means above it as a comment."""
    dumped = config.model_dump(mode="json")
    lines = []
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        choices = (
            f"one of {', '.join(map(str, get_args(info.annotation)))}" if get_origin(info.annotation) is Literal else ""
        )
        if comment := "; ".join(filter(None, (choices, info.description))):
            lines += textwrap.wrap(comment, 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if isinstance(value, pydantic.BaseModel):
            lines += [f"{indent}{name}:", dump_config(value, indent + "  ").rstrip("\n")]
        else:
            text = yaml.safe_dump({name: dumped[name]}, sort_keys=False, allow_unicode=True, width=100)
            lines.append(textwrap.indent(text, indent).rstrip("\n"))
    return "\n".join(lines) + "\n"


class _Loader(yaml.SafeLoader):
    """YAML as people take it: "1e-4" is a number, as in YAML 1.2, and a key that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                message = f"the key {key.value!r} is there a second time; put what belongs to it under one"
                raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: is no YAML: {' '.join(str(error).split())}") from None


def _put(values: dict[str, Any], path: Sequence[str], value: Any, override: str) -> None:
    for key in path[:-1]:
        below = values.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"--set {override}: {key} is a value, not a section")
        values = below
    values[path[-1]] = value


def _check_keys(values: Any, place: str) -> None:
    """YAML reads `no:` as a truth value and `2024-01-01:` as a date; a key like that must be quoted. Whole numbers may be keys."""
    if isinstance(values, list):
        for number, value in enumerate(values):
            _check_keys(value, f"{place}{number}.")
    if isinstance(values, dict):
        for key, value in values.items():
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise ConfigError(
                    f"{place.rstrip('.') or 'configuration'}: the key {key!r} is no text; put it in quotes"
                )
            _check_keys(value, f"{place}{key}.")


def described(error: pydantic.ValidationError) -> str:
    """What is wrong with which keys, on one line."""
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "configuration"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{place}: unknown key")
        else:
            given = (
                ""
                if isinstance(problem["input"], dict) or problem["type"] == "missing"
                else f" (given: {problem['input']!r})"
            )
            lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}{given}")
    return "; ".join(lines)
