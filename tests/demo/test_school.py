"""The schooling script: it resumes where it was, and draws each batch from its step alone."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rbft_ray.demo.curves import losses
from rbft_ray.demo.plan import LAST_RATE, PEAK_RATE, PHASES, Phase, learning_rate, phase_of_step, scaled
from rbft_ray.demo.school import School, log_line, run_school

SHORT = (Phase(1, (0, 0.5), {"vision": 1.0}, (1.0, 0.0, 0.0)), Phase(2, (0.5, 1), {"compare": 1.0}, (1.0, 0.0, 0.0)))


@pytest.fixture(autouse=True)
def own_signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_schooling_resumes_where_it_was(tmp_path: Path) -> None:
    first = School(tmp_path / "a", seed=0)
    run_school(first, SHORT[:1], save_minutes=100)
    assert (tmp_path / "a" / "base" / "model.safetensors").is_file()
    resumed = School(tmp_path / "a", seed=0)
    resumed.log.write_text('{"step": 1}\n{"step": 2}\n')
    resumed.resume()
    assert resumed.log.read_text() == '{"step": 1}\n'
    assert resumed.step == 1
    assert all(torch.equal(one, other) for one, other in zip(first.parameters, resumed.parameters, strict=True))
    run_school(resumed, SHORT, save_minutes=100)
    assert resumed.step == 3


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    school = School(tmp_path, seed=0)
    (kind, one), (_, again), (_, later) = (school.prepared(step, SHORT[1:]) for step in (0, 0, 1))
    assert kind == "compare"
    assert torch.equal(one.ids, again.ids)
    assert one.ids.shape != later.ids.shape or not torch.equal(one.ids, later.ids)


def test_phases_follow_each_other_and_scale() -> None:
    ends = [sum(phase.steps for phase in PHASES[: number + 1]) for number in range(len(PHASES))]
    assert [phase_of_step(end - 1)[0] for end in ends] == list(PHASES)
    assert phase_of_step(ends[-1] + 7) == (PHASES[-1], 1.0)
    assert [phase.steps for phase in scaled(PHASES, 1e-9)] == [1] * len(PHASES)


def test_the_learning_rate_goes_through_the_arcs_of_the_phases() -> None:
    flat = Phase(1000, (0.5, 0.5), {"vision": 1.0}, (1.0, 0.0, 0.0))
    phases = (flat._replace(arc=(0, 0.5)), flat, flat._replace(arc=(0.5, 1)))
    assert learning_rate(0, phases) == pytest.approx(PEAK_RATE / 100)
    assert learning_rate(1000, phases) == learning_rate(1999, phases) == pytest.approx((PEAK_RATE + LAST_RATE) / 2)
    assert learning_rate(3000, phases) == pytest.approx(LAST_RATE)
    assert all(learning_rate(step, phases) >= learning_rate(step + 1, phases) for step in range(100, 3000, 50))


def test_the_log_gives_a_curve_for_each_kind() -> None:
    figures = [{"kind": kind, "loss": 1.0, "fact_loss": 2.0, "lessons": 4} for kind in ("vision", "rule", "rule")]
    line = json.dumps({"step": 20, "mean": json.loads(log_line(_Step(20), figures))["mean"]})
    assert losses([line]) == {"facts, vision alone": [(20, 2.0)], "rule": [(20, 1.0)]}


class _Step:
    """What `log_line` reads of a school."""

    def __init__(self, step: int) -> None:
        self.step, self.spent_sec = step, 1.0
