"""Output tokens per second of rationale generation, against bare vLLM and Transformers: `python benchmarks/rationales.py`.

The sides of a ratio write rationales for the same clips and run in turn, each in a fresh process; the ratio is the median over
the rounds. 1.0 against bare vLLM would be that Ray, blocks, checks and commits cost nothing.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rationale_speed.inputs import Job, demo_clips, demo_job, large_base
from rationale_speed.sides import Run, bare_vllm, in_own_process, replica_threads, run_stage, transformers_batches
from rationale_speed.steps import idle_share, longest_pause
from rich.console import Console
from rich.table import Table

from rbft_ray.core.config import RayConfig
from rbft_ray.core.resources import Cluster
from rbft_ray.demo import BASE_DIR
from rbft_ray.runtime.session import ray_session

GOALS = {"stage_over_vllm_small": 0.85, "stage_over_vllm_300m": 0.95, "vllm_over_transformers_4": 1.8}
PARTS = ("small", "300m", "transformers", "replicas", "threads")
SMALL_TOKENS = 120
STEADY_CLIPS, CLIPS = 768, 192  # of the small part, where several fill the engine one after another; of the others
LARGE_CLIPS, LARGE_TOKENS = 16, 32
SLOW_ROUNDS = 2  # at most, of the parts that take longest
Rounds = dict[str, list[Run]]


class Bench(NamedTuple):
    """What the measurements share."""

    base: str
    clips: list[dict[str, Any]]
    rounds: int
    scratch: Path
    cluster: Cluster

    def stage(self, job: Job, replicas: int = 1) -> Run:
        return run_stage(job, self.scratch, self.cluster, replicas)

    def vllm(self, job: Job, threads: int, profiled: bool = False) -> Run:
        return in_own_process(threads, bare_vllm, job, self.cluster.total("GPU") > 0, profiled)

    def stage_and_vllm(self, job: Job, name: str, rounds: int) -> tuple[dict[str, float], dict[str, Any], Rounds]:
        """The stage against bare vLLM with as many threads."""
        threads = replica_threads(self.cluster)
        stage, vllm = f"stage_{name}", f"vllm_{name}"
        runs = in_turn({stage: lambda: self.stage(job), vllm: lambda: self.vllm(job, threads)}, rounds)
        return {f"stage_over_vllm_{name}": ratio(runs[stage], runs[vllm])}, {}, runs

    def small_job(self, clips: int | None = CLIPS) -> Job:
        return demo_job(self.base, self.clips[:clips], SMALL_TOKENS)

    def large_job(self) -> Job:
        return demo_job(large_base(self.scratch), self.clips[:LARGE_CLIPS], LARGE_TOKENS)


def in_turn(sides: Mapping[str, Callable[[], Run]], rounds: int) -> Rounds:
    """Runs every side once per round, every other round in reverse order."""
    found: Rounds = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            found[name].append(sides[name]())
            run = found[name][-1]
            print(f"{name}: {run.tokens} tokens, {run.rate:.0f}/s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return found


def ratio(one: Sequence[Run], other: Sequence[Run]) -> float:
    """Median over the rounds of the rate of `one` over that of `other`."""
    return round(statistics.median(a.rate / b.rate for a, b in zip(one, other, strict=True)), 3)


def facts(run: Run) -> dict[str, Any]:
    """The figures of one run."""
    found: dict[str, Any] = {
        "tokens_per_sec": round(run.rate, 1),
        "tokens": run.tokens,
        "cpu_sec_per_1000_tokens": round(1000 * run.cpu_sec / max(run.tokens, 1), 3),
    }
    if run.steps:
        idle = statistics.mean(idle_share(steps, run.start, run.end) for steps in run.steps)
        pause = max(longest_pause(steps, run.start, run.end) for steps in run.steps)
        found |= {"engine_idle_share": round(idle, 4), "longest_pause_sec": round(pause, 3)}
    return found | {name: round(value, 4) for name, value in run.more.items() if isinstance(value, (int, float))}


def small(bench: Bench) -> tuple[dict[str, float], dict[str, Any], Rounds]:
    """The stage and bare vLLM with the base."""
    ratios, more, runs = bench.stage_and_vllm(bench.small_job(None), "small", bench.rounds)
    stage = runs["stage_small"]
    more["engine_idle_share"] = statistics.median(facts(run)["engine_idle_share"] for run in stage)
    for name in ("whole_tokens_per_sec", "start_share"):
        more[name] = round(statistics.median(run.more[name] for run in stage), 3)
    return ratios, more, runs


def large(bench: Bench) -> tuple[dict[str, float], dict[str, Any], Rounds]:
    """The stage and bare vLLM with about 300 M random parameters, few requests."""
    return bench.stage_and_vllm(bench.large_job(), "300m", min(bench.rounds, SLOW_ROUNDS))


def threads(bench: Bench) -> tuple[dict[str, float], dict[str, Any], Rounds]:
    """Bare vLLM with a thread for every core and with as many as a replica has."""
    own, cores = replica_threads(bench.cluster), len(os.sched_getaffinity(0))
    further: dict[str, Any] = {}
    runs: Rounds = {}
    for name, job in (("small", bench.small_job()), ("300m", bench.large_job())):
        few, all_cores = f"vllm_{own}_threads_{name}", f"vllm_all_cores_{name}"
        sides = {few: partial(bench.vllm, job, own), all_cores: partial(bench.vllm, job, cores)}
        runs |= in_turn(sides, 1)
        further[f"vllm_all_cores_over_replica_threads_{name}"] = ratio(runs[all_cores], runs[few])
    return {}, further, runs


def transformers(bench: Bench) -> tuple[dict[str, float], dict[str, Any], Rounds]:
    """The stage and Transformers in batches of 4 and 64, with the base."""
    job, own_threads = bench.small_job(), replica_threads(bench.cluster)
    sides = {
        "stage": lambda: bench.stage(job),
        "transformers_4": lambda: in_own_process(own_threads, transformers_batches, job, 4),
        "transformers_64": lambda: in_own_process(own_threads, transformers_batches, job, 64),
    }
    runs = in_turn(sides, min(bench.rounds, SLOW_ROUNDS))
    own = {f"vllm_over_{name}": ratio(runs["stage"], runs[name]) for name in list(sides)[1:]}
    return {"vllm_over_transformers_4": own.pop("vllm_over_transformers_4")}, own, runs


def replicas(bench: Bench) -> tuple[dict[str, float], dict[str, Any], Rounds]:
    """Two replicas and one, with the base."""
    job = bench.small_job()
    sides = {
        "one_replica": lambda: bench.stage(job),
        "two_replicas": lambda: bench.stage(job, 2),
    }
    runs = in_turn(sides, 1)
    return {}, {"two_replicas_over_one": ratio(runs["two_replicas"], runs["one_replica"])}, runs


def profile(bench: Bench) -> dict[str, float]:
    """{function: its share of the time of bare vLLM with the base}; also as a table on standard error."""
    job = bench.small_job(None)
    shares = bench.vllm(job, replica_threads(bench.cluster), True).more["profile"]
    table = Table("", "share", title="where bare vLLM's time goes")
    for name, share in shares.items():
        table.add_row(name, f"{share:.1%}")
    Console(stderr=True).print(table)
    return {name: round(share, 4) for name, share in shares.items()}


def measure(bench: Bench, parts: Sequence[str], plot: Path | None, profiled: bool) -> dict[str, Any]:
    """The benchmark's result: ratios, goals, further figures, the figures of every run."""
    ratios: dict[str, float] = {}
    further: dict[str, Any] = {}
    runs: Rounds = {}
    measured = {"small": small, "300m": large, "transformers": transformers, "replicas": replicas, "threads": threads}
    for part in parts:
        own_ratios, own_further, own_runs = measured[part](bench)
        ratios, further, runs = {**ratios, **own_ratios}, {**further, **own_further}, {**runs, **own_runs}
    if profiled:
        further["profile"] = profile(bench)
    if plot and "stage_small" in runs:
        from rationale_speed.plot import draw

        draw(runs["stage_small"][-1], runs["vllm_small"][-1], plot)
    goals = {name: goal for name, goal in GOALS.items() if name in ratios}
    figures = {name: [facts(run) for run in own] for name, own in runs.items()}
    return {"ratios": ratios, "goals": goals, **further, "runs": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", default=str(BASE_DIR), help="model directory for all but the 300m part")
    parser.add_argument(
        "--clips",
        type=int,
        default=STEADY_CLIPS,
        help=f"rendered clips; only the small part and --profile take over {CLIPS}",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help=f"runs of each side (300m, transformers: at most {SLOW_ROUNDS})"
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="what to measure, may be repeated; default: all")
    parser.add_argument("--plot", type=Path, help="SVG file for tokens/s over time (with the small part)")
    parser.add_argument("--profile", action="store_true", help="also say where vLLM's time goes with the base")
    parser.add_argument("--scratch", type=Path, help="where clips and models are put and kept; default: nowhere")
    arguments = parser.parse_args()
    # Ray would give its workers less of a busy machine than the other sides get.
    os.environ.setdefault("RAY_worker_niceness", "0")
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        clips = demo_clips(scratch, arguments.clips)
        with ray_session(RayConfig(address="local")) as cluster:
            bench = Bench(arguments.base, clips, arguments.rounds, scratch, cluster)
            found = measure(bench, arguments.part or PARTS, arguments.plot, arguments.profile)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
