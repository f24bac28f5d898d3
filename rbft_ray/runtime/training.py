"""Ray Train around a training function: the worker group, its checkpoints, and progress on the driver."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from rbft_ray.core.errors import RbftError
from rbft_ray.core.resources import Needs
from rbft_ray.runtime.failures import cause_line
from rbft_ray.runtime.progress import StageProgress

CHECKPOINTS_DIR = "checkpoints"
POLL_SEC = 0.5


class WorkerContext:
    """What the training function of one worker needs of its group."""

    def __init__(self, board: Any):
        import ray.train

        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self._board = board

    @contextlib.contextmanager
    def restored_checkpoint(self) -> Iterator[str | None]:
        """A local directory with the last reported checkpoint, or None at the start of a run."""
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
        else:
            with checkpoint.as_directory() as folder:
                yield folder

    def report_checkpoint(self, folder: str, metrics: dict[str, Any]) -> None:
        """Stores this worker's part of a checkpoint; returns when all workers have reported."""
        import ray.train

        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))

    def sum_over_workers(self, value: float) -> float:
        """The sum of a number over all workers."""
        import torch
        import torch.distributed as dist

        if self.workers == 1:
            return value
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        total = torch.tensor([value], dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return float(total.item())

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
    return config["train"](config["job"], WorkerContext(config["board"]))


def fit(
    train: Callable[[Any, WorkerContext], dict[str, Any]],
    job: Any,
    *,
    stage: str,
    steps: int,
    storage_dir: str,
    needs: Needs,
    max_failures: int,
) -> dict[str, Any]:
    """Runs `train(job, context)` on a group of workers and returns what the first one returns.

    A group that fails starts again from the last checkpoint, `max_failures` times; a killed driver's next call does so too, as
    the checkpoints lie in `storage_dir`.

    Raises:
        RbftError: the group failed for good; the message has the cause's own line.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    board = ray.remote(num_cpus=0)(_Board).remote()
    gpu = needs.gpus > 0
    trainer = TorchTrainer(
        _call_on_worker,
        train_loop_config={"train": train, "job": job, "board": board, "threads": needs.threads},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=needs.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": needs.cpus, **({"GPU": needs.gpus} if gpu else {})},
        ),
        run_config=RunConfig(
            name=CHECKPOINTS_DIR,
            storage_path=storage_dir,
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        with _shown_progress(stage, steps, board):
            return trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        raise RbftError(f"{stage}: training failed: {cause_line(error)}") from error
    finally:
        ray.kill(board)
