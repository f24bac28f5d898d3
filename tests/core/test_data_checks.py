"""What is said of a data set before anything is computed."""

from rbft_ray.core.data_checks import data_warnings


def rows(*facts: tuple[str, str, str]) -> list[dict[str, str]]:
    return [{"label": label, "split": split, "group": group} for label, split, group in facts]


def test_nothing_is_said_of_data_that_have_all_they_need() -> None:
    sound = rows(("cat", "train", "a"), ("dog", "train", "a"), ("cat", "test", "b"), ("dog", "test", ""))
    assert data_warnings([*sound, *rows(("dog", "train", ""))], ["cat", "dog"]) == []


def test_a_class_without_test_clips_is_named_with_what_it_does_to_the_score() -> None:
    (line,) = data_warnings(rows(("cat", "train", ""), ("cat", "test", ""), ("dgo", "train", "")), ["cat", "dgo"])
    assert line.startswith("No test clip of 'dgo': its F1 counts as 0")
    (line,) = data_warnings(rows(("cat", "train", ""), ("cat", "test", ""), ("dgo", "test", "")), ["cat", "dgo"])
    assert line.startswith("No train clip of 'dgo'")


def test_labels_that_differ_in_case_or_punctuation_are_named() -> None:
    labels = ["Cat fight", "cat_fight", "dog"]
    found = data_warnings(rows(*((label, split, "") for label in labels for split in ("train", "test"))), labels)
    assert found == [
        "The labels 'Cat fight', 'cat_fight' differ in case or punctuation only and count as different classes; "
        "data.label_map makes them one."
    ]


def test_labels_of_signs_alone_are_not_taken_for_one() -> None:
    both = rows(*((label, split, "") for label in "+-" for split in ("train", "test")))
    assert data_warnings(both, ["+", "-"]) == []


def test_groups_in_several_splits_are_named() -> None:
    cut = [("cat", split, f"cam{number}") for number in range(5) for split in ("train", "test")]
    (line,) = data_warnings(rows(*cut, ("cat", "test", "other")), ["cat"])
    assert line.startswith("5 of 6 groups have clips in several splits: 'cam0' (test, train), ")
    assert "and 2 more" in line
