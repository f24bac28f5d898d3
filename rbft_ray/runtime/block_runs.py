"""Who does the blocks of a stage: Ray Data spreads them over tasks (or over actors that hold a model) anywhere in the cluster, or a
worker group that has trained does them. A process that dies is replaced and its blocks are done again (`attempts`).
"""

import gc
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any
from uuid import uuid4

from rbft_ray.core.errors import RbftError, StorageError, WorkerBroken
from rbft_ray.core.resources import Needs, places
from rbft_ray.core.schema import Reason, reject
from rbft_ray.runtime import attempts
from rbft_ray.runtime.blocks import BlockOutput, BlockWorker, Counts, commit, committed, layout, merged
from rbft_ray.runtime.failures import cause_line
from rbft_ray.runtime.kept_group import make_room, on_kept_group
from rbft_ray.runtime.progress import StageProgress
from rbft_ray.runtime.session import cluster_now
from rbft_ray.runtime.worker_group import GroupFailed, WorkerContext

_log = logging.getLogger(__name__)

Block = tuple[int, list[dict[str, Any]]]  # its number, its rows
TaskArguments = tuple[str, str, str, Callable[[], BlockWorker], int]  # of _Task
Receipt = Mapping[str, int]  # block, read, written, rejected


class _Task:
    """The calls of a block worker inside a Ray Data actor: rows in, receipt out."""

    def __init__(self, stage: str, out: str, run: str, make_worker: Callable[[], BlockWorker], in_flight: int):
        self._stage, self._out, self._run = stage, out, run
        self._worker, self._turns = make_worker(), attempts.Turns(in_flight)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[int]]:
        block, rows = int(batch["block"][0]), list(batch["rows"][0])
        attempt = attempts.before(self._out, block, self._run)
        try:
            with self._turns.take(alone=attempt.alone):
                attempts.begin(self._out, block, attempt)
                output = self._row_by_row(block, rows, attempt) if attempt.row_by_row else self._worker(rows)
                # Still in turn: another block's row could kill the process, and the row marked last here would be blamed.
                counts = commit(self._out, block, output)
                attempts.end(self._out, block)
        except WorkerBroken as error:
            _log.error("%s: this process cannot go on and is replaced: %s", self._stage, error)
            os._exit(1)
        return {"block": [block], **{name: [value] for name, value in counts._asdict().items()}}

    def _row_by_row(self, block: int, rows: list[dict[str, Any]], attempt: attempts.Attempt) -> BlockOutput:
        outputs = []
        for index, row in enumerate(rows):
            if index in attempt.dead:
                why = f"the worker process died each time while it worked on this row ({attempt.tries} tries)"
                outputs.append(BlockOutput({}, [reject(row, self._stage, Reason.WORKER_DIED, why)], Counts(1, 0, 1)))
            else:
                attempts.mark(self._out, block, attempt, index)
                outputs.append(self._worker([row]))
        return merged(outputs)


def _work_of_group(job: tuple[Sequence[Block], TaskArguments], context: WorkerContext) -> str:
    """Of one worker of a kept group: its share of the blocks, without what an earlier try committed. Returns an error, or ''."""
    todo, arguments = job
    error = ""
    try:
        task, done = _Task(*arguments), committed(arguments[1])
        for block, rows in todo[context.rank :: context.workers]:
            if block not in done:
                context.post({name: value[0] for name, value in task({"block": [block], "rows": [rows]}).items()})
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    return next(filter(None, context.gathered(error)), "")  # the work is done when all have done theirs


def _on_kept_group(todo: Sequence[Block], arguments: TaskArguments, needs: Needs) -> Iterator[Receipt]:
    """What a kept worker group does of the blocks, where there is one of that size: all of them, unless it loses processes.

    Raises:
        RbftError: a worker failed.
    """
    stage, out = arguments[:2]
    seen = set()
    try:
        posts = on_kept_group(needs, _work_of_group, (todo, arguments))
        while True:
            receipt = next(posts)
            seen.add(receipt["block"])
            yield receipt
    except StopIteration as end:
        if end.value:
            raise RbftError(f"{stage}: a worker failed: {end.value}") from None
    except GroupFailed as error:
        _log.warning("%s: the worker group ended and other processes go on: %s", stage, error)
        for block, counts in committed(out).items():
            if block not in seen and block in dict(todo):  # its worker died before it could tell
                yield {"block": block, **counts._asdict()}


def _stream(
    todo: Sequence[Block],
    arguments: TaskArguments,
    needs: Needs,
    environment: Mapping[str, str] | None,
    no_progress_timeout_sec: float,
) -> Iterator[Receipt]:
    """Of each block as it commits, in any order."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    actors = min(needs.workers, len(todo))
    at_once = min(max(needs.min_workers, places(needs, cluster_now())), actors)
    in_flight = min(arguments[-1], -(-len(todo) // at_once))  # the first actor must not take what is for the others
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its import sets it to INFO
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = no_progress_timeout_sec
    context.autoscaling_config.actor_pool_util_upscaling_threshold = (
        1.0  # grow once the actors there are have all they take
    )
    # One Ray Data block per unit of commit, so that they spread over the actors and stream back one by one.
    blocks = ray.data.from_items(
        [{"block": index, "rows": rows} for index, rows in todo], override_num_blocks=len(todo)
    )
    receipts = blocks.map_batches(
        _Task,
        fn_constructor_args=(*arguments[:-1], in_flight),
        batch_size=1,
        compute=ActorPoolStrategy(
            min_size=min(needs.min_workers, actors),
            initial_size=at_once,
            max_size=actors,
            max_tasks_in_flight_per_actor=in_flight + 1,
            max_concurrent_calls_per_actor=in_flight,
            enable_true_multi_threading=True,
        ),
        num_cpus=needs.cpus,
        num_gpus=needs.gpus or None,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(needs.threads), **(environment or {})}},
    )
    yield from receipts.iter_rows()


def _receipts(
    todo: Sequence[Block],
    arguments: TaskArguments,
    needs: Needs,
    environment: Mapping[str, str] | None,
    no_progress_timeout_sec: float,
) -> Iterator[Receipt]:
    """Of each block as it commits: from a kept worker group where it can do them, else from processes of their own."""
    left = dict(todo)
    if environment is None and arguments[-1] == 1:
        for receipt in _on_kept_group(todo, arguments, needs):
            del left[receipt["block"]]
            yield receipt
    if left:
        make_room(needs)
        yield from _stream(list(left.items()), arguments, needs, environment, no_progress_timeout_sec)


def run_blocks(
    stage: str,
    out: str,
    rows: Sequence[dict[str, Any]],
    make_worker: Callable[[], BlockWorker],
    needs: Needs,
    *,
    block_rows: int,
    in_flight: int = 1,
    environment: Mapping[str, str] | None = None,
    no_progress_timeout_sec: float,
) -> Counts:
    """Runs `make_worker()` over every block of `rows` that has no receipt yet. Returns the counts over all blocks.

    Args:
        rows: the same list on every run of the same step: a block's number is its place in it.
        block_rows: rows per block; where the stage was begun with another number, that one stays.
        in_flight: blocks that an actor works on at a time, each in a thread of its own.
        make_worker: called once per actor; loads what the worker holds (a model).
        environment: environment variables of the workers.
        no_progress_timeout_sec: no block for so long is an error.

    Raises:
        RbftError: a worker failed; what is committed stays.
        StorageError: `out` is not the same place on all nodes, or was begun with other rows.
    """
    from ray.data.exceptions import ExecutionTimeoutError
    from ray.exceptions import RayError

    blocks = layout(out, rows, block_rows)
    done = committed(out)
    total = reduce(Counts.plus, done.values(), Counts())
    todo = [(index, block) for index, block in enumerate(blocks) if index not in done]
    if not todo:
        return total.check(stage)
    failure: str | None = None
    begun = False
    with StageProgress(stage, len(rows), "clips", done=total.read) as bar:
        try:
            arguments = (stage, out, uuid4().hex, make_worker, in_flight)
            for receipt in _receipts(todo, arguments, needs, environment, no_progress_timeout_sec):
                counts = Counts(receipt["read"], receipt["written"], receipt["rejected"])
                total = total.plus(counts)
                if begun:
                    bar.advance(counts.read)
                else:  # what came before is also the start of processes, and no measure of what is to come
                    bar.resume_at(bar.done + counts.read)
                    begun = True
        except ExecutionTimeoutError:
            failure = (
                f"no block was finished or begun in {no_progress_timeout_sec:g} s. The start of the processes counts, with the "
                "download and the load of a model: set ray.no_progress_timeout_sec higher where these take longer"
            )
        except RayError as error:
            failure = f"a worker failed: {cause_line(error)}"
    if failure is not None:
        # Outside of the handler and after a collection: the error's frames refer to Ray Data's actors, which would keep their
        # CPUs for as long as the error lives.
        gc.collect()
        raise RbftError(f"{stage}: {failure}")
    if lost := len(blocks) - len(committed(out)):
        raise StorageError(
            f"{out}: {lost} of {len(blocks)} blocks are on other nodes only; `storage` must be a directory that all nodes "
            "share, or a URI such as s3://bucket/runs"
        )
    return total.check(stage)
