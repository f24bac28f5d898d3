"""`rbft serve`: finds the model of a finished run and keeps the endpoint up until it is stopped."""

import os
import pathlib
import signal
import threading
from collections.abc import Sequence
from typing import NamedTuple

from rbft_ray.core.card import CARD_FILE
from rbft_ray.core.errors import DataError
from rbft_ray.io import storage
from rbft_ray.pipeline.runner import RUN_FILE
from rbft_ray.pipeline.settings import parse_config, with_overrides
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import ray_session, replica_needs
from rbft_ray.stages.evaluate import CALIBRATION_FILE
from rbft_ray.stages.serve import ServeArguments, application
from rbft_ray.stages.train import MODEL_DIR


class Found(NamedTuple):
    """calibration: of the run's own evaluation, as other runs may share the model; config: of the run."""

    model_dir: str
    calibration: str | None
    config: dict[str, object]


def find_model(run_dir: str) -> Found:
    """What to serve, of `runs/NAME` or of a model directory with its card.

    Raises:
        DataError: neither a finished run nor a classifier.
    """
    place = run_dir if storage.scheme(run_dir) else str(pathlib.Path(run_dir).expanduser().resolve())
    if storage.exists(storage.join(place, CARD_FILE)):
        return Found(place, None, {})
    if storage.exists(storage.join(place, RUN_FILE)):
        run = storage.read_json(storage.join(place, RUN_FILE))
        model_dir = storage.join(run["steps"]["train_rb_ft"], MODEL_DIR)
        return Found(model_dir, storage.join(run["steps"]["evaluate_rb_ft"], CALIBRATION_FILE), run["config"])
    raise DataError(
        f"{place}: neither a finished run (no run.json) nor a classifier (no {CARD_FILE}); run `rbft run` first"
    )


def serve_run(run_dir: str, overrides: Sequence[str]) -> None:
    """Serves until SIGINT or SIGTERM."""
    found = find_model(run_dir)
    config = parse_config(with_overrides(dict(found.config), overrides))
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    from ray import serve

    stopped = threading.Event()
    with ray_session(config.ray) as cluster:
        for name in (signal.SIGINT, signal.SIGTERM):  # after Ray has set its own, before the endpoint can answer
            signal.signal(name, lambda *_: stopped.set())
        gpus = replica_needs(config.serve.replicas, config.ray, cluster).gpus
        arguments = ServeArguments(
            model_dir=found.model_dir,
            calibration=found.calibration,
            model=config.model,
            serve=config.serve,
            gpus=gpus,
        )
        app = application(arguments)
        serve.start(http_options={"host": config.serve.host, "port": config.serve.port})
        serve.run(app, name="rbft", route_prefix="/", blocking=False)
        address = f"http://{config.serve.host}:{config.serve.port}"
        console.print(f"serving {found.model_dir}\n  curl -F video=@clip.mp4 {address}/v1/classify\nstop with Ctrl-C")
        stopped.wait()
        serve.shutdown()
