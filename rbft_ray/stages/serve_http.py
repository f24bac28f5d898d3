"""The HTTP interface of a classifier.

POST /v1/classify   a video file (multipart field `video`, or the raw body)  ->  label, probabilities, rationale
GET  /v1/model      the classifier card
GET  /healthz       200 once the model is loaded
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from rbft_ray.core.card import ClassifierCard
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.io.clips import ClipFrames
from rbft_ray.io.video import Clip, VideoError, decode_frames, read_clip

FORM_BYTES = 1 << 16  # that a form may have beside its file


OfClip = Callable[[ClipFrames], Awaitable[Any]]  # what a model says of one clip
NO_RATIONALE = {"rationale": None, "rationale_label": None, "rationale_truncated": None}


def http_app(card: ClassifierCard, score: OfClip, explain: OfClip, max_upload_mib: int) -> FastAPI:
    """The HTTP interface of a classifier; `score` and `explain` are those of `serve.Classifier`.

    A body that is no video is 422, one that is too large 413, an empty one 400; 500 where the model gives no scores.
    """
    app = FastAPI(title="rbft-ray", summary="Video classifier with class probabilities and a rationale")

    @app.get("/healthz")
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/model")
    def model_card() -> dict[str, Any]:
        return card.model_dump(mode="json")

    @app.post("/v1/classify")
    async def classify(
        request: Request,
        with_rationale: Annotated[bool, Query(alias="explain", description="also write a rationale")] = True,
    ) -> dict[str, Any]:
        content = await _video_bytes(request, max_upload_mib << 20)
        try:
            sampled, clip = await run_in_threadpool(_sampled, content, card.sampling)
        except VideoError as error:
            detail = {"reason": error.reason.value, "detail": f"{error}. Send a video file that FFmpeg can read."}
            raise HTTPException(422, detail) from None
        answer = await score(clip)
        if answer is None:
            why = "the model's scores are not finite; model.dtype bfloat16 or float32 has the range for them"
            raise HTTPException(500, {"reason": "engine_error", "detail": why})
        rationale = await explain(clip) if with_rationale else NO_RATIONALE
        seen = {name: getattr(sampled, name) for name in ("duration_sec", "frame_times_sec", "width_px", "height_px")}
        return {**answer, **rationale, "video": seen}

    return app


def _sampled(content: bytes, contract: SamplingContract) -> tuple[Clip, ClipFrames]:
    sampled = read_clip(content, contract)
    return sampled, ClipFrames(decode_frames(sampled.frames), sampled.fps)


async def _video_bytes(request: Request, limit_bytes: int) -> bytes:
    too_large = HTTPException(
        413, {"reason": "too_large", "detail": f"the limit is {limit_bytes >> 20} MiB (serve.max_upload_mib)"}
    )
    if int(request.headers.get("content-length") or 0) > limit_bytes + FORM_BYTES:
        raise too_large
    limited = Request(request.scope, _limited(request.receive, limit_bytes + FORM_BYTES, too_large))
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        upload = (await limited.form()).get("video")
        if upload is None or isinstance(upload, str):
            raise HTTPException(400, {"reason": "no_file", "detail": "the form has no file field named 'video'"})
        content = await upload.read()
    else:
        content = await limited.body()
    if not content:
        raise HTTPException(
            400, {"reason": "no_file", "detail": "send a video as the body or as the form field 'video'"}
        )
    if len(content) > limit_bytes:
        raise too_large
    return content


def _limited(receive: Receive, limit_bytes: int, error: Exception) -> Receive:
    """`receive` that raises `error` as soon as a body is larger: its sender need not have said how large it is."""
    left = limit_bytes

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise error
        return message

    return counted
