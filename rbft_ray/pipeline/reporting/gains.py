"""The results of an experiment for a person: tables on the terminal, learning curves as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from rbft_ray.pipeline.reporting.words import number, span
from rbft_ray.runtime.progress import console


def print_results(results: Mapping[str, Any]) -> None:
    """The arms and the comparisons as tables of at most 80 columns."""
    arms = _table("macro-F1 on the test clips, mean over worlds and seeds", ["arm", "clips", "macro-F1", "95 %"])
    for row in results["arms"]:
        arms.add_row(row["arm"], budget_words(row["budget"]), number(row["macro_f1"]), span(row["ci95"]))
    console.print(arms)
    title = f"gain in macro-F1 ({results['n_pairs']} pairs, {results['n_test']} test clips)"
    compared = _table(title, ["arm, baseline", "clips", "gain", "95 % (any world)", "p (Holm)", "detects"])
    for row in results["comparisons"]:
        compared.add_row(
            f"{row['arm']}\n- {row['baseline']}",
            budget_words(row["budget"]),
            number(row["gain_macro_f1"]),
            f"{span(row['ci95'])}\n({span(row['ci95_worlds']) or number(None)})",
            f"{number(row['p_value'])}\n({number(row['p_adjusted'])})",
            number(row["detectable_gain"]),
        )
    console.print(compared)
    console.print(
        "clips: for training, per class; detects: the gain that so many worlds and seeds find with a power of 0.8"
    )


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name)
    return table


def budget_words(budget: int | Sequence[int]) -> str:
    """Such as "8" or "40/16/8/4"."""
    return str(budget) if isinstance(budget, int) else "/".join(map(str, budget))


def learning_curves(results: Mapping[str, Any]) -> str:
    """SVG: macro-F1 of every arm, with its 95 % interval, against the training clips per class; uneven budgets are left out."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = [row for row in results["arms"] if isinstance(row["budget"], int) and row["macro_f1"] is not None]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    budgets = sorted({row["budget"] for row in rows})
    with rc_context({"svg.hashsalt": results["protocol_sha"], "svg.fonttype": "none", "font.size": 9}):
        canvas = Figure(figsize=(7, 3.6), layout="constrained")
        axis = canvas.subplots()
        for number, arm in enumerate(arms):
            own = [row for row in rows if row["arm"] == arm]
            places = [budgets.index(row["budget"]) + (number - len(arms) / 2) * 0.03 for row in own]
            values = [row["macro_f1"] for row in own]
            (line,) = axis.plot(places, values, "o-", markersize=4, label=arm)
            lows, highs = zip(*(row["ci95"] for row in own), strict=True)
            axis.vlines(places, lows, highs, color=line.get_color(), alpha=0.4)
        axis.set(xlabel="training clips per class", ylabel="macro-F1 on the test clips")
        axis.set_xticks(range(len(budgets)), [str(budget) for budget in budgets])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
        canvas.legend(loc="outside right center", frameon=False)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
