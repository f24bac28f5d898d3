"""The finished runs of an experiment: runs.jsonl, a line for each with its answers to the test clips."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rbft_ray.core.errors import DataError
from rbft_ray.core.experiment import Budget, RunScore
from rbft_ray.io import storage

RUNS_FILE = "runs.jsonl"


class Run(NamedTuple):
    world: int
    budget: Budget
    seed: int
    arm: str


def append_run(folder: str, run: Run, scores: Sequence[RunScore], steps: Sequence[str]) -> None:
    """Adds a finished run. steps: directories of what it was made by, its evaluation last."""
    row = {
        **run._asdict(),
        "gold": scores[0].gold.tolist(),
        "answers": {score.answer: score.predicted.tolist() for score in scores},
        "groups": scores[0].groups.tolist(),
        "steps": list(steps),
    }
    uri = storage.join(folder, RUNS_FILE)
    before = storage.read_bytes(uri) if storage.exists(uri) else b""
    storage.write_bytes(uri, before + (json.dumps(row, separators=(",", ":")) + "\n").encode())


def read_runs(folder: str) -> dict[Run, list[RunScore]]:
    """The finished runs of an experiment's directory."""
    found = {}
    for row in _read_rows(folder):
        run = _run_of(row)
        found[run] = [
            RunScore(*run, np.array(row["gold"]), np.array(predicted), np.array(row["groups"]), answer)
            for answer, predicted in row["answers"].items()
        ]
    return found


def check_same_steps(folder: str, steps: Mapping[Run, Sequence[str]]) -> None:
    """Whether finished runs were made by the steps that their plans have today (directories, as of `append_run`).

    Raises:
        DataError: not so: the data, the base or the program changed since.
    """
    for row in _read_rows(folder):
        run = _run_of(row)
        if run in steps and row["steps"] != list(steps[run]):
            raise DataError(
                f"{folder}: the data, the base or rbft-ray itself changed since {run} was made, so that further runs could not be "
                "compared with it; delete the directory, or go on with what it was made from"
            )


def _read_rows(folder: str) -> list[dict[str, Any]]:
    uri = storage.join(folder, RUNS_FILE)
    return [json.loads(line) for line in storage.read_bytes(uri).decode().splitlines()] if storage.exists(uri) else []


def _run_of(row: Mapping[str, Any]) -> Run:
    budget = row["budget"] if isinstance(row["budget"], int) else tuple(row["budget"])
    return Run(row["world"], budget, row["seed"], row["arm"])
