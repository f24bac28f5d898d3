"""An experiment of worlds x label budgets x seeds x arms: its protocol, and by how much one arm is ahead of another.

A world is a data set with test clips of its own: one of the demo's grammar, or the user's own videos (`data.manifest`), which are
one world. A run is one training of an arm on a world's labels, with one seed. Two runs of equal world, budget and seed are a
pair, and its gain is the macro-F1 of the arm minus that of the baseline. Worlds weigh equally: a mean is the mean over worlds
of the world's mean over its seeds.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from pydantic import Field, JsonValue, PositiveInt, model_validator

from rbft_ray.core.bootstrap import interval, resampled_sums
from rbft_ray.core.gains import detectable_effect, holm, mean_over_worlds, permutation_p, world_spread
from rbft_ray.core.metrics import class_columns, class_counts, class_scores, overall_scores
from rbft_ray.core.section import Section

Budget = PositiveInt | tuple[PositiveInt, ...]  # of training clips: of each class, or of every one
Answer = Literal["label", "reasoned"]  # the bare label, or the answer after a rationale


class Protocol(Section):
    """What is fixed before an experiment runs. Strict as every section: lists are read by `model_validate_json`."""

    name: str = Field(description="of the experiment; the default is the file's name")
    worlds: tuple[int, ...] = Field((0,), min_length=1, description="of the demo; left out where data.manifest is set")
    seeds: tuple[int, ...] = Field(min_length=1, description="each draws its training clips, and trains once")
    budgets: tuple[Budget, ...] = Field(min_length=1, description="training clips per class")
    pool_per_class: PositiveInt = Field(64, description="of a world: training clips per class that a seed draws from")
    arms: tuple[str, ...] = Field(min_length=1, description="what is trained; docs/experiments.md says what each is")
    comparisons: tuple[tuple[str, str] | tuple[str, str, Answer], ...] = Field(
        description="arm, baseline, and the answer that is compared where it is not `answer`"
    )
    hypotheses: tuple[Budget, ...] = Field(description="budgets of the confirmatory family; others are exploratory")
    answer: Answer = Field("label", description="how runs answer: the bare label alone, or also after a rationale")
    test_per_class: PositiveInt = Field(50, description="of a world: test clips per class")
    val_per_class: PositiveInt = Field(8, description="of a world: validation clips per class")
    resamples: int = Field(2000, ge=1, description="of the bootstrap")
    permutations: int = Field(100_000, ge=1, description="sign patterns of the permutation test, at most")
    config: dict[str, JsonValue] = Field({}, description="overrides of the configuration of every run")

    @model_validator(mode="after")
    def _consistent(self) -> "Protocol":
        for name in ("worlds", "seeds", "budgets", "arms", "comparisons", "hypotheses"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: a value is there twice in {list(values)}")
        for arm, baseline, answer in self.compared():
            if arm == baseline or not {arm, baseline} <= set(self.arms):
                raise ValueError(f"comparisons: {[arm, baseline]} are not two of the arms {list(self.arms)}")
            if answer == "reasoned" != self.answer:
                raise ValueError(
                    f"comparisons: {[arm, baseline, answer]}: runs reason where the protocol has `answer: reasoned`"
                )
        if len(set(self.compared())) != len(self.comparisons):
            raise ValueError(f"comparisons: one is there twice, with its answer and without, in {self.compared()}")
        largest = max(budget if isinstance(budget, int) else max(budget) for budget in self.budgets)
        if self.manifest is not None and self.worlds != (0,):
            raise ValueError("worlds: data.manifest is one data set; leave worlds out")
        if self.manifest is None and largest > self.pool_per_class:
            raise ValueError(f"pool_per_class: {self.pool_per_class} clips are fewer than a budget asks for")
        if not set(self.hypotheses) <= set(self.budgets):
            raise ValueError(f"hypotheses: {list(self.hypotheses)} are not all among the budgets {list(self.budgets)}")
        return self

    @property
    def manifest(self) -> JsonValue:
        """`data.manifest` of the runs: None where they learn from worlds of the demo."""
        data = self.config.get("data")
        return data.get("manifest") if isinstance(data, dict) else None

    def compared(self) -> list[tuple[str, str, Answer]]:
        """Arm, baseline and answer of every comparison."""
        return [(pair[0], pair[1], pair[2] if len(pair) == 3 else self.answer) for pair in self.comparisons]


def turned(budget: tuple[int, ...], seed: int) -> tuple[int, ...]:
    """The training clips of every label under a seed: the numbers of an uneven budget move on by one label with each seed, so
    that each label is rare in some runs and frequent in others.
    """
    turn = seed % len(budget)
    return budget[turn:] + budget[:turn]


def protocol_sha(protocol: Protocol) -> str:
    """SHA-256, 64 hex digits, of the protocol as JSON with sorted keys and without spaces."""
    text = json.dumps(protocol.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class RunScore(NamedTuple):
    """The answers of one run to its N test clips.

    gold: (N,) int, labels from 0 on, each with a clip; predicted: (N,) int, -1 is no valid answer, an error.
    groups: (N,) int of `group_indices` (camera, source video); clips of a group are resampled together.
    answer: how it answered; a run that reasons has a score for either answer.
    """

    world: int
    budget: Budget
    seed: int
    arm: str
    gold: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    answer: Answer = "label"


PLACE = ("arm", "budget", "world", "seed")
Runs = tuple[RunScore, ...]  # of one world, budget and seed: (run,), or a pair (run of the arm, run of the baseline)


def paired_runs(runs: Sequence[RunScore], arm: str, baseline: str, budget: Budget) -> list[Runs]:
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
        sums = resampled_sums([_columns(run) for run in each], each[0].groups, clips_seed, resamples)
        scores = [overall_scores(class_counts(of_run))["macro_f1"] for of_run in sums]
        values.append(scores[0] - sum(scores[1:]))
    seeds = rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=resamples)
    return (seeds * np.stack(values, axis=1)).sum(axis=1) / len(runs)


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


def compare_arms(
    runs: Sequence[RunScore], protocol: Protocol, seed: int = 0, untrained: Collection[str] = ()
) -> dict[str, Any]:
    """The result of an experiment from those of its runs that there are, ready for JSON: None where undefined, never NaN.

    Args:
        untrained: arms that answer alike under every seed: comparisons with them have no p (see `permutation_p`).

    Returns:
        protocol_sha, worlds (their numbers), n_pairs (planned for each comparison), n_test (test clips of a run, the fewest)
        missing: arm, budget, world and seed of each planned run that is not there
        comparisons: for each and each budget arm, baseline, answer, budget, pairs (that are there), gain_macro_f1 and ci95
            (`bootstrap_means`), gain_by_world, `world_spread`, p_value (`permutation_p`; None if a pair is missing, or of an
            untrained arm), and p_adjusted (`holm` over those at the budgets of protocol.hypotheses; None for others),
            detectable_gain (the gain that so many worlds and seeds find with a power of 0.8, `detectable_effect`; None of too few
            pairs); of an uneven budget also recall_gains
        arms: for each, each budget and each compared answer arm, budget, answer, runs, macro_f1, its ci95, and accuracy; means
            over worlds

    Raises:
        ValueError: a run that is there twice or that the protocol does not name, or what `paired_runs` or `scores_by_world` refuse.
    """
    planned = list(product(protocol.arms, protocol.budgets, protocol.worlds, protocol.seeds))
    by_answer = {answer: [run for run in runs if run.answer == answer] for answer in get_args(Answer)}
    for of_answer in by_answer.values():
        places = [_place(run) for run in of_answer]
        if wrong := [place for place in places if place not in planned or places.count(place) > 1]:
            raise ValueError(f"runs that are there twice or that the protocol does not name: {wrong}")
    there = {_place(run) for run in by_answer[protocol.answer]}
    comparisons = [
        _comparison(by_answer[answer], protocol, (arm, baseline), budget, seed) | {"answer": answer}
        for (arm, baseline, answer), budget in product(protocol.compared(), protocol.budgets)
    ]
    without_p = [each for each in comparisons if {each["arm"], each["baseline"]} & set(untrained)]
    for each in without_p:
        each["p_value"] = None
    family = [each for each in comparisons if each["budget"] in protocol.hypotheses and each not in without_p]
    for each, adjusted in zip(family, holm([each["p_value"] for each in family]), strict=True):
        each["p_adjusted"] = adjusted
    answers = dict.fromkeys(answer for *_, answer in protocol.compared()) or [protocol.answer]
    return {
        "protocol_sha": protocol_sha(protocol),
        "worlds": list(protocol.worlds),
        "n_pairs": len(protocol.worlds) * len(protocol.seeds),
        "n_test": min((len(run.gold) for run in runs), default=None),
        "missing": [dict(zip(PLACE, place, strict=True)) for place in planned if place not in there],
        "comparisons": comparisons,
        "arms": [
            _level(by_answer[answer], protocol, arm, budget, seed) | {"answer": answer}
            for answer, arm, budget in product(answers, protocol.arms, protocol.budgets)
        ],
    }


def _place(run: RunScore) -> tuple[Any, ...]:
    return tuple(getattr(run, name) for name in PLACE)


def _comparison(
    runs: Sequence[RunScore], protocol: Protocol, arms: tuple[str, str], budget: Budget, seed: int
) -> dict[str, Any]:
    pairs = paired_runs(runs, *arms, budget)
    gains = scores_by_world(pairs)
    found = {"arm": arms[0], "baseline": arms[1], "budget": budget, **_summary("gain_macro_f1", pairs, protocol, seed)}
    found |= {"pairs": len(pairs), "gain_by_world": {str(world): float(np.mean(of)) for world, of in gains.items()}}
    if not isinstance(budget, int):
        found["recall_gains"] = recall_gains(pairs, [turned(budget, run.seed) for run, _ in pairs])
    complete = len(pairs) == len(protocol.worlds) * len(protocol.seeds)
    p = permutation_p(gains, protocol.permutations, seed) if complete else None
    detectable = _detectable(gains, protocol)
    return {**found, "detectable_gain": detectable, **world_spread(gains), "p_value": p, "p_adjusted": None}


def _level(runs: Sequence[RunScore], protocol: Protocol, arm: str, budget: Budget, seed: int) -> dict[str, Any]:
    own: list[Runs] = [(run,) for run in runs if (run.arm, run.budget) == (arm, budget)]
    own.sort(key=lambda each: (each[0].world, each[0].seed))
    found = {"arm": arm, "budget": budget, "runs": len(own), **_summary("macro_f1", own, protocol, seed)}
    return {**found, "accuracy": mean_over_worlds(scores_by_world(own, "accuracy"))}


def _detectable(gains: Mapping[int, Sequence[float]], protocol: Protocol) -> float | None:
    if len(gains) < 2 or max(map(len, gains.values())) < 2:
        return None
    return detectable_effect(gains, len(protocol.worlds), len(protocol.seeds))["effect"]


def _summary(name: str, runs: Sequence[Runs], protocol: Protocol, seed: int) -> dict[str, Any]:
    ci95 = interval(bootstrap_means(runs, protocol.resamples, seed)) if runs else [None, None]
    return {name: mean_over_worlds(scores_by_world(runs)), "ci95": ci95}
