"""summary.json and report.html of a run, from what its steps wrote."""

import base64
import io
import sys
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
from rich.table import Table

from rbft_ray.core.schema import CANDIDATES, REJECTS, SPLITS
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips, read_clip_row
from rbft_ray.pipeline.recipes import ARMS, Plan
from rbft_ray.pipeline.runner import package_versions, step_dir
from rbft_ray.runtime.blocks import REJECTS_TABLE, read_parts
from rbft_ray.runtime.progress import console
from rbft_ray.stages import evaluate, rationalize

ARM_TITLES = {"zero_shot": "zero-shot", "direct_sft": "direct SFT", "rb_ft": "RB-FT"}


def write_report(plan: Plan, root: str, run_dir: str, markers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Writes summary.json, report.html and run.json under `run_dir`. Returns the summary."""
    metrics = {arm: _metrics(plan, root, arm) for arm in ARMS}
    summary = {
        "run": plan.config.name,
        "stages": {name: {**marker["counts"], "seconds": marker["seconds"]} for name, marker in markers.items()},
        "arms": {
            arm: {"accuracy": found["test"]["accuracy"], "macro_f1": found["test"]["macro_f1"]}
            for arm, found in metrics.items()
        },
        "test_clips": metrics[ARMS[0]]["test"]["clips"],
        "labels": list(plan.task.labels),
    }
    page = {
        "summary": summary,
        "titles": ARM_TITLES,
        "metrics": metrics,
        "plots": _plots(plan, root, metrics),
        "examples": _examples(plan, root),
        "rejects": _rejects(plan, root),
        "definitions": dict(plan.task.definitions),
        "rationales": _rationale_counts(plan, root),
        "versions": package_versions(),
        "command": " ".join(sys.argv),
    }
    environment = jinja2.Environment(loader=jinja2.PackageLoader("rbft_ray.pipeline", "."), autoescape=True)
    html = environment.get_template("report.html.j2").render(page)
    steps = {step.name: step_dir(root, step) for step in plan.steps}
    storage.write_bytes(storage.join(run_dir, "report.html"), html.encode())
    storage.write_json(
        storage.join(run_dir, "run.json"),
        {
            "schema_version": 1,
            "steps": steps,
            "config": plan.config.model_dump(mode="json"),
            "command": page["command"],
        },
    )
    storage.write_json(storage.join(run_dir, "summary.json"), summary)
    return summary


def print_summary(summary: dict[str, Any], report: str) -> None:
    """The results table on the terminal, and where the report is."""
    table = Table(title=f"{summary['run']}: {summary['test_clips']} test clips, {len(summary['labels'])} classes")
    for column in ("arm", "accuracy", "macro-F1"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm, numbers in summary["arms"].items():
        table.add_row(ARM_TITLES[arm], f"{numbers['accuracy']:.3f}", f"{numbers['macro_f1']:.3f}")
    console.print(table)
    console.print(f"report: {report}")


def _metrics(plan: Plan, root: str, arm: str) -> dict[str, Any]:
    return storage.read_json(storage.join(step_dir(root, plan.step(f"evaluate_{arm}")), "metrics.json"))


def _rejects(plan: Plan, root: str) -> list[dict[str, Any]]:
    """Rejects of all steps, counted by stage and reason, with the first as an example."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for step in plan.steps:
        for table in read_parts(step_dir(root, step), REJECTS_TABLE, REJECTS):
            for row in table.to_pylist():
                entry = found.setdefault((row["stage"], row["reason"]), {**row, "count": 0})
                entry["count"] += 1
    return sorted(found.values(), key=lambda entry: (entry["stage"], -entry["count"]))


def _rationale_counts(plan: Plan, root: str) -> list[dict[str, Any]]:
    """Per class: training clips, blind and hinted rationales kept, clips without one."""
    tables = list(read_parts(step_dir(root, plan.step(rationalize.STAGE)), rationalize.CANDIDATES_TABLE, CANDIDATES))
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    counts = []
    for label in plan.task.labels:
        own = [row for row in rows if row["label"] == label]
        kept = [row for row in own if row["kept"]]
        clips = len({row["id"] for row in own})
        blind = sum(not row["hinted"] for row in kept)
        counts.append(
            {"label": label, "clips": clips, "blind": blind, "hinted": len(kept) - blind, "none": clips - len(kept)}
        )
    return counts


def _examples(plan: Plan, root: str) -> list[dict[str, Any]]:
    """The example clips: frames, gold label, and what each arm answers."""
    where = {clip["id"]: clip for clip in list_clips(step_dir(root, plan.step("ingest")), SPLITS)}
    answers = {
        arm: {row["id"]: row for row in evaluate.predictions(step_dir(root, plan.step(f"evaluate_{arm}")))}
        for arm in ARMS
    }
    examples = []
    for clip_id, row in sorted(answers["rb_ft"].items()):
        if row["rationale"] is None:
            continue
        stored = read_clip_row(where[clip_id], ["frames", "frame_times_sec", "sampling"])
        mime = "image/png" if '"codec":"png"' in stored["sampling"] else "image/jpeg"
        frames = [
            {"data": f"data:{mime};base64,{base64.b64encode(frame).decode()}", "time_sec": time_sec}
            for frame, time_sec in zip(stored["frames"], stored["frame_times_sec"], strict=True)
        ]
        examples.append(
            {
                "id": clip_id,
                "label": row["label"],
                "frames": frames[:: max(1, len(frames) // 8)],
                "answers": {arm: answers[arm][clip_id] for arm in ARMS if clip_id in answers[arm]},
            }
        )
    return examples


def _plots(plan: Plan, root: str, metrics: dict[str, Any]) -> dict[str, str]:
    """{name: SVG} of the confusion matrices, per-class F1 and the training losses."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    from sklearn.metrics import ConfusionMatrixDisplay

    labels = list(plan.task.labels)
    side = min(3.6, 1.6 + 0.5 * len(labels))
    plots = {}
    figure, axes = plt.subplots(1, len(ARMS), figsize=(side * len(ARMS), side), layout="constrained")
    for axis, arm in zip(axes, ARMS, strict=True):
        matrix = ConfusionMatrixDisplay(np.asarray(metrics[arm]["test"]["confusion"]), display_labels=labels)
        matrix.plot(ax=axis, colorbar=False, cmap="Blues", xticks_rotation=45)
        axis.set_title(ARM_TITLES[arm])
    plots["confusion"] = _svg(figure)

    figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
    width = 0.8 / len(ARMS)
    for index, arm in enumerate(ARMS):
        f1 = [metrics[arm]["test"]["per_class"][label]["f1"] for label in labels]
        axis.bar([place + index * width for place in range(len(labels))], f1, width, label=ARM_TITLES[arm])
    axis.set_xticks([place + width for place in range(len(labels))], labels)
    axis.set(ylabel="F1", ylim=(0, 1))
    axis.legend()
    plots["per_class"] = _svg(figure)

    figure, axis = plt.subplots(figsize=(7, 2.6), layout="constrained")
    for name in ("train_stage1", "train_direct_sft", "train_rb_ft"):
        log = storage.read_json(storage.join(step_dir(root, plan.step(name)), "training_log.json"))
        axis.plot(range(1, len(log["losses"]) + 1), log["losses"], label=name.removeprefix("train_"))
    axis.set(xlabel="step", ylabel="loss per answer token", yscale="log")
    axis.legend()
    plots["loss"] = _svg(figure)
    return plots


def _svg(figure: Any) -> str:
    import matplotlib.pyplot as plt

    out = io.StringIO()
    figure.savefig(out, format="svg")
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]  # without the XML declaration, for a place inside HTML
