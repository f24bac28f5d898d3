"""What a worker group that stays would save: the training worker called several times in one group."""

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

from rbft_ray.core.resources import Needs
from rbft_ray.runtime.training import CHECKPOINTS_DIR, WorkerContext
from rbft_ray.stages.train import TrainJob
from training_speed.stage import logged, recorded_worker


def runs_in_one_group(job: TrainJob, needs: Needs, runs: int) -> list[dict[str, float]]:
    """Trains `job` so many times, each from the start, under `job.out`/0, 1, ...

    Returns:
        of each run: seconds up to its first step (`start_up`; of the first with the start of the group), of its steps (`all_steps`)
        and of all of it (`whole`).
    """
    log, _ = logged(job, needs, Repeated(runs))
    return log["record"]["runs"]


class Repeated:
    """A training worker that trains so many times."""

    def __init__(self, runs: int):
        self._runs = runs

    def __call__(self, job: TrainJob, context: WorkerContext) -> dict[str, Any]:
        waited_sec, found, runs = context.seconds_since_call(), {}, []
        for number in range(self._runs):
            own_job = dataclasses.replace(job, out=str(Path(job.out, str(number))))
            own = _OwnRun(context, own_job.out, waited_sec if number == 0 else 0.0)
            found = recorded_worker(own_job, own)
            record = found["record"]
            steps_sec = sum(record["times"][0]["step_sec"])
            start_sec = record["parts_sec"]["start_up"]
            runs.append({"start_up": start_sec, "all_steps": steps_sec, "whole": own.seconds_since_call()})
        return {**found, "record": {**found["record"], "runs": runs}}


class _OwnRun:
    """A worker's context for one of several runs of its group. Checkpoints are moved to where Ray Train would put them."""

    def __init__(self, group: WorkerContext, out: str, waited_sec: float):
        self.rank, self.workers = group.rank, group.workers
        self.gathered, self.progress = group.gathered, group.progress
        self._since, self._kept = time.monotonic() - waited_sec, Path(out, CHECKPOINTS_DIR, "checkpoint")

    def seconds_since_call(self) -> float:
        return time.monotonic() - self._since

    def report_checkpoint(self, folder: str | None, metrics: dict[str, Any]) -> None:
        if folder is not None:
            shutil.rmtree(self._kept, ignore_errors=True)
            shutil.move(folder, self._kept)

    def wait_for_uploads(self) -> None:
        pass
