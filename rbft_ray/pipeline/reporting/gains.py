"""The results of an experiment for a person: tables on the terminal, learning curves as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from rbft_ray.pipeline.reporting.words import number, span
from rbft_ray.runtime.progress import console

GAIN_COLUMNS = ["gain", "95 % (any world)", "p (Holm)", "detects"]
ANSWERS = {"label": "bare label", "reasoned": "answer after a rationale"}


def print_results(results: Mapping[str, Any]) -> None:
    """The arms and the comparisons of each answer as tables of at most 80 columns; of uneven budgets also gains by class size."""
    size = f"{results['n_pairs']} pairs, {results['n_test']} test clips"
    for answer in dict.fromkeys(row["answer"] for row in results["arms"]):
        console.print(_levels(of_answer(results["arms"], answer), answer))
        if compared := of_answer(results["comparisons"], answer):
            console.print(_gains(compared, size))
            if uneven := [row for row in compared if row.get("recall_gains")]:
                console.print(_recalls(uneven))
    console.print(
        "clips: for training, per class; detects: the gain that so many worlds and seeds find with a power of 0.8"
    )


def _levels(rows: Sequence[Mapping[str, Any]], answer: str) -> Table:
    title = f"macro-F1 of the {ANSWERS[answer]}, mean over worlds and seeds"
    table = _table(title, ["arm", "clips", "macro-F1", "95 %"])
    for row in rows:
        table.add_row(row["arm"], budget_words(row["budget"]), number(row["macro_f1"]), span(row["ci95"]))
    return table


def _gains(rows: Sequence[Mapping[str, Any]], size: str) -> Table:
    table = _table(f"gain in it ({size})", ["arm, baseline", "clips", *GAIN_COLUMNS])
    for row in rows:
        table.add_row(
            f"{row['arm']}\n- {row['baseline']}",
            budget_words(row["budget"]),
            number(row["gain_macro_f1"]),
            f"{span(row['ci95'])}\n({span(row['ci95_worlds']) or number(None)})",
            f"{_p(row['p_value'])}\n({_p(row['p_adjusted'])})",
            number(row["detectable_gain"]),
        )
    return table


def _p(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def _recalls(rows: Sequence[Mapping[str, Any]]) -> Table:
    title = "gain in the recall of rare and frequent classes, mean over worlds and seeds"
    table = _table(title, ["arm, baseline", "clips", "of the class", "classes", "gain in recall"])
    for row in rows:
        for place, of in enumerate(row["recall_gains"]):
            names = [f"{row['arm']}\n- {row['baseline']}", budget_words(row["budget"])] if place == 0 else ["", ""]
            table.add_row(*names, str(of["train_clips"]), str(of["classes"]), number(of["recall_gain"]))
    return table


def of_answer(rows: Sequence[Mapping[str, Any]], answer: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["answer"] == answer]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name)
    return table


def budget_words(budget: int | Sequence[int]) -> str:
    """Such as "8" or "40/16/8/4"."""
    return str(budget) if isinstance(budget, int) else "/".join(map(str, budget))


def learning_curves(results: Mapping[str, Any]) -> str:
    """SVG: macro-F1 of every arm, with its 95 % interval, against the training clips per class, a panel for each answer; uneven
    budgets are left out.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in results["arms"] if isinstance(row["budget"], int) and row["macro_f1"] is not None]
    answers = list(dict.fromkeys(row["answer"] for row in rows))
    with rc_context({"svg.hashsalt": results["protocol_sha"], "svg.fonttype": "none", "font.size": 9}):
        canvas = Figure(figsize=(3 + 4 * max(1, len(answers)), 3.6), layout="constrained")
        panels = canvas.subplots(ncols=max(1, len(answers)), sharey=True, squeeze=False)[0]
        for panel, answer in zip(panels, answers, strict=False):
            _curves(panel, of_answer(rows, answer))
            panel.set(title=ANSWERS[answer], xlabel="training clips per class")
        panels[0].set_ylabel("macro-F1 on the test clips")
        if answers:
            canvas.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _curves(panel: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    arms, budgets = list(dict.fromkeys(row["arm"] for row in rows)), sorted({row["budget"] for row in rows})
    for place, arm in enumerate(arms):
        own = [row for row in rows if row["arm"] == arm]
        places = [budgets.index(row["budget"]) + (place - len(arms) / 2) * 0.03 for row in own]
        (line,) = panel.plot(places, [row["macro_f1"] for row in own], "o-", markersize=4, label=arm)
        lows, highs = zip(*(row["ci95"] for row in own), strict=True)
        panel.vlines(places, lows, highs, color=line.get_color(), alpha=0.4)
    panel.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", alpha=0.3)
