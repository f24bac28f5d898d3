"""Labels and splits: pure decisions over manifest rows (dicts with id, video, label, split, group)."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.schema import SPLITS, Reason, reject

Row = dict[str, str]


def check_rows(
    rows: Iterable[Mapping[str, str]],
    *,
    labels: Sequence[str] | None,
    label_map: Mapping[str, str],
    split_names: Mapping[str, str],
    stage: str,
) -> tuple[list[Row], list[Row]]:
    """Splits rows into usable ones (label mapped, split renamed) and rejects. Every row ends in exactly one of the two.

    Names of splits may be in any case. A video that an earlier row has is a clip that is there already.
    """
    kept: list[Row] = []
    rejects: list[Row] = []
    by_id: dict[str, Row] = {}
    by_video: dict[str, Row] = {}
    known = {name.lower(): split for name, split in ({split: split for split in SPLITS} | dict(split_names)).items()}
    for row in rows:
        label = label_map.get(row["label"], row["label"])
        split = known.get(row["split"].lower(), row["split"])
        if earlier := by_id.get(row["id"]):
            rejects.append(_twice(row, stage, Reason.DUPLICATE_ID, "an earlier row has the same id", earlier, label))
        elif not label:
            rejects.append(reject(row, stage, Reason.NO_LABEL, "the row has no label"))
        elif labels is not None and label not in labels:
            detail = f"{label!r} is not in data.labels {list(labels)}; add it there or map it with data.label_map"
            rejects.append(reject(row, stage, Reason.UNKNOWN_LABEL, detail))
        elif split and split not in SPLITS:
            detail = f"{split!r} is none of {list(SPLITS)}; name it in data.split_names"
            rejects.append(reject(row, stage, Reason.UNKNOWN_SPLIT, detail))
        elif earlier := by_video.get(row["video"]):
            why = f"the row {earlier['id']!r} has the same video"
            rejects.append(_twice(row, stage, Reason.DUPLICATE_VIDEO, why, earlier, label))
        else:
            kept.append({**row, "label": label, "split": split})
            by_id[row["id"]] = by_video[row["video"]] = kept[-1]
    return kept, rejects


def _twice(row: Mapping[str, str], stage: str, reason: Reason, why: str, earlier: Row, label: str) -> Row:
    if earlier["label"] == label:
        return reject(row, stage, reason, f"{why}; a clip has one row")
    detail = f"{why}, under the label {earlier['label']!r} and not {label!r}; a clip has one label"
    return reject(row, stage, Reason.OTHER_LABEL, detail)


def label_set(rows: Iterable[Mapping[str, str]], configured: Sequence[str] | None) -> tuple[str, ...]:
    """The ordered label set: as configured, else the sorted labels of the rows.

    Raises:
        DataError: fewer than two labels, a repeated label, or labels that look like several joined by a comma.
    """
    labels = tuple(configured) if configured is not None else tuple(sorted({row["label"] for row in rows}))
    if len(set(labels)) != len(labels):
        raise DataError(f"data.labels names a label twice: {list(labels)}")
    if len(labels) < 2:
        raise DataError(f"a classifier needs at least two labels; the data have {list(labels)}")
    if configured is None:
        parts = {label: {part.strip() for part in label.split(",")} for label in labels}
        joined = [label for label, names in parts.items() if len(names) > 1 and names & (set(labels) - {label})]
        if joined:
            raise DataError(
                f"the label column looks multi-label ({joined[0]!r}): the task is one label per clip; "
                "choose one column or map the values with data.label_map"
            )
    return labels


def _order(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\n{group}".encode()).hexdigest()


def take_fraction(rows: Sequence[Row], fraction: float, seed: int) -> set[str]:
    """Ids of a seeded, stratified part of `rows`: about `fraction` of each label, never all of a label.

    Groups (a camera, a source video, of one label or several) stay whole as long as no label gets more than half too much by
    them. A label of which groups give less than half of what is wanted is filled up by single clips. A row without a group is its
    own group. The choice does not depend on the order of the rows.
    """
    of_label = Counter(row["label"] for row in rows)
    wanted = {label: fraction * count for label, count in of_label.items()}
    most = {label: min(max(1.0, 1.5 * wanted[label]), count - 1) for label, count in of_label.items()}
    taken: set[str] = set()
    drawn: Counter[str] = Counter()

    def draw(units: Mapping[str, list[Row]]) -> None:
        for unit in sorted(units, key=lambda unit: _order(seed, unit)):
            adds = Counter(row["label"] for row in units[unit])
            lacking = any(drawn[label] < wanted[label] for label in adds)
            if lacking and all(drawn[label] + count <= most[label] for label, count in adds.items()):
                taken.update(row["id"] for row in units[unit])
                drawn.update(adds)

    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["group"] or f"id {row['id']}"].append(row)
    draw(groups)
    short = {label for label in of_label if drawn[label] < wanted[label] / 2}
    draw({f"id {row['id']}": [row] for row in rows if row["label"] in short and row["id"] not in taken})
    return taken


def assign_splits(rows: Sequence[Row], *, validation_fraction: float, test_fraction: float, seed: int) -> list[Row]:
    """Gives every row a split. A named split stays; what is missing is cut, seeded and stratified.

    Without any split, test is cut from all and validation from the rest; with splits but without validation, validation is cut
    from train. The test split is never touched by the cut of validation.

    Raises:
        DataError: some rows have a split and others none, or no row is left for train or for test.
    """
    named = {row["split"] for row in rows}
    if "" in named and named != {""}:
        missing = [row["id"] for row in rows if not row["split"]]
        raise DataError(f"{len(missing)} rows have no split (first id: {missing[0]}) while others have one")
    out = [dict(row) for row in rows]
    if named == {""}:
        test = take_fraction(out, test_fraction, seed)
        for row in out:
            row["split"] = "test" if row["id"] in test else "train"
    if "validation" not in named:
        validation = take_fraction([row for row in out if row["split"] == "train"], validation_fraction, seed + 1)
        for row in out:
            row["split"] = "validation" if row["id"] in validation else row["split"]
    for split in ("train", "test"):
        if out and not any(row["split"] == split for row in out):
            if named == {""}:
                raise DataError(
                    f"no row is left for the {split} split: of {len(out)} rows none can be spared, as a label keeps one at least"
                )
            raise DataError(
                f"no row is in the {split} split; the rows name the splits {sorted(named)}. Add {split} rows, or set "
                "data.split: null to have splits cut from all rows"
            )
    return out


def take_each(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """`count` rows (or all, if there are fewer), about equally many of each label; seeded, in the order of the rows."""
    waiting = {
        label: sorted((row["id"] for row in rows if row["label"] == label), key=lambda row_id: _order(seed, row_id))
        for label in sorted({row["label"] for row in rows})
    }
    taken: set[str] = set()
    while len(taken) < min(count, len(rows)):
        for ids in waiting.values():
            if ids and len(taken) < count:
                taken.add(ids.pop())
    return [row for row in rows if row["id"] in taken]


def label_counts(each: int | tuple[int, ...], labels: Sequence[str]) -> dict[str, int]:
    """`data.train_per_class` by label: one number for all, or one of each.

    Raises:
        ConfigError: a list of another length than the labels.
    """
    counts = (each,) * len(labels) if isinstance(each, int) else each
    if len(counts) != len(labels):
        raise ConfigError(
            f"data.train_per_class: {len(counts)} numbers for the {len(labels)} labels {', '.join(labels)}"
        )
    return dict(zip(labels, counts, strict=True))


def take_of_labels(rows: Sequence[Row], counts: Mapping[str, int], seed: int) -> list[Row]:
    """`counts[label]` rows of each label (or all of it, if there are fewer); seeded, in the order of the rows.

    Fewer rows of a label are among those that a larger count takes.
    """
    return _first_of(rows, "label", counts, seed)


def limit_rows(rows: Sequence[Row], per_split: int | None, seed: int) -> list[Row]:
    """At most `per_split` rows of each split, a seeded draw that does not depend on the order of the rows."""
    return list(rows) if per_split is None else _first_of(rows, "split", dict.fromkeys(SPLITS, per_split), seed)


def _first_of(rows: Sequence[Row], field: str, counts: Mapping[str, int], seed: int) -> list[Row]:
    """For each value of `field` so many rows, the first in a seeded order; in the order of the rows."""
    taken: set[str] = set()
    for value, count in counts.items():
        ids = sorted((row["id"] for row in rows if row[field] == value), key=lambda row_id: _order(seed, row_id))
        taken.update(ids[:count])
    return [row for row in rows if row["id"] in taken]
