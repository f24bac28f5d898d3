"""The benchmark of training: its figures are what they say, and every side trains on the same samples."""

import dataclasses
import statistics
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from ray import cloudpickle

from rbft_ray.core.resources import Needs
from rbft_ray.demo import BASE_DIR
from rbft_ray.io.clips import read_frames
from rbft_ray.runtime.kept_group import make_room

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
VIDEOS, EPOCHS = 8, 2
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The benchmark's modules by name, with its directory on the path as Python puts it there for a script."""
    sys.path.insert(0, str(BENCHMARKS))
    names = ("record", "inputs", "group", "loop", "trainer", "stage", "padding")
    yield {name: import_module(f"training_speed.{name}") for name in names} | {"main": import_module("train")}
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def videos(modules, world):
    return modules["inputs"].manifest_videos(str(world / "manifest.csv"), "{path}", VIDEOS)


@pytest.fixture
def job(modules, videos, tmp_path):
    """A job whose samples have `tokens`."""
    from rbft_ray.stages.sample_sizes import measured

    clips = modules["inputs"].ingested(videos, modules["inputs"].sampling(84), str(tmp_path / "clips"))
    made = modules["inputs"].train_job(str(BASE_DIR), clips, videos.task, tmp_path / "train", epochs=EPOCHS)
    return dataclasses.replace(made, samples=tuple(measured(made)[0]))


def runs(modules, *rates: float) -> list:
    return [modules["record"].Run(round(rate), 1.0, {}) for rate in rates]


def test_the_first_step_is_no_part_of_the_steady_state(modules):
    Times = modules["record"].Times
    run = modules["record"].steady(
        8, [Times([9.0, 1.0, 3.0], [9.0, 1.0, 2.0]), Times([9.0, 1.0, 3.0], [8.0, 2.0, 2.0])], {}
    )
    assert (run.samples, run.seconds, run.rate) == (16, 4.0, 4.0)
    assert run.more == {"typical_step_sec": 2.0, "cpu_sec_per_step_and_process": 1.75}


def test_a_ratio_is_paired_by_round_and_against_the_fastest_peer(modules):
    main = modules["main"]
    found = main.ratio(runs(modules, 50, 90, 300), runs(modules, 100, 90, 100), runs(modules, 10, 180, 10))
    assert found == {"median": 0.5, "range": [0.5, 3.0]}
    order = []
    sides = {name: lambda name=name: order.append(name) or runs(modules, 1)[0] for name in "ab"}
    assert {name: len(own) for name, own in main.in_turn(sides, 3).items()} == {"a": 3, "b": 3}
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_seconds_of_calls_are_counted_within_the_block_only(modules):
    place, seconds = SimpleNamespace(double=lambda number: 2 * number), {}
    with modules["record"].timed_calls(seconds, {"doubling": (place, "double")}):
        assert place.double(4) == 8
    assert place.double(3) == 6 and 0 <= seconds["doubling"] < 1


def test_processes_share_the_cores(modules):
    assert modules["main"].groups([1, 2, 4], cores=2) == [(1, 2), (2, 1), (4, 1)]


def test_the_parts_of_a_run_add_up_to_the_whole(modules):
    parts = {"before_group": 1.0, "start_up": 10.0, "model": 2.0}
    log = {"record": {"times": [{"step_sec": [2.0, 1.0, 1.0], "cpu_sec": [1.0, 1.0, 1.0]}], "parts_sec": parts}}
    run = modules["stage"].stage_run(log, 20.0)
    assert run.rate == 8.0
    assert run.more["parts_sec"] == {**parts, "whole": 20.0, "all_steps": 4.0, "ending": 5.0}


def test_drawn_rationales_have_the_authors_median_and_extremes(modules):
    padding = modules["padding"]
    words = np.array(padding.drawn_lengths(20_000)) / padding.TOKENS_PER_WORD
    assert statistics.median(words) == pytest.approx(padding.MEDIAN_WORDS, rel=0.02)
    assert words.min() >= padding.FEWEST_WORDS and words.max() == pytest.approx(padding.MOST_WORDS, abs=1)


def test_padding_is_less_where_neighbours_in_length_share_a_micro_batch(modules):
    settings = {"global_batch": 4, "workers": 2, "count": 2, "most_tokens": 10_000, "epochs": 3}
    assert modules["padding"].padding_shares([50] * 8, **settings) == {"fixed_count": 0.0, "by_length": 0.0}
    shares = modules["padding"].padding_shares(range(10, 410, 10), **settings)
    assert 0 <= shares["by_length"] < shares["fixed_count"]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_bare_loop_has_the_micro_batches_of_the_stage(modules, vlm, job, workers):
    from rbft_ray.model.samples import Samples
    from rbft_ray.stages import train

    samples = Samples(vlm, job.prompt, job.samples)
    for rank in range(workers):
        context = SimpleNamespace(rank=rank, workers=workers)
        ready = modules["loop"].ready_steps(job, samples, rank, workers)
        assert len(ready) == job.steps == VIDEOS * EPOCHS // modules["inputs"].GLOBAL_BATCH
        for step, (micro_batches, answer_tokens) in enumerate(ready):
            work = train._work(job, samples, context, step)
            assert answer_tokens == work.answer_tokens
            for own, theirs in zip(micro_batches, work.micro_batches, strict=True):
                assert all(torch.equal(own.inputs[name], value) for name, value in theirs.inputs.items())
                assert torch.equal(own.weights, theirs.weights)


def test_trainers_data_set_gives_the_prompts_and_answers_of_the_stage(modules, videos, vlm, job):
    from rbft_ray.model.samples import Samples

    data = modules["trainer"].VideoSamples(videos, modules["inputs"].sampling(84), vlm, job.prompt)
    assert len(data) == len(job.samples)
    whole = Samples(vlm, job.prompt, job.samples)
    by_id = {sample["id"]: row for row, sample in enumerate(job.samples)}
    rows = [by_id[row["id"]] for row in videos.rows]
    theirs, own = data.collate([data[0], data[1]]), whole.micro_batch(rows[:2], [1.0, 1.0]).inputs
    assert theirs.keys() == own.keys()
    for name in ("input_ids", "attention_mask", "labels", "video_grid_thw"):
        assert torch.equal(theirs[name], own[name])
    frames = modules["trainer"].decoded(videos.rows[0]["video"], modules["inputs"].sampling(84)).frames
    stored = read_frames([job.samples[rows[0]]])[0].frames
    assert frames.shape == stored.shape
    assert np.abs(frames.astype(int) - stored).mean() < 4  # the stage stores JPEG


@pytest.mark.slow
def test_the_bare_loop_trains_in_processes_of_its_own(modules, job):
    found = modules["group"].in_group(2, 1, modules["loop"].deepspeed_loop, job)
    assert len(found) == 2
    for times in found:
        assert len(times.step_sec) == len(times.cpu_sec) == job.steps and min(times.cpu_sec) > 0


def test_trainer_takes_as_many_steps(modules, videos, job, monkeypatch):
    for name, value in {
        "WORLD_SIZE": "1",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "",
        "MASTER_PORT": "",
    }.items():
        monkeypatch.setenv(name, value)
    trained = modules["trainer"].transformers_trainer(videos, modules["inputs"].sampling(84), job, loaders=0)
    assert trained.steps == job.steps and trained.seconds > 0


def recorded_by_path(job, context):
    """`recorded_worker` on a worker that has not the benchmark on its path."""
    sys.path.insert(0, str(BENCHMARKS))
    return import_module("training_speed.stage").recorded_worker(job, context)


@pytest.mark.ray
@pytest.mark.slow
def test_the_start_of_a_run_is_told_from_its_steps_also_in_a_kept_group(
    ray_cluster, modules, videos, tmp_path, monkeypatch
):
    main = modules["main"]
    make_room(Needs(2))  # ends the group of another test
    monkeypatch.setattr(modules["stage"], "recorded_worker", recorded_by_path)
    monkeypatch.setattr(main, "RUNS_IN_ONE_GROUP", 1)
    monkeypatch.setattr(main, "START_EPOCHS", 2)
    _, found, runs = main.start(main.Bench(str(BASE_DIR), videos, 1, tmp_path, ray_cluster), 1, 1)
    assert {name: len(own) for name, own in runs.items()} == {"short_run": 1, "short_run_in_a_kept_group": 1}
    for name in runs:
        parts = {part: own["median"] for part, own in found["start_1x1"][f"parts_sec_of_a_{name}"].items()}
        assert parts["group_start"] + parts["imports"] + parts["model"] < parts["start_up"] < parts["whole"]
        around = found["start_1x1"][f"sec_around_the_steps_of_a_{name}"]["median"]
        assert around == pytest.approx(parts["whole"] - parts["all_steps"], abs=0.01)
    times = [found["start_1x1"][f"parts_sec_of_a_{name}"]["start_up"]["median"] for name in runs]
    assert times[1] < 0.5 * times[0]
