"""The classifier as a Ray Serve application: a model directory with its card -> replicas behind `serve_http`."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict

from rbft_ray.core.card import CARD_FILE, Calibration, ClassifierCard, parse_card
from rbft_ray.core.config import ModelConfig, ServeConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import label_prompt, rationale_prompt
from rbft_ray.core.rationale_checks import parse_answer
from rbft_ray.io import storage
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model import engine
from rbft_ray.model.vlm import load
from rbft_ray.stages.serve_http import OfClip, http_app

STARTS = 3  # tries to load the model
WAITING_BATCHES = 2  # that a replica takes requests for: one that the model is at, and one that is decoded and waits


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
        loaded = load(model_dir, dtype=model.dtype, device=device)
        self._engine = engine.TransformersEngine(loaded, config.batch_clips)

    def score(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any] | None]:
        """For clips that were sampled by the card's contract: label, whether the classifier abstains, {label: probability} of each.

        None where the model gives no finite scores.
        """
        scores = self._engine.score(clips, label_prompt(self._task), self._task.labels)
        return [self._answer(own) if np.isfinite(own).all() else None for own in scores]

    def _answer(self, scores: np.ndarray) -> dict[str, Any]:
        probabilities = self.card.calibration.posterior([scores.tolist()])[0]
        return {
            "label": self._task.labels[int(probabilities.argmax())],
            "abstained": self.card.calibration.abstains(probabilities),
            "probabilities": dict(zip(self._task.labels, probabilities.tolist(), strict=True)),
        }

    def explain(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        """A rationale of each, which answers another prompt: the class that it ends with (None where it names none) may be another
        than the label.
        """
        requests = [engine.Request(clip, rationale_prompt(self._task)) for clip in clips]
        written = self._engine.generate(requests, max_tokens=self._config.max_rationale_tokens, temperature=0.0)
        return [
            {
                "rationale": one.text,
                "rationale_label": parse_answer(one.text, self._task.labels)[1],
                "rationale_truncated": one.truncated,
            }
            for one in written
        ]


def _batched(work: Callable[[list[ClipFrames]], list[Any]], thread: ThreadPoolExecutor, most: int) -> OfClip:
    """`work` on one clip, done with those of other requests that wait, at most so many together."""
    from ray import serve

    @serve.batch(max_batch_size=most, batch_wait_timeout_s=0)
    async def batched(clips: list[ClipFrames]) -> list[Any]:
        return await asyncio.get_running_loop().run_in_executor(thread, work, clips)

    return batched


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

    most = arguments.serve.batch_clips

    def build() -> FastAPI:
        device = "cuda" if arguments.gpus else "cpu"
        classifier = Classifier(arguments.model_dir, arguments.model, arguments.serve, device, arguments.calibration)
        # One thread, as the model keeps state between calls (Qwen2.5-VL's rope_deltas).
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        score, explain = (_batched(work, thread, most) for work in (classifier.score, classifier.explain))
        return http_app(classifier.card, score, explain, arguments.serve.max_upload_mib)

    @serve.deployment(
        name="classifier",
        num_replicas=arguments.serve.replicas,
        max_ongoing_requests=WAITING_BATCHES * most,
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

        def check_health(self) -> None:
            """A CUDA error stays until the process ends; where there is one, Ray Serve starts another replica."""
            if arguments.gpus:
                import torch

                torch.cuda.synchronize()

    return ClassifierDeployment.bind()  # type: ignore[attr-defined]  # added by serve.deployment
