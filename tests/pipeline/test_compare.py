"""`rbft compare` on files as evaluation writes them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from rbft_ray.cli import app
from rbft_ray.core.errors import DataError
from rbft_ray.core.schema import PREDICTIONS, REJECTS
from rbft_ray.io import storage
from rbft_ray.pipeline.compare import compare_files, predictions_uri

GOLD = ["cat", "cat", "cat", "dog", "dog", "dog", "dog", "dog"]
A = ["cat", "dog", "dog", "dog", "dog", "cat", "cat", "cat"]
B = ["cat", "cat", "dog", "dog", "dog", "dog", "dog", "cat"]


def write(
    path: Path,
    predicted: list[str],
    *,
    gold: list[str] = GOLD,
    first: int = 0,
    split: str = "test",
    groups: bool = False,
    labels: tuple[str, ...] | None = ("cat", "dog"),
) -> str:
    """A predictions.parquet of clips number `first` and on; clips in pairs of a group, or without."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"clip{first + i}",
            "label": own,
            "split": split,
            "group": f"camera{(first + i) // 2}" if groups else None,
            "predicted": answer,
        }
        for i, (own, answer) in enumerate(zip(gold, predicted, strict=True))
    ]
    rows.append({"id": "other", "label": "dog", "split": "validation", "group": None, "predicted": "cat"})
    metadata = dict(PREDICTIONS.metadata) | ({b"labels": json.dumps(labels).encode()} if labels else {})
    storage.write_table(str(path), rows, PREDICTIONS.with_metadata(metadata))
    return str(path)


def test_the_test_clips_of_both_files_are_compared_by_id(tmp_path: Path) -> None:
    a = write(tmp_path / "a.parquet", A)
    b = write(tmp_path / "b.parquet", [*B[2:], "dog"], gold=[*GOLD[2:], "dog"], first=2)
    found = compare_files(a, b)
    assert (found["a"], found["b"]) == (a, b)
    assert (found["clips"], found["only_a"], found["only_b"]) == (6, 2, 1)
    assert found["accuracy"]["a"] == pytest.approx(2 / 6)
    assert found["accuracy"]["b"] == pytest.approx(4 / 6)
    assert found["mcnemar"] == {"only_a_correct": 0, "only_b_correct": 2, "p": 0.5}


def test_groups_are_resampled_whole_and_may_stand_in_one_file_alone(tmp_path: Path) -> None:
    without, grouped = write(tmp_path / "a.parquet", A), write(tmp_path / "b.parquet", B, groups=True)
    assert compare_files(without, without)["groups"] == 8
    assert compare_files(without, grouped)["groups"] == compare_files(grouped, without)["groups"] == 4


def test_labels_in_another_order_are_the_same_set(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.parquet", A), write(tmp_path / "b.parquet", B, labels=("dog", "cat"))
    assert list(compare_files(a, b)["per_class_f1"]) == ["cat", "dog"]


def make_run(run_dir: Path, arms: dict[str, str]) -> str:
    storage.write_json(
        str(run_dir / "run.json"),
        {"schema_version": 1, "steps": {"ingest": "/nowhere", **{f"evaluate_{arm}": to for arm, to in arms.items()}}},
    )
    return str(run_dir)


def test_an_arm_of_a_run_is_its_step_s_file(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "demo", {"rb_ft": "/before/it/moved/steps/evaluate_rb_ft-1"})
    uri = write(tmp_path / "runs" / "steps" / "evaluate_rb_ft-1" / "predictions.parquet", A)
    assert predictions_uri(f"{run}:rb_ft") == uri
    assert compare_files(f"{run}:rb_ft", uri)["accuracy"]["difference"] == 0


def test_a_later_run_of_the_name_that_is_not_finished_is_pointed_out(tmp_path: Path, capsys) -> None:
    run = make_run(tmp_path / "runs" / "demo", {"rb_ft": "steps/evaluate_rb_ft-1"})
    made = storage.read_json(f"{run}/run.json")
    storage.write_json(f"{run}/plan.json", made)
    predictions_uri(f"{run}:rb_ft")
    assert "not finished" not in capsys.readouterr().out
    storage.write_json(f"{run}/plan.json", {**made, "steps": {"evaluate_rb_ft": "steps/evaluate_rb_ft-2"}})
    assert predictions_uri(f"{run}:rb_ft").endswith("evaluate_rb_ft-1/predictions.parquet")
    assert "a later run of this name is not finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{tmp}/runs/demo", r"name a predictions\.parquet, or an arm of a run as runs/NAME:ARM"),
        ("s3://bucket/runs/demo", "or an arm of a run"),
        (":rb_ft", "or an arm of a run"),
        ("{tmp}/runs/demo:", "or an arm of a run"),
        ("{tmp}/runs/none:rb_ft", r"runs/none: not a finished run \(no run\.json\); run `rbft run` first"),
        ("{tmp}/runs/demo:direct", "has no arm 'direct'; it has zero_shot, rb_ft$"),
        ("{tmp}/runs/demo:rb_ft", r"gone/predictions\.parquet: no such file"),
        ("{tmp}/gone.parquet", r"gone\.parquet: no such file"),
        ("{tmp}/rejects.parquet", r"rejects\.parquet: holds 'rejects', expected 'predictions'"),
        ("{tmp}/old.parquet", r"old\.parquet: holds no label set; delete its directory and evaluate again"),
        ("{tmp}/train.parquet", r"train\.parquet: holds no clip of the test split"),
        ("{tmp}/other.parquet", r"a\.parquet and .*other\.parquet: different label sets \(emu\)"),
        ("{tmp}/apart.parquet", r"a\.parquet and .*apart\.parquet: no test clip is in both .*'clip0', 'clip50'"),
        ("{tmp}/gold.parquet", r"gold\.parquet: 8 clips have different gold labels \(such as 'clip0'\)"),
        ("{tmp}/twice.parquet", r"twice\.parquet: 8 ids are there twice"),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path: Path, source: str, says: str) -> None:
    make_run(tmp_path / "runs" / "demo", {"zero_shot": "/nowhere", "rb_ft": str(tmp_path / "gone")})
    storage.write_table(str(tmp_path / "rejects.parquet"), [], REJECTS)
    a = write(tmp_path / "a.parquet", A)
    write(tmp_path / "old.parquet", A, labels=None)
    write(tmp_path / "train.parquet", A, split="train")
    write(tmp_path / "other.parquet", A, labels=("cat", "dog", "emu"))
    write(tmp_path / "apart.parquet", A, first=50)
    write(tmp_path / "gold.parquet", A, gold=["dog" if label == "cat" else "cat" for label in GOLD])
    table = storage.read_table(a, PREDICTIONS)
    storage.write_table(str(tmp_path / "twice.parquet"), pa.concat_tables([table, table]).to_pylist(), table.schema)
    with pytest.raises(DataError, match=says) as error:
        compare_files(a, source.format(tmp=tmp_path))
    assert "\n" not in str(error.value)


def test_json_of_the_command_is_the_comparison(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.parquet", A), write(tmp_path / "b.parquet", B)
    done = CliRunner().invoke(app, ["compare", a, b, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == compare_files(a, b)


def test_the_command_prints_both_sides_and_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"cat": "cat", "dog": "[red]dog"}  # brackets are markup to rich
    a, b = (
        write(tmp_path / file, [names[i] for i in side], gold=[names[i] for i in gold], labels=tuple(names.values()))
        for file, side, gold in (("a.parquet", A, GOLD), ("b.parquet", B[:7], GOLD[:7]))
    )
    done = CliRunner().invoke(app, ["compare", a, b])
    assert done.exit_code == 0, done.output
    text = done.output + capsys.readouterr().out
    for part in (f"A: {a}", f"B: {b}", "7 test clips in both", "0.429", "0.857", "+0.429", "F1 [red]dog"):
        assert part in text
    assert "left out: 1 clips only in A, 0 only in B" in text
    assert "with fewer than 20 groups intervals are too narrow" in text
    assert "right in A only: 0, in B only: 3 (exact McNemar p 0.250" in text
