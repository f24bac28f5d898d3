"""Which base model a name means, where its files are, and its identity."""

import functools
import hashlib
import pathlib

from rbft_ray.core.errors import DataError
from rbft_ray.io import storage

DEMO_BASE = "demo"
_OF_A_MODEL = {".json", ".safetensors", ".jinja", ".txt", ".model", ".bin"}
_WHOLE_BELOW_BYTES = 64 << 20
_SAMPLES, _SAMPLE_BYTES = 4096, 4096  # of a larger file, evenly spaced: a tensor of some MB that has changed is seen


def resolve_base(base: str, demo_dir: str) -> str:
    """A local directory or a hub id; 'demo' is the base VLM that comes with the package, in `demo_dir`.

    Raises:
        DataError: a path that is no model directory.
    """
    path = pathlib.Path(demo_dir if base == DEMO_BASE else base).expanduser()
    if (path / "config.json").is_file():
        return str(path.resolve())
    looks_like_path = base == DEMO_BASE or base.startswith((".", "/", "~")) or base.count("/") != 1 or path.exists()
    if looks_like_path:
        raise DataError(f"model.base: {path} is no model directory (it has no config.json)")
    return base


def local_base(base: str) -> str:
    """What libraries load: a directory or hub id as it is; of a URI, such as a trained model's, a copy on this node."""
    return storage.node_copy(base, "models")


def base_identity(base: str, revision: str | None) -> str:
    """A hash of a local model's files, or the hub id with its revision. Large files are sampled all along."""
    folder = pathlib.Path(base)
    if not folder.is_dir():
        return f"hub:{base}@{revision or 'main'}"
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix in _OF_A_MODEL]
    return f"sha256:{_digest(tuple((path, (found := path.stat()).st_size, found.st_mtime_ns) for path in files))[:16]}"


@functools.lru_cache(maxsize=8)
def _digest(files: tuple[tuple[pathlib.Path, int, int], ...]) -> str:
    """SHA-256 of (path, bytes, time of change) of each; the time is for the cache alone."""
    digest = hashlib.sha256()
    for path, size, _changed in files:
        digest.update(f"{path.name}\n{size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BELOW_BYTES:
                digest.update(file.read())
            else:
                for number in range(_SAMPLES):
                    file.seek(number * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
