"""Shared set-up: a real local Ray, a small rendered data set, and the demo's base VLM."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rbft_ray.core.resources import Cluster
from rbft_ray.io.clips import ClipFrames

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of several processes on one core wait for one another


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Files with long tests first: the short ones fill the gaps at the end."""
    long = {item.path for item in items if item.get_closest_marker("ray") or "ray_cluster" in item.fixturenames}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def base_dir() -> str:
    """The base VLM that comes with the package."""
    from rbft_ray.demo import BASE_DIR

    return str(BASE_DIR)


@pytest.fixture(scope="session")
def vlm(base_dir: str):
    """The base VLM, loaded in fp32."""
    from rbft_ray.model.vlm import load

    return load(base_dir, dtype="float32")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered domain: 16 training, 4 validation and 8 test clips, as an ordinary data set."""
    from rbft_ray.demo.world import write_world

    out = tmp_path_factory.mktemp("world")
    write_world(out, domain_seed=3, train_per_class=(4, 4, 4, 4), val_per_class=1, test_per_class=2)
    return out


@pytest.fixture(scope="session")
def clips(world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The ingested training clips of the rendered domain."""
    from rbft_ray.core.config import DataConfig
    from rbft_ray.core.sampling import SamplingContract
    from rbft_ray.core.schema import CLIPS
    from rbft_ray.io import storage
    from rbft_ray.io.clips import CLIPS_TABLE, list_clips
    from rbft_ray.pipeline.dataset import load_dataset
    from rbft_ray.runtime.blocks import part
    from rbft_ray.stages.ingest import ingest_row

    out = str(tmp_path_factory.mktemp("ingest"))
    rows = load_dataset(DataConfig(manifest=str(world / "manifest.csv")), seed=0).rows
    kept = [ingest_row(row, SamplingContract(max_pixels=84 * 84))[0] for row in rows]
    storage.write_table(part(out, CLIPS_TABLE, 0), kept, CLIPS)
    return list_clips(out, ["train"])


@pytest.fixture(scope="session")
def random_clips() -> list[ClipFrames]:
    """Clips of noise in two shapes and at several frame rates."""
    rng = np.random.default_rng(0)
    sizes = [(8, 84, 84), (8, 84, 84), (6, 84, 112), (8, 84, 84)]
    return [
        ClipFrames(rng.integers(0, 255, (*size, 3), dtype=np.uint8), fps)
        for size, fps in zip(sizes, (2.0, 0.5, 1.0, 4.0), strict=True)
    ]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Cluster]:
    """A local Ray for the whole test session; a worker group stays for the next training, as in a run."""
    from rbft_ray.core.config import RayConfig
    from rbft_ray.runtime.kept_group import kept_groups
    from rbft_ray.runtime.session import ray_session

    with ray_session(RayConfig(address="local")) as cluster, kept_groups():
        yield cluster
