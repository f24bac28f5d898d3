"""What a run is about: rows, label set, task, and the identity of the data."""

import json
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rbft_ray.core.config import DataConfig, RunConfig
from rbft_ray.core.errors import ConfigError, DataError, StorageError
from rbft_ray.core.labels import Row, assign_splits, check_rows, label_set, limit_rows
from rbft_ray.core.prompt_checks import check_task_words
from rbft_ray.core.prompts import Task
from rbft_ray.core.schema import Reason
from rbft_ray.io import storage
from rbft_ray.io.manifests import STAGE, read_manifest


class Dataset(NamedTuple):
    """rows: with label and split; rejects: rows that cannot be used, before any video is opened.

    unmapped: names in `data.label_map` that no row has.
    sizes: of `with_sizes`: {id: bytes of the row's video}, None where it is not there or cannot be asked for.
    """

    rows: list[Row]
    rejects: list[Row]
    labels: tuple[str, ...]
    unmapped: tuple[str, ...] = ()
    sizes: Mapping[str, int | None] = MappingProxyType({})


def data_seed(config: RunConfig) -> int:
    """The seed of splits, of limits and of the demo world's clips."""
    return config.seed if config.data.seed is None else config.data.seed


def load_dataset(data: DataConfig, seed: int, labels: tuple[str, ...] | None = None) -> Dataset:
    """Reads the manifests and decides labels and splits.

    Raises:
        DataError: no usable row, too few labels, or a split without rows.
    """
    data = absolute_data(data)
    configured = labels or data.labels
    found, rejects = read_manifest(data)
    rows, refused = check_rows(
        found, labels=configured, label_map=data.label_map, split_names=data.split_names, stage=STAGE
    )
    if not rows:
        raise DataError(f"data.manifest: none of {len(found)} rows can be used; the first: {refused[0]['detail']}")
    ordered = label_set(rows, configured)
    try:
        parted = split_and_limited(rows, data, seed)
    except DataError as error:
        unknown = [row for row in refused if row["reason"] == Reason.UNKNOWN_SPLIT]
        more = f"; {len(unknown)} rows are of no known split, the first: {unknown[0]['detail']}" if unknown else ""
        raise DataError(f"data.split: {error}{more}") from None
    kept = sorted(parted, key=lambda row: row["id"])  # as `data_identity`: in whatever order they came
    unmapped = tuple(sorted(set(data.label_map) - {row["label"] for row in found}))
    return Dataset(kept, rejects + refused, ordered, unmapped)


def split_and_limited(rows: list[Row], data: DataConfig, seed: int) -> list[Row]:
    """The rows with a split each, at most `data.limit_per_split` of each split."""
    split_rows = assign_splits(
        rows, validation_fraction=data.validation_fraction, test_fraction=data.test_fraction, seed=seed
    )
    return limit_rows(split_rows, data.limit_per_split, seed)


def absolute_data(data: DataConfig) -> DataConfig:
    """`data` with local paths made absolute, as workers on the same machine have another working directory."""

    def absolute(uri: str) -> str:
        return uri if storage.scheme(uri) else str(pathlib.Path(uri).expanduser().resolve())

    manifest: Any = data.manifest
    if isinstance(manifest, Mapping):
        manifest = {split: absolute(uri) for split, uri in manifest.items()}
    elif manifest is not None:
        manifest = absolute(manifest)
    root = absolute(data.video_root) if data.video_root else None
    return data.model_copy(update={"manifest": manifest, "video_root": root})


def read_dataset(config: RunConfig) -> Dataset:
    """The data set of `config.data.manifest`, with the sizes of its videos: one question to their file system for each.

    Raises:
        DataError: as `load_dataset`.
    """
    return with_sizes(load_dataset(config.data, data_seed(config)))


def with_sizes(dataset: Dataset) -> Dataset:
    """`dataset` with the sizes of its videos."""
    return dataset._replace(sizes={row["id"]: _size_bytes(row["video"]) for row in dataset.rows})


def _size_bytes(uri: str) -> int | None:
    try:
        return storage.size_bytes(uri)
    except (OSError, StorageError):  # one row must not end the run; ingest rejects it with the reason
        return None


def data_identity(dataset: Dataset) -> str:
    """A hash of all rows: ids, labels, splits, groups, names below the root, and sizes of the videos (`with_sizes`).

    Not of where they lie.
    """
    facts = sorted(
        [row["id"], row["label"], row["split"], row["group"], row["relative"], dataset.sizes[row["id"]] or -1]
        for row in dataset.rows
    )
    refused = sorted([row["id"], row["reason"], row["detail"]] for row in dataset.rejects)
    return storage.sha256(json.dumps([facts, refused]).encode())


def make_task(config: RunConfig, labels: tuple[str, ...]) -> Task:
    """The task that every prompt of the run states.

    Raises:
        ConfigError: a definition or a cue is for a label that does not exist.
    """
    for field, given in (("definitions", config.task.definitions), ("cues", config.task.cues)):
        unknown = sorted(set(given) - set(labels))
        if unknown:
            raise ConfigError(f"task.{field}.{unknown[0]}: is no label; the label set is {list(labels)}")
    task = Task(labels, dict(config.task.definitions), config.task.role, config.task.guidance)
    check_task_words(task)
    return task
