"""Batches are a function of seed and step alone: the same for any number of workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.batches import (
    answer_token_count,
    batch_indices,
    cosine_learning_rate,
    total_steps,
    worker_micro_batches,
)

sizes = st.integers(1, 30)
seeds = st.integers(0, 100)


def stream(samples: int, global_batch: int, steps: int, seed: int) -> np.ndarray:
    return np.concatenate([batch_indices(samples, global_batch, step, seed) for step in range(steps)])


@given(sizes, sizes, seeds)
def test_each_epoch_covers_each_sample_once(samples: int, global_batch: int, seed: int) -> None:
    indices = stream(samples, global_batch, -(-3 * samples // global_batch), seed)[: 3 * samples]
    for epoch in indices.reshape(3, samples):
        assert sorted(epoch) == list(range(samples))


@given(sizes, st.integers(1, 6), sizes, seeds)
def test_a_larger_batch_is_the_same_stream_in_larger_slices(samples: int, batch: int, steps: int, seed: int) -> None:
    np.testing.assert_array_equal(stream(samples, batch, 4 * steps, seed), stream(samples, 4 * batch, steps, seed))


@given(sizes, sizes, st.integers(0, 200), seeds)
def test_every_batch_is_full_and_repeatable(samples: int, global_batch: int, step: int, seed: int) -> None:
    batch = batch_indices(samples, global_batch, step, seed)
    assert batch.shape == (global_batch,) and batch.dtype == np.int64
    np.testing.assert_array_equal(batch, batch_indices(samples, global_batch, step, seed))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, second = stream(50, 50, 2, seed=0).reshape(2, 50)
    assert (first != second).any()
    assert (first != stream(50, 50, 1, seed=1)).any()


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        batch_indices(0, 8, 0, 0)


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4))
def test_the_workers_parts_are_the_global_batch(workers: int, micro_batch: int, rounds: int) -> None:
    indices = np.random.default_rng(0).permutation(workers * micro_batch * rounds)
    parts = [worker_micro_batches(indices, worker, workers, micro_batch) for worker in range(workers)]
    assert [[len(micro) for micro in part] for part in parts] == [[micro_batch] * rounds] * workers
    interleaved = np.stack([np.concatenate(part) for part in parts], axis=1).ravel()
    np.testing.assert_array_equal(interleaved, indices)


@pytest.mark.parametrize(("size", "workers", "micro_batch"), [(8, 3, 1), (8, 2, 3), (8, 4, 4)])
def test_a_global_batch_that_does_not_divide_is_refused(size: int, workers: int, micro_batch: int) -> None:
    with pytest.raises(ValueError, match=f"{size} is no multiple of {workers} workers x {micro_batch} samples"):
        worker_micro_batches(np.arange(size), 0, workers, micro_batch)


@pytest.mark.parametrize(
    ("samples", "epochs", "global_batch", "steps"),
    [(100, 3.0, 8, 38), (1, 0.1, 8, 1), (16, 2.0, 8, 4), (10, 0.5, 1, 5)],
)
def test_step_counts(samples: int, epochs: float, global_batch: int, steps: int) -> None:
    assert total_steps(samples, epochs, global_batch) == steps


@given(st.integers(2, 200), st.floats(0, 0.9))
def test_the_rate_rises_linearly_to_its_peak_and_falls_to_zero(steps: int, warmup_ratio: float) -> None:
    rates = np.array([cosine_learning_rate(step, steps, warmup_ratio) for step in range(steps + 1)])
    warmup = round(warmup_ratio * steps)
    np.testing.assert_allclose(rates[:warmup], np.arange(1, warmup + 1) / max(1, warmup))
    assert rates[warmup] == 1.0 and rates[-1] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(rates[warmup:]) <= 0).all() and (rates[:-1] > 0).all()


def test_the_rate_is_half_in_the_middle_of_the_fall() -> None:
    assert cosine_learning_rate(60, 100, 0.2) == pytest.approx(0.5)


def test_answer_tokens_are_counted_as_often_as_a_sample_comes() -> None:
    assert answer_token_count([[1, 2], [3], [4, 5, 6]], np.array([0, 2, 2])) == 8
