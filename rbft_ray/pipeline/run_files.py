"""What a run's directory says of itself, for the commands that take `runs/NAME`.

plan.json  what the last `rbft run` of that name set out to do; written before its first step
run.json   what the report there was made from; written when a run is finished

Both: schema_version, steps ({name: directory}), config, command.
"""

import pathlib
import posixpath
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.io import storage
from rbft_ray.pipeline.runner import STEPS_DIR, step_dir
from rbft_ray.pipeline.step import Step
from rbft_ray.runtime.progress import console

PLAN_FILE, RUN_FILE = "plan.json", "run.json"


class RunRecord(NamedTuple):
    """steps: {name: directory}, beside the run's, wherever both lie today; config: the values of a RunConfig."""

    steps: Mapping[str, str]
    config: dict[str, Any]


def command_line() -> str:
    """What was typed to start this process, quoted for a shell."""
    by_script = pathlib.Path(sys.argv[0]).name == "rbft"  # the interpreter in front of it was not typed
    return shlex.join(sys.argv if by_script else sys.orig_argv)


def run_facts(steps: Sequence[Step], config: RunConfig, root: str, command: str) -> dict[str, Any]:
    """What both files hold."""
    return {
        "schema_version": 1,
        "steps": {step.name: step_dir(root, step) for step in steps},
        "config": config.model_dump(mode="json"),
        "command": command,
    }


def begun_run(run_dir: str) -> RunRecord | None:
    """Of the last run that was begun under `run_dir`; None where there is none."""
    return _read(run_dir, PLAN_FILE) or _read(run_dir, RUN_FILE)


def finished_run(run_dir: str) -> RunRecord:
    """Of the run whose report lies under `run_dir`. Says so where a later one of that name is not finished.

    Raises:
        DataError: there is none.
    """
    finished = _read(run_dir, RUN_FILE)
    if finished is None:
        raise DataError(f"{run_dir}: not a finished run (no {RUN_FILE}); run `rbft run` first")
    begun = _read(run_dir, PLAN_FILE)
    if begun is not None and (begun.steps, begun.config) != (finished.steps, finished.config):
        console.print(
            f"[yellow]![/yellow] {run_dir}: a later run of this name is not finished; this is of the one before it"
        )
    return finished


def _read(run_dir: str, name: str) -> RunRecord | None:
    uri = storage.join(run_dir.rstrip("/"), name)
    if not storage.exists(uri):
        return None
    found = storage.read_json(uri)
    beside = storage.join(posixpath.dirname(run_dir.rstrip("/")) or ".", STEPS_DIR)
    steps = {step: storage.join(beside, posixpath.basename(at.rstrip("/"))) for step, at in found["steps"].items()}
    return RunRecord(steps, found.get("config", {}))
