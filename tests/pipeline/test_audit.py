"""`rbft audit` on files as others write them, and on runs."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from rbft_ray.cli import app
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.rationale_checks import Verdict
from rbft_ray.core.schema import CANDIDATES, CLIPS, REJECTS, Reason
from rbft_ray.io import storage
from rbft_ray.pipeline.audit import audit, check_all
from rbft_ray.pipeline.audit_page import FRAME_SIDE_PX, chosen, small_jpeg
from rbft_ray.pipeline.audit_rows import Checked, Rationale, in_our_form, read_rationales

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
        **{
            "accepted": True,
            "kept": True,
            "reason": "",
            "detail": "",
            "prompt_hash": "",
            "prompt_tokens": 1,
            "output_tokens": 1,
        },
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
    defined = RunConfig.model_validate(
        {"task": {"definitions": {"normal": "Nothing happens.", "abnormal": "A crime."}}}
    )
    with pytest.raises(DataError, match=r"no label is among .*normal, abnormal.*the first: 'emu'.*label_map"):
        check_all(file, read_rationales(file), defined)


def test_classes_need_no_definition_and_may_be_renamed(tmp_path: Path) -> None:
    file = llava(tmp_path / "r.json")
    defined = RunConfig.model_validate({"task": {"definitions": {"abnormal": "Something that has to be looked at."}}})
    assert audit(file, defined, prefix="Classification:")["rationales"] == 3
    renamed = RunConfig.model_validate({"data": {"label_map": {"abnormal": "Alarm", "normal": "Calm"}}})
    rows = [{"label": "abnormal", "labels": ["abnormal", "normal"], "text": f"{SOUND}\nAnswer: Alarm"}]
    assert audit(jsonl(tmp_path / "r.jsonl", *rows), renamed)["accepted"] == 1


def test_labels_that_differ_in_case_are_told_apart() -> None:
    text = in_our_form(f"{CALM}\nClassification: Normal", "Classification:", ("Normal", "normal"))
    assert text.endswith("Answer: Normal")
    text = in_our_form(f"{CALM}\nClassification: NORMAL", "Classification:", ("Normal", "abnormal"))
    assert text.endswith("Answer: Normal")


def test_texts_may_hold_line_separators_and_half_an_emoji(tmp_path: Path) -> None:
    row = {"id": "x", "label": "normal", "text": f"{CALM}\u2028It is quiet.\nAnswer: normal"}
    (tmp_path / "r.jsonl").write_text(
        json.dumps(row, ensure_ascii=False) + "\n" + json.dumps({**row, "text": "\ud83d"})
    )
    assert [one.text[:1] for one in read_rationales(str(tmp_path / "r.jsonl"))] == ["A", "?"]
    audit(str(tmp_path / "r.jsonl"), html=str(tmp_path / "r.html"))


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


def jpeg(colour: tuple[int, int, int], width_px: int = 28, height_px: int = 28) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width_px, height_px), colour).save(out, "JPEG")
    return out.getvalue()


def clip(name: str, colour: tuple[int, int, int]) -> dict[str, Any]:
    times = [float(second) for second in range(8)]
    return {
        **{"id": name, "label": "cat", "split": "train", "group": None, "video": f"{name}.mp4"},
        **{"frames": [jpeg(colour)] * 8, "frame_times_sec": times, "fps": 1.0, "height_px": 28, "width_px": 28},
        **{"duration_sec": 8.0, "source_fps": 1.0, "source_frames": 8, "sampling": "{}"},
    }


def run(root: Path) -> Path:
    """A run of which `a` was rejected blind and kept under the hint, and `b` was rejected by more than its text."""
    colours = {"a": (255, 0, 0), "b": (0, 0, 255)}
    rows = [
        candidate("a", f"{SOUND}\nAnswer: dog", kept=False, accepted=False, reason="wrong_answer"),
        candidate("a", f"{CALM}\nAnswer: cat", hinted=True),
        candidate("a", f"{SOUND}\nAnswer: cat", hinted=True, candidate=1, kept=False),
        candidate(
            "b",
            f"{SOUND}\nAnswer: cat",
            **{"kept": False, "accepted": False, "reason": "contradiction", "detail": "another cue"},
        ),
    ]
    clips = [clip(name, colour) for name, colour in colours.items()]
    storage.write_table(str(root / "steps/ingest-1/clips/00000.parquet"), clips, CLIPS)
    storage.write_table(str(root / "steps/rationalize-2/candidates/00000.parquet"), rows, CANDIDATES)
    storage.write_json(str(root / "steps/rationalize-2/done.json"), {"inputs": {"ingest": "1"}})
    steps = {"ingest": "/moved/steps/ingest-1", "rationalize": "/moved/steps/rationalize-2"}
    own = {"task": {"guidance": "Look for dogs."}, "data": {"labels": ["cat", "dog"]}}
    storage.write_json(str(root / "mine/run.json"), {"steps": steps, "config": own})
    return root


def pictures(html: str) -> list[tuple[int, ...]]:
    """The colours of the page's frames, rounded to 0 or 255."""
    found = [part.split('"')[0] for part in html.split("data:image/jpeg;base64,")[1:]]
    pixels = [Image.open(io.BytesIO(base64.b64decode(data))).getpixel((5, 5)) for data in found]
    return [tuple(255 if value > 127 else 0 for value in pixel) for pixel in pixels]  # type: ignore[union-attr]


@pytest.mark.parametrize("place", ["mine", "steps/rationalize-2", "steps/rationalize-2/candidates/00000.parquet"])
def test_a_run_shows_frames_and_what_was_kept_beside_what_was_rejected(tmp_path: Path, place: str) -> None:
    page = tmp_path / "audit.html"
    found = audit(str(run(tmp_path) / place), html=str(page))
    html = page.read_text(encoding="utf-8")
    red, blue = (255, 0, 0), (0, 0, 255)
    assert (
        pictures(html) == [red] * 4 + [blue] * 4 + [red] * 4
    )  # one card for each of the reasons, in order, and accepted
    assert html.count("kept for this clip (hinted 0)") == 1 and html.count("nothing was kept for this clip") == 1
    assert html.count(CALM) == 2 and "another cue" in html and "7.00 s" in html and "http" not in html
    assert (found["clips"], found["clips_kept"]) == (2, 1)


def test_what_a_run_rejected_stays_rejected_with_its_reason(tmp_path: Path) -> None:
    found = audit(str(run(tmp_path) / "mine"))
    assert found["ids"] == {"contradiction": ["b (blind 0)"], "wrong_answer": ["a (blind 0)"]}
    assert found["details"]["contradiction"] == {"another cue": 1}
    assert found["accepted"] == 2


def test_a_run_is_checked_by_its_own_configuration(tmp_path: Path) -> None:
    text = "Eine Katze sitzt auf dem Sofa, putzt sich die Pfote und schaut danach lange aus dem Fenster.\nAnswer: cat"
    root = run(tmp_path)
    rows = [candidate("a", text)]
    storage.write_table(str(root / "steps/rationalize-2/candidates/00000.parquet"), rows, CANDIDATES)
    assert audit(str(root / "mine"))["reasons"] == {"other_language": 1}
    made = storage.read_json(str(root / "mine/run.json"))
    made["config"]["task"] = {"role": "Du bist Fachmann für Videos und beschreibst, was auf ihnen zu sehen ist."}
    storage.write_json(str(root / "mine/run.json"), made)
    assert audit(str(root / "mine"))["accepted"] == 1


def test_of_a_run_that_was_begun_again_it_is_the_last_one(tmp_path: Path) -> None:
    root = run(tmp_path)
    storage.write_table(
        str(root / "steps/rationalize-3/candidates/0.parquet"), [candidate("c", f"{SOUND}\nAnswer: cat")], CANDIDATES
    )
    later = {"steps": {"rationalize": "/elsewhere/steps/rationalize-3"}, "config": {"data": {"labels": ["cat", "dog"]}}}
    storage.write_json(str(root / "mine/plan.json"), later)
    assert audit(str(root / "mine"))["clips"] == 1
    (root / "mine/run.json").unlink()
    assert audit(str(root / "mine"))["clips"] == 1


def test_a_run_without_rationales_yet_says_so(tmp_path: Path) -> None:
    root = run(tmp_path)
    storage.write_json(str(root / "mine/plan.json"), {"steps": {"rationalize": "steps/rationalize-4"}, "config": {}})
    with pytest.raises(
        DataError, match=r"rationalize-4: has no candidates/\*\.parquet: not a rationalize step, or not one"
    ):
        audit(str(root / "mine"))


def test_a_run_whose_clips_are_gone_has_a_page_without_frames(tmp_path: Path) -> None:
    root = run(tmp_path)
    (root / "steps/ingest-1/clips/00000.parquet").unlink()
    audit(str(root / "mine"), html=str(root / "audit.html"))
    html = (root / "audit.html").read_text(encoding="utf-8")
    assert "<img" not in html and "kept for this clip" in html


def test_examples_take_classes_in_turn_and_each_clip_once() -> None:
    def one(label: str, clip_id: str) -> Checked:
        row = Rationale(f"{clip_id} (blind 0)", label, SOUND, clip=clip_id)
        return Checked(row, Verdict(SOUND, label, Reason.WRONG_ANSWER))

    rows = [one("cat", "a"), one("cat", "a"), one("cat", "b"), one("cat", "c"), one("dog", "d"), one("cat", "e")]
    shown = [each.rationale.clip for each in chosen(rows, ["cat", "dog"], "wrong_answer")]
    assert shown == ["a", "d", "b", "c"]
    assert chosen(rows, ["cat", "dog"], None) == []


def test_frames_are_made_small_in_their_own_shape() -> None:
    for size in ((600, 300), (20, 10)):
        data = small_jpeg(jpeg((0, 0, 0), *size)).removeprefix("data:image/jpeg;base64,")
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            assert image.size == ((FRAME_SIDE_PX, FRAME_SIDE_PX // 2) if size[0] > FRAME_SIDE_PX else size)
