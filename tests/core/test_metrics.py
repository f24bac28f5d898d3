"""Metrics of a split against scikit-learn and plain loops, and intervals that cover what they claim to."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from rbft_ray.core.bootstrap import group_indices, resampled_sums
from rbft_ray.core.metrics import (
    class_columns,
    class_counts,
    class_scores,
    evaluate_split,
    overall_scores,
)

LABELS = ("fox", "cat", "emu", "dog", "ant", "bee")  # not sorted: scikit-learn sorts, the metrics must not


def drawn(seed: int, clips: int = 80, labels: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """(gold indices, scores), every label with a clip."""
    rng = np.random.default_rng(seed)
    gold = rng.permutation(np.append(np.arange(labels), rng.integers(labels, size=clips - labels)))
    scores = rng.normal(size=(clips, labels)) * 2
    scores[np.arange(clips), gold] += 1.5
    return gold, scores


def names(indices: np.ndarray) -> list[str]:
    return [LABELS[i] for i in indices]


def posterior(scores: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp(scores / temperature)
    return weights / weights.sum(axis=1, keepdims=True)


def accuracy_and_macro_f1(gold: list[str], answers: list[str]) -> dict[str, float]:
    macro_f1 = sk.f1_score(gold, answers, labels=LABELS, average="macro", zero_division=0)
    return {"accuracy": sk.accuracy_score(gold, answers), "macro_f1": macro_f1}


def looped_ece(probabilities: np.ndarray, gold: np.ndarray) -> float:
    """Guo et al. 2017, equation 3, clip by clip."""
    bins: dict[int, list[float]] = {}
    for row, label in zip(probabilities, gold, strict=True):
        confidence = max(row)
        bins.setdefault(math.ceil(confidence * 15), []).append(confidence - float(row.argmax() == label))
    return sum(abs(sum(gaps)) for gaps in bins.values()) / len(gold)


def losses(gold: np.ndarray, p: np.ndarray) -> dict[str, float]:
    brier = sk.brier_score_loss(gold, p, labels=range(p.shape[1]), scale_by_half=False)
    return {"nll": sk.log_loss(gold, p, labels=range(p.shape[1])), "brier": brier, "ece": looped_ece(p, gold)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", [2, 3, 6])
def test_every_score_equals_scikit_learns(seed: int, labels: int) -> None:
    gold, scores = drawn(seed, labels=labels)
    p, predicted = posterior(scores, 1.7), scores.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(gold, predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(gold, predicted),
        **{
            f"{average}_{name}": score(gold, predicted, average=average, zero_division=0)
            for average in ("macro", "weighted")
            for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score))
        },
        "mcc": sk.matthews_corrcoef(gold, predicted),
        **{f"top_{k}": sk.top_k_accuracy_score(gold, scores, k=k) for k in (2, 3, 5) if k < labels},
        "roc_auc": sk.roc_auc_score(np.eye(labels)[gold], p, average="macro"),
        "pr_auc": sk.average_precision_score(np.eye(labels)[gold], p, average="macro"),
        **losses(gold, p),
    }
    found = evaluate_split(names(gold), scores, LABELS[:labels], temperature=1.7, resamples=1)
    assert found["scores"] == pytest.approx(expected)
    assert found["uncalibrated"] == pytest.approx(losses(gold, posterior(scores, 1.0)))
    assert found["confusion"] == sk.confusion_matrix(gold, predicted, labels=range(labels)).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_every_class_equals_scikit_learns(seed: int) -> None:
    gold, scores = drawn(seed)
    p, predicted = posterior(scores, 0.6), scores.argmax(axis=1)
    found = evaluate_split(names(gold), scores, LABELS, temperature=0.6, resamples=1)["per_class"]
    assert list(found) == list(LABELS)
    report = sk.classification_report(names(gold), names(predicted), labels=LABELS, output_dict=True, zero_division=0)
    for i, label in enumerate(LABELS):
        assert found[label] == pytest.approx(
            {
                **{name: report[label][name] for name in ("precision", "recall", "support")},
                "f1": report[label]["f1-score"],
                "roc_auc": sk.roc_auc_score(gold == i, p[:, i]),
                "pr_auc": sk.average_precision_score(gold == i, p[:, i]),
            }
        )


@pytest.mark.filterwarnings("ignore:.*(ill-defined|y_pred contains|single label)")
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 5)), min_size=1, max_size=12))
def test_counts_with_labels_that_are_absent_equal_scikit_learns(answers: list[tuple[int, int]]) -> None:
    gold, predicted = (np.array(side) for side in zip(*answers, strict=True))
    counts = class_counts(class_columns(gold, predicted, 6).sum(axis=0))
    found = {name: float(value) for name, value in overall_scores(counts).items()}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(gold, predicted))
    for average in ("macro", "weighted"):
        theirs = sk.precision_recall_fscore_support(gold, predicted, labels=range(6), average=average, zero_division=0)
        ours = [found[f"{average}_{name}"] for name in ("precision", "recall", "f1")]
        assert ours == pytest.approx(theirs[:3])
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(gold, predicted))
    if (predicted >= 0).all():
        assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(gold, predicted))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=30, max_size=30).filter(any))
def test_scores_of_weighted_sums_are_those_of_the_repeated_clips(weights: list[int]) -> None:
    gold, scores = drawn(1, clips=30)
    predicted = scores.argmax(axis=1)
    counts = class_counts(np.array(weights) @ class_columns(gold, predicted, 6))
    repeated, answered = np.repeat(gold, weights), np.repeat(predicted, weights)
    found = overall_scores(counts)
    assert found["macro_f1"] == pytest.approx(
        sk.f1_score(repeated, answered, labels=range(6), average="macro", zero_division=0)
    )
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(repeated, answered))
    assert class_scores(counts)["f1"] == pytest.approx(
        sk.f1_score(repeated, answered, labels=range(6), average=None, zero_division=0)
    )


def test_top_k_takes_the_first_of_equal_scores_as_the_prediction_does() -> None:
    found = evaluate_split(["fox", "emu"], np.zeros((2, 4)), LABELS[:4], temperature=1.0, resamples=1)
    assert found["scores"]["accuracy"] == 0.5
    assert (found["scores"]["top_2"], found["scores"]["top_3"]) == (0.5, 1.0)
    assert "top_5" not in found["scores"]


def test_undefined_values_are_none_and_the_whole_is_json() -> None:
    gold, scores = ["cat", "cat", "emu"], np.log([[1, 7, 2], [6, 3, 1], [1, 1, 8]])
    found = evaluate_split(gold, scores, LABELS[:3], temperature=1.0, reasoned=["cat", None, "fox"])
    json.dumps(found, allow_nan=False)
    absent = found["per_class"]["fox"]
    assert (absent["roc_auc"], absent["pr_auc"], absent["support"]) == (None, None, 0)
    assert found["intervals"]["per_class_f1"]["fox"] == [None, None]
    assert found["scores"]["macro_recall"] == pytest.approx((0 + 1 / 2 + 1) / 3)
    assert found["scores"]["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    defined = [found["per_class"][label]["roc_auc"] for label in ("cat", "emu")]
    assert found["scores"]["roc_auc"] == pytest.approx(np.mean(defined))


def test_one_label_alone_has_no_roc_auc() -> None:
    found = evaluate_split(["cat", "cat"], np.zeros((2, 2)), ("cat", "dog"), temperature=1.0)
    json.dumps(found, allow_nan=False)
    assert found["scores"]["roc_auc"] is None
    assert (found["scores"]["pr_auc"], found["scores"]["mcc"]) == (1.0, 0.0)


def test_rejected_clips_are_errors_of_no_label_in_strict_alone() -> None:
    gold, scores = drawn(4)
    rejected = ["cat", "cat", "bee"]
    without = evaluate_split(names(gold), scores, LABELS, temperature=1.0)
    found = evaluate_split(names(gold), scores, LABELS, temperature=1.0, rejected_gold=rejected)
    all_gold, answers = names(gold) + rejected, [*names(scores.argmax(axis=1)), *["none"] * 3]
    assert found["strict"] == pytest.approx(accuracy_and_macro_f1(all_gold, answers))
    assert (found["clips"], found["scored"], found["rejected"]) == (83, 80, 3)
    changed = {"strict", "clips", "rejected"}
    assert all(found[name] == without[name] for name in found.keys() - changed)
    assert without["strict"] == {name: without["scores"][name] for name in ("accuracy", "macro_f1")}


def test_answers_after_reasoning_count_as_errors_where_there_is_none() -> None:
    gold, scores = drawn(5, clips=20)
    reasoned = [None if i % 4 == 0 else name for i, name in enumerate(names(scores.argmax(axis=1)))]
    answers = [name or "none" for name in reasoned]
    found = evaluate_split(names(gold), scores, LABELS, temperature=1.0, reasoned=reasoned, resamples=1)
    assert found["reasoned"] == pytest.approx({**accuracy_and_macro_f1(names(gold), answers), "no_answer": 5})
    assert evaluate_split(names(gold), scores, LABELS, temperature=1.0, resamples=1)["reasoned"] is None


def test_intervals_are_those_of_scikit_learn_over_the_drawn_clips() -> None:
    gold, scores = drawn(6, clips=60, labels=3)
    groups = [f"camera {i // 3}" for i in range(60)]
    found = evaluate_split(names(gold), scores, LABELS[:3], temperature=1.3, groups=groups, seed=4, resamples=100)[
        "intervals"
    ]
    p, predicted = posterior(scores, 1.3), scores.argmax(axis=1)
    plain: dict[str, list[float]] = {name: [] for name in found}
    for weights in np.random.default_rng(4).multinomial(20, np.full(20, 1 / 20), size=100):
        clips = np.repeat(np.arange(60), np.repeat(weights, 3))
        own, answers = gold[clips], predicted[clips]
        f1 = sk.f1_score(own, answers, labels=range(3), average=None, zero_division=0)
        plain["accuracy"].append((own == answers).mean())
        plain["balanced_accuracy"].append(np.mean([(answers[own == i] == i).mean() for i in np.unique(own)]))
        plain["macro_f1"].append(f1.mean())
        plain["mcc"].append(sk.matthews_corrcoef(own, answers))
        plain["nll"].append(-np.log(p[clips, own]).mean())
        plain["brier"].append(((p[clips] - np.eye(3)[own]) ** 2).sum(axis=1).mean())
        plain["ece"].append(looped_ece(p[clips], own))
        plain["per_class_f1"].append(f1[1])
    found["per_class_f1"] = found["per_class_f1"][LABELS[1]]
    for name, values in plain.items():
        assert found[name] == pytest.approx(list(np.percentile(values, [2.5, 97.5]))), name


def coverage(clips_per_group: int, *, grouped: bool, data_sets: int = 300) -> float:
    """Share of simulated data sets whose interval holds the true accuracy, 0.7 on average over groups."""
    rng, hits, size = np.random.default_rng(11), 0, 60 * clips_per_group
    groups = [str(i // clips_per_group) for i in range(size)]
    for seed in range(data_sets):
        chance = rng.beta(1.4, 0.6, size=60) if clips_per_group > 1 else np.full(60, 0.7)
        correct = rng.random(size) < np.repeat(chance, clips_per_group)
        scores = np.where(correct[:, None], [1.0, 0.0], [0.0, 1.0])
        found = evaluate_split(
            ["cat"] * size,
            scores,
            ("cat", "dog"),
            temperature=1.0,
            groups=groups if grouped else None,
            seed=seed,
            resamples=200,
        )
        low, high = found["intervals"]["accuracy"]
        hits += low <= 0.7 <= high
    return hits / data_sets


def test_intervals_cover_the_true_accuracy() -> None:
    assert 0.91 < coverage(1, grouped=False) < 0.98


def test_intervals_of_groups_cover_where_those_of_clips_do_not() -> None:
    assert 0.91 < coverage(6, grouped=True) < 0.98
    assert coverage(6, grouped=False, data_sets=60) < 0.85


def test_clips_without_a_group_are_groups_of_their_own() -> None:
    assert group_indices(["a", None, "b", "", "a", "1", None], 7).tolist() == [0, 1, 2, 3, 0, 4, 5]
    assert group_indices(None, 3).tolist() == [0, 1, 2]


def test_fewer_than_two_groups_have_no_interval() -> None:
    gold, scores = drawn(7, clips=10)
    found = evaluate_split(names(gold), scores, LABELS, temperature=1.0, groups=["one camera"] * 10)["intervals"]
    limits = [*found.pop("per_class_f1").values(), *found.values()]
    assert limits == [[None, None]] * 13


def test_resamples_are_whole_groups_as_many_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.column_stack([np.eye(3)[[0, 0, 1, 2]], np.ones(4)])
    (sums,) = resampled_sums([columns], np.array([0, 0, 1, 2]), 5, 50)
    drawn_groups = sums[:, :3] / [2, 1, 1]
    assert np.array_equal(drawn_groups, drawn_groups.round())
    assert (drawn_groups.sum(axis=1) == 3).all()
    assert len(np.unique(drawn_groups, axis=0)) > 5
    monkeypatch.setattr("rbft_ray.core.bootstrap._WEIGHTS_AT_A_TIME", 12)
    (in_blocks,) = resampled_sums([columns], np.array([0, 0, 1, 2]), 5, 50)
    assert np.array_equal(in_blocks, sums)


def test_the_seed_alone_decides_the_resamples() -> None:
    gold, scores = drawn(8)
    one, same, other = (
        evaluate_split(names(gold), scores, LABELS, temperature=1.0, seed=seed)["intervals"] for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"gold": [], "log_probabilities": np.zeros((0, 2)), "rejected_gold": ["cat"]},
            "no scored clip to evaluate .1 rejected",
        ),
        ({"gold": ["cat"]}, r"1 gold labels and scores of shape \(2, 2\)"),
        ({"labels": ("cat", "dog", "emu")}, r"expected \(2, 3\)"),
        ({"gold": ["cat", "yak"]}, r"\['yak'\] are none of the labels"),
        ({"rejected_gold": ["yak"]}, r"\['yak'\] are none"),
        ({"reasoned": ["cat", "yak"]}, r"\['yak'\] are none"),
        ({"reasoned": ["cat"]}, "2 gold labels and 1 answers"),
        ({"labels": ("cat", "cat")}, "a label is there twice"),
        ({"log_probabilities": np.array([[0.0, -np.inf], [0, 0]])}, "the scores of 1 clips are not finite"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"groups": ["a"]}, "2 clips and 1 groups"),
        ({"resamples": 0}, "at least one resample"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(change: dict[str, object], says: str) -> None:
    arguments = {"gold": ["cat", "dog"], "log_probabilities": np.eye(2), "labels": ("cat", "dog"), "temperature": 1.0}
    evaluate_split(**arguments)
    with pytest.raises(ValueError, match=says):
        evaluate_split(**arguments | change)
