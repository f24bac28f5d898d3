"""An experiment of worlds x label budgets x seeds x arms: its protocol, and by how much one arm is ahead of another.

A world is a data set with test clips of its own; a run is one training of an arm on a world's labels, with one seed. Two runs of
equal world, budget and seed are a pair, and its gain is the macro-F1 of the arm minus that of the baseline. Worlds weigh equally:
a mean is the mean over worlds of the world's mean over its seeds.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, JsonValue, model_validator

from rbft_ray.core.bootstrap import group_indices, interval, resampled_sums
from rbft_ray.core.metrics import class_columns, class_counts, class_scores, overall_scores
from rbft_ray.core.section import Section


class Protocol(Section):
    """What is fixed before an experiment runs. Strict as every section: lists are read by `model_validate_json`."""

    name: str
    worlds: tuple[int, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    budgets: tuple[int, ...] = Field(min_length=1, description="training clips per class")
    arms: tuple[str, ...] = Field(min_length=1)
    comparisons: tuple[tuple[str, str], ...] = Field(description="arm, baseline")
    hypotheses: tuple[int, ...] = Field(description="budgets of the confirmatory family; others are exploratory")
    test_per_class: int = Field(ge=1, description="test clips per class")
    val_per_class: int = Field(ge=1, description="validation clips per class")
    resamples: int = Field(2000, ge=1, description="of the bootstrap")
    permutations: int = Field(100_000, ge=1, description="sign patterns of the permutation test, at most")
    config: dict[str, JsonValue] = Field({}, description="overrides of the configuration of every run")

    @model_validator(mode="after")
    def _consistent(self) -> "Protocol":
        for name in ("worlds", "seeds", "budgets", "arms", "comparisons", "hypotheses"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: a value is there twice in {list(values)}")
        for pair in self.comparisons:
            if pair[0] == pair[1] or not set(pair) <= set(self.arms):
                raise ValueError(f"comparisons: {list(pair)} are not two of the arms {list(self.arms)}")
        if not set(self.hypotheses) <= set(self.budgets):
            raise ValueError(f"hypotheses: {list(self.hypotheses)} are not all among the budgets {list(self.budgets)}")
        return self


def protocol_sha(protocol: Protocol) -> str:
    """SHA-256, 64 hex digits, of the protocol as JSON with sorted keys and without spaces."""
    text = json.dumps(protocol.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class RunScore(NamedTuple):
    """The answers of one run to its N test clips.

    gold: (N,) int, labels from 0 on, each with a clip; predicted: (N,) int, -1 is no valid answer, an error.
    groups: N names (camera, source video) as for `group_indices`; clips of a group are resampled together.
    """

    world: int
    budget: int
    seed: int
    arm: str
    gold: np.ndarray
    predicted: np.ndarray
    groups: Sequence[str | None] | None = None


PLACE = ("arm", "budget", "world", "seed")
Runs = tuple[RunScore, ...]  # of one world, budget and seed: (run,), or a pair (run of the arm, run of the baseline)


def paired_runs(runs: Sequence[RunScore], arm: str, baseline: str, budget: int) -> list[Runs]:
    """The pairs at a budget, by world and seed; a run without its counterpart is left out.

    Raises:
        ValueError: two runs of a pair have different gold labels.
    """
    found = {(run.world, run.seed, run.arm): run for run in runs if run.budget == budget}
    places = sorted({key[:2] for key in found if {(*key[:2], arm), (*key[:2], baseline)} <= set(found)})
    pairs: list[Runs] = [(found[(*place, arm)], found[(*place, baseline)]) for place in places]
    for one, other in pairs:
        if not np.array_equal(one.gold, other.gold):
            raise ValueError(f"world {one.world}, seed {one.seed}: {arm} and {baseline} have different test clips")
    return pairs


def scores_by_world(runs: Sequence[Runs], score: str = "macro_f1") -> dict[int, list[float]]:
    """For each world a score (of `overall_scores`) of each of its runs, or the gain in it of each of its pairs.

    Raises:
        ValueError: no clip, lengths that differ, a label without a clip, or a prediction that is neither a label nor -1.
    """
    found: dict[int, list[float]] = {}
    for each in runs:
        values = [float(overall_scores(class_counts(_columns(run).sum(axis=0)))[score]) for run in each]
        found.setdefault(each[0].world, []).append(values[0] - sum(values[1:]))
    return found


def _columns(run: RunScore) -> Any:
    gold, predicted = np.asarray(run.gold), np.asarray(run.predicted)
    if gold.ndim != 1 or not len(gold) or gold.shape != predicted.shape:
        raise ValueError(f"{run[:4]}: gold labels of shape {gold.shape} and predictions of shape {predicted.shape}")
    labels, answers = set(range(int(gold.max()) + 1)), set(predicted.tolist()) - {-1}
    if set(gold.tolist()) != labels or not answers <= labels:
        raise ValueError(f"{run[:4]}: answers {sorted(answers)}, test clips of {sorted(set(gold.tolist()))}")
    return class_columns(gold, predicted, len(labels))


def mean_over_worlds(values: Mapping[int, Sequence[float]]) -> float | None:
    """The mean of the worlds' means; None without a world."""
    return float(np.mean([np.mean(of_world) for of_world in values.values()])) if values else None


def permutation_p(gains: Mapping[int, Sequence[float]], permutations: int, seed: int = 0) -> float:
    """Two-sided p, by the gains of pairs, of the hypothesis that arm and baseline do alike on the test clips of each world.

    If they do, exchanging the two runs of a pair only turns the sign of its gain, whatever its world is like: worlds are blocks and
    exchanges stay within them (Winkler et al. 2015, "Multi-level block permutation"). The statistic is the mean gain; p is the
    share of sign patterns that bring one at least as large: of all 2^pairs where that is at most `permutations`, else of
    so many random ones, with 1 added to both counts (Phipson and Smyth 2010).

    It takes the pairs of a world as independent, given the world and its test clips: each run is a training of its own. An arm that
    is not trained gives the same answers under every seed and does not qualify. And p is of these worlds: in 300 simulated
    experiments (5 worlds, 4 seeds) it was at most 0.05 in 4 % where arms were alike, but in 11, 22 and 35 % where gains were 0
    on average over worlds that differ by an sd of 0.5, 0.9 and 1.8 times that of the pairs of a world. For worlds in general
    read `world_spread`; signs of whole worlds would test them, but 5 worlds have 32 patterns and no p below 2/32.

    Raises:
        ValueError: no gain.
    """
    parts = np.concatenate([np.divide(of_world, len(of_world)) for of_world in gains.values()])
    exact = 2 ** len(parts) <= permutations
    if exact:
        flipped = (np.arange(2 ** len(parts))[:, None] >> np.arange(len(parts))) & 1
    else:
        flipped = np.random.default_rng(seed).integers(2, size=(permutations, len(parts)), dtype=np.int8)
    rounding = 1e-12 * np.abs(parts).sum()
    as_large = np.abs(parts.sum() - 2 * (flipped @ parts)) >= abs(parts.sum()) - rounding
    return float((as_large.sum() + (not exact)) / (len(flipped) + (not exact)))


def world_spread(gains: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """world_sd: of worlds' mean gains; ci95_worlds: mean -+ t(worlds - 1) sd / sqrt(worlds). Of one world None and [None, None]."""
    from scipy.stats import t

    means = [np.mean(of_world) for of_world in gains.values()]
    if len(means) < 2:
        return {"world_sd": None, "ci95_worlds": [None, None]}
    sd = float(np.std(means, ddof=1))
    half = float(t.ppf(0.975, len(means) - 1)) * sd / len(means) ** 0.5
    return {"world_sd": sd, "ci95_worlds": [float(np.mean(means)) - half, float(np.mean(means)) + half]}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p adjusted for the family (Holm 1979). None stays None and counts as 1: the family keeps its planned size."""
    known = np.array([1.0 if p is None else p for p in p_values])
    order = np.argsort(known, kind="stable")
    steps = np.maximum.accumulate(known[order] * np.arange(len(known), 0, -1))
    adjusted = dict(zip(order.tolist(), np.minimum(1, steps).tolist(), strict=True))
    return [None if p is None else adjusted[i] for i, p in enumerate(p_values)]


def bootstrap_means(runs: Sequence[Runs], resamples: int, seed: int = 0) -> np.ndarray:
    """Mean macro-F1 of the runs, or mean gain of the pairs, in resampled experiments: float64 (resamples,).

    A resample draws worlds with replacement, for each of them as many seeds as it has, and clips (whole groups) of the test set,
    the same for arm and baseline and for all seeds of the world (Davison and Hinkley 1997, section 3.8). Of few worlds intervals
    are rough: with 5 worlds, 4 seeds and 160 clips those of 95 % held the true gain in 99 % of 300 simulated experiments where
    worlds were alike, and in 98, 93 and 86 % where they differ as in `permutation_p`; those of `world_spread` in 93 to 96 %.

    Raises:
        ValueError: no runs.
    """
    worlds: dict[int, list[Runs]] = {}
    for each in runs:
        worlds.setdefault(each[0].world, []).append(each)
    rng = np.random.default_rng(seed)
    drawn_worlds = rng.integers(len(worlds), size=(resamples, len(worlds)))
    means = np.empty(drawn_worlds.shape)
    for place, of_world in enumerate(worlds.values()):
        drawn = drawn_worlds == place
        if drawn.any():
            means[drawn] = _resampled_world(of_world, rng, int(drawn.sum()))
    return means.mean(axis=1)


def _resampled_world(runs: Sequence[Runs], rng: np.random.Generator, resamples: int) -> np.ndarray:
    """The world's mean over resampled seeds and clips: (resamples,)."""
    values, clips_seed = [], int(rng.integers(2**32))  # test sets of equal size get the same draws
    for each in runs:
        groups = group_indices(each[0].groups, len(each[0].gold))
        sums = resampled_sums([_columns(run) for run in each], groups, clips_seed, resamples)
        scores = [overall_scores(class_counts(of_run))["macro_f1"] for of_run in sums]
        values.append(scores[0] - sum(scores[1:]))
    seeds = rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=resamples)
    return (seeds * np.stack(values, axis=1)).sum(axis=1) / len(runs)


def detectable_effect(
    pilot: Mapping[int, Sequence[float]], worlds: int, seeds: int, alpha: float = 0.05, power: float = 0.8
) -> dict[str, float]:
    """The mean gain that a two-sided test finds with this power in `worlds` x `seeds` pairs: a normal approximation.

    effect = (z(1 - alpha / 2) + z(power)) standard_error, standard_error^2 = between_sd^2 / worlds + within_sd^2 / (worlds seeds)
    (Bloom 1995; Raudenbush and Liu 2000). The sd of worlds, and of pairs of a world, come from the pilot's gains (as of
    `scores_by_world`) by analysis of variance (Searle, Casella and McCulloch 1992); they hold for test sets of its size.
    Holm's first step in a family of m needs alpha / m. At the effect of power 0.8 `permutation_p` was at most 0.05 in 75 % of 400
    simulated experiments (5 worlds, 4 seeds) where worlds were alike, in 89 to 95 % where they differ.

    Raises:
        ValueError: a pilot with fewer than 2 worlds, or without a world of 2 pairs.
    """
    from scipy.stats import norm

    sizes = np.array([len(of_world) for of_world in pilot.values()])
    total, others = int(sizes.sum()), len(sizes) - 1
    if others < 1 or total == len(sizes):
        raise ValueError(f"a pilot needs 2 worlds, one of them with 2 pairs; these have {sizes.tolist()}")
    means, variances = (np.array([f(of_world) for of_world in pilot.values()]) for f in (np.mean, np.var))
    within = float(sizes @ variances) / (total - len(sizes))
    around = float(sizes @ (means - sizes @ means / total) ** 2) / others
    between = max(0.0, (around - within) * others / (total - float(sizes @ sizes) / total))
    error = (between / worlds + within / (worlds * seeds)) ** 0.5
    effect = float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * error
    return {"effect": effect, "standard_error": error, "between_sd": between**0.5, "within_sd": within**0.5}


def recall_gains(pairs: Sequence[Runs], train_clips: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The mean gain in recall of classes that have equally many training clips, from rare to frequent, worlds weighing equally.

    Of `pairs` and for each of them the training clips of every label: train_clips, classes (times pairs) and recall_gain.
    """
    found: dict[int, dict[int, list[float]]] = {}
    for pair, counts in zip(pairs, train_clips, strict=True):
        arm, baseline = (class_scores(class_counts(_columns(run).sum(axis=0)))["recall"] for run in pair)
        for count, gain in zip(counts, (arm - baseline).tolist(), strict=True):
            found.setdefault(count, {}).setdefault(pair[0].world, []).append(gain)
    return [
        {"train_clips": n, "classes": sum(map(len, gains.values())), "recall_gain": mean_over_worlds(gains)}
        for n, gains in sorted(found.items())
    ]


def compare_arms(runs: Sequence[RunScore], protocol: Protocol, seed: int = 0) -> dict[str, Any]:
    """The result of an experiment from those of its runs that there are, ready for JSON: None where undefined, never NaN.

    Returns:
        protocol_sha, worlds (their numbers), n_pairs (planned for each comparison), n_test (test clips of a run, the fewest)
        missing: arm, budget, world and seed of each planned run that is not there
        comparisons: for each and each budget arm, baseline, budget, pairs (that are there), gain_macro_f1 and ci95
            (`bootstrap_means`), gain_by_world, `world_spread`, p_value (`permutation_p`; None if a pair is missing), and
            p_adjusted (`holm` over those at the budgets of protocol.hypotheses; None for others)
        arms: for each and each budget arm, budget, runs, macro_f1, its ci95, and accuracy; means over worlds

    Raises:
        ValueError: a run that is there twice or that the protocol does not name, or what `paired_runs` or `scores_by_world` refuse.
    """
    planned = list(product(protocol.arms, protocol.budgets, protocol.worlds, protocol.seeds))
    places = [tuple(getattr(run, name) for name in PLACE) for run in runs]
    if wrong := sorted({place for place in places if place not in planned or places.count(place) > 1}):
        raise ValueError(f"runs that are there twice or that the protocol does not name: {wrong}")
    n_pairs = len(protocol.worlds) * len(protocol.seeds)
    comparisons = []
    for (arm, baseline), budget in product(protocol.comparisons, protocol.budgets):
        pairs = paired_runs(runs, arm, baseline, budget)
        gains = scores_by_world(pairs)
        found = {"arm": arm, "baseline": baseline, "budget": budget, **_summary("gain_macro_f1", pairs, protocol, seed)}
        found |= {"pairs": len(pairs), "gain_by_world": {str(world): float(np.mean(of)) for world, of in gains.items()}}
        p = permutation_p(gains, protocol.permutations, seed) if len(pairs) == n_pairs else None
        comparisons.append({**found, **world_spread(gains), "p_value": p, "p_adjusted": None})
    family = [each for each in comparisons if each["budget"] in protocol.hypotheses]
    for each, adjusted in zip(family, holm([each["p_value"] for each in family]), strict=True):
        each["p_adjusted"] = adjusted
    arms = []
    for arm, budget in product(protocol.arms, protocol.budgets):
        own = [(run,) for run in sorted(runs, key=lambda run: run[:3]) if (run.arm, run.budget) == (arm, budget)]
        found = {"arm": arm, "budget": budget, "runs": len(own), **_summary("macro_f1", own, protocol, seed)}
        arms.append({**found, "accuracy": mean_over_worlds(scores_by_world(own, "accuracy"))})
    return {
        "protocol_sha": protocol_sha(protocol),
        "worlds": list(protocol.worlds),
        "n_pairs": n_pairs,
        "n_test": min((len(run.gold) for run in runs), default=None),
        "missing": [dict(zip(PLACE, place, strict=True)) for place in planned if place not in places],
        "comparisons": comparisons,
        "arms": arms,
    }


def _summary(name: str, runs: Sequence[Runs], protocol: Protocol, seed: int) -> dict[str, Any]:
    ci95 = interval(bootstrap_means(runs, protocol.resamples, seed)) if runs else [None, None]
    return {name: mean_over_worlds(scores_by_world(runs)), "ci95": ci95}
