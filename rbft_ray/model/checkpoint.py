"""A training checkpoint as files: whole tensors by name, so that it fits any number of workers and ZeRO stage.

trained-00000.safetensors   weight/NAME, exp_avg/NAME, exp_avg_sq/NAME in fp32; shards of about 4 GiB
state.json                  written last: the sizes of the shards, and what the writer adds
"""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rbft_ray.core.errors import DataError, StorageError
from rbft_ray.io import storage

STATE_FILE = "state.json"
WEIGHT, MOMENTS = "weight", ("exp_avg", "exp_avg_sq")
SHARD_BYTES = 4 << 30

_log = logging.getLogger(__name__)


def write_checkpoint(folder: str, tensors: Iterable[tuple[str, str, torch.Tensor]], state: dict[str, Any]) -> None:
    """Writes (key, parameter's name, tensor) triples and then the state."""
    sizes: dict[str, int] = {}
    shard: dict[str, torch.Tensor] = {}
    held = 0

    def flush() -> None:
        file = Path(folder, f"trained-{len(sizes):05d}.safetensors")
        save_file(shard, str(file))
        sizes[file.name] = file.stat().st_size
        shard.clear()

    for key, name, tensor in tensors:
        shard[f"{key}/{name}"] = tensor.detach().float().cpu().clone()
        held += shard[f"{key}/{name}"].nbytes
        if held >= SHARD_BYTES:
            flush()
            held = 0
    if shard:
        flush()
    Path(folder, STATE_FILE).write_text(json.dumps({"shards": sizes, **state}), encoding="utf-8")


def read_state(uri: str) -> dict[str, Any]:
    """The state of a checkpoint, in a directory of any file system.

    Raises:
        DataError: the checkpoint is not whole.
    """
    file = storage.join(uri, STATE_FILE)
    if not storage.exists(file):
        raise DataError(f"checkpoint {uri}: {STATE_FILE} is missing, so it is not whole; delete it")
    state: dict[str, Any] = storage.read_json(file)
    for name, size in state["shards"].items():
        found = storage.size_bytes(storage.join(uri, name)) or 0
        if found != size:
            raise DataError(f"checkpoint {uri}: {name} has {found} of {size} bytes; delete the checkpoint")
    return state


def whole_checkpoints(uri: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(URI, state) of each checkpoint in a directory of checkpoints that is whole; others are left out with a warning."""
    for file in storage.list_files(uri, recursive=True):
        folder, _, name = file.rpartition("/")
        if name == STATE_FILE:
            try:
                yield storage.join(uri, folder), read_state(storage.join(uri, folder))
            except (DataError, StorageError) as error:
                _log.warning("%s", error)


def read_tensors(folder: str, wanted: Sequence[str] = (WEIGHT, *MOMENTS)) -> Iterator[tuple[str, str, torch.Tensor]]:
    """(key, parameter's name, fp32 tensor) of a local checkpoint, in an order that is the same for every reader."""
    for shard in sorted(read_state(folder)["shards"]):
        with safe_open(str(Path(folder, shard)), framework="pt") as file:
            for full in sorted(file.keys()):
                key, _, name = full.partition("/")
                if key in wanted:
                    yield key, name, file.get_tensor(full)


def load_weights(model: Any, folder: str) -> None:
    """Puts a checkpoint's weights into the trainable parameters of a model that is not under DeepSpeed.

    Raises:
        DataError: the checkpoint is not whole, or is of another model or other trained weights.
    """
    missing = {name: one for name, one in model.named_parameters() if one.requires_grad}
    with torch.no_grad():
        for _, name, tensor in read_tensors(folder, [WEIGHT]):
            parameter = missing.pop(name, None)
            if parameter is None or parameter.shape != tensor.shape:
                raise DataError(f"checkpoint {folder}: {name} {tuple(tensor.shape)} is no trained weight of this model")
            parameter.copy_(tensor)
    if missing:
        raise DataError(f"checkpoint {folder}: has not the trained weight {min(missing)} ({len(missing)} missing)")
