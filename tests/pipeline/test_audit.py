"""`rbft audit` on files as others write them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rbft_ray.cli import app
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.schema import CANDIDATES, REJECTS
from rbft_ray.io import storage
from rbft_ray.pipeline.audit import audit, check_all, in_our_form, read_rationales

SOUND = "A man climbs over the fence and takes a parcel from the step."
CALM = "A woman waters the flowers beside the door. There are no signs of theft."


def llava(path: Path, prefix: str = "Classification:") -> str:
    rows = [
        ("a", SOUND, "abnormal", "Abnormal"),
        ("b", CALM, "abnormal", "Abnormal"),
        ("c", CALM, "normal", "Normal"),
    ]
    entries = [
        {
            "id": name,
            "video": f"{name}.mp4",
            "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": f"{text}\n{prefix} {answer}"}],
            "ground_truth": label,
        }
        for name, text, label, answer in rows
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")
    return str(path)


def jsonl(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def config(**cues: tuple[str, ...]) -> RunConfig:
    return RunConfig.model_validate({"task": {"cues": cues}, "data": {"labels": ("normal", "abnormal")}})


def test_another_answer_line_is_malformed_unless_its_prefix_is_given(tmp_path: Path) -> None:
    file = llava(tmp_path / "train.json")
    found = audit(file)
    assert found["reasons"] == {"malformed_answer": 3}
    assert found["details"]["malformed_answer"] == {"other prefix: Classification:": 3}
    assert found["ids"]["malformed_answer"] == ["a", "b", "c"]
    own = audit(file, prefix="Classification:")
    assert (own["accepted"], own["accept_rate"], own["reasons"]) == (3, 1.0, {})


def test_cues_of_the_configuration_find_what_contradicts_its_label(tmp_path: Path) -> None:
    cues = {"abnormal": ("takes a parcel", "theft"), "normal": ("waters the flowers",)}
    found = audit(llava(tmp_path / "train.json"), config(**cues), prefix="Classification:")
    assert found["ids"] == {"contradiction": ["b"]}
    assert found["classes"]["abnormal"]["accept_rate"] == 0.5
    assert found["classes"]["normal"]["reasons"] == {}


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("It stops.\nClassification: Normal.", "Classification:"),
        ("It stops. classification: normal", "Classification:"),
        ("It stops.\n  Label - NORMAL", "Label -"),
    ],
)
def test_another_form_is_brought_into_ours(text: str, prefix: str) -> None:
    assert in_our_form(text, prefix, ["normal", "abnormal"]) == "It stops.\nAnswer: normal"


def test_two_answer_lines_stay_two(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "r.jsonl", {"id": "a", "label": "cat", "text": f"{SOUND}\nClass: dog\nClass: cat"})
    assert audit(file, prefix="Class:")["reasons"] == {"malformed_answer": 1}


def test_lines_may_name_their_own_labels_or_none(tmp_path: Path) -> None:
    file = jsonl(
        tmp_path / "r.jsonl",
        {"id": 7, "ground_truth": "cat", "rationale": f"{SOUND}\nAnswer: dog", "labels": ["cat", "dog"]},
        {"video": "b.mp4", "label": "cat", "text": f"{SOUND}\nAnswer: cat"},
    )
    rows = read_rationales(file)
    assert [(row.id, row.labels) for row in rows] == [("7", ("cat", "dog")), ("b.mp4", None)]
    assert audit(file)["ids"] == {"wrong_answer": ["7"]}


def candidate(name: str, text: str, **values: Any) -> dict[str, Any]:
    return {
        **{"id": name, "label": "cat", "candidate": 0, "hinted": False, "text": text, "answer": "cat"},
        **{"accepted": True, "kept": True, "reason": "", "prompt_hash": "", "prompt_tokens": 1, "output_tokens": 1},
        **values,
    }


@pytest.mark.parametrize("place", ["", "candidates", "candidates/00000.parquet"])
def test_candidates_of_a_step_are_read_from_its_directory(tmp_path: Path, place: str) -> None:
    rows = [
        candidate("a", f"{SOUND}\nAnswer: cat"),
        candidate("b", "A man runs off with", hinted=True, reason="truncated"),
    ]
    storage.write_table(str(tmp_path / "step/candidates/00000.parquet"), rows, CANDIDATES)
    storage.write_table(str(tmp_path / "step/rejects/00000.parquet"), [], REJECTS)
    found = audit(str(tmp_path / "step" / place))
    assert (found["accepted"], found["ids"]) == (1, {"truncated": ["b (hinted 0)"]})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", r"holds no rationale"),
        ("[{]", r"r\.json:1: is no JSON"),
        ('{"label": "a", "text": "b"}\nnot json\n', r"r\.json:2: is no JSON"),
        ("[3]", r"entry 1: must be an object with fields, not a int"),
        ('{"text": "b"}', r"r\.json:1: has no field label or ground_truth; it has text"),
        ('{"label": "a"}', r"r\.json:1: has no field text or rationale; it has label"),
        ('{"label": 1, "text": "b"}', r"r\.json:1: field label: must be text, not int"),
        ('{"label": "a", "text": "b", "labels": "c"}', r"r\.json:1: field labels: must be a list"),
        ('[{"ground_truth": "a", "conversations": 3}]', r"entry 1: field conversations: must be a list"),
        ('[{"ground_truth": "a", "conversations": [{"from": "human"}]}]', r"entry 1: field conversations: has no turn"),
        (
            '[{"ground_truth": "a", "conversations": [{"from": "gpt"}]}]',
            r"entry 1: field conversations: has no field value",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "r.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=says) as error:
        read_rationales(str(tmp_path / "r.json"))
    assert "\n" not in str(error.value)


def test_no_file_other_bytes_and_other_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such file, and no directory with candidates"):
        read_rationales(str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone\.parquet: no such file"):
        read_rationales(str(tmp_path / "gone.parquet"))
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"r\.json: is no UTF-8 text"):
        read_rationales(str(tmp_path / "r.json"))
    file = jsonl(tmp_path / "r.jsonl", {"id": "x", "label": "emu", "text": SOUND})
    with pytest.raises(DataError, match=r"r\.jsonl: x: label 'emu' is not among .*normal, abnormal.*label_map"):
        check_all(file, read_rationales(file), config())


def test_the_command_prints_writes_a_page_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = {"id": "a", "label": "[red]cat", "text": f"{SOUND} <b>The hint says so.</b>\nAnswer: [red]cat"}
    file = jsonl(tmp_path / "r.jsonl", row, {**row, "id": "b", "text": f"{SOUND}\nAnswer: [red]cat"})
    page = tmp_path / "out" / "audit.html"
    done = CliRunner().invoke(app, ["audit", file, "--html", str(page)])
    assert done.exit_code == 0, done.output
    text = done.output + capsys.readouterr().out
    for part in ("1 of 2 rationales accepted", "[red]cat", "50%", "mentions_hint"):
        assert part in text
    html = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;The hint says so." in html and "<b>The hint" not in html
    assert "http" not in html and 'name="viewport"' in html
    done = CliRunner().invoke(app, ["audit", file, "--json"])
    assert json.loads(done.stdout) == audit(file)
