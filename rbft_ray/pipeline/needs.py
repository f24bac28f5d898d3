"""What each step asks of a cluster: its own settings where they say so, else all GPUs; the CPUs where there is none."""

import dataclasses

from rbft_ray.core.config import RunConfig
from rbft_ray.core.resources import Cluster, Needs
from rbft_ray.core.training_memory import zero_of
from rbft_ray.model.deepspeed import own_settings
from rbft_ray.runtime.session import replica_needs, threads_each

ON_CPUS = 2  # processes that train or score where there are no GPUs


def ingest_needs(config: RunConfig, cluster: Cluster) -> Needs:
    """Decoding processes: one per CPU, unless `ingest.workers` says otherwise."""
    return Needs(config.ingest.workers or max(1, int(cluster.total("CPU"))))


def rationale_needs(config: RunConfig, cluster: Cluster) -> Needs:
    """vLLM replicas of `rationalize.tensor_parallel` GPUs each."""
    own = config.rationalize
    return replica_needs(
        own.replicas, config.ray, cluster, gpus_each=own.tensor_parallel, min_replicas=own.min_replicas
    )


def training_needs(config: RunConfig, cluster: Cluster) -> Needs:
    """The workers of a training group: all of them, unless `train.min_workers` lets it go on with fewer.

    There are never more than samples in a global batch; offloaded Adam has the CPUs of its node.
    """
    own = config.train
    needs = replica_needs(own.workers, config.ray, cluster, on_cpus=min(ON_CPUS, max(1, int(cluster.total("CPU")))))
    workers = own.workers or min(needs.workers, own.stage1.global_batch, own.stage2.global_batch)
    offloads = zero_of(own, own_settings(own.deepspeed)).offload_optimizer
    return dataclasses.replace(
        needs,
        workers=workers,
        min_workers=own.min_workers or workers,
        threads=needs.threads if needs.gpus and not offloads else threads_each(workers, cluster),
    )


def feature_needs(config: RunConfig, cluster: Cluster) -> Needs:
    """As many processes as train, so that the group that trains can compute the vision features, too."""
    return dataclasses.replace(training_needs(config, cluster), min_workers=1)


def evaluation_needs(config: RunConfig, cluster: Cluster) -> Needs:
    """Scoring replicas."""
    return replica_needs(config.evaluate.replicas, config.ray, cluster, on_cpus=ON_CPUS)
