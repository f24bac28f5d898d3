"""What replicas ask of a cluster."""

import pytest

from rbft_ray.core.config import RayConfig, RunConfig
from rbft_ray.core.errors import ConfigError
from rbft_ray.core.resources import Cluster, Needs
from rbft_ray.model import vllm_build
from rbft_ray.pipeline.needs import evaluation_needs, feature_needs, rationale_needs, training_needs
from rbft_ray.pipeline.settings import parse_config
from rbft_ray.runtime import session
from rbft_ray.runtime.session import ray_session, replica_needs
from rbft_ray.runtime.worker_group import worker_environment

CPUS = Cluster(({"CPU": 16.0},))
GPUS = Cluster(({"CPU": 16.0, "GPU": 3.0}, {"CPU": 16.0, "GPU": 3.0}))


@pytest.fixture
def cuda_stack(monkeypatch):
    """The packages of this machine as if they could use GPUs."""
    for module in (session, vllm_build):
        monkeypatch.setattr(module, "is_cpu_build", lambda: False)


@pytest.mark.parametrize(
    ("cluster", "replicas", "threads"),
    [
        (Cluster(({"CPU": 2.0},)), 1, 2),
        (Cluster(({"CPU": 2.0},)), 2, 1),
        (Cluster(({"CPU": 2.0},)), 5, 1),
        (CPUS, 3, 5),
        (Cluster(({"CPU": 16.0},) * 4), 2, 16),
        (Cluster(()), 1, 1),
    ],
)
def test_replicas_without_gpus_share_the_threads_of_their_nodes(cluster, replicas, threads):
    needs = replica_needs(replicas, RayConfig(), cluster)
    assert (needs.workers, needs.cpus, needs.threads) == (replicas, 1.0, threads)


def test_gpus_are_asked_for_where_they_are_wanted_or_there(cuda_stack):
    assert replica_needs(1, RayConfig(), GPUS, gpus_each=2) == Needs(1, gpus=2.0)
    assert replica_needs(1, RayConfig(use_gpu=False), GPUS).gpus == 0.0
    assert replica_needs(1, RayConfig(use_gpu=True), CPUS).gpus == 1.0


def test_the_cpu_stack_leaves_gpus_alone():
    assert replica_needs(1, RayConfig(), GPUS).gpus == 0.0


def needs_of(cluster: Cluster, **settings: dict[str, object]) -> dict[str, tuple[int, int]]:
    """(most, least) processes of the steps."""
    config: RunConfig = parse_config(settings)
    steps = {
        "rationales": rationale_needs,
        "features": feature_needs,
        "training": training_needs,
        "evaluation": evaluation_needs,
    }
    found = {name: needs(config, cluster) for name, needs in steps.items()}
    return {name: (needs.workers, needs.min_workers) for name, needs in found.items()}


def test_without_numbers_all_gpus_are_used(cuda_stack):
    assert needs_of(GPUS) == {"rationales": (6, 1), "features": (6, 1), "training": (6, 6), "evaluation": (6, 1)}
    one = Cluster(({"CPU": 8.0, "GPU": 1.0},))
    assert needs_of(one) == {"rationales": (1, 1), "features": (1, 1), "training": (1, 1), "evaluation": (1, 1)}
    assert needs_of(GPUS, rationalize={"tensor_parallel": 2})["rationales"] == (2, 1)  # one on each node
    assert needs_of(GPUS, train={"stage1": {"global_batch": 4}})["training"] == (4, 4)
    assert needs_of(GPUS, train={"workers": 2})["training"] == (2, 2)
    assert needs_of(GPUS, train={"min_workers": 2})["training"] == (6, 2)


def test_without_numbers_and_gpus_few_processes_share_the_cpus():
    assert needs_of(CPUS) == {"rationales": (1, 1), "features": (2, 1), "training": (2, 2), "evaluation": (2, 1)}
    assert needs_of(Cluster(({"CPU": 1.0},)))["training"] == (1, 1)


def test_gpus_that_the_installed_packages_cannot_use_are_said(capsys):
    session._check_stack(RayConfig(use_gpu=False), GPUS)
    session._check_stack(RayConfig(use_gpu=True), CPUS)  # the lack of GPUs is said elsewhere
    assert capsys.readouterr().out == ""
    session._check_stack(RayConfig(), GPUS)
    assert "6 GPUs are not used: the CPU stack is installed" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ConfigError, match="GPU=1"):
        session._check_stack(RayConfig(use_gpu=True), GPUS)


def test_vllm_for_gpus_is_not_started_without_any(cuda_stack):
    assert "VLLM_CPU_KVCACHE_SPACE" not in vllm_build.vllm_environment(gpu=True)
    with pytest.raises(ConfigError, match=r"ray\.use_gpu"):
        vllm_build.vllm_environment(gpu=False)


@pytest.mark.ray
def test_a_session_tells_the_resources_of_its_nodes(ray_cluster):
    with ray_session(RayConfig(address="local")) as cluster:
        assert cluster == ray_cluster and len(cluster.nodes) == 1 and cluster.total("CPU") >= 1


def test_workers_without_gpus_see_none():
    hidden = {"env_vars": {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}}
    assert worker_environment(Needs(2), GPUS) == hidden
    assert worker_environment(Needs(2, gpus=1.0), GPUS) == {}
    assert worker_environment(Needs(2), CPUS) == {}
