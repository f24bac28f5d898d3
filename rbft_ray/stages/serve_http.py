"""The HTTP interface of a classifier.

POST /v1/classify   a video file (multipart field `video`, or the raw body)  ->  label, probabilities, rationale
GET  /v1/model      the classifier card
GET  /healthz       200 once the model is loaded
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from rbft_ray.core.card import ClassifierCard
from rbft_ray.core.errors import EngineError
from rbft_ray.io.video import Clip, VideoError, read_clip

FORM_BYTES = 1 << 16  # that a form may have beside its file


class VideoClassifier(Protocol):
    """What the interface is put around; `classify` is called by one thread at a time."""

    card: ClassifierCard

    def classify(self, clip: Clip, *, explain: bool) -> dict[str, Any]: ...


def http_app(classifier: VideoClassifier, max_upload_mib: int) -> FastAPI:
    """The HTTP interface of a classifier.

    A body that is no video is 422, one that is too large 413, an empty one 400; 500 where the model gives no scores.
    """
    app = FastAPI(title="rbft-ray", summary="Video classifier with class probabilities and a rationale")
    # The model keeps state between calls (Qwen2.5-VL's rope_deltas). A thread of its own, and not a lock around the call, as a
    # client that goes away ends the call but not the work; what it has waiting here is dropped.
    model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

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
            clip = await run_in_threadpool(read_clip, content, classifier.card.sampling)
        except VideoError as error:
            detail = {"reason": error.reason.value, "detail": f"{error}. Send a video file that FFmpeg can read."}
            raise HTTPException(422, detail) from None
        work = partial(classifier.classify, clip, explain=explain)
        try:
            return await asyncio.get_running_loop().run_in_executor(model_thread, work)
        except EngineError as error:
            raise HTTPException(500, {"reason": "engine_error", "detail": str(error)}) from None

    return app


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
