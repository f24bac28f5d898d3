"""The clustered bootstrap: resampled sums over clips, and percentile intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

INTERVAL_PERCENT = (2.5, 97.5)
FEW_GROUPS = 20  # of 5 groups 95 % intervals of the accuracy held it in 84 % of simulated data sets, of 10 in 92 %
_WEIGHTS_AT_A_TIME = 2**22  # resamples x groups; 32 MiB


def group_indices(groups: Sequence[str | None] | None, clips: int) -> np.ndarray:
    """The group of each clip as a number from 0: int64 (clips,). None or "" is a group of its own, as is every clip of None.

    Raises:
        ValueError: not one group for each clip.
    """
    if groups is None:
        return np.arange(clips)
    if len(groups) != clips:
        raise ValueError(f"{clips} clips and {len(groups)} groups")
    keys = [("group", name) if name else ("clip", str(i)) for i, name in enumerate(groups)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def resampled_sums(columns: Sequence[Any], group_index: np.ndarray, seed: int, resamples: int) -> list[np.ndarray]:
    """Sums of the columns over resampled clips, the same ones for every array: float64 (resamples, columns) each.

    A resample draws as many groups as there are, with replacement, and takes all clips of each (the cluster bootstrap: Davison
    and Hinkley 1997, section 3.8). Under FEW_GROUPS groups it understates the spread (Cameron, Gelbach and Miller 2008).

    Args:
        columns: numpy or scipy sparse arrays (N, columns); group_index: (N,) int, of `group_indices`.

    Raises:
        ValueError: no resamples.
    """
    from scipy.sparse import csr_array, hstack

    if resamples < 1:
        raise ValueError(f"a bootstrap needs at least one resample, not {resamples}")
    count = int(group_index.max()) + 1
    members = csr_array((np.ones(len(group_index)), (group_index, np.arange(len(group_index)))))
    of_groups = members @ hstack([csr_array(each) for each in columns])  # (groups, columns)
    rng, rows = np.random.default_rng(seed), max(1, _WEIGHTS_AT_A_TIME // count)
    blocks = [
        rng.multinomial(count, np.full(count, 1 / count), size=min(rows, resamples - start)) @ of_groups
        for start in range(0, resamples, rows)
    ]
    ends = np.cumsum([array.shape[1] for array in columns])
    return np.split(np.concatenate(blocks), ends[:-1], axis=1)


def interval(values: np.ndarray, *, defined: bool = True) -> list[float | None]:
    """[low, high] of resampled values (resamples,): 95 % percentile interval (Efron and Tibshirani 1993, chapter 13)."""
    return [float(limit) for limit in np.percentile(values, INTERVAL_PERCENT)] if defined else [None, None]
