"""Metrics against scikit-learn's own report and against plain counting."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from rbft_ray.core.metrics import classification_metrics

LABELS = ("cat", "dog", "emu", "fox")
pairs = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=30)


@settings(max_examples=30)
@given(pairs)
def test_metrics_equal_scikit_learns_report(answers: list[tuple[str, str]]) -> None:
    gold, predicted = zip(*answers, strict=True)
    found = classification_metrics(gold, predicted, LABELS)
    report = classification_report(gold, predicted, labels=list(LABELS), output_dict=True, zero_division=0)
    assert found["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    for label in LABELS:
        ours, theirs = found["per_class"][label], report[label]
        assert [ours["precision"], ours["recall"], ours["f1"], ours["support"]] == pytest.approx(
            [theirs["precision"], theirs["recall"], theirs["f1-score"], theirs["support"]]
        )


@given(pairs)
def test_accuracy_and_confusion_equal_plain_counts(answers: list[tuple[str, str]]) -> None:
    gold, predicted = zip(*answers, strict=True)
    found = classification_metrics(gold, predicted, LABELS)
    assert found["clips"] == len(answers)
    assert found["accuracy"] == pytest.approx(sum(one == other for one, other in answers) / len(answers))
    assert found["confusion"] == [[answers.count((row, column)) for column in LABELS] for row in LABELS]


def test_everything_follows_the_order_of_the_labels() -> None:
    found = classification_metrics(["cat", "dog"], ["dog", "dog"], ("dog", "cat"))
    assert found["labels"] == list(found["per_class"]) == ["dog", "cat"]
    assert found["confusion"] == [[1, 0], [1, 0]]


@pytest.mark.parametrize(("gold", "predicted"), [([], []), (["cat"], []), (["cat"], ["cat", "dog"])])
def test_no_rows_or_differing_lengths_are_refused(gold: list[str], predicted: list[str]) -> None:
    with pytest.raises(ValueError, match=f"{len(gold)} gold labels and {len(predicted)} predictions"):
        classification_metrics(gold, predicted, LABELS)
