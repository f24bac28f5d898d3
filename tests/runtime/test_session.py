"""What replicas ask of a cluster."""

import pytest

from rbft_ray.core.config import RayConfig
from rbft_ray.core.resources import Needs
from rbft_ray.runtime.session import replica_needs
from rbft_ray.runtime.worker_group import worker_environment


@pytest.mark.parametrize(
    ("cluster", "replicas", "threads"),
    [
        ({"CPU": 2.0}, 1, 2),
        ({"CPU": 2.0}, 2, 1),
        ({"CPU": 2.0}, 5, 1),
        ({"CPU": 16.0, "node:10.0.0.1": 1.0, "node:__internal_head__": 1.0}, 3, 5),
        ({"CPU": 64.0, **{f"node:10.0.0.{n}": 1.0 for n in range(4)}}, 2, 16),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 1),
        ({}, 1, 1),
    ],
)
def test_replicas_without_gpus_share_the_threads_of_their_nodes(cluster, replicas, threads):
    needs = replica_needs(replicas, RayConfig(), cluster)
    assert (needs.workers, needs.cpus, needs.threads) == (replicas, 1.0, threads)


def test_gpus_are_asked_for_where_they_are_wanted_or_there():
    assert replica_needs(1, RayConfig(), {"CPU": 8.0, "GPU": 2.0}, gpus_each=2).gpus == 2.0
    assert replica_needs(1, RayConfig(use_gpu=False), {"CPU": 8.0, "GPU": 2.0}).gpus == 0.0
    assert replica_needs(1, RayConfig(use_gpu=True), {"CPU": 8.0}).gpus == 1.0


def test_workers_without_gpus_see_none():
    hidden = {"env_vars": {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}}
    assert worker_environment(Needs(2), {"CPU": 16.0, "GPU": 2.0}) == hidden
    assert worker_environment(Needs(2, gpus=1.0), {"CPU": 16.0, "GPU": 2.0}) == {}
    assert worker_environment(Needs(2), {"CPU": 16.0}) == {}
