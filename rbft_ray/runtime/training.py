"""Ray Train around a training function: the worker group, its checkpoints, and progress on the driver."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from rbft_ray.core.errors import RbftError, StorageError
from rbft_ray.core.resources import Needs
from rbft_ray.io import storage
from rbft_ray.runtime.failures import cause_line
from rbft_ray.runtime.progress import StageProgress

CHECKPOINTS_DIR = "checkpoints"
SNAPSHOT_FILE = "checkpoint_manager_snapshot.json"  # of Ray Train, in CHECKPOINTS_DIR
POLL_SEC = 0.5


class WorkerContext:
    """What the training function of one worker needs of its group."""

    def __init__(self, board: Any, called_at: float):
        import ray.train

        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self._board, self._called_at = board, called_at

    def seconds_since_call(self) -> float:
        """Since `fit` was called, by the clocks of two nodes."""
        return time.time() - self._called_at

    def wait_for_uploads(self) -> None:
        """Returns when every reported checkpoint is stored."""
        import ray.train

        ray.train.get_all_reported_checkpoints()

    def report_checkpoint(self, folder: str | None, metrics: dict[str, Any]) -> None:
        """Hands over one worker's `folder`; it is uploaded beside the training and then deleted. Every worker calls it."""
        import ray.train

        ray.train.report(
            metrics,
            checkpoint=None if folder is None else ray.train.Checkpoint.from_directory(folder),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )

    def gathered(self, value: Any) -> list[Any]:
        """The values of all workers, on every one of them, in the order of their ranks."""
        import torch.distributed as dist

        if self.workers == 1:
            return [value]
        values: list[Any] = [None] * self.workers
        dist.all_gather_object(values, value)
        return values

    def progress(self, step: int, loss: float) -> None:
        """Shows the finished step on the driver; does not wait."""
        if self.rank == 0:
            self._board.post.remote(step, loss)


class _Board:
    """An actor on which the first worker posts its progress and from which the driver reads it."""

    def __init__(self) -> None:
        self._latest: tuple[int, float] | None = None

    def post(self, step: int, loss: float) -> None:
        self._latest = (step, loss)

    def latest(self) -> tuple[int, float] | None:
        return self._latest


@contextlib.contextmanager
def _shown_progress(stage: str, steps: int, board: Any) -> Iterator[None]:
    import ray

    stop = threading.Event()

    def poll(bar: StageProgress) -> None:
        while not stop.wait(POLL_SEC):
            latest = ray.get(board.latest.remote())
            if latest is not None:
                step, loss = latest
                if bar.done == 0:
                    bar.resume_at(step)  # the rate counts from the first step seen, without start-up and resumed steps
                bar.advance(step - bar.done, f"loss {loss:.3f}")

    with StageProgress(stage, steps, "steps") as bar:
        thread = threading.Thread(target=poll, args=(bar,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _call_on_worker(config: dict[str, Any]) -> Any:
    import torch

    torch.set_num_threads(config["threads"])
    return config["train"](config["job"], WorkerContext(config["board"], config["called_at"]))


def _drop_broken_snapshot(storage_dir: str) -> None:
    """Deletes Ray Train's list of its checkpoints where a full disk cut it short: it would refuse to start."""
    uri = storage.join(storage_dir, CHECKPOINTS_DIR, SNAPSHOT_FILE)
    if storage.exists(uri):
        try:
            storage.read_json(uri)
        except StorageError:
            storage.delete_file(uri)


def fit(
    train: Callable[[Any, WorkerContext], dict[str, Any]],
    job: Any,
    *,
    stage: str,
    steps: int,
    storage_dir: str,
    needs: Needs,
    max_failures: int,
    resize_check_sec: float,
    best_metric: str | None,
) -> dict[str, Any]:
    """Runs `train(job, context)` on a group of workers and returns what the first one returns.

    A group that fails starts again (`train` looks for its last checkpoint in `storage_dir`), `max_failures` times, with as many
    workers as there are places for, down to `needs.min_workers`; every `resize_check_sec` seconds a smaller group looks for more
    places. A killed driver's next call goes on likewise. Kept are the last checkpoint and the one of the highest `best_metric`.

    Raises:
        RbftError: the group failed for good; the message has the cause's own line.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    _drop_broken_snapshot(storage_dir)
    board = ray.remote(num_cpus=0)(_Board).remote()
    gpu = needs.gpus > 0
    elastic = needs.min_workers < needs.workers
    trainer = TorchTrainer(
        _call_on_worker,
        train_loop_config={
            "train": train,
            "job": job,
            "board": board,
            "threads": needs.threads,
            "called_at": time.time(),
        },
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(needs.min_workers, needs.workers) if elastic else needs.workers,
            elastic_resize_monitor_interval_s=resize_check_sec,
            use_gpu=gpu,
            resources_per_worker={"CPU": needs.cpus, **({"GPU": needs.gpus} if gpu else {})},
        ),
        run_config=RunConfig(
            name=CHECKPOINTS_DIR,
            storage_path=storage_dir,
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=best_metric),
        ),
    )
    try:
        with _shown_progress(stage, steps, board):
            return trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        where = storage.join(storage_dir, CHECKPOINTS_DIR)
        raise RbftError(f"{stage}: training failed: {cause_line(error)} (checkpoints: {where})") from error
    finally:
        ray.kill(board)
