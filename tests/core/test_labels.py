"""Labels and splits: no row is lost, and the cut is stratified, seeded and without a leak."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.errors import DataError
from rbft_ray.core.labels import (
    Row,
    assign_splits,
    check_rows,
    label_set,
    limit_rows,
    take_each,
    take_fraction,
    take_of_labels,
)
from rbft_ray.core.schema import SPLITS, Reason

FRACTIONS = {"validation_fraction": 0.15, "test_fraction": 0.25}


def row(row_id: str, label: str = "cat", split: str = "", group: str = "", video: str = "") -> Row:
    return {"id": row_id, "label": label, "split": split, "group": group, "video": video or f"{row_id}.mp4"}


def clips(counts: dict[str, int], split: str = "") -> list[Row]:
    return [row(f"{label}{number}", label, split) for label, count in counts.items() for number in range(count)]


def grouped(*groups: tuple[str, str, int]) -> list[Row]:
    """Rows of (label, group, number of clips)."""
    return [row(f"{label}/{group}/{i}", label, group=group) for label, group, count in groups for i in range(count)]


def splits_of(rows: Sequence[Row]) -> dict[str, str]:
    return {row["id"]: row["split"] for row in rows}


def cut_groups(rows: Sequence[Row], taken: set[str]) -> set[str]:
    inside = {row["group"] for row in rows if row["id"] in taken}
    return inside & {row["group"] for row in rows if row["id"] not in taken}


label_counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 30), min_size=1)
seeds = st.integers(0, 1000)
fractions = st.floats(0.05, 0.95)
raw_rows = st.lists(
    st.builds(
        row,
        st.sampled_from("123456"),
        st.sampled_from(["cat", "kitty", "dog", "emu", ""]),
        st.sampled_from(["", "val", "x"]),
    ),
    max_size=12,
)


@given(raw_rows)
def test_every_row_ends_in_exactly_one_place(rows: list[Row]) -> None:
    kept, rejects = check_rows(
        rows, labels=["cat", "dog"], label_map={"kitty": "cat"}, split_names={"val": "validation"}, stage="ingest"
    )
    assert Counter(row["id"] for row in kept + rejects) == Counter(row["id"] for row in rows)
    assert len({row["id"] for row in kept}) == len(kept)
    assert {row["label"] for row in kept} <= {"cat", "dog"}
    assert {row["split"] for row in kept} <= {"", "validation"}


@pytest.mark.parametrize(
    ("bad", "reason", "hint"),
    [
        (row("1", ""), Reason.NO_LABEL, "no label"),
        (row("1", "emu"), Reason.UNKNOWN_LABEL, "data.label_map"),
        (row("1", "cat", "holdout"), Reason.UNKNOWN_SPLIT, "data.split_names"),
        (row("0", "cat"), Reason.DUPLICATE_ID, "same id"),
        (row("0", "dog"), Reason.OTHER_LABEL, "same id, under the label 'cat' and not 'dog'"),
        (
            row("1", "cat", "test", video="0.mp4"),
            Reason.DUPLICATE_VIDEO,
            "the row '0' has the same video; a clip has one row",
        ),
        (row("1", "dog", video="0.mp4"), Reason.OTHER_LABEL, "same video, under the label 'cat' and not 'dog'"),
    ],
    ids=lambda value: value if isinstance(value, Reason) else "",
)
def test_a_reject_says_why_and_what_to_do(bad: Row, reason: Reason, hint: str) -> None:
    kept, rejects = check_rows([row("0"), bad], labels=["cat", "dog"], label_map={}, split_names={}, stage="ingest")
    assert [row["id"] for row in kept] == ["0"]
    assert [(row["reason"], row["stage"]) for row in rejects] == [(reason.value, "ingest")]
    assert hint in rejects[0]["detail"]


def test_the_names_of_splits_may_be_in_any_case() -> None:
    rows = [row("1", split="Train"), row("2", split="TEST"), row("3", split="VAL"), row("4", split="Hold-Out")]
    kept, rejects = check_rows(
        rows, labels=None, label_map={}, split_names={"val": "validation", "hold-out": "test"}, stage="ingest"
    )
    assert [row["split"] for row in kept] == ["train", "test", "validation", "test"] and not rejects


def test_the_label_set_is_sorted_or_as_configured() -> None:
    rows = [row("1", "dog"), row("2", "cat"), row("3", "dog")]
    assert label_set(rows, None) == ("cat", "dog")
    assert label_set(rows, ["dog", "cat", "emu"]) == ("dog", "cat", "emu")


@pytest.mark.parametrize(
    ("labels", "configured", "message"),
    [
        (["cat"], None, "at least two"),
        ([], None, "at least two"),
        (["cat", "dog"], ["cat"], "at least two"),
        (["cat", "dog"], ["cat", "dog", "cat"], "twice"),
        (["cat", "dog", "cat, dog"], None, "multi-label"),
        (["cat", "cat,emu"], None, "multi-label"),
    ],
)
def test_a_label_set_that_is_none_is_refused(labels: list[str], configured: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_set([row(str(i), label) for i, label in enumerate(labels)], configured)


def test_a_comma_inside_a_label_is_no_multi_label() -> None:
    assert label_set([row("1", "cutting, slow"), row("2", "pouring")], None) == ("cutting, slow", "pouring")


@given(label_counts, fractions, seeds)
def test_a_fraction_is_stratified_and_never_all_of_a_label(counts: dict[str, int], fraction: float, seed: int) -> None:
    rows = clips(counts)
    taken = take_fraction(rows, fraction, seed)
    for label, count in counts.items():
        drawn = sum(row["id"] in taken for row in rows if row["label"] == label)
        assert drawn < count
        assert abs(drawn - fraction * count) <= 1


@given(label_counts, fractions, seeds, st.randoms(use_true_random=False))
def test_a_fraction_does_not_depend_on_the_order_of_the_rows(
    counts: dict[str, int], fraction: float, seed: int, random
) -> None:
    rows = clips(counts)
    assert take_fraction(random.sample(rows, len(rows)), fraction, seed) == take_fraction(rows, fraction, seed)


def test_another_seed_takes_another_part() -> None:
    rows = clips({"cat": 40})
    assert take_fraction(rows, 0.5, 0) != take_fraction(rows, 0.5, 1)


@given(st.integers(1, 6), seeds)
def test_groups_of_one_label_stay_whole(size: int, seed: int) -> None:
    rows = grouped(*((label, f"{label}{i}", size) for label in ("cat", "dog") for i in range(10)))
    taken = take_fraction(rows, 0.3, seed)
    assert not cut_groups(rows, taken)
    assert len(taken) == 6 * size


def test_groups_that_are_all_too_large_are_cut_by_clips() -> None:
    rows = grouped(("cat", "one", 20), ("cat", "two", 20))
    assert len(take_fraction(rows, 0.25, 0)) == 10


@pytest.mark.parametrize("seed", [0, 1])
def test_one_small_group_does_not_stand_for_the_whole_fraction(seed: int) -> None:
    rows = grouped(("cat", "tiny", 1), ("cat", "one", 100), ("cat", "two", 100))
    assert 15 <= len(take_fraction(rows, 0.15, seed)) <= 45


def test_a_group_with_clips_of_two_labels_stays_whole() -> None:
    rows = grouped(
        *((label, f"camera{i}", count) for i in range(10) for label, count in (("cat", 4), ("dog", 1 + i % 3)))
    )
    assert not any(cut_groups(rows, take_fraction(rows, 0.3, seed)) for seed in range(20))


@given(st.integers(0, 50))
def test_rows_without_any_split_are_cut_into_three(seed: int) -> None:
    rows = clips({"cat": 40, "dog": 20})
    out = assign_splits(rows, **FRACTIONS, seed=seed)
    found = Counter((row["label"], row["split"]) for row in out)
    assert [found["cat", split] for split in ("test", "validation", "train")] == [10, 5, 25]
    assert [found["dog", split] for split in ("test", "validation", "train")] == [5, 3, 12]
    assert [row["id"] for row in out] == [row["id"] for row in rows]
    assert all(row["split"] == "" for row in rows), "the input is left as it is"


@given(seeds, st.randoms(use_true_random=False))
def test_the_cut_does_not_depend_on_the_order_of_the_rows(seed: int, random) -> None:
    rows = clips({"cat": 12, "dog": 7})
    shuffled = assign_splits(random.sample(rows, len(rows)), **FRACTIONS, seed=seed)
    assert splits_of(shuffled) == splits_of(assign_splits(rows, **FRACTIONS, seed=seed))


def test_named_splits_stay() -> None:
    rows = [row(str(i), "cat", SPLITS[i % 3]) for i in range(9)]
    assert assign_splits(rows, **FRACTIONS, seed=0) == rows


@given(seeds)
def test_validation_is_cut_from_train_and_never_from_test(seed: int) -> None:
    train, test = clips({"cat": 20, "dog": 20}, "train"), [row(f"test{i}", "cat", "test") for i in range(10)]
    out = splits_of(assign_splits(train + test, **FRACTIONS, seed=seed))
    assert {out[row["id"]] for row in test} == {"test"}
    assert Counter(out[row["id"]] for row in train) == {"train": 34, "validation": 6}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("1", split="train"), row("2")], "1 rows have no split .first id: 2"),
        (clips({"cat": 9}, "train"), "no row is in the test split.*data.split: null"),
        (clips({"cat": 9}, "test"), "no row is in the train split"),
        ([row("1", "cat"), row("2", "dog")], "no row is left for the test split"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(rows: list[Row], message: str) -> None:
    with pytest.raises(DataError, match=message):
        assign_splits(rows, **FRACTIONS, seed=0)


@given(st.integers(1, 12), seeds, st.randoms(use_true_random=False))
def test_a_limit_holds_for_each_split_and_not_by_the_order(limit: int, seed: int, random) -> None:
    rows = [
        row(f"{split}{i}", split=split) for split, count in zip(SPLITS, (10, 3, 6), strict=True) for i in range(count)
    ]
    kept = limit_rows(rows, limit, seed)
    assert Counter(row["split"] for row in kept) == {
        split: min(limit, count) for split, count in zip(SPLITS, (10, 3, 6), strict=True)
    }
    shuffled = limit_rows(random.sample(rows, len(rows)), limit, seed)
    assert splits_of(shuffled) == splits_of(kept)


def test_no_limit_keeps_all_rows() -> None:
    rows = clips({"cat": 5}, "train")
    assert limit_rows(rows, None, 0) == rows


@pytest.mark.parametrize(
    ("count", "expected"), [(6, {"cat": 2, "dog": 2, "owl": 2}), (9, {"cat": 4, "dog": 4, "owl": 1})]
)
def test_a_draw_of_each_label_is_even_while_there_are_clips(count: int, expected: dict[str, int]) -> None:
    rows = clips({"cat": 40, "dog": 10, "owl": 1 if count == 9 else 5})
    taken = take_each(rows, count, seed=0)
    assert Counter(found["label"] for found in taken) == expected
    assert {found["id"] for found in take_each(rows[::-1], count, seed=0)} == {found["id"] for found in taken}
    assert take_each(rows, 1000, seed=0) == rows


def test_so_many_rows_of_each_label_are_taken_and_smaller_takes_lie_within_larger_ones() -> None:
    rows = [{"id": f"{label}{number}", "label": label} for number in range(9) for label in "ab"]
    few, more = (take_of_labels(rows, {"a": count, "b": 2 * count}, seed=3) for count in (2, 4))
    assert Counter(row["label"] for row in more) == {"a": 4, "b": 8}
    assert [row for row in rows if row in more] == more
    assert all(row in more for row in few)
    assert take_of_labels(rows, {"a": 99, "b": 99}, seed=3) == rows
    assert take_of_labels(rows, {"a": 4, "b": 8}, seed=4) != more
