"""The stages as a job runs them, with a record of where the time goes."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from rbft_ray.core.resources import Cluster, Needs
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.runtime.worker_group import WorkerContext
from rbft_ray.stages import train
from rbft_ray.stages.ingest import ingest
from rbft_ray.stages.train import LOG_FILE, TrainJob
from rbft_ray.stages.vision_features import compute_features, with_features
from training_speed.inputs import GLOBAL_BATCH, Videos, train_job
from training_speed.record import Clock, Run, Times, steady, timed, timed_calls

NO_PROGRESS_SEC = 600.0
Worker = Callable[[TrainJob, WorkerContext], dict[str, Any]]


def run_stage(job: TrainJob, needs: Needs) -> Run:
    """The training stage in its steady state, as its own log has it. `more`: also seconds of its other parts."""
    log, whole_sec = logged(job, needs, recorded_worker)
    return stage_run(log, whole_sec)


def stage_run(log: dict[str, Any], whole_sec: float) -> Run:
    """The steady state of a run. log: its training_log.json, with the record of `recorded_worker`."""
    by_rank = [Times(**times) for times in log["record"]["times"]]
    more = {**log["record"]["parts_sec"], "whole": whole_sec, "all_steps": sum(by_rank[0].step_sec)}
    more["ending"] = whole_sec - more["before_group"] - more["start_up"] - more["all_steps"]
    return steady(GLOBAL_BATCH, by_rank, {"parts_sec": more})


def logged(job: TrainJob, needs: Needs, worker: Worker) -> tuple[dict[str, Any], float]:
    """`stages.train.train` with `worker` on every worker of its group: its training_log.json, and its seconds."""
    shutil.rmtree(job.out, ignore_errors=True)
    called, start = time.time(), time.monotonic()
    with mock.patch.object(train, "train_worker", worker):
        train.train(job, needs)
    whole_sec = time.monotonic() - start
    log = storage.read_json(storage.join(job.out, LOG_FILE))
    log["record"]["parts_sec"]["before_group"] = log["record"]["group_called"] - called
    return log, whole_sec


def recorded_worker(job: TrainJob, context: WorkerContext) -> dict[str, Any]:
    """`train_worker`; in what it returns also `record`: seconds of the parts of the start, and times of the steps by rank."""
    parts_sec = {"group_start": context.seconds_since_call()}
    group_called = time.time() - parts_sec["group_start"]
    with timed(parts_sec, "imports"):
        from rbft_ray.model import meter, samples, train_engine, trainable, vlm
    clocks: list[Clock] = []
    start_sec: dict[str, float] = {}

    class ClockedMeter(meter.Meter):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            start_sec.update(parts_sec)  # the export loads a model, too
            clocks.append(Clock())

        def step(self, *figures: Any) -> dict[str, float]:
            clocks[0].step()
            return super().step(*figures)

    places = {
        "model": (vlm, "load"),
        "adapter": (trainable, "make_trainable"),
        "deepspeed": (train_engine, "TrainEngine"),
        "samples": (samples, "Samples"),
    }
    with mock.patch.object(meter, "Meter", ClockedMeter), timed_calls(parts_sec, places):
        found = train.train_worker(job, context)
    start_sec["start_up"] = found["speed"]["start_up_sec"]
    times = [own._asdict() for own in context.gathered(clocks[0].times)]
    return {**found, "record": {"group_called": group_called, "parts_sec": start_sec, "times": times}}


def run_stages(
    videos: Videos,
    base: str,
    contract: SamplingContract,
    scratch: Path,
    cluster: Cluster,
    needs: Needs,
    *,
    epochs: float,
    parts: tuple[str, ...],
) -> Run:
    """From videos to a model: ingest, the vision features where `parts` leaves the vision parts frozen, training.

    `seconds` are those of ingest, vision features and the optimizer steps; `more` has the whole, too.
    """
    clips_dir, features_dir = str(scratch / "ingest"), str(scratch / "features")
    for directory in (clips_dir, features_dir):
        shutil.rmtree(directory, ignore_errors=True)
    before: dict[str, float] = {}
    with timed(before, "ingest"):
        decoding = Needs(int(cluster.total("CPU")))
        ingest(clips_dir, videos.rows, contract, decoding, block_clips=16, no_progress_timeout_sec=NO_PROGRESS_SEC)
    clips = list_clips(clips_dir, ["train"])
    if not {"vision", "merger"} & set(parts):
        with timed(before, "vision_features"):
            compute_features(features_dir, clips, base, None, "float32", needs, no_progress_timeout_sec=NO_PROGRESS_SEC)
        clips = with_features(clips, features_dir)
    trained = run_stage(train_job(base, clips, videos.task, scratch / "train", epochs=epochs, parts=parts), needs)
    parts_sec = {**before, **trained.more["parts_sec"]}
    parts_sec["whole"] += sum(before.values())
    seconds = parts_sec["all_steps"] + sum(before.values())
    return Run(round(len(clips) * epochs), seconds, {**trained.more, "parts_sec": parts_sec})
