"""What is recorded of a training run, and arithmetic on it."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock


class Run(NamedTuple):
    """One run of one side: so many samples in so many seconds, and figures of its own."""

    samples: int
    seconds: float
    more: dict[str, Any]

    @property
    def rate(self) -> float:
        """Samples per second."""
        return self.samples / self.seconds


class Times(NamedTuple):
    """Seconds of every optimizer step of a process, and the CPU seconds that it spent in each."""

    step_sec: list[float]
    cpu_sec: list[float]


class Clock:
    """Measures the steps of this process, from now on."""

    def __init__(self) -> None:
        self._since, self._cpu_since = time.monotonic(), time.process_time()
        self.times = Times([], [])

    def step(self) -> None:
        """A step ends now, and the next one begins."""
        now, cpu = time.monotonic(), time.process_time()
        self.times.step_sec.append(now - self._since)
        self.times.cpu_sec.append(cpu - self._cpu_since)
        self._since, self._cpu_since = now, cpu


def steady(samples_per_step: int, by_rank: Sequence[Times], more: dict[str, Any]) -> Run:
    """The steps of a group without the first one, which warms up. by_rank: times of every process."""
    steps = by_rank[0].step_sec[1:]
    cpu = statistics.mean(sum(times.cpu_sec[1:]) for times in by_rank) / len(steps)
    own = {"typical_step_sec": statistics.median(steps), "cpu_sec_per_step_and_process": cpu}
    return Run(samples_per_step * len(steps), sum(steps), {**own, **more})


@contextlib.contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the seconds of the block to `seconds[name]`."""
    start = time.monotonic()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.monotonic() - start


@contextlib.contextmanager
def timed_calls(seconds: dict[str, float], places: dict[str, tuple[Any, str]]) -> Iterator[None]:
    """Within the block, calls of the functions `places[name]` (where it is, what it is called) are added to `seconds[name]`."""

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with timed(seconds, name):
                return function(*arguments, **named)

        return call

    with contextlib.ExitStack() as stack:
        for name, (place, attribute) in places.items():
            stack.enter_context(mock.patch.object(place, attribute, counted(name, getattr(place, attribute))))
        yield
