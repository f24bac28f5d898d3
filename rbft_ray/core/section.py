"""What every section of the configuration is: typed, frozen, without unknown keys; and its part of a step's identity."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue

NO_EFFECT: dict[str, JsonValue] = {"affects_results": False}
BARE_OFF = BeforeValidator(lambda value: "off" if value is False else value)  # YAML reads a bare off as false


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def result_config(section: BaseModel) -> dict[str, Any]:
    """The fields of `section` that affect results, nested, as JSON values: what enters a step's identity."""
    kept: dict[str, Any] = {}
    dumped = section.model_dump(mode="json")
    for name, info in type(section).model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, dict) and extra.get("affects_results") is False:
            continue
        value = getattr(section, name)
        kept[name] = result_config(value) if isinstance(value, BaseModel) else dumped[name]
    return kept
