"""`rbft serve`: finds the model of a finished run and keeps the endpoint up until it is stopped."""

import os
import pathlib
import signal
import threading
from collections.abc import Sequence

from rbft_ray.core.card import CARD_FILE
from rbft_ray.core.errors import DataError
from rbft_ray.io import storage
from rbft_ray.pipeline.runner import RUN_FILE
from rbft_ray.pipeline.settings import parse_config, with_overrides
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import ray_session, replica_needs
from rbft_ray.stages.serve import ServeArguments, application
from rbft_ray.stages.train import MODEL_DIR


def find_model(run_dir: str) -> tuple[str, dict[str, object]]:
    """(model directory, configuration of the run) of `runs/NAME`, or of a model directory with its card.

    Raises:
        DataError: neither a finished run nor a classifier.
    """
    path = pathlib.Path(run_dir).expanduser().resolve()
    if (path / CARD_FILE).is_file():
        return str(path), {}
    if (path / RUN_FILE).is_file():
        run = storage.read_json(str(path / RUN_FILE))
        return storage.join(run["steps"]["train_rb_ft"], MODEL_DIR), run["config"]
    raise DataError(
        f"{path}: neither a finished run (no run.json) nor a classifier (no {CARD_FILE}); run `rbft run` first"
    )


def serve_run(run_dir: str, overrides: Sequence[str]) -> None:
    """Serves until SIGINT or SIGTERM."""
    model_dir, values = find_model(run_dir)
    config = parse_config(with_overrides(dict(values), overrides))
    os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
    from ray import serve

    stopped = threading.Event()
    with ray_session(config.ray) as cluster:
        for name in (signal.SIGINT, signal.SIGTERM):  # after Ray has set its own, before the endpoint can answer
            signal.signal(name, lambda *_: stopped.set())
        gpus = replica_needs(config.serve.replicas, config.ray, cluster).gpus
        arguments = ServeArguments(model_dir=model_dir, model=config.model, serve=config.serve, gpus=gpus)
        app = application(arguments)
        serve.start(http_options={"host": config.serve.host, "port": config.serve.port})
        serve.run(app, name="rbft", route_prefix="/", blocking=False)
        address = f"http://{config.serve.host}:{config.serve.port}"
        console.print(f"serving {model_dir}\n  curl -F video=@clip.mp4 {address}/v1/classify\nstop with Ctrl-C")
        stopped.wait()
        serve.shutdown()
