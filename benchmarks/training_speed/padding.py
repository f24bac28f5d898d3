"""How much of what is computed is padding: micro-batches of a fixed count in random order, and those of `core.batches`."""

from collections.abc import Sequence

import numpy as np

from rbft_ray.core import batches

# Words of the RB-FT authors' rationales (arXiv 2511.15923, their published files): median, fewest, most, of 778 videos.
MEDIAN_WORDS, FEWEST_WORDS, MOST_WORDS, VIDEOS = 65, 39, 426, 778
TOKENS_PER_WORD = 4 / 3  # of English, about, with a vocabulary of 100,000 and more
_MOST_AT = 3.02  # standard deviations above the mean of the highest of 778 normal numbers, in the median


def drawn_lengths(count: int, seed: int = 0) -> list[int]:
    """Tokens of so many rationales, drawn from a shifted log-normal distribution with the authors' median and extremes."""
    spread = np.log((MOST_WORDS - FEWEST_WORDS) / (MEDIAN_WORDS - FEWEST_WORDS)) / _MOST_AT
    normal = np.random.default_rng(seed).normal(size=count)
    words = FEWEST_WORDS + (MEDIAN_WORDS - FEWEST_WORDS) * np.exp(spread * normal)
    return [round(float(one) * TOKENS_PER_WORD) for one in np.minimum(words, MOST_WORDS)]


def padding_shares(
    lengths: Sequence[int], *, global_batch: int, workers: int, count: int, most_tokens: int, epochs: int
) -> dict[str, float]:
    """Share of padding over so many epochs: `fixed_count` samples per micro-batch as they come, and `micro_batches`.

    Args:
        lengths: tokens of every sample, prompt and answer.
        most_tokens: per micro-batch, of `micro_batches` (train.micro_batch_tokens).
    """
    fixed: list[np.ndarray] = []
    sorted_by_length: list[np.ndarray] = []
    for step in range(batches.total_steps(len(lengths), epochs, global_batch)):
        indices = batches.batch_indices(len(lengths), global_batch, step, seed=0)
        fixed += [indices[start : start + count] for start in range(0, global_batch, count)]
        for own in batches.micro_batches(indices, lengths, workers, most_tokens):
            sorted_by_length += own
    shares = {"fixed_count": fixed, "by_length": sorted_by_length}
    return {name: batches.padding_share(own, lengths) for name, own in shares.items()}
