"""The steps of a vLLM engine: recording them inside the process that holds it, and arithmetic on the record."""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rbft_ray.runtime.blocks import BlockOutput, BlockWorker


class Step(NamedTuple):
    """One step of the engine: start and end in seconds since the epoch, output tokens that it gave."""

    start: float
    end: float
    tokens: float


class WorkerLog(NamedTuple):
    """One process that held an engine. began, ready: seconds since the epoch before and after the engine was built;
    cpu_at_ready, cpu: CPU seconds of the process then and at its last record; threads: of torch's operators."""

    began: float
    ready: float
    cpu_at_ready: float
    cpu: float
    threads: int
    steps: list[Step]


def record_steps() -> list[Step]:
    """From now on every step of every vLLM engine of this process is put into the list that is returned."""
    from vllm.v1.engine.core_client import InprocClient
    from vllm.v1.engine.llm_engine import LLMEngine

    steps: list[Step] = []
    tokens = 0
    get_output, step = InprocClient.get_output, LLMEngine.step

    def counted(client: Any) -> Any:
        nonlocal tokens
        outputs = get_output(client)
        tokens = sum(len(output.new_token_ids) for output in outputs.outputs)
        return outputs

    def timed(engine: Any) -> Any:
        start = time.time()
        found = step(engine)
        steps.append(Step(start, time.time(), tokens))
        return found

    InprocClient.get_output, LLMEngine.step = counted, timed
    return steps


def recorded_worker(make_worker: Callable[[], BlockWorker], logs: str) -> BlockWorker:
    """The stage's worker; after each block the record of this process so far is written into the directory `logs`."""
    import torch

    began, steps, lock = time.time(), record_steps(), threading.Lock()
    worker = make_worker()
    ready, cpu_at_ready = time.time(), time.process_time()
    file = Path(logs) / f"{os.getpid()}.json"

    def work(rows: list[dict[str, Any]]) -> BlockOutput:
        output = worker(rows)
        with lock:
            log = WorkerLog(began, ready, cpu_at_ready, time.process_time(), torch.get_num_threads(), list(steps))
            file.write_text(json.dumps(log._asdict()), encoding="utf-8")
        return output

    return work


def read_logs(logs: Path) -> list[WorkerLog]:
    """The records of all processes of a run."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(logs.glob("*.json"))]
    return [WorkerLog(**{**own, "steps": [Step(*step) for step in own["steps"]]}) for own in found]


def tokens_between(steps: Iterable[Step], start: float, end: float) -> float:
    """Output tokens of the steps that ended in [start, end]."""
    return sum(step.tokens for step in steps if start <= step.end <= end)


def idle_share(steps: Sequence[Step], start: float, end: float) -> float:
    """Share of [start, end] in which one engine made no step."""
    busy = sum(max(0.0, min(step.end, end) - max(step.start, start)) for step in steps)
    return 1 - busy / (end - start)


def longest_pause(steps: Sequence[Step], start: float, end: float) -> float:
    """The most seconds in [start, end] from the end of a step to the start of the next one of the same engine."""
    own = [step for step in steps if step.end >= start and step.start <= end]
    return max((later.start - step.end for step, later in itertools.pairwise(own)), default=0.0)


def rates(steps: Sequence[Step], start: float, end: float, bin_sec: float) -> list[float]:
    """Tokens/s in each bin of [start, end]; the tokens of a step are spread evenly over its time."""
    bins = [0.0] * max(1, -int(-(end - start) // bin_sec))
    for step in steps:
        length = max(step.end - step.start, 1e-9)
        first, last = (int((at - start) // bin_sec) for at in (step.start, step.end))
        for place in range(max(first, 0), min(last, len(bins) - 1) + 1):
            low, high = start + place * bin_sec, start + (place + 1) * bin_sec
            bins[place] += step.tokens * max(0.0, min(step.end, high) - max(step.start, low)) / length
    return [tokens / bin_sec for tokens in bins]
