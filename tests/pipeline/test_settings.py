"""The configuration from a file and the command line: what is wrong is named with the path of its key."""

import datetime
from collections.abc import Callable
from pathlib import Path

import pydantic
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError
from rbft_ray.core.experiment import Protocol
from rbft_ray.pipeline.settings import PACKAGED, dump_config, load_config, parse_config, with_overrides

HINT = r"`rbft config show` lists every key$"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a configuration file and gives its path."""

    def write(content: str | bytes, name: str = "my-run.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


def undescribed(section: type[pydantic.BaseModel], place: str = "") -> list[str]:
    found = []
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, pydantic.BaseModel):
            found += undescribed(info.annotation, f"{place}{name}.")
        elif not info.description:
            found.append(place + name)
    return found


@pytest.mark.parametrize("section", [RunConfig, Protocol])
def test_every_setting_says_what_it_is(section: type[pydantic.BaseModel]) -> None:
    assert undescribed(section) == []


@pytest.mark.parametrize("source", PACKAGED)
def test_a_packaged_configuration_loads_by_its_name(source: str) -> None:
    assert load_config(source).name == source
    assert load_config(str(PACKAGED[source])) == load_config(source)


def test_the_run_is_named_after_its_file_unless_it_has_a_name(write) -> None:
    assert load_config(write("seed: 3")).name == "my-run"
    assert load_config(write("name: other")).name == "other"
    assert load_config(write("name: other"), ["name=third"]).name == "third"


@pytest.mark.parametrize("content", ["", "# nothing\n", "{}"])
def test_an_empty_file_gives_the_defaults(write, content: str) -> None:
    assert load_config(write(content)) == RunConfig(name="my-run")


def test_a_section_that_is_there_twice_is_refused(write) -> None:
    path = write("train:\n  precision: bf16\nseed: 1\ntrain:\n  stage2: {epochs: 5}\n")
    with pytest.raises(ConfigError, match=r"my-run.yaml: .*'train' is there a second time.* line 4"):
        load_config(path)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", ".1e-3"])
def test_a_number_with_an_exponent_is_a_number(write, text: str) -> None:
    assert load_config(write(f"train: {{stage1: {{learning_rate: {text}}}}}")).train.stage1.learning_rate == 1e-4
    assert load_config(None, [f"train.stage1.learning_rate={text}"]).train.stage1.learning_rate == 1e-4


def test_rationales_are_cut_no_earlier_than_those_that_are_learned() -> None:
    long = load_config(None, ["rationalize.max_tokens=512", "evaluate.max_rationale_tokens=64"])
    assert (long.evaluate.max_rationale_tokens, long.serve.max_rationale_tokens) == (64, 512)
    assert load_config(None).serve.max_rationale_tokens == RunConfig().rationalize.max_tokens


def test_overrides_are_read_as_yaml_and_put_over_the_file(write) -> None:
    path = write("train: {workers: 1, stage1: {epochs: 1.0, global_batch: 4}}")
    config = load_config(
        path,
        [
            "train.stage1.epochs=2",
            "train.stage2.learning_rate=1.0e-5",
            "data.labels=[cat, dog]",
            "data.manifest={train: a.csv, test: b.csv}",
            "model.revision=null",
            "task.guidance=look = listen",
            "data.label_map.kitty=cat",
            "name=",
            "name=last",
        ],
    )
    assert (config.train.workers, config.train.stage1.epochs, config.train.stage1.global_batch) == (1, 2.0, 4)
    assert config.train.stage2.learning_rate == 1e-5
    assert config.data.labels == ("cat", "dog")
    assert config.data.manifest == {"train": "a.csv", "test": "b.csv"}
    assert config.model.revision is None
    assert config.task.guidance == "look = listen"
    assert config.data.label_map == {"kitty": "cat"}
    assert config.name == "last"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.workers", "must have the form KEY=VALUE"),
        ("=3", "must have the form KEY=VALUE"),
        ("", "must have the form KEY=VALUE"),
        ("data.labels=[cat", "is no YAML"),
        ("seed.deeper=1", "seed is a value, not a section"),
    ],
)
def test_an_override_of_another_form_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        with_overrides({"seed": 1}, [override])
    assert str(error.value).startswith(f"--set {override}: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sede": 1}, r"^sede: unknown key"),
        ({"train": {"stage1": {"epochz": 1}}}, r"^train\.stage1\.epochz: unknown key"),
        ({"sampling": {"frames": 1}}, r"^sampling\.frames: unknown key"),
        ({"train": {"workers": "2"}}, r"^train\.workers: .*integer \(given: '2'\)"),
        ({"train": {"workers": 2.5}}, r"^train\.workers: .*given: 2\.5"),
        ({"train": {"workers": True}}, r"^train\.workers: .*given: True"),
        ({"train": {"workers": 0}}, r"^train\.workers: .*greater than or equal to 1 \(given: 0\)"),
        ({"train": {"method": "qlora"}}, r"^train\.method: .*'lora' or 'full' \(given: 'qlora'\)"),
        ({"train": None}, r"^train: "),
        ({"train": []}, r"^train: "),
        ({"data": {"labels": ["cat", True]}}, r"^data\.labels\.1: .*string \(given: True\)"),
        ({"data": {"split_names": {"x": "y"}}}, r"^data\.split_names\.x: "),
        ({"data": {"test_fraction": float("nan")}}, r"^data\.test_fraction: "),
        ({"sampling": {"fps": 2.0}}, r"^sampling: set exactly one of num_frames and fps"),
        ({"train": {"workers": 2, "min_workers": 3}}, r"train: min_workers must not be above workers"),
        ({"name": "a/b"}, r"^name: .*given: 'a/b'"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_the_path_of_its_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"{message}.*{HINT}"):
        parse_config(values)


def test_every_wrong_key_is_named_in_one_line(write) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write("sede: 1\ntrain:\n  method: qlora\n"), ["evaluate.replicas=no"])
    text = str(error.value)
    assert all(key in text for key in ("sede: ", "train.method: ", "evaluate.replicas: ")) and "\n" not in text


def test_a_missing_file_is_refused_with_the_packaged_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read \(No such file.*demo"):
        load_config(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"cannot be read"):
        load_config(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "is no YAML"),
        ("a: b: c", "is no YAML"),
        ("a: \x00", "is no YAML"),
        ("- a\n- b", "must hold keys with values, not a list"),
        ("text", "must hold keys with values, not a str"),
    ],
)
def test_a_file_that_holds_no_keys_is_refused_by_name_in_one_line(write, content: str, message: str) -> None:
    path = write(content)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    text = str(error.value)
    assert text.startswith(f"{path}: {message}") and "\n" not in text


def test_a_file_that_is_no_text_is_refused_by_name(write) -> None:
    with pytest.raises(ConfigError, match=r"my-run\.yaml"):
        load_config(write(b"name: \xff\xfe"))


def test_a_date_as_a_label_is_taken_or_refused_with_its_path() -> None:
    values = yaml.safe_load("data: {label_map: {2024-01-01: cat}}")
    assert list(values["data"]["label_map"]) == [datetime.date(2024, 1, 1)]
    try:
        assert parse_config(values).data.label_map == {"2024-01-01": "cat"}
    except ConfigError as error:
        assert "data.label_map" in str(error)


def test_a_key_that_yaml_reads_as_a_truth_value_is_refused_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"data\.label_map"):
        parse_config(yaml.safe_load("data: {label_map: {no: cat}}"))


def test_a_number_in_quotes_is_refused_in_sampling_as_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"^sampling\.num_frames: "):
        parse_config({"sampling": {"num_frames": "8"}})


@pytest.mark.parametrize("override", ["train.stage1.epochs=.inf", "sampling={num_frames: null, fps: .inf}"])
def test_an_infinite_number_is_refused_with_its_path(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0].replace(".", r"\.")):
        parse_config(with_overrides({}, [override]))


def test_every_default_that_is_shown_loads_back(write) -> None:
    shown = dump_config(RunConfig())
    assert load_config(write(shown)) == RunConfig()
    assert yaml.safe_load(shown).keys() == RunConfig.model_fields.keys()


@pytest.mark.parametrize("source", PACKAGED)
def test_a_shown_packaged_configuration_loads_back(write, source: str) -> None:
    assert load_config(write(dump_config(load_config(source)))) == load_config(source)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["no", "1", "null", "1e5", "~", "- a"]
)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(texts, st.dictionaries(texts, texts, max_size=3), st.lists(texts, max_size=3), st.floats(1e-9, 1e3))
def test_any_values_that_are_shown_load_back(
    text: str, mapping: dict[str, str], labels: list[str], rate: float
) -> None:
    config = parse_config(
        {
            "task": {"guidance": text, "definitions": mapping},
            "data": {"labels": labels, "label_map": mapping, "manifest": mapping},
            "train": {"stage1": {"learning_rate": rate}},
        }
    )
    assert config.task.guidance == text and config.train.stage1.learning_rate == rate
    assert parse_config(yaml.safe_load(dump_config(config))) == config
