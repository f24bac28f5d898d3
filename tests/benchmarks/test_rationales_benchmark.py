"""The arithmetic of the benchmark of rationale generation: what its figures are made of is what they say."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The benchmark's modules by name, with its directory on the path as Python puts it there for a script."""
    sys.path.insert(0, str(BENCHMARKS))
    names = ("steps", "sides", "profiling")
    yield {name: import_module(f"rationale_speed.{name}") for name in names} | {"main": import_module("rationales")}
    sys.path.remove(str(BENCHMARKS))


def steps(modules, *values: tuple[float, float, int]) -> list:
    return [modules["steps"].Step(*value) for value in values]


def log(modules, ready: float, own: list):
    return modules["steps"].WorkerLog(0.0, ready, 1.0, 4.0, 2, own)


def test_idle_share_is_the_time_without_a_step_inside_the_window(modules):
    own = steps(modules, (0, 2, 5), (3, 4, 5), (6, 9, 5))
    assert modules["steps"].idle_share(own, 1, 8) == pytest.approx(3 / 7)  # 2-3, 4-6
    assert modules["steps"].longest_pause(own, 1, 8) == 2
    assert modules["steps"].longest_pause(own[:1], 1, 8) == 0


def test_rates_spread_the_tokens_of_a_step_over_its_time_and_lose_none(modules):
    own = steps(modules, (10.0, 10.5, 10), (10.75, 11.25, 8), (11.5, 11.6, 3))
    found = modules["steps"].rates(own, 10.0, 12.0, 0.5)
    assert found == pytest.approx([20, 8, 8, 6], abs=1e-4)
    assert sum(found) * 0.5 == pytest.approx(21)


def test_the_steady_state_begins_with_the_last_engine_and_ends_with_the_last_commit(modules):
    early = log(modules, 3.0, steps(modules, (3, 4, 100), (5, 6, 10)))
    late = log(modules, 5.0, steps(modules, (5, 7, 20), (7, 8, 30)))
    run = modules["sides"].stage_run([early, late], end=9.0, called=1.0, returned=11.0, tokens=160)
    assert (run.tokens, run.start, run.end, run.rate) == (60, 5.0, 9.0, 15.0)
    assert run.cpu_sec == 6.0
    assert run.more["start_share"] == pytest.approx(0.4)
    assert run.more["whole_tokens_per_sec"] == 16


def test_logs_are_read_as_they_were_written(modules, tmp_path, monkeypatch):
    from rbft_ray.runtime.blocks import BlockOutput, Counts

    own, output = steps(modules, (1, 2, 3)), BlockOutput({}, [], Counts(1, 1, 0))
    monkeypatch.setattr(modules["steps"], "record_steps", lambda: own)
    worker = modules["steps"].recorded_worker(lambda: lambda rows: output, str(tmp_path))
    assert worker([{}]) == output
    (found,) = modules["steps"].read_logs(tmp_path)
    assert found.began <= found.ready and found.cpu_at_ready <= found.cpu and found.steps == own


def test_the_ratio_is_the_median_of_the_rounds_paired(modules):
    def runs(*rates: int) -> list:
        return [modules["sides"].Run(rate, 0.0, 1.0, 1.0, [], {}) for rate in rates]

    assert modules["main"].ratio(runs(50, 90, 300), runs(100, 100, 100)) == 0.9
    found = modules["main"].in_turn({"a": lambda: runs(1)[0], "b": lambda: runs(2)[0]}, 3)
    assert {name: len(own) for name, own in found.items()} == {"a": 3, "b": 3}


def test_the_stopwatch_counts_a_function_without_those_that_it_calls(modules):
    now = 0.0

    def work(seconds: float) -> None:
        nonlocal now
        now += seconds

    watch = modules["profiling"].Stopwatch(lambda: now)
    inner = watch.watched("inner", lambda: work(2))

    def both() -> None:
        work(1)
        inner()
        work(3)

    watch.watched("outer", both)()
    assert dict(watch.seconds) == {"outer": 4, "inner": 2}
    assert watch.shares(8) == {"outer": 0.5, "inner": 0.25, "else": 0.25}
