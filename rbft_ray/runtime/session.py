"""Joins the Ray cluster that the run is meant for, or starts a local one that ends with this process."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping

from rbft_ray.core.config import RayConfig
from rbft_ray.core.errors import ResourceError
from rbft_ray.core.resources import Needs

# Read by Ray when it is imported or started.
ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without GPUs sees what its parent saw
    "RAY_DEDUP_LOGS": "1",
}


def cluster_address(config: RayConfig) -> str:
    """Of the cluster that a session joins; 'local' where it starts one of its own."""
    return config.address or os.environ.get("RAY_ADDRESS") or "local"


@contextlib.contextmanager
def ray_session(config: RayConfig) -> Iterator[dict[str, float]]:
    """Yields the cluster's resources, such as {"CPU": 16.0, "GPU": 8.0}. A session that is already joined is kept.

    Raises:
        ResourceError: the named cluster does not answer.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    joined = ray.is_initialized()
    if not joined:
        address = cluster_address(config)
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
                configure_logging=True,
            )
        except (ConnectionError, RuntimeError) as error:
            raise ResourceError(f"ray.address: no Ray cluster answers at {address}: {error}") from error
    try:
        yield {name: float(value) for name, value in ray.cluster_resources().items()}
    finally:
        if not joined:
            ray.shutdown()


def replica_needs(
    replicas: int, config: RayConfig, cluster: Mapping[str, float], gpus_each: int = 1, min_replicas: int = 1
) -> Needs:
    """What up to `replicas` processes that hold a model need: GPUs where they are wanted or there, else CPUs alone.

    Without GPUs each computes with its share of a node's CPUs, but asks the scheduler for one only: a share that another job
    holds a part of would never come free.
    """
    wants_gpu = config.use_gpu if config.use_gpu is not None else cluster.get("GPU", 0) > 0
    gpus = float(gpus_each) if wants_gpu else 0.0
    threads = 1 if wants_gpu else threads_each(replicas, cluster)
    return Needs(replicas, cpus=1.0, gpus=gpus, min_workers=min_replicas, threads=threads)


def threads_each(processes: int, cluster: Mapping[str, float]) -> int:
    """The share of the cluster's CPUs of one of so many processes, no more than a node has."""
    nodes = max(1, sum(name.startswith("node:") and name != "node:__internal_head__" for name in cluster))
    return max(1, int(cluster.get("CPU", 1) / max(nodes, processes)))
