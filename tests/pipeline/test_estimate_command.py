"""`rbft estimate`: figures of the demo and of the documented 7B recipe, from configurations alone."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import FAMILIES, multiple_px, write_family
from typer.testing import CliRunner

from rbft_ray.cli import app
from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.prompts import label_prompt, rationale_prompt
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.vlm import answer_tokens, encode_prompts, end_of_turn_token, load_processor
from rbft_ray.pipeline.dataset import load_dataset, make_task
from rbft_ray.pipeline.estimate import estimate
from rbft_ray.pipeline.estimate_tables import print_estimate
from rbft_ray.pipeline.settings import load_config

RECIPE = str(Path(__file__).parents[2] / "jobs" / "configs" / "qwen2.5-vl-7b.yaml")
QWEN_7B: dict[str, Any] = {
    "model_type": "qwen2_5_vl",
    "tie_word_embeddings": False,
    "text_config": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
}


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """1,000 training clips and 10 test clips of two classes, whose videos do not exist."""
    rows = [
        (f"{split}{i}.mp4", "ab"[i % 2], split)
        for split, count in (("train", 1000), ("test", 10))
        for i in range(count)
    ]
    validation = [("v0.mp4", "a", "validation"), ("v1.mp4", "b", "validation")]
    with (tmp_path / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows, *validation])
    return str(tmp_path / "videos.csv")


@pytest.fixture
def recipe(tmp_path: Path, manifest: str) -> list[str]:
    """What points the documented recipe at a configuration of the base and at the manifest."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(QWEN_7B))
    return [f"model.base={tmp_path / 'base'}", f"data.manifest={manifest}"]


def of(source: str, *overrides: str, **options: Any) -> dict[str, Any]:
    return estimate(load_config(source, overrides), **options)


def test_the_7b_recipe(recipe: list[str]) -> None:
    found = of(RECIPE, *recipe)
    assert sum(part["weights"] for part in found["parameters"].values()) == pytest.approx(8.29e9, rel=1e-3)
    assert (found["training_clips"], found["zero_stage"], found["gpus"]) == (1000, 3, 8)
    stage = found["stages"]["train_stage1"]
    assert stage["steps"] == 375  # 3 epochs of 1,000 clips, 8 a step
    assert stage["tokens_per_clip"]["video"] == 32 * 192  # 64 frames of at most 151,200 px
    assert stage["tokens_per_clip"]["answer"] == 513  # rationalize.max_tokens and the end of the turn
    assert stage["micro_batch_tokens"] == stage["tokens_per_clip"]["all"]  # one clip per GPU and step
    gib = [
        round(row["weights"] / 2**30 + row["gradients"] / 2**30 + row["optimizer_states"] / 2**30)
        for row in found["memory"]
    ]
    assert gib == [124, 42, 29, 15]  # of 8.29 B parameters: 16, 4 + 12/8, 2 + 14/8 and 16/8 bytes
    assert [row["fits"] for row in found["memory"]] == [False, True, True, True]
    assert found["disk"]["checkpoint_bytes"] == 12 * 8_292_166_656
    blocks = (
        8 * (7_615_616_512 - 2 * 152064 * 3584) + 8 * 4 * 0.91 * 631_975_680
    )  # 4 patches per token of video, 0.91 of all
    attention = 16 * 28 * 3584 * stage["tokens_per_clip"]["all"]
    assert stage["flops"] == pytest.approx((blocks + attention) * stage["tokens"], rel=0.05)
    seconds = stage["flops"] / (8 * 989e12 * 0.35)
    assert stage["hours"] == pytest.approx(seconds / 3600)


def test_settings_change_what_they_should(recipe: list[str]) -> None:
    def first(*overrides: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        found = of(RECIPE, *recipe, *overrides, **options)
        return found["stages"]["train_stage1"], found["memory"][3]

    stage, row = first()
    twice, _ = first("train.stage1.epochs=6")
    assert (twice["steps"], twice["flops"]) == (2 * stage["steps"], pytest.approx(2 * stage["flops"]))
    assert first("data.limit_per_split=100")[0]["clips"] == 100
    assert first(gpu="a100", mfu=0.7)[0]["hours"] == pytest.approx(stage["hours"] * 989 / 312 / 2)
    adapters, lora = first("train.method=lora")
    assert adapters["flops"] < stage["flops"] and lora["optimizer_states"] < row["optimizer_states"] / 100
    _, one_gpu = first("train.workers=1")
    assert one_gpu["optimizer_states"] == 8 * row["optimizer_states"]
    assert one_gpu["activations"] > 2 * row["activations"]  # 16,384 tokens rather than one clip
    _, whole = first("train.gradient_checkpointing=false")
    assert whole["activations"] > 5 * row["activations"]
    assert first("train.precision=fp32")[1]["weights"] == pytest.approx(2 * row["weights"])


def test_stored_vision_features_are_computed_once(recipe: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    frozen = [*recipe, 'train.parts=["language"]']
    cached, each_time = of(RECIPE, *frozen), of(RECIPE, *frozen, "train.vision_cache=off")
    once = cached["vision_features"]
    assert once["clips"] == 1000 and each_time["vision_features"] is None
    for name, stage in cached["stages"].items():
        passes = stage["steps"] * 8 / 1000
        assert stage["flops"] + passes * once["flops"] == pytest.approx(each_time["stages"][name]["flops"])
    print_estimate(cached)
    assert "vision_features" in capsys.readouterr().out
    assert of(RECIPE, *recipe)["vision_features"] is None  # the recipe trains them


def test_offloading_moves_states_to_main_memory(recipe: list[str]) -> None:
    found = of(RECIPE, *recipe, "train.deepspeed.offload_optimizer=true", "train.deepspeed.offload_parameters=true")
    row, host = found["memory"][3], found["host"]
    assert row["optimizer_states"] == row["gradients"] == 0 and row["weights"] < 2**26  # small tensors stay
    assert host["offloaded_bytes"] == pytest.approx(8_292_166_656 / 8 * (4 + 4 + 8 + 2 + 2))
    assert of(RECIPE, *recipe)["host"]["offloaded_bytes"] == 0


def test_the_users_own_deepspeed_file_comes_first(tmp_path: Path, recipe: list[str]) -> None:
    (tmp_path / "own.json").write_text(json.dumps({"zero_optimization": {"stage": 1, "reduce_bucket_size": 1e6}}))
    found = of(RECIPE, *recipe, f"train.deepspeed.file={tmp_path / 'own.json'}")
    assert found["zero_stage"] == 1
    assert found["memory"][1]["buffers"] == 2e6


def test_fp16_has_no_row_without_zero(recipe: list[str]) -> None:
    assert [row["zero_stage"] for row in of(RECIPE, *recipe, "train.precision=fp16")["memory"]] == [1, 2, 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_those_of_the_encoded_clip(tmp_path: Path, manifest: str, family: str) -> None:
    base, unit = write_family(family, tmp_path / family), multiple_px(family)
    overrides = [f"model.base={base}", f"data.manifest={manifest}", "sampling.num_frames=6"]
    overrides += [f"sampling.multiple_px={unit}", f"sampling.max_pixels={6 * unit**2}"]
    config = load_config(None, overrides)
    processor = load_processor(base)
    clip = ClipFrames(np.zeros((6, 2 * unit, 3 * unit, 3), np.uint8), 1.0)
    task = make_task(config, load_dataset(config.data, config.seed).labels)
    stages = estimate(config)["stages"]
    for name, prompt in (("train_stage1", rationale_prompt(task)), ("train_rb_ft", label_prompt(task))):
        tokens, encoded = stages[name]["tokens_per_clip"], encode_prompts(processor, [clip], [prompt])["input_ids"]
        assert encoded.shape[1] <= tokens["video"] + tokens["text"] <= encoded.shape[1] + 6
        assert tokens["all"] == tokens["video"] + tokens["text"] + tokens["answer"]
    label = len(answer_tokens(processor, end_of_turn_token(processor), "a"))
    assert stages["train_rb_ft"]["tokens_per_clip"]["answer"] == label


def test_the_demo_s_clips_are_counted_without_its_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = of("demo")
    assert found["training_clips"] == sum(load_config("demo").data.demo.train_per_class)
    assert found["stages"]["train_stage1"]["tokens_per_clip"]["video"] == 36
    assert found["gpus"] == 1
    assert found["warnings"] == [
        "train.workers is null (one per GPU): counted with 1; set it to the number of GPUs",
        "the passes over the validation split are not counted",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("each", "clips"), [("16", 16 * 3 + 10), ("[4, 50, 4, 4]", 4 + 28 + 4 + 4)])
def test_a_label_budget_is_counted(each: str, clips: int) -> None:
    assert of("demo", f"data.train_per_class={each}")["training_clips"] == clips


def test_a_label_budget_for_other_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="train_per_class: 2 numbers for the 4 labels"):
        of("demo", "data.train_per_class=[4, 4]")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["sampling.max_pixels=7056", "sampling.multiple_px=21"],
            "sampling.multiple_px is 21; the base takes multiples of 28 px",
        ),
        (
            ["train.max_tokens=300"],
            "a clip with all its frames and the longest answer has 327 tokens, above train.max_tokens 300",
        ),
        (["train.workers=2", "train.min_workers=1"], "with fewer than 2 workers (train.min_workers) each holds more"),
        (["train.lora.use_dora=true"], "DoRA's temporary copies"),
        (["train.stage2.validate_every_epochs=1.0"], "the passes over the validation split are not counted"),
    ],
)
def test_what_the_figures_leave_out_is_said(overrides: list[str], says: str) -> None:
    assert [line for line in of("demo", *overrides)["warnings"] if says in line]


def test_what_cannot_be_estimated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--gpu V100: is none of H100, H200, A100, L40S, RTX4090"):
        of("demo", gpu="V100")
    for mfu in (0.0, 1.5):
        with pytest.raises(ConfigError, match=r"--mfu .*: must be above 0 and at most 1"):
            of("demo", mfu=mfu)
    with pytest.raises(DataError, match="no model directory"):
        of("demo", f"model.base={tmp_path}/none")
    with pytest.raises(DataError, match="no such manifest"):
        of("demo", "data.manifest=none.csv")


def test_the_command_prints_json_that_is_the_estimate(recipe: list[str]) -> None:
    options = [part for override in recipe for part in ("--set", override)]
    done = CliRunner().invoke(app, ["estimate", RECIPE, *options, "--gpu", "rtx 4090", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout[done.stdout.index("{\n") :]) == of(RECIPE, *recipe, gpu="RTX4090")


def test_the_terminal_shows_the_configured_stage_and_the_sources(
    recipe: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [part for override in recipe for part in ("--set", override)]
    done = CliRunner().invoke(app, ["estimate", RECIPE, *options])
    text = done.output + capsys.readouterr().out
    assert done.exit_code == 0, text
    assert "8.29 B parameters (vision 632 M, merger 44.6 M, language 7.62 B), 8.29 B trained" in text
    assert "> 3 " in text and "train_direct_sft" in text
    assert "a checkpoint 92.7 GiB" in text and "H100 at 35% of 989 TFLOP/s" in text
    assert "arXiv 1910.02054" in text and "arXiv 2205.05198" in text and "arXiv 2204.02311" in text
    assert "has no processor: texts are counted as 3 characters per token" in text
