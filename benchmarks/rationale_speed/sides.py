"""The sides that are compared: the real stage on Ray, bare vLLM, Transformers. Each run has a process and an engine of its own,
so that no side finds the prefixes, videos or grammars of an earlier run in a cache."""

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from rationale_speed.inputs import Job, vllm_requests
from rationale_speed.steps import Step, WorkerLog, read_logs, record_steps, recorded_worker, tokens_between
from rbft_ray.core.config import RayConfig
from rbft_ray.core.rationale_checks import task_knowledge
from rbft_ray.core.resources import Cluster
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import rationale_engine
from rbft_ray.runtime import block_runs, blocks
from rbft_ray.runtime.session import replica_needs
from rbft_ray.stages import rationalize


class Run(NamedTuple):
    """One run of one side: output tokens from `start` to `end` (seconds since the epoch), CPU seconds of the process (of all
    replicas) in that time, steps where it is vLLM's, and figures of its own."""

    tokens: float
    start: float
    end: float
    cpu_sec: float
    steps: list[list[Step]]
    more: dict[str, Any]

    @property
    def rate(self) -> float:
        """Output tokens per second."""
        return self.tokens / (self.end - self.start)


def run_stage(job: Job, scratch: Path, cluster: Cluster, replicas: int = 1) -> Run:
    """The stage as a job runs it; `start` is when the (last) engine was ready in its actor, `end` the last commit."""
    out, logs = scratch / "rationalize", scratch / "logs"
    for directory in (out, logs):
        shutil.rmtree(directory, ignore_errors=True)
    logs.mkdir(parents=True)

    def recorded(
        stage: str, out: str, rows: Any, make_worker: Callable[[], blocks.BlockWorker], needs: Any, **options: Any
    ) -> blocks.Counts:
        return block_runs.run_blocks(
            stage, out, rows, partial(recorded_worker, make_worker, str(logs)), needs, **options
        )

    needs = replica_needs(replicas, RayConfig(), cluster, min_replicas=replicas)
    called = time.time()
    with mock.patch.object(rationalize, "run_blocks", recorded):
        rationalize.rationalize(
            str(out),
            job.clips,
            job.base,
            job.model,
            job.task,
            job.config,
            needs,
            knowledge=task_knowledge(job.task, {}),
            seed=job.seed,
            no_progress_timeout_sec=600,
        )
    returned = time.time()
    rows = blocks.read_rows(str(out), CANDIDATES_TABLE, CANDIDATES, ["reason", "output_tokens"])
    if failed := [row for row in rows if row["reason"] == "engine_error"]:
        raise RuntimeError(f"{len(failed)} of {len(rows)} requests failed")
    return stage_run(read_logs(logs), last_commit(out), called, returned, sum(row["output_tokens"] for row in rows))


def last_commit(out: Path) -> float:
    """When the last block got its receipt, in seconds since the epoch."""
    return max(file.stat().st_mtime for file in (out / "receipts").glob("*.json"))


def stage_run(logs: list[WorkerLog], end: float, called: float, returned: float, tokens: int) -> Run:
    """The steady state of a run of the stage, and the figures of the whole.

    Args:
        tokens: output tokens of all candidates.
    """
    ready = max(log.ready for log in logs)
    steady = sum(tokens_between(log.steps, ready, end) for log in logs)
    whole = returned - called
    more = {
        "whole_tokens_per_sec": tokens / whole,
        "start_share": (ready - called) / whole,
        "threads": logs[0].threads,
        "all_tokens": tokens,
    }
    cpu = sum(log.cpu - log.cpu_at_ready for log in logs)
    return Run(steady, ready, end, cpu, [log.steps for log in logs], more)


def stage_llm(job: Job) -> Any:
    """The `vllm.LLM` that the stage would build, without anything around it, built by this thread."""
    from rbft_ray.model import vllm_engine

    with mock.patch.object(vllm_engine, "RequestLoop") as loop:
        rationale_engine(job.base, job.model, job.config, job.seed)
    make_llm, _ = loop.call_args.args
    return make_llm()


def bare_vllm(job: Job, gpu: bool, profiled: bool = False) -> Run:
    """`LLM.generate` on all requests at once, in this process; from the call to its return."""
    os.environ.update(vllm_environment(gpu))
    import torch

    steps = record_steps()
    llm = stage_llm(job)
    prompts, params = vllm_requests(job)
    more: dict[str, Any] = {"threads": torch.get_num_threads()}
    if profiled:
        from rationale_speed.profiling import Stopwatch

        watch = Stopwatch.on_vllm()
    cpu, start = time.process_time(), time.time()
    outputs = llm.generate(prompts, params, use_tqdm=False)
    end, cpu = time.time(), time.process_time() - cpu
    if profiled:
        more["profile"] = watch.shares(end - start)
    return Run(sum(len(output.outputs[0].token_ids) for output in outputs), start, end, cpu, [steps], more)


def transformers_batches(job: Job, batch_clips: int) -> Run:
    """Transformers' `generate` in padded batches, answers of their natural length, in this process."""
    from rbft_ray.model.engine import TransformersEngine
    from rbft_ray.model.vlm import best_device, load

    engine = TransformersEngine(load(job.base, dtype="float32", device=best_device()), batch_clips)
    requests = job.requests()
    cpu, start = time.process_time(), time.time()
    answers = engine.generate(requests, max_tokens=job.config.max_tokens, temperature=job.config.temperature)
    end, cpu = time.time(), time.process_time() - cpu
    tokens = sum(
        answer.output_tokens + (not answer.truncated) for answer in answers
    )  # vLLM counts the end-of-turn token
    return Run(tokens, start, end, cpu, [], {})


def in_own_process(threads: int, run: Callable[..., Run], *arguments: Any) -> Run:
    """`run(*arguments)` in a fresh process with so many OpenMP threads; it ends with the run."""
    with (
        mock.patch.dict(os.environ, OMP_NUM_THREADS=str(threads)),
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        return pool.submit(run, *arguments).result()


def replica_threads(cluster: Cluster) -> int:
    """OpenMP threads of one replica of the stage."""
    return replica_needs(1, RayConfig(), cluster).threads
