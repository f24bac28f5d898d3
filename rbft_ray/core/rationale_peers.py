"""Peers: whether a rationale reads like the other rationales of its class, or like those of another one.

A naive Bayes classifier (multinomial, Laplace smoothing) over the words and word pairs of the stripped rationales of one job. Each
rationale is scored by all the others, without those of its own clip. It needs no model and no cues, but many rationales, most
of them sound, and classes that use words of their own; `rationale_support.fitness` says whether that is so.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_support import Fitness, Support, judge, stripped
from rbft_ray.core.rationale_words import stem, words

MIN_PEER_MARGIN = -4.0  # nats; naive Bayes is far too sure, so that only a clear lead of another class counts


def peer_log_probabilities(
    texts: Sequence[str], gold_labels: Sequence[str], labels: Sequence[str], clips: Sequence[str]
) -> np.ndarray:
    """Log-probabilities of the K classes for each of N stripped rationales given the others: float64 (N, K), normalised.

    Args:
        clips: (N,) the clip of each rationale; rationales of one clip do not speak for one another.
    """
    column = {label: index for index, label in enumerate(labels)}
    gold = np.array([column[label] for label in gold_labels], dtype=np.int64)
    place: dict[str, int] = {}
    features = [[place.setdefault(name, len(place)) for name in sorted(_features(text))] for text in texts]
    counts = np.zeros((len(place), len(labels)))
    for own, label in zip(features, gold, strict=True):
        counts[own, label] += 1
    members: dict[str, list[int]] = {}
    for row, clip in enumerate(clips):
        members.setdefault(clip, []).append(row)
    scores = np.zeros((len(texts), len(labels)))
    all_sizes, all_totals = np.bincount(gold, minlength=len(labels)), counts.sum(axis=0)
    for rows in members.values():
        tally = Counter((feature, int(gold[row])) for row in rows for feature in features[row])
        sizes, totals = all_sizes - np.bincount(gold[rows], minlength=len(labels)), all_totals.copy()
        for (_, label), count in tally.items():
            totals[label] -= count
        for row in rows:
            seen = counts[features[row]]
            for label in set(gold[rows].tolist()):
                seen[:, label] -= [tally[feature, label] for feature in features[row]]
            scores[row] = np.log(sizes + 1) + np.log((seen + 1) / (totals + len(place))).sum(axis=0)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)


def judge_by_peers(
    texts: Sequence[str], gold_labels: Sequence[str], task: Task, clips: Sequence[str]
) -> tuple[Fitness, list[Support | None]]:
    """Judges N complete rationales that pass the text checks by one another; the verdicts count only where the judge is fit."""
    bare = [stripped(text, task.labels, task.definitions) for text in texts]
    asked = [index for index, text in enumerate(bare) if text]
    scores = peer_log_probabilities(
        [bare[index] for index in asked],
        [gold_labels[index] for index in asked],
        task.labels,
        [clips[index] for index in asked],
    )
    found: list[list[float]] = [[] for _ in bare]
    for index, row in zip(asked, scores, strict=True):
        found[index] = list(row)
    return judge(found, gold_labels, task.labels, MIN_PEER_MARGIN)


def _features(text: str) -> set[str]:
    stems = [stem(word) for word in words(text)]
    return {*stems, *(f"{one} {other}" for one, other in pairwise(stems))}
