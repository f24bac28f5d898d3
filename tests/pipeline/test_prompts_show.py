"""`rbft prompts show`: the text that the model gets, before and after a run, with the real processor of the demo's base."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rbft_ray.cli import app
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.prompts import Task, hinted_rationale_prompt, label_prompt, prompt_hash, rationale_prompt
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE, REJECTS
from rbft_ray.core.train_config import StageRecipe, TrainConfig
from rbft_ray.io import storage
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.vlm import answer_tokens, encode_prompts, load_processor, render_prompt, with_answers
from rbft_ray.pipeline.dataset import load_dataset
from rbft_ray.pipeline.prompts import shown_prompts
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.runner import step_dir
from rbft_ray.pipeline.settings import parse_config
from rbft_ray.runtime.blocks import REJECTS_TABLE, part
from rbft_ray.stages import rationalize
from rbft_ray.stages.train import TrainJob, train

ODD_LABELS = ("C++ (x)|[a", "猫", "[bold]dog")
ROWS = [
    ("held out", ODD_LABELS[1], "test"),
    ("clip one: a", ODD_LABELS[0], "train"),
    ("二", ODD_LABELS[1], "train"),
    ("v", ODD_LABELS[2], "validation"),
    ("broken", ODD_LABELS[2], "trial"),
]


@pytest.fixture(scope="module")
def processor(base_dir: str) -> Any:
    return load_processor(base_dir)


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., RunConfig]:
    """A configuration of clips with odd ids and labels, whose videos do not exist; nothing else is in `tmp_path`."""
    with (tmp_path / "videos.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "id", "label", "split"), *((f"{row[0]}.mp4", *row) for row in ROWS)])

    def configured(**sections: Any) -> RunConfig:
        values = {"name": "odd", "storage": str(tmp_path / "runs"), "data": {"manifest": str(tmp_path / "videos.csv")}}
        return parse_config({**values, **sections})

    return configured


def show(config: RunConfig, tmp_path: Path, *more: str) -> Result:
    (tmp_path / "odd.yaml").write_text(config.model_dump_json(), encoding="utf-8")
    return CliRunner().invoke(app, ["prompts", "show", str(tmp_path / "odd.yaml"), *more])


def candidate(clip: str, text: str, **values: Any) -> dict[str, Any]:
    """A row of CANDIDATES; columns that are not named are null."""
    empty = dict.fromkeys(CANDIDATES.names)
    return empty | {"id": clip, "label": ODD_LABELS[0], "text": text} | values


def test_prompts_and_hashes_are_those_of_generation_and_training(configured, processor) -> None:
    found = shown_prompts(configured(task={"definitions": {"猫": "It purrs."}, "guidance": "Look at the ears."}))
    task = Task(tuple(sorted(ODD_LABELS)), {"猫": "It purrs."}, guidance="Look at the ears.")
    assert (found["clip"], found["split"], found["label"]) == ("clip one: a", "train", ODD_LABELS[0])
    blind, hinted = rationale_prompt(task), hinted_rationale_prompt(task, ODD_LABELS[0])
    expected = {"blind": blind, "hinted": hinted, "stage1": blind, "stage2": label_prompt(task)}
    assert list(found["prompts"]) == list(expected)
    for name, prompt in expected.items():
        assert found["prompts"][name]["rendered"] == render_prompt(processor, prompt)
        assert found["prompts"][name]["prompt_hash"] == prompt_hash(prompt)
    planned = plan(configured(task={"definitions": {"猫": "It purrs."}, "guidance": "Look at the ears."}))
    for stage, name in (("stage1", "train_stage1"), ("stage2", "train_rb_ft")):
        assert found["prompts"][stage]["prompt_hash"] == planned.step(name).identities["prompt"]


@pytest.mark.parametrize(
    ("mode", "names"), [("blind", {"blind"}), ("label_conditioned", {"hinted"}), ("bootstrap", {"blind", "hinted"})]
)
def test_generation_is_as_the_mode_says_and_stage_1_never_hinted(configured, mode: str, names: set[str]) -> None:
    shown = shown_prompts(configured(rationalize={"mode": mode}))["prompts"]
    assert set(shown) - {"stage1", "stage2"} == names
    assert [name for name, one in shown.items() if "Hint:" in one["rendered"]] == sorted(names - {"blind"})


def test_token_counts_and_masks_are_those_of_the_tensors(
    configured, processor, base_dir: str, random_clips: list[ClipFrames]
) -> None:
    shown = shown_prompts(configured(), "二")["prompts"]["stage2"]
    task = Task(tuple(sorted(ODD_LABELS)))
    inputs = encode_prompts(processor, random_clips[:1], [label_prompt(task)])
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    batch = with_answers(inputs, [answer_tokens(processor, end, "猫")], 0)
    video = processor.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert shown["text_tokens"] == int((inputs["input_ids"] != video).sum())
    learnt = batch["labels"][0] != -100
    assert shown["loss_tokens"] == int(learnt.sum())
    assert shown["loss"] == processor.tokenizer.decode(batch["input_ids"][0][learnt]) == "猫<|im_end|>"
    assert shown["masked"] == shown["rendered"]


def test_before_a_run_stage_1_says_so_and_shows_the_form_and_nothing_is_written(configured, tmp_path: Path) -> None:
    done = show(configured(), tmp_path, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rationale"]["state"] == "none yet"
    stage1 = found["prompts"]["stage1"]
    assert (stage1["loss"], stage1["loss_tokens"]) == (None, None)
    assert stage1["required"] == f"<one or more lines of reasoning>\nAnswer: {ODD_LABELS[0]}<|im_end|>"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.yaml", "videos.csv"]


def test_a_kept_rationale_is_the_text_of_stage_1(configured, tmp_path: Path, processor) -> None:
    config = configured()
    text = f"A [red]fence[/red] falls :smile:.\nAnswer: {ODD_LABELS[0]}"
    rows = [
        candidate("clip one: a", "It sleeps.\nAnswer: 猫"),
        candidate("二", "Another.\nAnswer: 猫", kept=True),
        candidate("clip one: a", text, kept=True, hinted=True),
    ]
    out = step_dir(config.storage, plan(config).step(rationalize.STAGE))
    storage.write_table(part(out, CANDIDATES_TABLE, 0), rows, CANDIDATES)
    found = shown_prompts(config)
    assert found["rationale"]["state"] == "kept" and found["rationale"]["hinted"]
    assert found["prompts"]["stage1"]["loss"] == f"{text}<|im_end|>"
    assert found["prompts"]["stage1"]["loss_tokens"] == len(answer_tokens(processor, 2, text))
    assert "Hint:" not in found["prompts"]["stage1"]["rendered"]
    assert shown_prompts(config, "二")["prompts"]["stage1"]["loss"] == "Another.\nAnswer: 猫<|im_end|>"


@pytest.mark.parametrize("stage", ["rationalize", "ingest"])
def test_a_rejected_clip_is_not_waited_for(configured, tmp_path: Path, stage: str, capsys) -> None:
    config = configured()
    row = {"id": "二", "label": "猫", "split": "train", "reason": "generic", "detail": "of its own only: ear"}
    full = {field.name: row.get(field.name, "") for field in REJECTS}
    storage.write_table(part(step_dir(config.storage, plan(config).step(stage)), REJECTS_TABLE, 0), [full], REJECTS)
    found = shown_prompts(config, "二")["rationale"]
    assert found["state"] == "rejected" and found["text"] is None
    assert found["detail"] == f"{stage} rejected the clip (generic): of its own only: ear"
    done = show(config, tmp_path, "--clip", "二")
    assert "carries the loss: none; " + found["detail"] in done.output + capsys.readouterr().out
    assert shown_prompts(config)["rationale"]["state"] == "none yet"


@pytest.mark.parametrize(("clip", "split"), [("held out", "test"), ("v", "validation")])
def test_a_clip_that_is_not_trained_on_is_only_scored(configured, clip: str, split: str) -> None:
    found = shown_prompts(configured(), clip)
    assert (found["split"], found["rationale"], list(found["prompts"])) == (split, None, ["scoring"])
    found = shown_prompts(configured(evaluate={"reason_then_label": True}), clip)
    assert list(found["prompts"]) == ["scoring", "reasoned"]
    assert not any("Hint:" in shown["rendered"] or "loss" in shown for shown in found["prompts"].values())


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        (
            "clip one",
            r"--clip 'clip one': no such id among the 4 clips of data\.manifest .*videos\.csv, such as 'clip one: a'",
        ),
        ("", r"--clip '': no such id .*such as .*'held out'.*data\.id, else the column 'id'"),
        ("a\nb", r"--clip 'a\\nb': no such id"),
        ("broken", r"--clip 'broken': its row is rejected \(unknown_split\): 'trial' .*data\.split_names"),
    ],
)
def test_an_unknown_clip_is_named_with_where_to_look(configured, clip: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        shown_prompts(configured(), clip)
    assert "\n" not in str(error.value)
    limited = configured(data={**configured().data.model_dump(), "limit_per_split": 1})
    with pytest.raises(ConfigError, match=r"3 clips that data\.limit_per_split leaves of"):
        shown_prompts(limited, "二" if shown_prompts(limited)["clip"] != "二" else "clip one: a")


def test_what_the_task_lacks_is_said_with_what_it_costs(configured) -> None:
    def lacking(**task: Any) -> dict[str, list[str]]:
        found = shown_prompts(configured(task=task))["lacks"]
        assert all(one["costs"] and "\n" not in one["costs"] for one in found)
        return {one["key"]: one["classes"] for one in found}

    labels = sorted(ODD_LABELS)
    assert lacking() == {"task.definitions": labels, "task.guidance": [], "task.cues": labels}
    some = {"猫": "It purrs.", ODD_LABELS[0]: ""}
    assert lacking(definitions=some, guidance="Look.")["task.definitions"] == [x for x in labels if x != "猫"]
    every = {label: "It purrs." for label in labels}
    assert lacking(definitions=every, guidance="Look.", cues={label: ("purrs",) for label in labels}) == {}


def test_the_terminal_shows_the_text_as_it_is(configured, tmp_path: Path, capsys) -> None:
    guidance = "Look at [bold]ears[/bold] :smile: <|x|>"
    done = show(configured(task={"guidance": guidance}), tmp_path)
    text = done.output + capsys.readouterr().out
    assert done.exit_code == 0, text
    assert f"    {guidance}\n" in text and "\n    - [bold]dog\n" in text
    assert f"\n    Hint: the class is {ODD_LABELS[0]}. Do not" in text
    assert "carries the loss: none yet; `rbft run` writes it" in text
    assert f"    {ODD_LABELS[0]}<|im_end|>\n" in text
    assert "no task.definitions for C++ (x)|[a, [bold]dog, 猫: the model" in text and "no task.guidance: " not in text


def test_the_demo_world_has_the_clips_that_it_would_render(world: Path) -> None:
    demo = {"domain_seed": 3, "train_per_class": [4, 4, 4, 4], "val_per_class": 1, "test_per_class": 2}
    config = parse_config({"data": {"demo": demo}})
    rows = load_dataset(config.data.model_copy(update={"manifest": str(world / "manifest.csv")}), config.seed).rows
    assert shown_prompts(config)["clip"] == next(row["id"] for row in rows if row["split"] == "train")
    for row in rows[:: len(rows) // 4]:
        found = shown_prompts(config, row["id"])
        assert (found["label"], found["split"]) == (row["label"], row["split"])
    with pytest.raises(ConfigError, match=r"the 28 clips of the demo world, such as 'train-000.*rbft demo render"):
        shown_prompts(config, "train-0000")


def test_a_guidance_that_states_an_answer_is_refused(configured) -> None:
    with pytest.raises(ConfigError, match=r"^task\.guidance: states an answer for every clip: 'answer is 猫'"):
        shown_prompts(configured(task={"guidance": "The answer is 猫."}))


@pytest.mark.parametrize("stage", ["train_stage1", "train_rb_ft"])
def test_training_refuses_a_hinted_prompt_before_it_reads_or_writes(tmp_path: Path, base_dir: str, stage: str) -> None:
    task = Task(ODD_LABELS)
    job = TrainJob(
        stage=stage,
        base=base_dir,
        revision=None,
        prompt=hinted_rationale_prompt(task, "猫"),
        samples=({"id": "clip one", "label": "猫", "answer": "猫", "file": str(tmp_path / "gone"), "row": 0},),
        config=TrainConfig(),
        recipe=StageRecipe(),
        seed=0,
        out=str(tmp_path / "out"),
    )
    with pytest.raises(
        DataError, match=rf"^{stage}: the prompt of clip 'clip one' has the hint 'Hint: the class is 猫\."
    ):
        train(job, Needs(2, min_workers=2))
    assert list(tmp_path.iterdir()) == []
