"""Which candidates of a whole job stage 1 trains on, once all are written: supported by their text, the surest of each clip.

The judges (a model that reads the text, and the other rationales of the job) must prove fit on the job's own rationales first, so
that they cannot be asked block by block.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_peers import judge_by_peers
from rbft_ray.core.rationale_support import Fitness, Support, judge
from rbft_ray.core.schema import Reason

Row = dict[str, Any]
Judge = Callable[[Sequence[Row], Task], tuple[Fitness, list[Support | None]]]


class Selection(NamedTuple):
    """candidates: with their final verdicts; judges: {name: its fitness}."""

    candidates: list[Row]
    judges: dict[str, Fitness]


def by_model(rows: Sequence[Row], task: Task) -> tuple[Fitness, list[Support | None]]:
    """Verdicts from the scores of the closings that the base gave (`closings`)."""
    return judge([row["closings"] for row in rows], [row["label"] for row in rows], task.labels)


def by_peers(rows: Sequence[Row], task: Task) -> tuple[Fitness, list[Support | None]]:
    """Verdicts from the words of the other clips' rationales."""
    return judge_by_peers(
        [row["text"] for row in rows], [row["label"] for row in rows], task, [row["id"] for row in rows]
    )


JUDGES: Mapping[str, Judge] = {"model": by_model, "peers": by_peers}


def select(drafts: Sequence[Row], task: Task, judges: Mapping[str, Judge] = JUDGES) -> Selection:
    """The final verdict on each draft (rows of CANDIDATES, verdicts by the text checks) and the kept one of each clip.

    A judge that is not fit rejects nothing. Of a clip's accepted candidates the one of the highest mean log-probability is
    kept: of the rules that `benchmarks/grounding.py` compares, it raised the share of right facts, while margins against
    another clip or a blank video lowered it.
    """
    candidates = [dict(row) for row in drafts]
    told = {}
    for name, ask in judges.items():
        accepted = [row for row in candidates if row["accepted"]]
        told[name], verdicts = ask(accepted, task)
        for row, verdict in zip(accepted, verdicts, strict=True):
            if verdict is not None and name == "model" and np.isfinite(verdict.margin):
                row["margin"] = verdict.margin
            if told[name].fit and verdict is not None and not verdict.supported:
                row.update(accepted=False, reason=Reason.UNSUPPORTED.value, detail=f"{name}: {verdict.detail}")
    kept: set[str] = set()
    for row in sorted(
        (row for row in candidates if row["accepted"]), key=sureness, reverse=True
    ):  # keeps ties in order
        row["kept"] = row["id"] not in kept
        kept.add(row["id"])
    return Selection(candidates, told)


def sureness(row: Row) -> float:
    """What candidates are ordered by."""
    return -np.inf if row["log_probability"] is None else float(row["log_probability"])
