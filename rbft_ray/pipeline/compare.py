"""`rbft compare`: two arms, or two runs, on the test clips that both have scored."""

import json
from typing import Any, NamedTuple

import pyarrow as pa
from rich.markup import escape
from rich.table import Table

from rbft_ray.core.bootstrap import FEW_GROUPS
from rbft_ray.core.comparison import COMPARED_SCORES, compare_predictions
from rbft_ray.core.errors import DataError
from rbft_ray.core.schema import PREDICTIONS, PREDICTIONS_FILE
from rbft_ray.io import storage
from rbft_ray.pipeline.reporting.words import number, score_title, signed, span
from rbft_ray.pipeline.run_files import finished_run
from rbft_ray.runtime.progress import console

COLUMNS = ["id", "label", "split", "group", "predicted"]
STEP_PREFIX = "evaluate_"


class SplitPredictions(NamedTuple):
    """Of one predictions.parquet: labels in order, and the rows of the test split by id."""

    labels: list[str]
    rows: dict[str, dict[str, Any]]


def predictions_uri(source: str) -> str:
    """The predictions.parquet of `source`: itself, or that of `runs/NAME:ARM` through the run's run.json.

    Raises:
        DataError: neither of the two, or a run that has no such arm.
    """
    if source.endswith(".parquet"):
        return source
    run_dir, _, arm = source.rpartition(":")
    if not run_dir or not arm or "/" in arm:
        raise DataError(f"{source}: name a predictions.parquet, or an arm of a run as runs/NAME:ARM (runs/demo:rb_ft)")
    steps = finished_run(run_dir).steps
    if STEP_PREFIX + arm not in steps:
        arms = [name.removeprefix(STEP_PREFIX) for name in steps if name.startswith(STEP_PREFIX)]
        raise DataError(f"{source}: the run has no arm {arm!r}; it has {', '.join(arms)}")
    return storage.join(steps[STEP_PREFIX + arm], PREDICTIONS_FILE)


def read_predictions(uri: str) -> SplitPredictions:
    """The label set and the test rows of a predictions.parquet.

    Raises:
        DataError: no such file, another kind of table, no label set, no test rows, or an id that is there twice.
    """
    if storage.size_bytes(uri) is None:
        raise DataError(f"{uri}: no such file; evaluate first (`rbft run`)")
    table: pa.Table = storage.read_table(uri, PREDICTIONS, COLUMNS)
    labels = table.schema.metadata.get(b"labels")
    if labels is None:
        raise DataError(f"{uri}: holds no label set; delete its directory and evaluate again (`rbft run`)")
    test = [row for row in table.to_pylist() if row["split"] == "test"]
    rows = {row["id"]: row for row in test}
    if not rows:
        raise DataError(f"{uri}: holds no clip of the test split; evaluate a data set that has one")
    if len(rows) < len(test):
        raise DataError(f"{uri}: {len(test) - len(rows)} ids are there twice; delete its directory and evaluate again")
    return SplitPredictions(json.loads(labels), rows)


def compare_files(a: str, b: str) -> dict[str, Any]:
    """What `compare_predictions` says of two sources, ready for JSON, with a, b (files) and only_a, only_b (clips left out).

    Clips are joined by id. A clip's group is that of a, or of b where a has none.

    Args:
        a, b: sources as for `predictions_uri`.

    Raises:
        DataError: a source cannot be read, the label sets differ, no clip is in both, or a clip's gold labels differ.
    """
    uris = predictions_uri(a), predictions_uri(b)
    both = f"{uris[0]} and {uris[1]}"
    one, other = (read_predictions(uri) for uri in uris)
    if set(one.labels) != set(other.labels):
        apart = ", ".join(sorted(set(one.labels) ^ set(other.labels)))
        raise DataError(f"{both}: different label sets ({apart}); compare runs of one task")
    ids = sorted(one.rows.keys() & other.rows.keys())
    if not ids:
        raise DataError(f"{both}: no test clip is in both (such as {min(one.rows)!r}, {min(other.rows)!r}); same data?")
    pairs = [(one.rows[clip_id], other.rows[clip_id]) for clip_id in ids]
    differing = [left["id"] for left, right in pairs if left["label"] != right["label"]]
    if differing:
        raise DataError(
            f"{both}: {len(differing)} clips have different gold labels (such as {differing[0]!r}); "
            "evaluate both on the same manifest"
        )
    found = compare_predictions(
        [left["label"] for left, _ in pairs],
        [left["predicted"] for left, _ in pairs],
        [right["predicted"] for _, right in pairs],
        [left["group"] or right["group"] for left, right in pairs],
        one.labels,
    )
    left_out = {"only_a": len(one.rows) - len(ids), "only_b": len(other.rows) - len(ids)}
    return {"a": uris[0], "b": uris[1], **left_out, **found}


def print_comparison(found: dict[str, Any]) -> None:
    """The comparison on the terminal: scores, F1 by class, McNemar's counts."""
    console.print(escape(f"A: {found['a']}\nB: {found['b']}"))
    grouped = f", {found['groups']} groups" if found["groups"] < found["clips"] else ""
    table = Table(title=f"{found['clips']} test clips in both{grouped}")
    for column in ("score", "A", "B", "B - A", "95 % interval", "p"):
        table.add_column(column, justify="left" if column == "score" else "right")
    for name in COMPARED_SCORES:
        table.add_row(score_title(name), *_cells(found[name]), _p_text(found[name]["p"]))
    table.add_section()
    for label, values in found["per_class_f1"].items():
        table.add_row(escape(f"F1 {label}"), *_cells(values), "")
    console.print(table)
    if found["only_a"] or found["only_b"]:
        console.print(f"left out: {found['only_a']} clips only in A, {found['only_b']} only in B")
    if found["groups"] < FEW_GROUPS:
        console.print(f"with fewer than {FEW_GROUPS} groups intervals are too narrow and p too small")
    mcnemar = found["mcnemar"]
    console.print(
        f"right in A only: {mcnemar['only_a_correct']}, in B only: {mcnemar['only_b_correct']} "
        f"(exact McNemar p {_p_text(mcnemar['p'])}, clips taken as independent)"
    )


def _cells(values: dict[str, Any]) -> list[str]:
    interval = span(values["interval"], sign=True) or "-"
    return [number(values["a"]), number(values["b"]), signed(values["difference"]), interval]


def _p_text(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
