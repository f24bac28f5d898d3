"""Which steps of a plan are run, and what they are given."""

from pathlib import Path

from rbft_ray.core.resources import Needs
from rbft_ray.pipeline.runner import run_steps, step_dir, unfinished
from rbft_ray.pipeline.step import Step, StepContext
from rbft_ray.runtime.blocks import Counts


def make_step(name: str, ran: list[str], inputs: tuple[Step, ...] = (), caches: tuple[Step, ...] = ()) -> Step:
    def run(context: StepContext) -> Counts:
        assert set(context.inputs) == {step.name for step in (*inputs, *caches)}
        assert all(Path(place, "done.json").exists() for place in context.inputs.values())
        ran.append(name)
        return Counts()

    return Step(name, {}, lambda _cluster: Needs(), run, inputs, caches=caches)


def test_a_cache_runs_before_the_steps_that_use_it_and_only_for_them(tmp_path: Path) -> None:
    ran: list[str] = []
    data = make_step("data", ran)
    cache = make_step("cache", ran, (data,))
    plain = [make_step(name, ran, (data,)) for name in ("first", "second")]
    cached = [make_step(name, ran, (data,), (cache,)) for name in ("first", "second")]
    assert [step.id for step in plain] == [step.id for step in cached]
    steps, root = [data, cache, *cached], str(tmp_path)

    run_steps(root, [data, plain[0]], {})
    assert [step.name for step in unfinished(root, steps)] == ["cache", "second"]
    run_steps(root, [data, *plain], {})
    assert unfinished(root, steps) == []
    assert set(run_steps(root, steps, {})) == {"data", "first", "second"}
    assert ran == ["data", "first", "second"]

    Path(step_dir(root, cached[1]), "done.json").unlink()
    assert set(run_steps(root, steps, {})) == {"data", "cache", "first", "second"}
    assert ran == ["data", "first", "second", "cache", "second"]
