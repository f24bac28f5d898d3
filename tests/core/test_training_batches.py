"""Batches are a function of seed and step alone: the same for any number of workers."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from rbft_ray.core.batches import (
    balanced_weights,
    batch_indices,
    cosine_learning_rate,
    epoch_order,
    micro_batches,
    padding_share,
    total_steps,
)

sizes = st.integers(1, 30)
seeds = st.integers(0, 100)
labels = st.lists(st.sampled_from("abcd"), min_size=1, max_size=40)


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


@given(labels, st.integers(0, 6), seeds)
def test_a_balanced_epoch_draws_every_class_equally_often(classes: list[str], epoch: int, seed: int) -> None:
    order = epoch_order(len(classes), epoch, seed, classes)
    assert len(order) == len(classes)
    drawn = Counter(classes[index] for index in order)
    share = len(classes) / len(set(classes))
    assert all(abs(drawn[name] - share) < 1 for name in set(classes))


@given(labels, seeds)
def test_balanced_epochs_go_through_all_samples_of_a_class(classes: list[str], seed: int) -> None:
    drawn = Counter(index for epoch in range(12) for index in epoch_order(len(classes), epoch, seed, classes))
    for name in set(classes):
        own = [drawn[index] for index, other in enumerate(classes) if other == name]
        assert max(own) - min(own) <= 1


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=24),
    st.integers(1, 5),
    st.integers(1, 200),
)
def test_micro_batches_are_the_global_batch_within_the_budget(lengths: list[int], workers: int, budget: int) -> None:
    indices = np.random.default_rng(0).permutation(len(lengths))
    parts = micro_batches(indices, lengths, workers, budget)
    assert len(parts) == workers and len({len(part) for part in parts}) == 1
    flat = [batch for part in parts for batch in part]
    assert sorted(np.concatenate(flat)) == sorted(indices)
    assert all(len(batch) <= 1 or len(batch) * max(lengths[i] for i in batch) <= budget for batch in flat)


def test_sorted_lengths_save_padding() -> None:
    lengths = [10, 100] * 8
    indices = np.arange(16)
    sorted_parts = [batch for part in micro_batches(indices, lengths, 2, 400) for batch in part]
    assert padding_share(sorted_parts, lengths) == 0
    assert padding_share(np.split(indices, 4), lengths) == pytest.approx(0.45)


def test_more_workers_than_samples_leave_some_without_work() -> None:
    assert [len(part[0]) for part in micro_batches(np.arange(2), [5, 5], 3, 10)] == [1, 1, 0]


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


@given(labels)
def test_weights_are_those_of_scikit_learn(classes: list[str]) -> None:
    np.testing.assert_allclose(balanced_weights(classes), compute_sample_weight("balanced", classes))
