"""The protocol of an experiment and its statistics: against slow definitions, counts by hand, and simulated experiments."""

import json
from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import f1_score

from rbft_ray.core.bootstrap import interval
from rbft_ray.core.experiment import (
    Protocol,
    RunScore,
    bootstrap_means,
    compare_arms,
    paired_runs,
    protocol_sha,
    recall_gains,
    scores_by_world,
    turned,
)
from rbft_ray.core.gains import detectable_effect, holm, mean_over_worlds, permutation_p, world_spread

FIELDS = {
    "name": "small",
    "worlds": [7, 8, 9],
    "seeds": [0, 1],
    "budgets": [4, 16],
    "arms": ["zero_shot", "direct", "rb_ft"],
    "comparisons": [["rb_ft", "direct"], ["rb_ft", "zero_shot"]],
    "hypotheses": [4],
    "test_per_class": 20,
    "val_per_class": 5,
    "resamples": 100,
    "permutations": 1000,
    "config": {"train": {"stage2": {"epochs": 2.0}}, "seed": 3},
}
GOLD = np.repeat(np.arange(4), 20)
CHANCES = {"zero_shot": 0.3, "direct": 0.55, "rb_ft": 0.65}


def protocol(**change: object) -> Protocol:
    return Protocol.model_validate_json(json.dumps(FIELDS | change))


def answers(rng: np.random.Generator, chance: float, gold: np.ndarray = GOLD) -> np.ndarray:
    """The gold label with this chance, else another."""
    others = (gold + rng.integers(1, 4, size=len(gold))) % 4
    return np.where(rng.random(len(gold)) < chance, gold, others)


def run_of(world: int, seed: int, arm: str, predicted: np.ndarray, gold: np.ndarray = GOLD) -> RunScore:
    return RunScore(world, 4, seed, arm, gold, predicted, np.arange(len(gold)))


def experiment_runs(plan: Protocol) -> list[RunScore]:
    rng = np.random.default_rng(1)
    places = product(plan.worlds, plan.budgets, plan.seeds, plan.arms)
    return [RunScore(*place, GOLD, answers(rng, CHANCES[place[-1]]), np.arange(len(GOLD))) for place in places]


def simulated_pairs(
    seed: int, gain: float, worlds: int = 3, seeds: int = 3, world_sd: float = 0.0
) -> list[tuple[RunScore, RunScore]]:
    """Pairs whose arm is right more often by `gain`, on average over worlds; some clips are hard for all runs of a world."""
    rng = np.random.default_rng((seed, 17))
    pairs = []
    for world in range(worlds):
        hard = np.where(rng.random(len(GOLD)) < 0.3, 0.3, 0.0)
        ahead = rng.normal(gain, world_sd)
        for number in range(seeds):
            swing = rng.normal(0, 0.03, size=2)
            arm, baseline = answers(rng, 0.65 - hard + ahead + swing[0]), answers(rng, 0.65 - hard + swing[1])
            pairs.append((run_of(world, number, "a", arm), run_of(world, number, "b", baseline)))
    return pairs


def test_the_sha_depends_on_every_value_and_not_on_the_order_of_keys() -> None:
    reordered = dict(reversed(FIELDS.items())) | {"config": {"seed": 3, "train": {"stage2": {"epochs": 2.0}}}}
    sha = protocol_sha(protocol())
    assert len(sha) == 64
    assert protocol_sha(Protocol.model_validate_json(json.dumps(reordered))) == sha
    changes = {
        "name": "other",
        "worlds": [7, 8, 10],
        "seeds": [0, 2],
        "budgets": [4, 32],
        "arms": ["zero_shot", "direct", "rb_ft", "more"],
        "comparisons": [["rb_ft", "direct"]],
        "hypotheses": [4, 16],
        "test_per_class": 21,
        "val_per_class": 6,
        "resamples": 101,
        "permutations": 1001,
        "pool_per_class": 65,
        "answer": "reasoned",
        "config": {"train": {"stage2": {"epochs": 3.0}}, "seed": 3},
    }
    assert set(changes) == set(Protocol.model_fields)
    assert len({sha, *(protocol_sha(protocol(**{name: value})) for name, value in changes.items())}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"comparisons": [["rb_ft", "sft"]]}, "are not two of the arms"),
        ({"comparisons": [["rb_ft", "rb_ft"]]}, "are not two of the arms"),
        ({"comparisons": [["rb_ft", "direct", "reasoned"]]}, "runs reason where the protocol has `answer: reasoned`"),
        ({"comparisons": [["rb_ft", "direct"], ["rb_ft", "direct", "label"]]}, "one is there twice"),
        ({"comparisons": [["rb_ft", "direct", "aloud"]]}, "Input should be 'label' or 'reasoned'"),
        ({"worlds": [7, 7]}, "worlds: a value is there twice"),
        ({"seeds": [0, 0]}, "seeds: a value is there twice"),
        ({"budgets": [4, 4]}, "budgets: a value is there twice"),
        ({"hypotheses": [8]}, "are not all among the budgets"),
        ({"worlds": []}, "at least 1 item"),
        ({"permutations": 0}, "greater than or equal to 1"),
        ({"seed": 1}, "Extra inputs"),
    ],
)
def test_a_protocol_that_contradicts_itself_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        protocol(**change)


def test_gains_equal_scikit_learns() -> None:
    pairs = simulated_pairs(0, 0.1, worlds=2, seeds=2)
    pairs[0][0].predicted[:9] = -1
    expected: dict[int, list[float]] = {0: [], 1: []}
    for arm, baseline in pairs:
        one, other = (f1_score(GOLD, run.predicted, labels=range(4), average="macro") for run in (arm, baseline))
        expected[arm.world].append(one - other)
    found = scores_by_world(pairs)
    assert {world: pytest.approx(values) for world, values in expected.items()} == found
    assert mean_over_worlds({0: [1.0], 1: [0.0, 0.2, 0.4]}) == pytest.approx(0.6)


def test_runs_are_paired_by_world_and_seed() -> None:
    runs = [run_of(world, seed, arm, GOLD) for world, seed, arm in product((2, 1), (5, 3), ("b", "a"))]
    runs += [run_of(3, 3, "a", GOLD), runs[0]._replace(budget=8)]
    pairs = paired_runs(runs, "a", "b", 4)
    assert [(one.world, one.seed, one.arm, other.arm) for one, other in pairs] == [
        (world, seed, "a", "b") for world, seed in product((1, 2), (3, 5))
    ]
    with pytest.raises(ValueError, match="world 2, seed 5: a and b have different test clips"):
        paired_runs([runs[0], runs[1]._replace(gold=GOLD[::-1])], "a", "b", 4)


@pytest.mark.parametrize(
    ("gold", "predicted", "says"),
    [
        ([], [], r"shape \(0,\)"),
        ([0, 1], [0], r"shape \(2,\) and predictions of shape \(1,\)"),
        ([0, 2], [0, 2], r"test clips of \[0, 2\]"),
        ([0, 1], [0, 2], r"answers \[0, 2\]"),
        ([0, 1], [0, -2], r"answers \[-2, 0\]"),
    ],
)
def test_runs_that_cannot_be_scored_are_refused(gold: list[int], predicted: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scores_by_world([(run_of(0, 0, "a", np.array(predicted, dtype=int), np.array(gold, dtype=int)),)])


def slow_permutation_p(gains: dict[int, list[float]]) -> float:
    flat = [(world, gain) for world, of_world in gains.items() for gain in of_world]
    means = []
    for signs in product((1, -1), repeat=len(flat)):
        flipped: dict[int, list[float]] = {}
        for (world, gain), sign in zip(flat, signs, strict=True):
            flipped.setdefault(world, []).append(sign * gain)
        means.append(abs(np.mean([np.mean(values) for values in flipped.values()])))
    return float(np.mean(np.array(means) >= means[0] - 1e-12))


def test_p_counts_all_sign_patterns_where_they_are_few() -> None:
    gains = {0: [0.1, 0.02, 0.05], 1: [0.04], 2: [-0.03, 0.06, 0.01, 0.08]}
    assert permutation_p(gains, 256) == pytest.approx(slow_permutation_p(gains))
    assert permutation_p({0: [0.1, 0.2, 0.1], 1: [0.3, 0.1, 0.2]}, 64) == 2 / 64
    assert permutation_p({0: [-0.1, -0.2, -0.1], 1: [-0.3, -0.1, -0.2]}, 64) == 2 / 64


def test_p_of_random_sign_patterns_is_about_that_of_all_and_never_0() -> None:
    gains = {0: [0.1, 0.02, 0.05], 1: [0.04], 2: [-0.03, 0.06, 0.01, 0.08]}
    exact = permutation_p(gains, 256)
    drawn = [permutation_p(gains, 255, seed) for seed in range(40)]
    assert np.mean(drawn) == pytest.approx(exact, abs=0.01)
    assert permutation_p({world: [0.1] * 10 for world in range(4)}, 999) == 1 / 1000
    with pytest.raises(ValueError, match="at least one"):
        permutation_p({}, 100)


def test_p_is_below_5_percent_in_5_percent_of_experiments_without_a_gain() -> None:
    found = [permutation_p(scores_by_world(simulated_pairs(i, 0.0)), 512) <= 0.05 for i in range(400)]
    assert 0.02 < np.mean(found) < 0.085


def test_power_rises_with_the_gain() -> None:
    shares = [
        np.mean([permutation_p(scores_by_world(simulated_pairs(i, gain)), 512) <= 0.05 for i in range(60)])
        for gain in (0.0, 0.05, 0.15)
    ]
    assert shares[0] + 0.2 < shares[1] < shares[2] - 0.2
    assert shares[2] > 0.9


def slow_holm(p_values: list[float]) -> list[float]:
    """The least level at which Holm's procedure, run step by step, rejects each hypothesis."""

    def rejected(level: float) -> set[int]:
        out: set[int] = set()
        for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
            if p_values[i] > level / (len(p_values) - len(out)):
                break
            out.add(i)
        return out

    levels = sorted({min(1.0, p * k) for p in p_values for k in range(1, len(p_values) + 1)} | {1.0})
    reached = {level: rejected(level * (1 + 1e-12)) for level in levels}
    return [min((level for level in levels if i in reached[level]), default=1.0) for i in range(len(p_values))]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_least_level_that_rejects(seed: int) -> None:
    p_values = (np.random.default_rng(seed).random(6) ** 3).tolist()
    p_values.append(p_values[0])
    assert holm(p_values) == pytest.approx(slow_holm(p_values))


def test_a_hypothesis_without_p_keeps_its_place_in_the_family() -> None:
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.03), None, pytest.approx(0.08)]
    assert holm([]) == []


def test_resamples_of_single_worlds_and_seeds_vary_by_clips_alone() -> None:
    pair = simulated_pairs(3, 0.1, worlds=1, seeds=1)[0]
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(GOLD), size=len(GOLD)) for _ in range(120)]
    slow = [
        f1_score(GOLD[d], pair[0].predicted[d], average="macro")
        - f1_score(GOLD[d], pair[1].predicted[d], average="macro")
        for d in draws
    ]
    found = bootstrap_means([pair], 4000)
    assert found.shape == (4000,)
    assert found.mean() == pytest.approx(np.mean(slow), abs=0.01)
    assert found.std() == pytest.approx(np.std(slow), rel=0.2)


def test_worlds_and_seeds_are_drawn_with_replacement() -> None:
    wrong = (GOLD + 1) % 4
    worlds = [(run_of(world, 0, "a", GOLD if world else wrong),) for world in range(4)]
    values, counts = np.unique(bootstrap_means(worlds, 2000), return_counts=True)
    assert values == pytest.approx(np.arange(5) / 4)
    assert counts / 2000 == pytest.approx([1 / 256, 12 / 256, 54 / 256, 108 / 256, 81 / 256], abs=0.04)
    seeds = [(run_of(0, seed, "a", GOLD if seed else wrong),) for seed in range(2)]
    values, counts = np.unique(bootstrap_means(seeds, 2000), return_counts=True)
    assert values == pytest.approx([0, 0.5, 1])
    assert counts / 2000 == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_seeds_share_the_clips_of_their_world_and_groups_stay_together() -> None:
    pair = simulated_pairs(3, 0.1, worlds=1, seeds=1)[0]
    four = [tuple(run._replace(seed=seed) for run in pair) for seed in range(4)]
    assert bootstrap_means(four, 3000).std() == pytest.approx(bootstrap_means([pair], 3000).std(), rel=0.1)
    numbers = np.arange(4 * len(GOLD))
    doubled = RunScore(0, 4, 0, "a", np.repeat(GOLD, 4), np.repeat(pair[0].predicted, 4), numbers)
    apart, together = (
        bootstrap_means([(run,)], 3000).std() for run in (doubled, doubled._replace(groups=numbers // 4))
    )
    assert together / apart == pytest.approx(2, rel=0.1)


def test_intervals_hold_the_true_gain() -> None:
    inside = []
    for i in range(100):
        pairs = simulated_pairs(i, 0.08, worlds=5, seeds=2, world_sd=0.06)
        limits = interval(bootstrap_means(pairs, 150, i)), world_spread(scores_by_world(pairs))["ci95_worlds"]
        inside.append([low <= 0.08 <= high for low, high in limits])
    by_bootstrap, by_worlds = np.mean(inside, axis=0)
    assert 0.88 <= by_bootstrap <= 1
    assert 0.89 <= by_worlds <= 0.99


def test_an_experiment_of_thousand_clips_is_resampled_in_seconds() -> None:
    rng, gold = np.random.default_rng(0), np.repeat(np.arange(4), 250)
    pairs = [
        tuple(run_of(world, seed, arm, answers(rng, CHANCES[arm], gold), gold) for arm in ("rb_ft", "direct"))
        for world, seed in product(range(5), range(4))
    ]
    found = bootstrap_means(pairs, 1000)
    low, high = interval(found)
    assert low < mean_over_worlds(scores_by_world(pairs)) < high
    assert 0.05 < low < high < 0.15


def test_world_spread_is_that_of_the_means() -> None:
    found = world_spread({0: [0.1, 0.3], 1: [0.4], 2: [0.5, 0.7]})
    assert found["world_sd"] == pytest.approx(0.2)
    assert found["ci95_worlds"] == pytest.approx([0.4 - 4.302653 * 0.2 / 3**0.5, 0.4 + 4.302653 * 0.2 / 3**0.5])
    assert world_spread({0: [0.1, 0.3]}) == {"world_sd": None, "ci95_worlds": [None, None]}


def test_the_detectable_effect_is_found_with_about_its_power() -> None:
    rng = np.random.default_rng(5)
    pilot = {world: rng.normal(0.1 + shift, 0.05, 50).tolist() for world, shift in enumerate(rng.normal(0, 0.02, 200))}
    found = detectable_effect(pilot, worlds=5, seeds=4)
    assert found["between_sd"] == pytest.approx(0.02, rel=0.15)
    assert found["within_sd"] == pytest.approx(0.05, rel=0.05)
    error = (found["between_sd"] ** 2 / 5 + found["within_sd"] ** 2 / 20) ** 0.5
    assert found["standard_error"] == pytest.approx(error)
    assert found["effect"] == pytest.approx((1.959964 + 0.841621) * error)
    means = found["effect"] + rng.normal(0, found["between_sd"], (200, 5, 1))
    gains = means + rng.normal(0, found["within_sd"], (200, 5, 4))
    power = np.mean([permutation_p(dict(enumerate(each)), 1000) <= 0.05 for each in gains])
    assert 0.72 < power < 0.93


def test_unequal_worlds_and_small_pilots() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 6, size=3000)
    pilot = {i: (rng.normal(0, 0.03) + rng.normal(0, 0.05, size)).tolist() for i, size in enumerate(sizes)}
    found = detectable_effect(pilot, 5, 4)
    assert (found["between_sd"], found["within_sd"]) == (pytest.approx(0.03, rel=0.1), pytest.approx(0.05, rel=0.05))
    alike = detectable_effect({0: [0.0, 0.2], 1: [0.2, 0.0]}, 5, 4)
    assert (alike["between_sd"], alike["within_sd"]) == (0, pytest.approx(0.02**0.5))
    for few in ({0: [0.1, 0.2]}, {0: [0.1], 1: [0.2]}, {}):
        with pytest.raises(ValueError, match="a pilot needs 2 worlds"):
            detectable_effect(few, 5, 4)


def test_recall_gains_go_from_rare_to_frequent_classes() -> None:
    gold = np.repeat(np.arange(3), 4)
    baseline = np.array([0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 0])
    arm = np.array([0, 0, 0, -1, 1, 1, 1, 0, 2, 2, 2, 2])
    pairs = [
        (run_of(0, 0, "a", arm, gold), run_of(0, 0, "b", baseline, gold)),
        (run_of(1, 0, "a", arm, gold), run_of(1, 0, "b", arm, gold)),
    ]
    assert recall_gains(pairs, [(2, 20, 2), (20, 2, 2)]) == [
        {"train_clips": 2, "classes": 4, "recall_gain": (0.25 + 0) / 2},
        {"train_clips": 20, "classes": 2, "recall_gain": (-0.25 + 0) / 2},
    ]
    plan = protocol(
        worlds=[0, 1], seeds=[0], budgets=[[2, 20, 2]], arms=["a", "b"], comparisons=[["a", "b"]], hypotheses=[]
    )
    assert [turned((2, 20, 3), seed) for seed in (0, 1, 5)] == [(2, 20, 3), (20, 3, 2), (3, 2, 20)]
    (compared,) = compare_arms([run._replace(budget=(2, 20, 2)) for pair in pairs for run in pair], plan)["comparisons"]
    assert compared["recall_gains"] == recall_gains(pairs, [(2, 20, 2), (2, 20, 2)])
    for counts in ([(2, 20, 2)], [(2, 20), (2, 20)]):
        with pytest.raises(ValueError, match="zip"):
            recall_gains(pairs, counts)


def test_a_whole_experiment_is_compared() -> None:
    plan = protocol()
    runs = experiment_runs(plan)
    found = compare_arms(runs, plan)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert compare_arms(runs[::-1], plan) == found
    assert {name: found[name] for name in ("protocol_sha", "worlds", "n_pairs", "n_test", "missing")} == {
        "protocol_sha": protocol_sha(plan),
        "worlds": [7, 8, 9],
        "n_pairs": 6,
        "n_test": 80,
        "missing": [],
    }
    keys = [(each["arm"], each["baseline"], each["budget"], each["pairs"]) for each in found["comparisons"]]
    assert keys == [("rb_ft", baseline, budget, 6) for baseline in ("direct", "zero_shot") for budget in (4, 16)]
    family = [each for each in found["comparisons"] if each["budget"] == 4]
    assert [each["p_adjusted"] for each in family] == holm([each["p_value"] for each in family])
    assert all(each["p_adjusted"] is None for each in found["comparisons"] if each["budget"] == 16)
    clear = found["comparisons"][2]
    gains = scores_by_world(paired_runs(runs, "rb_ft", "zero_shot", 4))
    assert clear["gain_by_world"] == {str(world): pytest.approx(np.mean(of)) for world, of in gains.items()}
    assert clear["gain_macro_f1"] == pytest.approx(np.mean(list(clear["gain_by_world"].values())))
    assert (clear["p_value"], clear["p_adjusted"]) == (2 / 64, pytest.approx(4 / 64))
    assert 0.2 < clear["ci95"][0] < clear["gain_macro_f1"] < clear["ci95"][1] < 0.5
    direct = found["arms"][2]
    own = [run for run in runs if (run.arm, run.budget) == ("direct", 4)]
    assert (direct["arm"], direct["budget"], direct["runs"]) == ("direct", 4, 6)
    assert direct["accuracy"] == pytest.approx(np.mean([(run.predicted == GOLD).mean() for run in own]))
    assert direct["ci95"][0] < direct["macro_f1"] < direct["ci95"][1]


def test_comparisons_with_arms_that_are_not_trained_have_no_p() -> None:
    plan = protocol()
    runs = experiment_runs(plan)
    found, whole = (
        compare_arms(runs, plan, untrained=["zero_shot"])["comparisons"],
        compare_arms(runs, plan)["comparisons"],
    )
    assert [(each["p_value"], each["p_adjusted"]) for each in found[2:]] == [(None, None)] * 2
    assert found[0]["p_adjusted"] == found[0]["p_value"] == whole[0]["p_value"]  # it is a family of one
    assert [each["gain_macro_f1"] for each in found] == [each["gain_macro_f1"] for each in whole]


def test_both_answers_of_a_run_are_compared_as_one_family() -> None:
    plan = protocol(answer="reasoned", comparisons=[["rb_ft", "direct"], ["rb_ft", "direct", "label"]])
    bare = experiment_runs(plan)
    reasoned = [run._replace(predicted=GOLD, answer="reasoned") for run in bare]
    found = compare_arms([*bare, *reasoned], plan)
    alone = compare_arms(bare, protocol(comparisons=[["rb_ft", "direct"]]))
    answers_and_gains = [(each["answer"], each["gain_macro_f1"]) for each in found["comparisons"]]
    assert answers_and_gains == [("reasoned", 0), ("reasoned", 0)] + [
        ("label", each["gain_macro_f1"]) for each in alone["comparisons"]
    ]
    family = [each for each in found["comparisons"] if each["budget"] == 4]
    assert [each["p_adjusted"] for each in family] == holm([1, alone["comparisons"][0]["p_value"]])
    assert [(row["answer"], row["arm"]) for row in found["arms"][::2]] == list(
        product(("reasoned", "label"), plan.arms)
    )
    assert [row for row in found["arms"] if row["answer"] == "label"] == alone["arms"]
    assert len(compare_arms(bare, plan)["missing"]) == len(bare)


@pytest.mark.parametrize("permutations", [64, 63])
def test_equal_runs_gain_nothing(permutations: int) -> None:
    plan = protocol(arms=["a", "b"], comparisons=[["a", "b"]], budgets=[4], permutations=permutations)
    rng = np.random.default_rng(0)
    runs = [run_of(world, seed, "a", answers(rng, 0.6)) for world, seed in product(plan.worlds, plan.seeds)]
    found = compare_arms([*runs, *(run._replace(arm="b") for run in runs)], plan)["comparisons"][0]
    assert (found["gain_macro_f1"], found["ci95"], found["p_value"], found["p_adjusted"]) == (0, [0, 0], 1, 1)
    assert (found["world_sd"], found["ci95_worlds"]) == (0, [0, 0])


def test_missing_runs_are_named_and_leave_no_p() -> None:
    plan = protocol(hypotheses=[4, 16])
    lost = [("direct", 4, 8, 1), ("zero_shot", 16, 7, 0), ("zero_shot", 16, 7, 1)]
    kept = [run for run in experiment_runs(plan) if (run.arm, run.budget, run.world, run.seed) not in lost]
    found = compare_arms(kept, plan)
    named = [tuple(each[name] for name in ("arm", "budget", "world", "seed")) for each in found["missing"]]
    assert sorted(named) == sorted(lost)
    by_key = {(each["baseline"], each["budget"]): each for each in found["comparisons"]}
    assert [by_key[key]["pairs"] for key in by_key] == [5, 6, 6, 4]
    assert [by_key[key]["p_value"] is None for key in by_key] == [True, False, False, True]
    assert [by_key[key]["p_adjusted"] is None for key in by_key] == [True, False, False, True]
    assert by_key["zero_shot", 4]["p_adjusted"] == min(1, 4 * by_key["zero_shot", 4]["p_value"])
    assert list(by_key["zero_shot", 16]["gain_by_world"]) == ["8", "9"]
    assert all(each["detectable_gain"] > 0 for each in found["comparisons"])
    nothing = compare_arms([], plan)
    json.dumps(nothing, allow_nan=False)
    assert (len(nothing["missing"]), nothing["n_test"]) == (36, None)
    assert nothing["comparisons"][0] == {
        **{"arm": "rb_ft", "baseline": "direct", "budget": 4, "pairs": 0, "gain_macro_f1": None},
        **{"ci95": [None, None], "gain_by_world": {}, "world_sd": None, "ci95_worlds": [None, None]},
        **{"p_value": None, "p_adjusted": None, "detectable_gain": None, "answer": "label"},
    }
    assert nothing["arms"][0]["macro_f1"] is nothing["arms"][0]["accuracy"] is None


def test_runs_outside_of_the_protocol_or_twice_are_refused() -> None:
    plan = protocol()
    runs = experiment_runs(plan)
    for wrong in (runs[0], runs[0]._replace(world=99), runs[0]._replace(arm="other"), runs[0]._replace(budget=5)):
        with pytest.raises(ValueError, match="there twice or that the protocol does not name"):
            compare_arms([*runs, wrong], plan)
