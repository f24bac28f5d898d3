"""Which sample is in which batch, and at what rate it is learned from: pure functions of seed and step.

The stream of samples is one seeded epoch after another; step s takes the s-th slice of `global_batch` samples. How a slice is cut
into micro-batches depends on the number of workers, the slice does not: any number of workers takes the same steps.
"""

from collections.abc import Sequence

import numpy as np

_SAMPLE_STREAM, _EPOCH_ORDER = 0, 1  # what a seed is used for, where it is used twice


def total_steps(samples: int, epochs: float, global_batch: int) -> int:
    """Optimizer steps of a run: at least one."""
    return max(1, round(epochs * samples / global_batch))


def epoch_order(samples: int, epoch: int, seed: int, classes: Sequence[str] | None = None) -> np.ndarray:
    """(samples,) int64 indices of one epoch: every sample once, or, with `classes`, every class equally often.

    classes: of each sample. A class then goes through its own samples in seeded permutations, across epochs. Of K classes the c-th
    (from 0) has had floor((epoch x samples + c) / K) draws before an epoch: over all classes that adds up to the samples drawn
    (Hermite's identity).
    """
    if classes is None:
        return np.random.default_rng([seed, epoch]).permutation(samples)
    names = sorted(set(classes))
    drawn = []
    for number, name in enumerate(names):
        own = np.flatnonzero(np.asarray(classes) == name)
        first, last = ((turn * samples + number) // len(names) for turn in (epoch, epoch + 1))
        rounds = range(first // len(own), -(-last // len(own)))
        stream = [np.random.default_rng([seed, _SAMPLE_STREAM, number, one]).permutation(own) for one in rounds]
        start = first - rounds.start * len(own)
        drawn.append(np.concatenate([*stream, own[:0]])[start : start + last - first])
    return np.random.default_rng([seed, _EPOCH_ORDER, epoch]).permutation(np.concatenate(drawn))


def batch_indices(
    samples: int, global_batch: int, step: int, seed: int, classes: Sequence[str] | None = None
) -> np.ndarray:
    """(global_batch,) int64 indices of step `step`, counted from 0. A batch may span the end of an epoch.

    Raises:
        ValueError: there are no samples.
    """
    if samples < 1:
        raise ValueError("no samples to train on")
    first, last = step * global_batch, (step + 1) * global_batch
    epochs = range(first // samples, (last - 1) // samples + 1)
    stream = np.concatenate([epoch_order(samples, epoch, seed, classes) for epoch in epochs])
    start = first - epochs[0] * samples
    return stream[start : start + global_batch]


def micro_batches(
    indices: np.ndarray, lengths: Sequence[int], workers: int, most_tokens: int
) -> list[list[np.ndarray]]:
    """A global batch as one list of micro-batches per worker, all lists of one length.

    The samples are sorted by length and cut into the fewest nearly equal parts of which each worker gets as many, and in which the
    longest length x the number of samples is at most `most_tokens` (a single sample may be longer). Neighbours in length run at the
    same time on different workers. With fewer samples than workers some micro-batches are empty.

    Args:
        lengths: tokens of every sample, by index.
    """
    longest_first = indices[np.argsort([-lengths[index] for index in indices], kind="stable")]
    rounds = 1
    while True:
        parts = np.array_split(longest_first, rounds * workers)
        if all(len(part) <= 1 or lengths[part[0]] * len(part) <= most_tokens for part in parts):
            return [parts[worker::workers] for worker in range(workers)]
        rounds += 1


def padding_share(batches: Sequence[np.ndarray], lengths: Sequence[int]) -> float:
    """Share of padding in the tokens of these micro-batches, each padded to its longest sample."""
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches if len(batch))
    return 1.0 - sum(lengths[index] for batch in batches for index in batch) / padded


def cosine_learning_rate(step: int, steps: int, warmup_ratio: float) -> float:
    """Factor on the peak rate at `step` (from 0): linear warm-up, then cosine to zero (Loshchilov and Hutter, 2017)."""
    warmup = round(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + float(np.cos(np.pi * (step - warmup) / max(1, steps - warmup))))


def balanced_weights(classes: Sequence[str]) -> list[float]:
    """A weight per sample: samples / (classes x samples of its class), so that they have the mean 1 (King and Zeng, 2001)."""
    names, inverse, counts = np.unique(np.asarray(classes), return_inverse=True, return_counts=True)
    return (len(classes) / (len(names) * counts))[inverse].tolist()
