"""The report of made-up runs: real tables, calibration, metrics and comparison, but no model and no Ray."""

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rbft_ray.core.config import EvaluateConfig, RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import Task
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import CANDIDATES, CLIPS, PREDICTIONS, PREDICTIONS_FILE, REJECTS
from rbft_ray.io import storage
from rbft_ray.pipeline.recipes import ARMS, Plan
from rbft_ray.pipeline.report import FILES, print_summary, write_report
from rbft_ray.pipeline.reporting import classes, clips
from rbft_ray.pipeline.runner import step_dir
from rbft_ray.pipeline.step import Step
from rbft_ray.runtime.blocks import Counts, part
from rbft_ray.runtime.progress import console
from rbft_ray.stages import evaluate

ODD_LABELS = ("a|b <script>alert('x')</script>", '$x_1$ & "Brücke"', "快递员 送货", "*pl\\ain*")
JUDGES = {"model": {"fit": False, "agreement": None, "detail": "7 rationales are too few <b>"}}
SKILL = {"zero_shot": 0.0, "direct_sft": 1.5, "rb_ft": 3.0}  # what is added to the gold label's score


def stage_names() -> list[str]:
    trainings = ["train_stage1", "train_direct_sft", "train_rb_ft"]
    return ["ingest", "rationalize", *trainings, *(f"evaluate_{arm}" for arm in ARMS)]


def run(_context: object) -> Counts:
    raise AssertionError("a report runs no step")


def frame(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (12, 12), (shade % 256, 90, 160)).save(out, "JPEG")
    return out.getvalue()


class MadeUpRun:
    """The files of a finished run under `root`, whose labels, clips per class and settings the test chooses."""

    def __init__(
        self, root: Path, labels: tuple[str, ...], *, per_class: int = 4, config: dict[str, Any] | None = None
    ):
        self.root, self.labels = str(root), labels
        settings = EvaluateConfig(**{"example_rationales": 2, **(config or {})})
        steps = tuple(Step(name, {}, lambda _cluster: Needs(), run) for name in stage_names())
        self.plan = Plan(RunConfig(name="odd-run", evaluate=settings), steps, Task(labels), "base", "identity")
        self.clips = [
            {"id": f"{split}-{place}-{number}", "label": label, "split": split, "group": f"cam{number}"}
            for split in ("train", "validation", "test")
            for place, label in enumerate(labels)
            for number in range(per_class + (place % 10 if split == "train" else 0))
        ]
        self.missing = [{"id": "gone", "video": "gone.mp4", "label": labels[0], "split": "test"}]
        self._write_data()
        for seed, arm in enumerate(ARMS):
            self._write_arm(arm, seed)

    def out(self, step: str) -> str:
        return step_dir(self.root, self.plan.step(step))

    def _write_data(self) -> None:
        stored = {"video": "v.mp4", "fps": 2.0, "height_px": 12, "width_px": 12, "duration_sec": 6.0, "sampling": "{}"}
        frames = {"frames": [frame(30 * i) for i in range(12)], "frame_times_sec": [i / 2 for i in range(12)]}
        rows = [{**clip, **stored, **frames, "source_fps": 25.0, "source_frames": 150} for clip in self.clips]
        storage.write_table(part(self.out("ingest"), "clips", 0), rows, CLIPS)
        rejects = [{**row, "stage": "ingest", "reason": "unreadable_file", "detail": "<b>|"} for row in self.missing]
        storage.write_table(part(self.out("ingest"), "rejects", 0), rejects, REJECTS)
        train = [clip for clip in self.clips if clip["split"] == "train"]
        candidates = [
            {"id": clip["id"], "label": clip["label"], "hinted": i % 2 == 0, "kept": i % 3 > 0}
            for i, clip in enumerate(train)
        ]
        storage.write_table(part(self.out("rationalize"), "candidates", 0), candidates, CANDIDATES)
        storage.write_json(storage.join(self.out("rationalize"), "judges.json"), JUDGES)
        for name in ("train_stage1", "train_direct_sft", "train_rb_ft"):
            losses = [2.0 / (step + 1) for step in range(500)]
            storage.write_json(storage.join(self.out(name), "training_log.json"), {"steps": 500, "losses": losses})

    def _write_arm(self, arm: str, seed: int) -> None:
        config, task, rng = self.plan.config.evaluate, self.plan.task, np.random.default_rng(seed)
        rows = []
        for clip in (clip for clip in self.clips if clip["split"] != "train"):
            scores = rng.normal(size=len(self.labels))
            scores[self.labels.index(clip["label"])] += SKILL[arm]
            explained = config.reason_then_label or clip["id"] in ("test-0-0", "test-1-1")
            text = f"It moves <i>left</i>.\nAnswer: {self.labels[0]}" if explained else None
            rows.append({**clip, "log_probabilities": scores.tolist(), "rationale": text})
        calibration = evaluate.calibrate(rows, task, config, [])
        predicted = [evaluate.prediction(row, task, calibration) for row in rows]
        schema = PREDICTIONS.with_metadata({**PREDICTIONS.metadata, b"labels": json.dumps(self.labels).encode()})
        storage.write_table(storage.join(self.out(f"evaluate_{arm}"), "predictions.parquet"), predicted, schema)
        found = evaluate.metrics(predicted, self.missing, task, calibration, config.reason_then_label, 0)
        storage.write_json(storage.join(self.out(f"evaluate_{arm}"), "metrics.json"), found)

    def write(self) -> dict[str, Any]:
        """Writes the report; returns {file name: text, or value for JSON}."""
        marker = {"counts": Counts(8, 7, 1)._asdict(), "seconds": 61.5, "finished": "2026-01-02T03:04:05+00:00"}
        run_dir = storage.join(self.root, "odd-run")
        write_report(self.plan, self.root, run_dir, {step.name: marker for step in self.plan.steps})
        texts = {name: storage.read_bytes(storage.join(run_dir, name)).decode() for name in FILES}
        return {name: json.loads(text) if name.endswith(".json") else text for name, text in texts.items()}


class Page(HTMLParser):
    """Tags with attributes, the text, and the tags that were left open or closed twice."""

    VOID = frozenset({"meta", "img", "br", "link", "circle", "line", "path", "use", "rect"})

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.open, self.broken = list[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def markdown_tables(text: str) -> list[list[list[str]]]:
    """The tables of a GitHub document as rows of unescaped cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [
            [html.unescape(re.sub(r"\\(.)", r"\1", cell.strip())) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        for block in blocks
    ]


@pytest.fixture(scope="module", params=[2, 4, 40])
def made_up(request, tmp_path_factory) -> tuple[MadeUpRun, dict[str, Any]]:
    count = request.param
    labels = ODD_LABELS[:count] + tuple(f"Überlange Klasse mit vielen Wörtern Nr. {i}" for i in range(4, count))
    run = MadeUpRun(tmp_path_factory.mktemp(f"run{count}"), labels)
    return run, run.write()


def test_the_page_is_whole_and_holds_the_numbers_of_metrics_json(made_up):
    run, files = made_up
    page, arms = Page(files["report.html"]), files["metrics.json"]["arms"]
    assert page.broken == []
    assert page.open == []
    for arm in ARMS:
        assert arms[arm] == storage.read_json(storage.join(run.out(f"evaluate_{arm}"), "metrics.json"))
        test = arms[arm]["splits"]["test"]
        for name in ("accuracy", "macro_f1", "balanced_accuracy", "ece", "nll", "roc_auc", "mcc"):
            assert f"{test['scores'][name]:.3f}" in page.text
        for name in ("accuracy", "macro_f1"):
            low, high = test["intervals"][name]
            assert f"{low:.3f} to {high:.3f}" in page.text
        assert f"{test['strict']['accuracy']:.3f}" in page.text  # one clip was rejected
        for values in test["per_class"].values():
            assert f"{values['f1']:.3f}" in page.text
    found = files["metrics.json"]["comparison"]["accuracy"]
    assert found["a"] == arms["direct_sft"]["splits"]["test"]["scores"]["accuracy"]
    assert f"difference {found['difference']:+.3f}" in page.text
    assert f"{1 / len(run.labels):.3f}" in page.text
    assert "61.5" in page.text


def test_labels_and_rationales_are_text_and_never_markup(made_up):
    run, files = made_up
    page = Page(files["report.html"])
    assert not {"script", "i", "b", "iframe", "link"} & {tag for tag, _ in page.tags}
    assert all(" ".join(label.split()) in page.text for label in run.labels)
    assert "It moves <i>left</i>." in page.text


def test_an_unfit_judge_is_told_of(made_up):
    _, files = made_up
    assert "7 rationales are too few &lt;b&gt;" in files["report.html"]


def test_the_page_loads_nothing_from_elsewhere(made_up):
    _, files = made_up
    page = Page(files["report.html"])
    targets = [
        value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")
    ]
    assert all(value.startswith(("data:image/", "#")) for value in targets)
    assert not re.search(r"url\((?!#)|@import|http:|https:", files["report.html"])
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert len(files["report.html"]) < 3_000_000


def test_figures_say_in_words_what_they_show(made_up):
    run, files = made_up
    figures = [attrs for tag, attrs in Page(files["report.html"]).tags if tag == "svg" and "role" in attrs]
    assert len(figures) == 5
    assert f"RB-FT {files['summary.json']['arms']['rb_ft']['accuracy']:.3f}" in figures[0]["aria-label"]
    gain = re.findall(r'<svg role="img" aria-label="F1 gain.*?</svg>', files["report.html"], re.DOTALL)[0]
    assert ('$x_1$ & "Brücke"' in html.unescape(gain)) == (len(run.labels) <= 8)
    assert all(attrs["alt"] for tag, attrs in Page(files["report.html"]).tags if tag == "img")


def test_the_markdown_tables_parse(made_up):
    run, files = made_up
    headline, by_class, rejects = markdown_tables(files["report.md"])
    for table in (headline, by_class, rejects):
        assert {len(row) for row in table} == {len(table[0])}
        assert all(set(cell) <= set("-: ") for cell in table[1])
    arms = files["metrics.json"]["arms"]
    for row, arm in zip(headline[2:], ARMS, strict=True):
        test = arms[arm]["splits"]["test"]
        for cell, name in zip(row[1:3], ("accuracy", "macro_f1"), strict=True):
            low, high = test["intervals"][name]
            assert cell == f"{test['scores'][name]:.3f} ({low:.3f} to {high:.3f})"
        assert row[-1] == f"{test['strict']['accuracy']:.3f}"
    assert {row[0] for row in by_class[2:]} == set(run.labels)
    assert "<script>" not in files["report.md"]
    assert rejects[2] == ["ingest", "unreadable_file", "1"]


def test_the_summary_keeps_its_shape(made_up):
    run, files = made_up
    summary = files["summary.json"]
    assert all(0 <= value <= 1 for scores in summary["arms"].values() for value in scores.values())
    assert set(summary["intervals"]) == set(summary["arms"]) == set(ARMS)
    assert summary["test_clips"] == 4 * len(run.labels) + 1
    assert summary["labels"] == list(run.labels)
    with console.capture() as shown:
        print_summary(summary, "report.html")
    low, high = summary["intervals"]["rb_ft"]["macro_f1"]
    assert f"{low:.3f}–{high:.3f}" in shown.get()
    reasoned = {arm: files["metrics.json"]["arms"][arm]["splits"]["test"]["reasoned"] for arm in ARMS}
    assert summary["reasoned_accuracy"] == {arm: found["accuracy"] for arm, found in reasoned.items() if found}
    assert ("reasoned" in shown.get()) == bool(summary["reasoned_accuracy"])


def test_matrices_for_few_classes_and_pairs_for_many(made_up):
    run, files = made_up
    regions = [attrs.get("aria-label") or "" for _, attrs in Page(files["report.html"]).tags]
    many = len(run.labels) > classes.MAX_MATRIX
    assert sum(name.startswith("Confusion matrix") for name in regions) == (0 if many else 3)
    assert ("Most confused pairs" in regions) == many


def test_the_worst_mistakes_are_the_most_confident_ones(made_up):
    run, files = made_up
    test = [
        row
        for row in storage.read_table(f"{run.out('evaluate_rb_ft')}/{PREDICTIONS_FILE}", PREDICTIONS).to_pylist()
        if row["split"] == "test"
    ]
    wrong = [row for row in test if row["predicted"] != row["label"]]
    wrong.sort(key=lambda row: (-max(row["probabilities"]), row["id"]))
    told = clips.told_clips(run.plan, run.root)
    assert [clip["id"] for clip in told["mistakes"]] == [row["id"] for row in wrong[:6]]
    assert [clip["id"] for clip in told["examples"]] == ["test-0-0", "test-1-1"]
    shown = len(told["mistakes"]) + len(told["examples"])
    assert files["report.html"].count("data:image/jpeg;base64,") == 8 * shown
    assert [frame["time_sec"] for frame in told["examples"][0]["frames"]][::7] == [0.0, 5.5]


def test_reason_then_label_shows_a_draw_and_the_accuracy_by_reasoning(tmp_path):
    run = MadeUpRun(tmp_path, ("up", "down"), config={"reason_then_label": True})
    files = run.write()
    told = clips.told_clips(run.plan, run.root)
    assert len(told["examples"]) == 2
    assert told == clips.told_clips(run.plan, run.root)
    assert files["metrics.json"]["arms"]["rb_ft"]["splits"]["test"]["reasoned"]["accuracy"] == 0.5
    assert markdown_tables(files["report.md"])[0][0][-1] == "accuracy by reasoning"
    assert "accuracy by reasoning" in Page(files["report.html"]).text


def test_a_report_is_the_same_when_written_again(tmp_path):
    run = MadeUpRun(tmp_path, ("up", "down"), per_class=2)
    assert run.write() == run.write()


def test_metrics_of_another_version_or_without_test_clips_are_refused(tmp_path):
    run = MadeUpRun(tmp_path, ("up", "down"), per_class=2)
    uri = storage.join(run.out("evaluate_rb_ft"), "metrics.json")
    found = storage.read_json(uri)
    storage.write_json(uri, {**found, "schema_version": 99})
    with pytest.raises(DataError, match="schema version 99"):
        run.write()
    storage.write_json(uri, {**found, "splits": {}})
    with pytest.raises(DataError, match="no test clip was scored"):
        run.write()
