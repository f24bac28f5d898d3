"""What a run leaves under runs/NAME, from what its steps wrote.

out:  report.html   one page without any other file: what came out, how sure it is, where it fails, how it was made
      report.md     the tables of it, for a pull request
      metrics.json  every number: metrics.json of each arm, and RB-FT against direct SFT
      summary.json  the few numbers that scripts want
      run.json      of `run_files`
"""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from rbft_ray.core.data_checks import data_warnings
from rbft_ray.io import storage
from rbft_ray.pipeline.recipes import ARMS, Plan
from rbft_ray.pipeline.reporting import classes, clips, facts, figures, words
from rbft_ray.pipeline.run_files import RUN_FILE, command_line, run_facts
from rbft_ray.pipeline.runner import package_versions, step_dir
from rbft_ray.pipeline.templates import environment
from rbft_ray.runtime.progress import console
from rbft_ray.stages import rationalize

FILES = ("report.html", "report.md", "metrics.json", "summary.json", RUN_FILE)
SUMMARY_SCORES = ("accuracy", "macro_f1", "balanced_accuracy", "ece")  # all in [0, 1]
HEADLINE_SCORES = ("accuracy", "macro_f1", "balanced_accuracy", "ece", "nll")
INTERVAL_SCORES = ("accuracy", "macro_f1")
METRICS_VERSION = 1


def write_report(plan: Plan, root: str, run_dir: str, markers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Writes `FILES` under `run_dir`. Returns the summary.

    Args:
        markers: {step name: its done-marker}.

    Raises:
        DataError: a step's files are of another version, or no test clip was scored.
    """
    metrics = facts.arm_metrics(plan, root)
    comparison = facts.arm_comparison(plan, root)
    summary = _summary(plan, metrics, markers)
    page = _page(plan, root, summary, metrics, comparison, markers)
    templates = environment()
    templates.filters |= {
        name: getattr(words, name) for name in ("number", "signed", "span", "threshold", "score_title", "markdown_cell")
    }
    for name in ("report.html", "report.md"):
        text = templates.get_template(f"{name}.j2").render(page)
        storage.write_bytes(storage.join(run_dir, name), text.encode())
    every_number = {"schema_version": METRICS_VERSION, "arms": metrics, "comparison": comparison}
    storage.write_json(storage.join(run_dir, "metrics.json"), every_number, indent=None)
    storage.write_json(storage.join(run_dir, "summary.json"), summary)
    storage.write_json(storage.join(run_dir, RUN_FILE), run_facts(plan.steps, plan.config, root, page["command"]))
    return summary


def print_summary(summary: Mapping[str, Any], report: str) -> None:
    """The results table on the terminal, and where the report is. reasoned: accuracy of the class after reasoning."""
    table = Table(
        title=f"{summary['run']}: {summary['test_clips']} test clips, {len(summary['labels'])} classes", box=box.SIMPLE
    )
    table.add_column("arm", no_wrap=True)
    for name in INTERVAL_SCORES:
        table.add_column(words.score_title(name), justify="right")
        table.add_column("95 %", style="dim", no_wrap=True)
    reasoned = summary["reasoned_accuracy"]
    if reasoned:
        table.add_column("reasoned", justify="right")
    for arm, scores in summary["arms"].items():
        cells = [
            text
            for name in INTERVAL_SCORES
            for text in (words.number(scores[name]), words.span(summary["intervals"][arm][name]).replace(" to ", "–"))
        ]
        table.add_row(words.ARM_TITLES[arm], *cells, *([words.number(reasoned[arm])] if reasoned else []))
    console.print(table)
    console.print(f"report: {report}")


def _summary(plan: Plan, metrics: Mapping[str, Any], markers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    tests = {arm: metrics[arm]["splits"]["test"] for arm in ARMS}
    return {
        "run": plan.config.name,
        "stages": {name: {**marker["counts"], "seconds": marker["seconds"]} for name, marker in markers.items()},
        "arms": {arm: {name: test["scores"][name] for name in SUMMARY_SCORES} for arm, test in tests.items()},
        "reasoned_accuracy": {arm: test["reasoned"]["accuracy"] for arm, test in tests.items() if test["reasoned"]},
        "intervals": {arm: {name: test["intervals"][name] for name in INTERVAL_SCORES} for arm, test in tests.items()},
        "test_clips": tests[ARMS[0]]["clips"],
        "labels": list(plan.task.labels),
    }


def _page(
    plan: Plan,
    root: str,
    summary: Mapping[str, Any],
    metrics: Mapping[str, Any],
    comparison: Mapping[str, Any],
    markers: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What both templates are rendered with."""
    labels = plan.task.labels
    tests = {arm: metrics[arm]["splits"]["test"] for arm in ARMS}
    rejected = facts.all_rejects(plan, root)
    data = facts.split_counts(plan, root, rejected)
    written = step_dir(root, plan.step(rationalize.STAGE))
    rationales = rationalize.counts_by_class(written, labels)
    told = words.rationale_warnings(rationales, rationalize.main_reasons(written), rationalize.judges(written), written)
    rows = classes.class_rows(labels, data["train"], tests, comparison)
    return {
        "summary": summary,
        "titles": words.ARM_TITLES,
        "headline": HEADLINE_SCORES,
        "with_interval": INTERVAL_SCORES,
        "tests": tests,
        "constant_accuracy": words.constant_accuracy(tests),
        "calibrations": {arm: metrics[arm]["calibration"] for arm in ARMS},
        "verdict": words.verdict(comparison),
        "warnings": [*words.warnings(tests), *data_warnings(data["clips"], labels), *told],
        "any_rejected": any(test["rejected"] for test in tests.values()),
        "any_reasoned": any(test["reasoned"] for test in tests.values()),
        "any_threshold": any(metrics[arm]["calibration"]["abstain_below"] is not None for arm in ARMS),
        "classes": classes.telling_rows(rows),
        "matrices": classes.confusion_matrices(tests),
        "pairs": classes.confused_pairs(tests, labels),
        "definitions": dict(plan.task.definitions),
        "figures": {
            "intervals": figures.interval_figure(tests, words.constant_accuracy(tests)),
            "gain": figures.gain_figure(rows),
            "reliability": figures.reliability_figure(tests),
            "risk_coverage": figures.risk_coverage_figure(tests),
            "loss": figures.loss_figure(facts.training_losses(plan, root)),
        },
        "clips": clips.told_clips(plan, root),
        "splits": data["splits"],
        "rationales": rationales,
        "rejects": facts.reject_counts(rejected),
        "finished": {name: marker["finished"] for name, marker in markers.items()},
        "versions": package_versions(),
        "command": command_line(),
        "base": plan.config.model.base,
        "seed": plan.config.seed,
    }
