"""What a manifest holds, on the terminal before a run: clips by class and split, and what is wrong with them."""

from collections import Counter

from rich.markup import escape
from rich.table import Table

from rbft_ray.core.data_checks import data_warnings
from rbft_ray.core.errors import StorageError
from rbft_ray.core.labels import Row
from rbft_ray.core.schema import SPLITS
from rbft_ray.io import storage
from rbft_ray.pipeline.dataset import Dataset
from rbft_ray.runtime.progress import console

MOST_CLASSES = 30  # that the table shows


def print_data(dataset: Dataset) -> None:
    """The clips of each class and split, then a line for each thing to mend."""
    counts = Counter((row["label"], row["split"]) for row in dataset.rows)
    table = Table(title=f"{len(dataset.rows)} clips, {len(dataset.labels)} classes")
    table.add_column("class")
    for split in SPLITS:
        table.add_column(split, justify="right")
    for label in dataset.labels[:MOST_CLASSES]:
        table.add_row(escape(label), *(str(counts[label, split]) for split in SPLITS))
    if more := dataset.labels[MOST_CLASSES:]:
        table.add_row(f"{len(more)} more", *(str(sum(counts[label, split] for label in more)) for split in SPLITS))
    console.print(table)
    for line in (
        *missing_videos(dataset),
        *refused(dataset),
        *unmapped(dataset),
        *data_warnings(dataset.rows, dataset.labels),
    ):
        console.print(f"[yellow]![/yellow] {escape(line)}", soft_wrap=True)


def missing_videos(dataset: Dataset) -> list[str]:
    """A sentence where videos are not there."""
    lost = [row for row in dataset.rows if dataset.sizes[row["id"]] is None and not _is_there(row)]
    if not lost:
        return []
    where = "data.video_root and data.video say where videos lie"
    return [f"{len(lost)} of {len(dataset.rows)} videos are not there, such as {lost[0]['video']}; {where}."]


def _is_there(row: Row) -> bool:
    try:
        return storage.exists(row["video"])
    except (OSError, StorageError):
        return False


def unmapped(dataset: Dataset) -> list[str]:
    """A sentence where `data.label_map` renames labels that are not there."""
    if not dataset.unmapped:
        return []
    names = ", ".join(map(repr, dataset.unmapped))
    return [f"data.label_map: no row has the label {names}; the labels are {', '.join(map(repr, dataset.labels))}."]


def refused(dataset: Dataset) -> list[str]:
    """A sentence for each reason for which rows of the manifest cannot be used."""
    first = {row["reason"]: row for row in reversed(dataset.rejects)}
    counts = Counter(row["reason"] for row in dataset.rejects)
    return [
        f"{count} rows of the manifest are rejected as {reason}, such as {first[reason]['id']!r}: {first[reason]['detail']}."
        for reason, count in counts.most_common()
    ]
