"""The plan of a run: a change of a setting changes exactly the steps downstream of it."""

from pathlib import Path

import pytest

from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.resources import Cluster
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.settings import load_config

ALL = {
    "render",
    "ingest",
    "rationalize",
    "train_stage1",
    "train_direct_sft",
    "train_rb_ft",
    "evaluate_zero_shot",
    "evaluate_direct_sft",
    "evaluate_rb_ft",
}


def step_ids(*overrides: str) -> dict[str, str]:
    return {step.name: step.id for step in plan(load_config("demo", overrides)).steps}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("rationalize.replicas=2", set()),
        ("train.workers=1", set()),
        ("storage=elsewhere", set()),
        ("name=other", set()),
        ("ingest.block_clips=4", set()),
        ("serve.port=9000", set()),
        ("evaluate.max_model_len=2048", set()),
        ("evaluate.example_rationales=1", {"evaluate_zero_shot", "evaluate_direct_sft", "evaluate_rb_ft"}),
        ("train.stage2.epochs=1", {"train_direct_sft", "train_rb_ft", "evaluate_direct_sft", "evaluate_rb_ft"}),
        ("train.stage1.epochs=1", {"train_stage1", "train_rb_ft", "evaluate_rb_ft"}),
        ("rationalize.temperature=0.1", {"rationalize", "train_stage1", "train_rb_ft", "evaluate_rb_ft"}),
        ("sampling.quality=80", ALL - {"render"}),
        ("data.demo.domain_seed=7", ALL),
        ("seed=5", ALL),
    ],
)
def test_a_change_reruns_exactly_what_is_downstream(override, changed):
    before, after = step_ids(), step_ids(override)
    assert set(before) == ALL
    assert {name for name in ALL if before[name] != after[name]} == changed


FROZEN = "train.parts=[language]"


@pytest.mark.parametrize(
    ("overrides", "there"),
    [
        ([FROZEN], True),
        ([FROZEN, "train.method=full"], True),
        ([FROZEN, "model.base=Qwen/Qwen2.5-VL-7B-Instruct"], True),
        ([FROZEN, "train.vision_cache=off"], False),
        ([FROZEN, "train.vision_cache='off'"], False),
        (["train.parts=[language, merger]"], False),
        (["train.parts=[language, vision]"], False),
        ([], False),
    ],
)
def test_vision_features_are_stored_where_what_makes_them_is_frozen(overrides, there):
    assert set(step_ids(*overrides)) == ALL | ({"vision_features"} if there else set())


def test_a_base_of_another_family_has_no_vision_features(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava_onevision"}')
    assert "vision_features" not in step_ids(FROZEN, f"model.base={tmp_path}")


def test_the_vision_cache_changes_no_other_step():
    stored, computed = step_ids(FROZEN), step_ids(FROZEN, "train.vision_cache=off")
    assert {name: stored[name] for name in computed} == computed
    assert stored["vision_features"] == step_ids(FROZEN, "train.stage2.epochs=1")["vision_features"]
    assert stored["vision_features"] != step_ids(FROZEN, "train.precision=bf16")["vision_features"]
    assert stored["vision_features"] != step_ids(FROZEN, "sampling.quality=80")["vision_features"]


def test_every_training_step_is_given_the_vision_features():
    steps = plan(load_config("demo", [FROZEN])).steps
    names = [step.name for step in steps]
    users = [step.name for step in steps if step.caches]
    assert users == ["train_stage1", "train_direct_sft", "train_rb_ft"]
    assert all(names.index("vision_features") < names.index(user) for user in users)


def write_manifest(folder: Path, rows: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "m.csv").write_text(f"id,path,label,split\n{rows}")
    return f"data.manifest={folder / 'm.csv'}"


ROWS = "1,a.mp4,x,train\n2,b.mp4,y,train\n3,c.mp4,x,test\n4,d.mp4,y,test\n"


def test_identity_is_of_the_data_and_not_of_where_they_lie(tmp_path):
    one, two = (step_ids(write_manifest(tmp_path / name, ROWS)) for name in ("one", "two"))
    assert one == two
    assert (
        step_ids(write_manifest(tmp_path / "three", ROWS.replace("4,d.mp4,y", "4,d.mp4,x")))["ingest"] != one["ingest"]
    )
    (tmp_path / "one" / "a.mp4").write_bytes(b"a video of another size")
    assert step_ids(f"data.manifest={tmp_path / 'one' / 'm.csv'}")["ingest"] != one["ingest"]


def test_a_definition_of_no_label_is_refused(tmp_path):
    manifest = write_manifest(tmp_path, ROWS)
    with pytest.raises(ConfigError, match=r"task\.definitions\.z"):
        plan(load_config("demo", [manifest, "task.definitions={z: nothing}"]))


def test_a_path_that_is_no_model_is_refused():
    with pytest.raises(DataError, match=r"model\.base: .*no model directory"):
        plan(load_config("demo", ["model.base=./nowhere"]))


def test_a_hub_id_needs_no_network_to_plan():
    assert plan(load_config("demo", ["model.base=Qwen/Qwen2.5-VL-7B-Instruct"])).base == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_adams_steps_on_the_host_have_its_threads():
    cluster = Cluster(({"CPU": 128.0, "GPU": 8.0},))

    def threads(*overrides: str) -> int:
        overrides = ("ray.use_gpu=true", "train.deepspeed.zero_stage=2", *overrides)
        needs = plan(load_config("demo", overrides)).step("train_stage1").needs(cluster)
        assert needs.gpus == 1.0
        return needs.threads

    assert threads() == 1
    assert threads("train.deepspeed.offload_optimizer=true") == 16
