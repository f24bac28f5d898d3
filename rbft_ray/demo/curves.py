"""The losses of a schooling as a plot: `python -m rbft_ray.demo.curves base/schooling.jsonl losses.svg`."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

SMOOTH_LINES = 5  # of the log, in a running mean


def losses(log: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """(step, loss) of each kind of lesson, and of the facts read out of the vision features, from lines of `log.jsonl`."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, log):
        for kind, mean in line["mean"].items():
            name, loss = ("facts, vision alone", "fact_loss") if kind == "vision" else (kind, "loss")
            found.setdefault(name, []).append((line["step"], mean[loss]))
    return found


def plot(log: Path, out: Path) -> None:
    """Writes the curves as an SVG file."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, points in sorted(losses(log.read_text(encoding="utf-8").splitlines()).items()):
        steps, values = np.array(points).T
        width = min(SMOOTH_LINES, len(values))
        smooth = np.convolve(values, np.ones(width) / width, mode="valid")
        axis.plot(steps[width - 1 :], smooth, label=name)
    axis.set(xlabel="step", ylabel="loss", yscale="log")
    axis.legend(ncols=2, fontsize="small")
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    plot(arguments.log, arguments.out)


if __name__ == "__main__":
    main()
