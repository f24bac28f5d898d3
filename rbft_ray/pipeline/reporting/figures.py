"""The report's diagrams as SVG for a place inside HTML: text stays text, colours are the page's own CSS variables."""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rbft_ray.pipeline.recipes import ARMS
from rbft_ray.pipeline.reporting.words import ARM_TITLES, number

COLOURS = {  # in the light theme; each becomes var(--name), so that the page's dark and print themes reach into the figures
    "ink": "#1a2530",
    "rule": "#d9e0e7",
    "zero-shot": "#74818e",
    "direct-sft": "#b85a00",
    "rb-ft": "#0b62b8",
}
ARM_COLOURS = {arm: COLOURS[arm.replace("_", "-")] for arm in ARMS}
TRAINED_ARMS = ("direct_sft", "rb_ft")
WIDTH_IN = 4.0  # so that a phone shows it at 90 % and 9 pt text stays readable
INTERVAL_CLASSES, NAMED_CLASSES = 12, 8  # so many points of a diagram still have room for theirs
LABEL_CHARACTERS = 22
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "legend.frameon": False,
    **{f"{part}.facecolor": "none" for part in ("figure", "axes", "savefig")},
    **{
        name: COLOURS["ink"]
        for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    },
}


def figure(alt: str, height_in: float, draw: Callable[[Any], None]) -> str:
    """The SVG of what `draw` puts on an empty matplotlib figure; `alt` says in words what it shows."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "svg.hashsalt": alt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has the fonts
        canvas = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        draw(canvas)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _for_html(out.getvalue(), alt)


def _for_html(svg: str, alt: str) -> str:
    """Without XML prologue, namespaces, comments, and ids of groups, which figures would share; with the theme's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1)


def interval_figure(metrics: Mapping[str, Mapping[str, Any]], constant: float) -> str:
    """Accuracy and macro-F1 of every arm with their 95 % intervals. metrics: {arm: test split}; constant: `constant_accuracy`."""
    said = "; ".join(
        f"{ARM_TITLES[arm]} {number(test['scores']['accuracy'])} and {number(test['scores']['macro_f1'])}"
        for arm, test in metrics.items()
    )

    def draw(canvas: Any) -> None:
        places = range(len(metrics) - 1, -1, -1)
        panels = canvas.subplots(1, 2, sharey=True)
        for axis, name, title in zip(panels, ("accuracy", "macro_f1"), ("accuracy", "macro-F1"), strict=True):
            for place, (arm, test) in zip(places, metrics.items(), strict=True):
                low, high = test["intervals"][name]
                if low is not None:
                    axis.plot(
                        [low, high], [place, place], color=ARM_COLOURS[arm], linewidth=2.5, solid_capstyle="round"
                    )
                axis.plot([test["scores"][name]], [place], "o", color=ARM_COLOURS[arm], markersize=7)
            axis.set(xlabel=title, xlim=(-0.03, 1.03), ylim=(-0.6, len(metrics) - 0.4), xticks=[0, 0.25, 0.5, 0.75, 1])
            axis.set_xticklabels(["0", ".25", ".5", ".75", "1"])
            axis.grid(visible=False, axis="y")
        panels[0].axvline(constant, color=COLOURS["ink"], linestyle=(0, (3, 3)), linewidth=1)
        panels[0].set_title(f"dashed: always one class {constant:.3f}", loc="left", fontsize=8)
        panels[0].set_yticks(list(places), [ARM_TITLES[arm] for arm in metrics])
        panels[0].tick_params(axis="y", length=0)

    return figure(
        f"Accuracy and macro-F1 with 95 % intervals: {said}. Always the most frequent class: {constant:.3f}.", 1.9, draw
    )


def gain_figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """F1 of RB-FT minus F1 of direct SFT against the class's training clips. rows: of `classes.class_rows`."""
    better, worse = (sum(sign * row["gain"] > 0 for row in rows) for sign in (1, -1))
    few = len(rows) <= INTERVAL_CLASSES

    def draw(canvas: Any) -> None:
        axis = canvas.subplots()
        train = np.array([row["train"] for row in rows])
        axis.axhline(0, color=COLOURS["ink"], linewidth=1)
        for row in rows if few else ():
            if row["interval"][0] is not None:
                axis.plot([row["train"]] * 2, row["interval"], color=COLOURS["rb-ft"], alpha=0.4, linewidth=1.5)
        axis.plot(train, [row["gain"] for row in rows], "o", color=COLOURS["rb-ft"], alpha=0.9 if few else 0.5)
        if train.min() > 0 and train.max() > 10 * train.min():
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
        else:
            axis.xaxis.get_major_locator().set_params(integer=True)
        axis.margins(x=0.12, y=0.12)
        axis.set(xlabel="training clips of the class", ylabel="F1 gain over direct SFT")
        axis.yaxis.set_major_formatter("{x:+.2f}")
        for place, row in enumerate(rows if len(rows) <= NAMED_CLASSES else ()):
            _name_point(axis, row, to_left=row["train"] > np.median(train), above=place % 2 == 0)

    alt = f"F1 gain of RB-FT over direct SFT by training clips: {better} classes gain, {worse} lose, of {len(rows)}."
    return figure(alt, 3.0, draw)


def _name_point(axis: Any, row: Mapping[str, Any], *, to_left: bool, above: bool) -> None:
    label = row["label"]
    axis.annotate(
        label if len(label) <= LABEL_CHARACTERS else f"{label[: LABEL_CHARACTERS - 1]}…",
        (row["train"], row["gain"]),
        xytext=(-6 if to_left else 6, 5 if above else -11),
        textcoords="offset points",
        ha="right" if to_left else "left",
        fontsize=8,
        parse_math=False,
    ).set_in_layout(False)


def reliability_figure(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Accuracy against confidence of the trained arms, above the share of clips at each confidence. metrics: {arm: test}."""
    said = ", ".join(f"{ARM_TITLES[arm]} {number(metrics[arm]['scores']['ece'])}" for arm in TRAINED_ARMS)

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3, 1))
        for (upper, lower), arm in zip(panels.T, TRAINED_ARMS, strict=True):
            bins = [found for found in metrics[arm]["reliability"] if found["clips"]]
            middle = [(found["low"] + found["high"]) / 2 for found in bins]
            width = bins[0]["high"] - bins[0]["low"]
            upper.bar(middle, [found["accuracy"] for found in bins], width * 0.9, color=ARM_COLOURS[arm], alpha=0.75)
            upper.plot([0, 1], [0, 1], color=COLOURS["ink"], linestyle=(0, (3, 3)), linewidth=1)
            upper.set_title(f"{ARM_TITLES[arm]}, ECE {number(metrics[arm]['scores']['ece'])}")
            upper.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
            shares = np.array([found["clips"] for found in bins]) / metrics[arm]["scored"]
            lower.bar(middle, shares, width * 0.9, color=ARM_COLOURS[arm], alpha=0.75)
            lower.set(xlabel="confidence", xticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"])
        panels[0][0].set_ylabel("accuracy")
        panels[1][0].set_ylabel("clips")
        panels[1][0].yaxis.set_major_formatter(lambda share, _place: f"{100 * share:.0f} %")

    return figure(f"Reliability diagrams; expected calibration error: {said}.", 3.2, draw)


def risk_coverage_figure(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The share of errors among the answered clips against the share of answered clips, for every arm."""
    said = ", ".join(f"{ARM_TITLES[arm]} {number(test['aurc'])}" for arm, test in metrics.items())

    def draw(canvas: Any) -> None:
        axis = canvas.subplots()
        for arm, test in metrics.items():
            curve = test["risk_coverage"]
            x, y = [point["coverage"] for point in curve], [point["risk"] for point in curve]
            axis.plot(x, y, marker=".", markersize=4, color=ARM_COLOURS[arm], label=ARM_TITLES[arm])
        axis.set(xlabel="coverage: share of clips answered", ylabel="risk: errors among them", xlim=(0, 1.02))
        axis.set_ylim(bottom=-0.02)
        canvas.legend(loc="outside upper center", ncols=len(metrics))

    return figure(f"Risk against coverage; area under the curve, lower is better: {said}.", 3.2, draw)


def loss_figure(losses: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Training losses by optimizer step. losses: of `facts.training_losses`."""
    from matplotlib.ticker import LogLocator

    looks = {
        "train_stage1": ("RB-FT stage 1: rationales", COLOURS["rb-ft"], (0, (3, 2))),
        "train_rb_ft": ("RB-FT stage 2: labels", COLOURS["rb-ft"], "solid"),
        "train_direct_sft": ("direct SFT: labels", COLOURS["direct-sft"], "solid"),
    }
    said = ", ".join(f"{looks[name][0]} ends at {values[-1]:.3f}" for name, (_, values) in losses.items())

    def draw(canvas: Any) -> None:
        axis = canvas.subplots()
        for name, (title, colour, line) in looks.items():
            steps, values = losses[name]
            marker = "." if len(values) == 1 else ""
            axis.plot(steps, values, color=colour, linestyle=line, linewidth=1.5, marker=marker, label=title)
        axis.set(xlabel="optimizer step", ylabel="loss per answer token", yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)

    return figure(f"Training loss: {said}.", 3.0, draw)
