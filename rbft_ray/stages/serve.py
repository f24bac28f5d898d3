"""The classifier over HTTP: a model directory with its card -> a Ray Serve application.

POST /v1/classify   a video file (multipart field `video`, or the raw body)  ->  label, probabilities, rationale
GET  /v1/model      the classifier card
GET  /healthz       200 once the model is loaded
"""

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict

from rbft_ray.core.card import CARD_FILE, Calibration, ClassifierCard, parse_card
from rbft_ray.core.config import ModelConfig, ServeConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import label_prompt, rationale_prompt
from rbft_ray.io import storage
from rbft_ray.io.clips import ClipFrames
from rbft_ray.io.video import VideoError, decode_frames, read_clip
from rbft_ray.model import engine
from rbft_ray.model.vlm import best_device, load


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
    """One replica: the model in memory, the card's sampling contract enforced on every video."""

    def __init__(self, model_dir: str, model: ModelConfig, config: ServeConfig, calibration: str | None = None):
        self.card = read_card(model_dir, calibration)
        self._task, self._config = self.card.task(), config
        self._engine = engine.TransformersEngine(load(model_dir, dtype=model.dtype, device=best_device()))

    def classify(self, video: bytes, *, explain: bool) -> dict[str, Any]:
        """For the bytes of a video: label, whether the classifier abstains, {label: probability}, rationale (None without
        `explain`).

        Raises:
            VideoError: the bytes are no video that can be sampled.
        """
        sampled = read_clip(video, self.card.sampling)
        clip = ClipFrames(decode_frames(sampled.frames), sampled.fps)
        scores = self._engine.score([clip], label_prompt(self._task), self._task.labels)
        probabilities = self.card.calibration.posterior(scores)[0]
        rationale = None
        if explain:
            request = engine.Request(clip, rationale_prompt(self._task))
            limit = self._config.max_rationale_tokens
            rationale = self._engine.generate([request], max_tokens=limit, temperature=0.0)[0].text
        return {
            "label": self._task.labels[int(probabilities.argmax())],
            "abstained": self.card.calibration.abstains(probabilities),
            "probabilities": dict(zip(self._task.labels, probabilities.tolist(), strict=True)),
            "rationale": rationale,
            "video": {
                "duration_sec": sampled.duration_sec,
                "frame_times_sec": sampled.frame_times_sec,
                "width_px": sampled.width_px,
                "height_px": sampled.height_px,
            },
        }


def http_app(classifier: Classifier, max_upload_mib: int) -> FastAPI:
    """The HTTP interface of a classifier. A body that is no video is 422, one that is too large 413, an empty one 400."""
    app = FastAPI(title="rbft-ray", summary="Video classifier with class probabilities and a rationale")
    one_at_a_time = asyncio.Lock()

    @app.get("/healthz")
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/model")
    def model_card() -> dict[str, Any]:
        return classifier.card.model_dump(mode="json")

    @app.post("/v1/classify")
    async def classify(
        request: Request, explain: Annotated[bool, Query(description="also write a rationale")] = True
    ) -> dict[str, Any]:
        content = await _video_bytes(request, max_upload_mib << 20)
        try:
            async with one_at_a_time:  # the model keeps state between calls (Qwen2.5-VL's rope_deltas)
                return await run_in_threadpool(classifier.classify, content, explain=explain)
        except VideoError as error:
            detail = {"reason": error.reason.value, "detail": f"{error}. Send a video file that FFmpeg can read."}
            raise HTTPException(422, detail) from None

    return app


async def _video_bytes(request: Request, limit_bytes: int) -> bytes:
    too_large = {"reason": "too_large", "detail": f"the limit is {limit_bytes >> 20} MiB (serve.max_upload_mib)"}
    if int(request.headers.get("content-length") or 0) > limit_bytes:
        raise HTTPException(413, too_large)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        upload = (await request.form()).get("video")
        if upload is None or isinstance(upload, str):
            raise HTTPException(400, {"reason": "no_file", "detail": "the form has no file field named 'video'"})
        content = await upload.read()
    else:
        content = await request.body()
    if not content:
        raise HTTPException(
            400, {"reason": "no_file", "detail": "send a video as the body or as the form field 'video'"}
        )
    if len(content) > limit_bytes:
        raise HTTPException(413, too_large)
    return content


class ServeArguments(BaseModel):
    """Arguments of the Serve application `rbft_ray.stages.serve:application` in a Serve config file."""

    model_config = ConfigDict(extra="forbid")

    model_dir: str
    calibration: str | None = None
    model: ModelConfig = ModelConfig()
    serve: ServeConfig = ServeConfig()
    gpus: float = 0.0


def application(arguments: ServeArguments) -> Any:
    """The Ray Serve application, for `serve.run` or a Serve config file.

    Raises:
        DataError: the directory has no classifier card that can be read.
    """
    from ray import serve

    read_card(arguments.model_dir, arguments.calibration)

    def build() -> FastAPI:
        classifier = Classifier(arguments.model_dir, arguments.model, arguments.serve, arguments.calibration)
        return http_app(classifier, arguments.serve.max_upload_mib)

    @serve.deployment(
        name="classifier",
        num_replicas=arguments.serve.replicas,
        ray_actor_options={"num_cpus": 1, "num_gpus": arguments.gpus},
    )
    @serve.ingress(build)
    class ClassifierDeployment:
        """The replica that Ray Serve runs."""

    return ClassifierDeployment.bind()  # type: ignore[attr-defined]  # added by serve.deployment
