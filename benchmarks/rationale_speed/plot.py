"""Over time: output tokens per second and how busy the engine is, one run of the stage beside one of bare vLLM."""

from pathlib import Path

from rationale_speed.sides import Run
from rationale_speed.steps import rates

BIN_SEC = 0.5
INK, QUIET = "#1f77b4", "#8c8c8c"


def draw(stage: Run, bare: Run, file: Path) -> None:
    """Writes an SVG; 0 s is when the engine was ready (stage) or `generate` was called (bare)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "rationales"
    figure, (speed, load) = plt.subplots(2, sharex=True, figsize=(8, 4.2), height_ratios=(3, 1), layout="constrained")
    for run, name, colour in ((bare, "bare vLLM, all requests at once", QUIET), (stage, "the stage on Ray", INK)):
        steps = [step for own in run.steps for step in own]
        busy = [step._replace(tokens=(step.end - step.start) / len(run.steps)) for step in steps]
        for axes, own in ((speed, steps), (load, busy)):
            values = rates(own, run.start, run.end, BIN_SEC)
            edges = [place * BIN_SEC for place in range(len(values))] + [run.end - run.start]
            values[-1] *= BIN_SEC / (edges[-1] - edges[-2])  # the last bin is shorter
            axes.stairs(values, edges, label=f"{name}: {run.rate:.0f} tokens/s", color=colour, linewidth=1.6)
    speed.set(ylabel="output tokens/s", xlim=(0, None), ylim=(0, None))
    load.set(xlabel="seconds", ylabel="engine busy", ylim=(0, 1.1), yticks=(0, 0.5, 1))
    for axes in (speed, load):
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*speed.get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=2)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
