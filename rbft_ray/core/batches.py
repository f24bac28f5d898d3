"""Which sample is in which batch: a pure function of seed and step, the same for any number of workers.

The stream of samples is one seeded permutation after another; step s takes the s-th slice of `global_batch` samples. Worker w
of n takes every n-th sample of the slice, so the workers' parts together are the slice.
"""

from collections.abc import Sequence

import numpy as np


def total_steps(samples: int, epochs: float, global_batch: int) -> int:
    """Optimizer steps of a run: at least one."""
    return max(1, round(epochs * samples / global_batch))


def batch_indices(samples: int, global_batch: int, step: int, seed: int) -> np.ndarray:
    """(global_batch,) int64 indices of step `step`, counted from 0. A batch may span the end of an epoch.

    Raises:
        ValueError: there are no samples.
    """
    if samples < 1:
        raise ValueError("no samples to train on")
    first, last = step * global_batch, (step + 1) * global_batch
    epochs = range(first // samples, (last - 1) // samples + 1)
    stream = np.concatenate([np.random.default_rng([seed, epoch]).permutation(samples) for epoch in epochs])
    start = first - epochs[0] * samples
    return stream[start : start + global_batch]


def worker_micro_batches(indices: np.ndarray, worker: int, workers: int, micro_batch: int) -> list[np.ndarray]:
    """This worker's part of a global batch, in micro-batches of (micro_batch,) indices.

    Raises:
        ValueError: the global batch is no multiple of workers x micro_batch.
    """
    if len(indices) % (workers * micro_batch):
        raise ValueError(
            f"a global batch of {len(indices)} is no multiple of {workers} workers x {micro_batch} samples"
        )
    part = indices[worker::workers]
    return [part[start : start + micro_batch] for start in range(0, len(part), micro_batch)]


def cosine_learning_rate(step: int, steps: int, warmup_ratio: float) -> float:
    """Factor on the peak rate at `step` (from 0): linear warm-up, then cosine to zero (Loshchilov and Hutter, 2017)."""
    warmup = round(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))


def answer_token_count(answers: Sequence[Sequence[int]], indices: np.ndarray) -> int:
    """Answer tokens of a global batch: what the summed loss is divided by on every worker."""
    return sum(len(answers[index]) for index in indices)
