"""A Ray Train group of workers that takes one piece of work after the other."""

import tempfile
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, NamedTuple

from rbft_ray.core.resources import Cluster, Needs
from rbft_ray.runtime.failures import cause_line
from rbft_ray.runtime.session import cluster_now

POLL_SEC = 0.25
TOGETHER_SEC = 4 * 3600  # that workers wait for one another: the first one exports, uploads and reads alone


class WorkerContext:
    """What the training function of one worker needs of its group."""

    def __init__(self, desk: Any, called_at: float):
        import ray.train

        context = ray.train.get_context()
        self.rank, self.workers = context.get_world_rank(), context.get_world_size()
        self._desk, self._called_at = desk, called_at

    def seconds_since_call(self) -> float:
        """Since `fit` was called, by the clocks of two nodes."""
        return time.time() - self._called_at

    def gathered(self, value: Any) -> list[Any]:
        """The values of all workers, on every one of them, in the order of their ranks."""
        import torch.distributed as dist

        if self.workers == 1:
            return [value]
        values: list[Any] = [None] * self.workers
        dist.all_gather_object(values, value)
        return values

    def post(self, value: Any) -> None:
        """Tells the driver something; does not wait."""
        self._desk.post.remote(value)


WorkFunction = Callable[[Any, WorkerContext], Any]


class _Order(NamedTuple):
    """Work that is asked for. work: reference to (function, job)."""

    number: int
    work: list[Any]
    called_at: float


class _Desk:
    """An actor between the driver and the workers of one group: orders, posts, results."""

    def __init__(self) -> None:
        import asyncio

        self._changed = asyncio.Condition()
        self._order: _Order | None = None
        self._result: Any = None
        self._is_open, self._is_done, self._tries = True, True, 0
        self._posts: list[Any] = []

    async def order(self, order: _Order) -> tuple[Any, int]:
        """Hands an order to the workers. Returns what the first one makes of it, and how many times it was begun."""
        async with self._changed:
            self._order, self._is_done, self._tries, self._posts = order, False, 0, []
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._is_done)
            return self._result, self._tries

    async def next_order(self, last: int, rank: int) -> _Order | None:
        """The order that is to be done, after the number `last`, as soon as there is one; None: there will be no more.

        A worker of a group that was started again asks without a last one, and gets the order that its predecessor had.
        """
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    not self._is_open or (not self._is_done and self._order is not None and self._order.number > last)
                )
            )
            self._tries += rank == 0
            return self._order if self._is_open else None

    async def done(self, result: Any) -> None:
        async with self._changed:
            self._result, self._is_done = result, True
            self._changed.notify_all()

    async def close(self) -> None:
        async with self._changed:
            self._is_open = False
            self._changed.notify_all()

    async def post(self, value: Any) -> None:
        self._posts.append(value)

    async def take_posts(self) -> list[Any]:
        taken, self._posts = self._posts, []
        return taken


def _work_for_group(config: dict[str, Any]) -> None:
    """Of a worker process: takes orders until there are no more."""
    import gc

    import ray
    import ray.train
    import torch

    torch.set_num_threads(config["threads"])
    desk, rank, last = config["desk"], ray.train.get_context().get_world_rank(), -1
    while (order := ray.get(desk.next_order.remote(last, rank))) is not None:
        function, job = ray.get(order.work[0])
        found = function(job, WorkerContext(desk, order.called_at))
        del function, job
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        last = order.number
        if rank == 0:
            ray.get(desk.done.remote(found))


class GroupFailed(Exception):
    """A worker group failed for good."""


class WorkerGroup:
    """Processes of Ray Train that take one piece of work after the other, which saves their start and imports.

    A group that fails starts again, `max_failures` times, with as many workers as there are places for, down to
    `needs.min_workers`, and goes on with the order that it had; every `resize_check_sec` seconds a smaller group looks for
    more places.
    """

    def __init__(self, needs: Needs, max_failures: int, resize_check_sec: float):
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.key, self.needs = (needs, max_failures, resize_check_sec), needs
        self._is_busy, self._tries = False, 1
        # On this process's own node: the group outlives the loss of any other.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._desk = ray.remote(num_cpus=0, scheduling_strategy=here)(_Desk).remote()
        self._count, self._ended = 0, Future[None]()
        self._folder = tempfile.TemporaryDirectory(prefix="rbft-group-")  # for Ray Train; checkpoints go elsewhere
        trainer = _trainer(self._desk, needs, max_failures, resize_check_sec, self._folder.name)
        threading.Thread(target=_settle, args=(self._ended, trainer.fit), daemon=True).start()

    def run(self, function: WorkFunction, job: Any) -> Generator[Any, None, Any]:
        """`function(job, context)` on every worker. Yields what they post, and returns what the first one returns.

        Raises:
            GroupFailed: for good; the message is the cause's own line.
        """
        import ray

        self._is_busy = True
        self._count += 1
        answer = self._desk.order.remote(_Order(self._count, [ray.put((function, job))], time.time()))
        while True:
            is_done = bool(ray.wait([answer], timeout=POLL_SEC)[0])
            yield from ray.get(self._desk.take_posts.remote())
            if is_done:
                break
            if self._ended.done():
                raise GroupFailed(self._cause())
        found, self._tries = ray.get(answer)
        self._is_busy = False
        return found

    def _cause(self) -> str:
        error = self._ended.exception()
        return cause_line(error) if error is not None else "the workers ended without a result"

    @property
    def is_fresh(self) -> bool:
        """True where another training would find all of `max_failures`."""
        return not self._is_busy and self._tries == 1

    def close(self) -> None:
        """Ends the processes; those that are in a training end after it."""
        import ray

        if not self._is_busy:
            ray.get(self._desk.close.remote())
            self._ended.exception()
            self._folder.cleanup()
        ray.kill(self._desk)


def _settle(future: Future[None], call: Callable[[], Any]) -> None:
    try:
        call()
        future.set_result(None)
    except BaseException as error:
        future.set_exception(error)


def worker_environment(needs: Needs, cluster: Cluster) -> dict[str, Any]:
    """The runtime environment of workers: without GPUs they must not see those of their node, which torch and DeepSpeed would take.

    Empty where there are none to see, as a worker with an environment of its own starts seconds later.
    """
    if needs.gpus or not cluster.total("GPU"):
        return {}
    return {"env_vars": {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}}


def _trainer(desk: Any, needs: Needs, max_failures: int, resize_check_sec: float, folder: str) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = needs.gpus > 0
    elastic = needs.min_workers < needs.workers
    return TorchTrainer(
        _work_for_group,
        train_loop_config={"desk": desk, "threads": needs.threads},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=TOGETHER_SEC),
        scaling_config=ScalingConfig(
            num_workers=(needs.min_workers, needs.workers) if elastic else needs.workers,
            elastic_resize_monitor_interval_s=resize_check_sec,
            use_gpu=gpu,
            resources_per_worker={"CPU": needs.cpus, **({"GPU": needs.gpus} if gpu else {})},
        ),
        run_config=RunConfig(
            name="group",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=max_failures),
            worker_runtime_env=worker_environment(needs, cluster_now()),
        ),
    )
