"""`rbft serve`: finds the model of a finished run and keeps the endpoint up until it is stopped."""

import contextlib
import io
import logging
import os
import pathlib
import posixpath
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from rbft_ray.core.card import CARD_FILE
from rbft_ray.core.errors import ConfigError, DataError, RbftError, ResourceError
from rbft_ray.core.resources import missing
from rbft_ray.io import storage
from rbft_ray.pipeline.run_files import RUN_FILE, finished_run
from rbft_ray.pipeline.settings import parse_config, with_overrides
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import cluster_address, ray_session, replica_needs
from rbft_ray.stages.evaluate import CALIBRATION_FILE
from rbft_ray.stages.serve import ServeArguments, application
from rbft_ray.stages.train import MODEL_DIR

APPLICATION = "rbft"  # of Ray Serve
POLL_SEC = 0.2


class Found(NamedTuple):
    """calibration: of the run's own evaluation, as other runs may share the model; config, root: of the run, its storage root."""

    model_dir: str
    calibration: str | None
    config: dict[str, Any]
    root: str | None = None


def find_model(run_dir: str) -> Found:
    """What to serve, of `runs/NAME` or of a model directory with its card.

    Raises:
        DataError: neither a finished run nor a classifier.
    """
    place = run_dir if storage.scheme(run_dir) else str(pathlib.Path(run_dir).expanduser().resolve())
    if storage.exists(storage.join(place, CARD_FILE)):
        return Found(place, None, {})
    if not storage.exists(storage.join(place, RUN_FILE)):
        raise DataError(
            f"{place}: neither a finished run (no {RUN_FILE}) nor a classifier (no {CARD_FILE}); run `rbft run` first"
        )
    run = finished_run(place)
    model_dir = storage.join(run.steps["train_rb_ft"], MODEL_DIR)
    return Found(
        model_dir, storage.join(run.steps["evaluate_rb_ft"], CALIBRATION_FILE), run.config, posixpath.dirname(place)
    )


def serve_run(run_dir: str, overrides: Sequence[str]) -> None:
    """Serves until SIGINT or SIGTERM.

    Raises:
        DataError: there is nothing to serve.
        ConfigError: the port is taken.
        ResourceError: the cluster has no place for the replicas.
        RbftError: the cluster serves something already, or the replicas do not start.
    """
    found = find_model(run_dir)
    config = parse_config(with_overrides(dict(found.config), overrides))
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    replicas, stopped = config.serve.replicas, threading.Event()
    if cluster_address(config.ray) == "local":
        check_port(config.serve.host, config.serve.port)
    with ray_session(config.ray) as cluster:
        needs = replica_needs(replicas, config.ray, cluster, min_replicas=replicas)
        if lacking := missing(needs, cluster):
            raise ResourceError(f"serve.replicas: the cluster has no place for {replicas} replicas: {lacking}")
        if running := list(serve.status().applications):
            raise RbftError(
                f"the cluster serves {', '.join(running)} already; stop that, or add this model to its Serve config file "
                "(cluster/rayservice.yaml has one)"
            )
        arguments = ServeArguments(
            model_dir=found.model_dir,
            calibration=found.calibration,
            model=config.model,
            serve=config.serve,
            gpus=needs.gpus,
            threads=needs.threads,
        )
        app = application(arguments)
        for name in (signal.SIGINT, signal.SIGTERM):  # after Ray has set its own, before the endpoint can answer
            signal.signal(name, lambda *_: stopped.set())
        try:
            serve.start(http_options={"host": config.serve.host, "port": config.serve.port})
            serve.run_many([serve.RunTarget(app, APPLICATION, "/")], wait_for_applications_running=False)
            if _is_up(stopped):
                address = f"http://{config.serve.host}:{config.serve.port}"
                console.print(
                    f"serving {found.model_dir}\n  curl -F video=@clip.mp4 {address}/v1/classify\nstop with Ctrl-C"
                )
            stopped.wait()
        finally:
            with contextlib.redirect_stdout(io.StringIO()):  # Ray tells that the controller ended in ending itself
                serve.shutdown()


def check_port(host: str, port: int) -> None:
    """Raises ConfigError where another process listens there: Ray Serve would share the port with it, request by request."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended are no listener
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"serve.port: {host}:{port} cannot be had ({error.strerror}); choose another with --set serve.port={port + 1}"
            ) from None


def _is_up(stopped: threading.Event) -> bool:
    """Waits until the application runs; False where it is stopped before.

    Raises:
        RbftError: a replica does not start.
    """
    from ray import serve

    while not stopped.wait(POLL_SEC):
        found = serve.status().applications[APPLICATION]
        if found.status == "RUNNING":
            return True
        if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise RbftError(f"the classifier does not start: {' '.join(found.message.split())[-1000:]}")
    return False
