"""Worker groups: they stay for the next training where that is allowed, and end where their places are needed."""

import os
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import cloudpickle

from rbft_ray.core.errors import RbftError
from rbft_ray.core.resources import Needs
from rbft_ray.runtime.kept_group import kept_groups, make_room
from rbft_ray.runtime.training import fit
from rbft_ray.runtime.worker_group import WorkerContext

pytestmark = pytest.mark.ray
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test file


def facts(job: dict[str, Any], context: WorkerContext) -> dict[str, Any]:
    """Of the workers: process ids and what they were told. The first one dies at its first try where the job says so."""
    mark = Path(job.get("dies_once", "/"))
    if context.rank == 0 and not mark.exists():
        mark.touch()
        os._exit(1)
    if "fails" in job:
        raise ValueError(job["fails"])
    return {"pids": context.gathered(os.getpid()), "told": context.gathered(job["number"])}


def fitted(out: Path, number: int, needs: Needs, max_failures: int = 1, **job: Any) -> dict[str, Any]:
    return fit(
        facts,
        {"number": number, **job},
        stage="facts",
        steps=1,
        checkpoints=str(out),
        needs=needs,
        max_failures=max_failures,
        resize_check_sec=60.0,
    )


def test_a_kept_group_takes_one_training_after_the_other_until_its_places_are_needed(ray_cluster, tmp_path):
    two, one = Needs(2, min_workers=2), Needs(1)
    with kept_groups():
        first, second = (fitted(tmp_path, number, two) for number in (1, 2))
        assert first["told"] == [1, 1] and second["told"] == [2, 2]
        assert first["pids"] == second["pids"] and len(set(first["pids"])) == 2
        workers = [psutil.Process(pid) for pid in first["pids"]]
        make_room(Needs(1))  # does not fit beside two workers on two CPUs
        assert not psutil.wait_procs(workers, timeout=60)[1]
        alone = fitted(tmp_path, 3, one, max_failures=0)
        make_room(Needs(1))  # fits
        assert fitted(tmp_path, 4, one, max_failures=0)["pids"] == alone["pids"]
        with pytest.raises(RbftError, match=r"facts: training failed: as told \(checkpoints: "):
            fitted(tmp_path, 5, one, max_failures=0, fails="as told")


@pytest.mark.slow
def test_a_kept_group_that_lost_a_worker_does_the_training_and_is_not_kept(ray_cluster, tmp_path):
    needs = Needs(2, min_workers=2)
    with kept_groups():
        first = fitted(tmp_path / "a", 1, needs)
        second = fitted(tmp_path / "b", 2, needs, dies_once=str(tmp_path / "mark"))
        assert second["told"] == [2, 2] and not set(first["pids"]) & set(second["pids"])
        third = fitted(tmp_path / "c", 3, needs)
        assert not set(third["pids"]) & set(second["pids"])  # it has all its tries again
