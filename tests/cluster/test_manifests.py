"""The files in cluster/ agree with the code: paths, versions, configuration keys, Serve arguments, resources."""

import importlib.metadata
import itertools
import pathlib
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from rbft_ray.core.card import CARD_FILE, make_card
from rbft_ray.core.config import RunConfig
from rbft_ray.core.prompts import Task
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.io import storage
from rbft_ray.pipeline.settings import load_config
from rbft_ray.stages import serve

ROOT = pathlib.Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
JOBS = ("rayjob.yaml", "rayjob-demo-cpu.yaml")
MANIFESTS = (*JOBS, "rayservice.yaml")


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text())


def ray_cluster(name: str) -> dict[str, Any]:
    spec = manifest(name)["spec"]
    return spec.get("rayClusterSpec") or spec["rayClusterConfig"]


def pods(name: str) -> Iterator[dict[str, Any]]:
    cluster = ray_cluster(name)
    for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())):
        yield group["template"]["spec"]


def worker_gpus(name: str, replicas: str) -> int:
    """GPUs of all workers when every group has its `replicas` (minReplicas, maxReplicas)."""
    return sum(
        group[replicas] * int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
        for group in ray_cluster(name).get("workerGroupSpecs", ())
    )


def entrypoint(name: str) -> list[str]:
    return shlex.split(manifest(name)["spec"]["entrypoint"])


def job_config(name: str) -> RunConfig:
    words = entrypoint(name)
    options = list(itertools.pairwise(words))
    (config,) = [value for option, value in options if option == "--config"]
    return load_config(str(ROOT / config), [value for option, value in options if option == "--set"])


def serve_arguments() -> serve.ServeArguments:
    (app,) = yaml.safe_load(manifest("rayservice.yaml")["spec"]["serveConfigV2"])["applications"]
    return serve.ServeArguments.model_validate(app["args"])


def image_paths() -> list[str]:
    """What the ignore file lets into the image."""
    lines = (CLUSTER / "Dockerfile.dockerignore").read_text().split()
    assert lines[0] == "*"
    return [line[1:] for line in lines if line.startswith("!")]


@pytest.mark.parametrize("path", image_paths())
def test_a_path_in_the_image_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_image_holds_what_make_install_reads() -> None:
    assert {"Makefile", "pyproject.toml", PROJECT["readme"], *PROJECT["license-files"]} <= set(image_paths())
    assert re.search(r"^install:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for stack in re.findall(r"^FROM \S+ AS (\w+)", DOCKERFILE, re.MULTILINE):
        assert (ROOT / "requirements" / f"{stack}.txt").is_file()


def test_the_image_has_the_cuda_release_of_the_lock() -> None:
    (locked,) = re.findall(r"^cuda-toolkit==([\d.]+)", (ROOT / "requirements/gpu.txt").read_text(), re.MULTILINE)
    (image,) = re.findall(r"nvidia/cuda:([\d.]+)-devel", DOCKERFILE)
    assert locked.startswith(f"{image}.")


def test_images_are_those_that_the_readme_builds() -> None:
    built = set(re.findall(r"docker build .*-t (\S+)", (CLUSTER / "README.md").read_text()))
    used = {name: {pod["containers"][0]["image"] for pod in pods(name)} for name in MANIFESTS}
    assert used["rayjob.yaml"] == used["rayservice.yaml"]
    assert set().union(*used.values()) == built
    assert {image.partition(":")[2] for image in built} == {f"{PROJECT['version']}-{stack}" for stack in ("gpu", "cpu")}
    assert all(image.endswith("-cpu") for image in used["rayjob-demo-cpu.yaml"])


@pytest.mark.parametrize("name", MANIFESTS)
def test_ray_version_is_the_installed_one(name: str) -> None:
    assert ray_cluster(name)["rayVersion"] == importlib.metadata.version("ray")


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_pod_shares_the_volume(name: str) -> None:
    claim, files = yaml.safe_load_all((CLUSTER / "volume.yaml").read_text())
    assert files["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    for pod in pods(name):
        sources = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: sources[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["/data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("name", JOBS)
def test_entrypoint_names_paths_of_the_image(name: str) -> None:
    paths = [word for word in entrypoint(name) if "/" in word and "=" not in word]
    assert len(paths) == 2
    for path in paths:
        assert (ROOT / path).is_file()
        assert path.split("/")[0] in image_paths()


@pytest.mark.parametrize("name", JOBS)
def test_job_keeps_its_results_on_the_volume(name: str) -> None:
    assert job_config(name).storage.startswith("/data/")


def test_job_has_the_gpus_that_its_configuration_asks_for() -> None:
    config = job_config("rayjob.yaml")
    assert config.ray.use_gpu
    gpus = worker_gpus("rayjob.yaml", "minReplicas")
    assert gpus == config.train.workers
    assert config.rationalize.replicas is None and config.evaluate.replicas is None  # all of them


def test_serve_config_deploys_the_classifier(tmp_path: pathlib.Path) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(manifest("rayservice.yaml")["spec"]["serveConfigV2"]))
    (app,) = config.applications
    module, _, builder = app.import_path.partition(":")
    assert (module, getattr(serve, builder)) == (serve.__name__, serve.application)

    task = Task(("a", "b"), {"a": "first", "b": "second"})
    card = make_card("rb_ft", task, SamplingContract(), base="base", base_identity="-", data_identity="-")
    storage.write_bytes(str(tmp_path / CARD_FILE), card.model_dump_json().encode())
    storage.write_bytes(str(tmp_path / "calibration.json"), card.calibration.model_dump_json().encode())
    own = {"model_dir": str(tmp_path), "calibration": str(tmp_path / "calibration.json")}
    built = serve.application(serve_arguments().model_copy(update=own))
    (deployment,) = app.deployments
    assert deployment.name == built._bound_deployment.name


def test_service_has_a_gpu_for_every_replica() -> None:
    (app,) = yaml.safe_load(manifest("rayservice.yaml")["spec"]["serveConfigV2"])["applications"]
    (deployment,) = app["deployments"]
    scaling, gpus = deployment["autoscaling_config"], serve_arguments().gpus
    assert scaling["min_replicas"] * gpus <= worker_gpus("rayservice.yaml", "minReplicas")
    assert scaling["max_replicas"] * gpus <= worker_gpus("rayservice.yaml", "maxReplicas")


def test_service_loads_weights_as_the_job_was_evaluated() -> None:
    assert serve_arguments().model.dtype == job_config("rayjob.yaml").model.dtype


def test_the_service_has_the_model_and_calibration_that_the_readme_copies(tmp_path: pathlib.Path) -> None:
    """The README's snippet, with /data in a temporary directory."""
    data = tmp_path / "data"
    steps = {name: data / name for name in ("train_rb_ft", "evaluate_rb_ft")}
    for folder in (steps["train_rb_ft"] / "model", steps["evaluate_rb_ft"], data / "runs" / "qwen2.5-vl-7b"):
        folder.mkdir(parents=True)
    (steps["train_rb_ft"] / "model" / CARD_FILE).write_text("{}")
    (steps["evaluate_rb_ft"] / "calibration.json").write_text("{}")
    storage.write_json(
        str(data / "runs/qwen2.5-vl-7b/run.json"), {"steps": {name: str(at) for name, at in steps.items()}}
    )
    (snippet,) = re.findall(r'python -c "\n(.*?)"\n', (CLUSTER / "README.md").read_text(), re.DOTALL)
    exec(textwrap.dedent(snippet).replace("/data/", f"{data}/"))
    arguments = serve_arguments()
    assert (tmp_path / arguments.model_dir.lstrip("/") / CARD_FILE).is_file()
    assert arguments.calibration and (tmp_path / arguments.calibration.lstrip("/")).is_file()


def test_the_service_writes_rationales_as_long_as_the_job() -> None:
    assert serve_arguments().serve.max_rationale_tokens == job_config("rayjob.yaml").serve.max_rationale_tokens
