"""What the rows of a data set let a reader expect of the scores, before anything is computed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

NAMED = 3  # of what is alike, so many are named


def data_warnings(rows: Sequence[Mapping[str, str]], labels: Sequence[str]) -> list[str]:
    """A sentence for each thing that makes the scores mean less: classes without clips, labels alike, groups in several splits.

    Args:
        rows: usable rows with their `label`, `split` and `group` ("" for none).
    """
    return [*_empty_classes(rows, labels), *_labels_alike(labels), *_cut_groups(rows)]


def _empty_classes(rows: Sequence[Mapping[str, str]], labels: Sequence[str]) -> list[str]:
    found = []
    for split, effect in (
        ("train", "no arm learns it"),
        ("test", "its F1 counts as 0 in macro-F1"),
    ):
        there = {row["label"] for row in rows if row["split"] == split}
        empty = [label for label in labels if label not in there]
        if empty:
            found.append(
                f"No {split} clip of {_named(list(map(repr, empty)))}: {effect}. Add clips, or rename or leave out the class "
                "(data.label_map, data.labels)."
            )
    return found


def _labels_alike(labels: Sequence[str]) -> list[str]:
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike["".join(part for part in label.casefold() if part.isalnum()) or label].append(label)
    return [
        f"The labels {', '.join(map(repr, names))} differ in case or punctuation only and count as different classes; "
        "data.label_map makes them one."
        for names in alike.values()
        if len(names) > 1
    ]


def _cut_groups(rows: Sequence[Mapping[str, str]]) -> list[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["group"]:
            splits[row["group"]].add(row["split"])
    cut = {group: sorted(found) for group, found in splits.items() if len(found) > 1}
    if not cut:
        return []
    examples = [f"{group!r} ({', '.join(found)})" for group, found in sorted(cut.items())]
    return [
        f"{len(cut)} of {len(splits)} groups have clips in several splits: {_named(examples)}. A model can know the group instead "
        "of the class, so that test scores may be too good. A column of splits keeps groups apart."
    ]


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return f"{', '.join(names[:NAMED])}{f' and {more} more' if more > 0 else ''}"
