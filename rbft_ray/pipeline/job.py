"""The job: configuration in, exit code out. `rbft run` and `jobs/rbft.py` are thin shells over `run_job`."""

import os
import pathlib
import sys
import traceback
from collections.abc import Callable

from rich.table import Table

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import RbftError
from rbft_ray.core.resources import Cluster, missing
from rbft_ray.io import storage
from rbft_ray.model.trackers import check_trackers
from rbft_ray.pipeline.checks import check_base, check_machine, check_place, length_warnings, precision_warnings
from rbft_ray.pipeline.data_summary import print_data
from rbft_ray.pipeline.recipes import Plan, plan
from rbft_ray.pipeline.run_files import PLAN_FILE, RUN_FILE, command_line, run_facts
from rbft_ray.pipeline.runner import check_resources, run_steps, status, step_dir, unfinished
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import ray_session

STOPPED = 130  # exit code after Ctrl-C, as shells have it
ERROR_LOG = "rbft-error.log"
IN_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray in the entrypoint of a submitted job


def storage_root(config: RunConfig) -> str:
    """`config.storage` as a place that outlives this process.

    A relative path is taken from the working directory. Inside a Ray job that directory is a copy which Ray deletes, so there it
    is taken from the home directory.
    """
    if storage.scheme(config.storage):
        return config.storage
    below = pathlib.Path.home() if IN_RAY_JOB in os.environ else pathlib.Path.cwd()
    return str((below / pathlib.Path(config.storage).expanduser()).resolve())


def run_job(config: RunConfig, *, dry_run: bool = False) -> None:
    """Runs the whole job, or prints its steps with `dry_run`.

    Raises:
        RbftError: something that the user can mend; its `exit_code` is the job's.
    """
    root = storage_root(config)
    planned = plan(config)
    todo = unfinished(root, planned.steps)
    run_dir = storage.join(root, config.name)
    if not todo and not dry_run and _report_is_current(planned, root, run_dir):
        console.print(f"nothing to do: all {len(planned.steps)} steps of {config.name!r} are done")
        _print_existing_summary(run_dir)
        return
    check_trackers(config.train.trackers)
    here = pathlib.Path(planned.base).is_dir()
    if dry_run:
        check_place(root)
    else:
        check_machine(root)
    if here or not dry_run:  # a dry run downloads nothing
        check_base(planned)
    if planned.dataset is not None:
        print_data(planned.dataset)
    with ray_session(config.ray) as cluster:
        if dry_run:
            _print_plan(planned, root, cluster)
        for line in [*precision_warnings(config, cluster), *(length_warnings(planned) if here or not dry_run else ())]:
            console.print(f"[yellow]![/yellow] {line}")
        check_resources(todo, cluster)
        if dry_run:
            return
        if storage.exists(storage.join(run_dir, RUN_FILE)):
            console.print(f"the report in {run_dir} is of other settings; this run replaces it when it is done")
        storage.write_json(storage.join(run_dir, PLAN_FILE), run_facts(planned.steps, config, root, command_line()))
        markers = run_steps(root, planned.steps, cluster)
    from rbft_ray.pipeline.report import print_summary, write_report

    summary = write_report(planned, root, run_dir, markers)
    print_summary(summary, storage.join(run_dir, "report.html"))


def _report_is_current(planned: Plan, root: str, run_dir: str) -> bool:
    from rbft_ray.pipeline.report import FILES

    if not all(storage.exists(storage.join(run_dir, name)) for name in FILES):
        return False
    made_from = storage.read_json(storage.join(run_dir, RUN_FILE))
    steps = {step.name: step_dir(root, step) for step in planned.steps}
    return (made_from["steps"], made_from["config"]) == (steps, planned.config.model_dump(mode="json"))


def _print_existing_summary(run_dir: str) -> None:
    from rbft_ray.pipeline.report import print_summary

    print_summary(storage.read_json(storage.join(run_dir, "summary.json")), storage.join(run_dir, "report.html"))


def _print_plan(planned: Plan, root: str, cluster: Cluster) -> None:
    there = f"{cluster.total('CPU'):g} CPU, {cluster.total('GPU'):g} GPU"
    table = Table(title=f"{planned.config.name}: base {planned.base}, cluster has {there}")
    for column in ("step", "id", "state", "needs", "lacks"):
        table.add_column(column, no_wrap=column in ("step", "id", "state"))
    for step in planned.steps:
        needs = step.needs(cluster)
        table.add_row(step.name, step.id, status(root, step), needs.describe(), missing(needs, cluster) or "-")
    console.print(table)
    if not pathlib.Path(planned.base).is_dir():
        console.print(f"not looked at: {planned.base}, which a dry run does not download")
    console.print(f"results go to {storage.join(root, planned.config.name)}")


def _keep_traceback() -> str:
    """Puts the traceback into a file of the working directory; a Ray job's log, which outlives its directory, gets it whole."""
    if IN_RAY_JOB in os.environ:
        return f"\n{traceback.format_exc()}"
    log = pathlib.Path(ERROR_LOG).resolve()
    try:
        log.write_text(traceback.format_exc())
    except OSError:
        return f"\n{traceback.format_exc()}"
    return f"; the whole traceback is in {log}"


def guarded(command: Callable[[], object]) -> int:
    """Runs a command and returns its exit code. What went wrong is one line; an unforeseen traceback goes to a file."""
    try:
        command()
    except RbftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return STOPPED
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        print(f"error: {type(error).__name__}: {first[:300]}{_keep_traceback()}", file=sys.stderr)
        return 1
    return 0
