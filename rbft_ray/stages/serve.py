"""The classifier as a Ray Serve application: a model directory with its card -> replicas behind `serve_http`."""

from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from rbft_ray.core.card import CARD_FILE, Calibration, ClassifierCard, parse_card
from rbft_ray.core.config import ModelConfig, ServeConfig
from rbft_ray.core.errors import DataError, EngineError
from rbft_ray.core.prompts import label_prompt, rationale_prompt
from rbft_ray.core.rationale_checks import parse_answer
from rbft_ray.io import storage
from rbft_ray.io.clips import ClipFrames
from rbft_ray.io.video import Clip, decode_frames
from rbft_ray.model import engine
from rbft_ray.model.vlm import load
from rbft_ray.stages.serve_http import http_app

STARTS = 3  # tries to load the model
MAX_ONGOING_REQUESTS = 16  # of a replica: the model takes one at a time, the others wait or are decoded


def read_card(model_dir: str, calibration: str | None = None) -> ClassifierCard:
    """The card in a model directory.

    Args:
        calibration: calibration.json of an evaluation, in place of the card's: that of the last run which evaluated the model.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    uri = storage.join(model_dir, CARD_FILE)
    if not storage.exists(uri):
        raise DataError(f"{uri}: missing; a server needs the model directory of a stage-2 training step")
    card = parse_card(storage.read_bytes(uri), uri)
    if calibration is None:
        return card
    return card.model_copy(update={"calibration": Calibration.model_validate(storage.read_json(calibration))})


class Classifier:
    """One replica: the model in memory. device: 'cpu' or 'cuda'."""

    def __init__(
        self,
        model_dir: str,
        model: ModelConfig,
        config: ServeConfig,
        device: str = "cpu",
        calibration: str | None = None,
    ):
        self.card = read_card(model_dir, calibration)
        self._task, self._config = self.card.task(), config
        self._engine = engine.TransformersEngine(load(model_dir, dtype=model.dtype, device=device))

    def classify(self, sampled: Clip, *, explain: bool) -> dict[str, Any]:
        """For a clip that was sampled by the card's contract: label, whether the classifier abstains, {label: probability}.

        With `explain` also the rationale, which answers another prompt: the class that it ends with (None where it names none) may
        be another than the label. Without it these are None.

        Raises:
            EngineError: the model gives no finite scores.
        """
        clip = ClipFrames(decode_frames(sampled.frames), sampled.fps)
        scores = self._engine.score([clip], label_prompt(self._task), self._task.labels)
        if not np.isfinite(scores).all():
            raise EngineError(
                "the model's scores are not finite; model.dtype bfloat16 or float32 has the range for them"
            )
        probabilities = self.card.calibration.posterior(scores)[0]
        return {
            "label": self._task.labels[int(probabilities.argmax())],
            "abstained": self.card.calibration.abstains(probabilities),
            "probabilities": dict(zip(self._task.labels, probabilities.tolist(), strict=True)),
            **self._rationale(clip, explain),
            "video": {
                "duration_sec": sampled.duration_sec,
                "frame_times_sec": sampled.frame_times_sec,
                "width_px": sampled.width_px,
                "height_px": sampled.height_px,
            },
        }

    def _rationale(self, clip: ClipFrames, explain: bool) -> dict[str, Any]:
        if not explain:
            return {"rationale": None, "rationale_label": None, "rationale_truncated": None}
        request = engine.Request(clip, rationale_prompt(self._task))
        (written,) = self._engine.generate([request], max_tokens=self._config.max_rationale_tokens, temperature=0.0)
        return {
            "rationale": written.text,
            "rationale_label": parse_answer(written.text, self._task.labels)[1],
            "rationale_truncated": written.truncated,
        }


class ServeArguments(BaseModel):
    """Arguments of the Serve application `rbft_ray.stages.serve:application` in a Serve config file.

    gpus: of each replica; without, it computes on the CPU with so many `threads`.
    """

    model_config = ConfigDict(extra="forbid")

    model_dir: str
    calibration: str | None = None
    model: ModelConfig = ModelConfig()
    serve: ServeConfig = ServeConfig()
    gpus: float = 0.0
    threads: int = 1


def application(arguments: ServeArguments) -> Any:
    """The Ray Serve application, for `serve.run` or a Serve config file.

    Raises:
        DataError: the directory has no classifier card that can be read.
    """
    from ray import serve

    read_card(arguments.model_dir, arguments.calibration)

    def build() -> FastAPI:
        device = "cuda" if arguments.gpus else "cpu"
        classifier = Classifier(arguments.model_dir, arguments.model, arguments.serve, device, arguments.calibration)
        return http_app(classifier, arguments.serve.max_upload_mib)

    @serve.deployment(
        name="classifier",
        num_replicas=arguments.serve.replicas,
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_constructor_retry_count=STARTS,
        ray_actor_options={
            "num_cpus": 1,
            "num_gpus": arguments.gpus,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(arguments.threads)}},
        },
    )
    @serve.ingress(build)
    class ClassifierDeployment:
        """The replica that Ray Serve runs."""

    return ClassifierDeployment.bind()  # type: ignore[attr-defined]  # added by serve.deployment
