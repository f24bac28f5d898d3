"""The HTTP interface around a real classifier, and equal answers offline and served."""

import asyncio
import contextlib
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rbft_ray.core.card import CARD_FILE, Calibration, make_card
from rbft_ray.core.config import ModelConfig, ServeConfig
from rbft_ray.core.errors import ConfigError, DataError, ResourceError
from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.core.resources import Cluster
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.io.clips import ClipFrames
from rbft_ray.io.video import decode_frames, read_clip
from rbft_ray.model.engine import Completion
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.pipeline import endpoint
from rbft_ray.stages.serve import Classifier, ServeArguments, application, read_card
from rbft_ray.stages.serve_http import http_app

TASK = Task(("calm", "busy"), {"calm": "Nothing moves."})
SAMPLING = SamplingContract(max_pixels=84 * 84)
CALIBRATION = Calibration(temperature=3.0, log_prior_ratio=(0.5, -0.5), abstain_below=1.0)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory, base_dir: str) -> Path:
    folder = tmp_path_factory.mktemp("classifier") / "model"
    shutil.copytree(base_dir, folder)
    card = make_card("rb_ft", TASK, SAMPLING, base="demo", base_identity="b", data_identity="d")
    (folder / CARD_FILE).write_text(card.model_copy(update={"calibration": CALIBRATION}).model_dump_json())
    return folder


@pytest.fixture(scope="module")
def client(model_dir: Path) -> TestClient:
    return TestClient(app_of(Classifier(str(model_dir), ModelConfig(), ServeConfig(max_rationale_tokens=8))))


def app_of(served: Classifier) -> FastAPI:
    """The interface of a classifier that takes one clip at a time."""

    async def score(clip: ClipFrames) -> dict | None:
        return served.score([clip])[0]

    async def explain(clip: ClipFrames) -> dict:
        return served.explain([clip])[0]

    return http_app(served.card, score, explain, max_upload_mib=1)


@pytest.fixture(scope="module")
def video(world: Path) -> bytes:
    return next((world / "videos").iterdir()).read_bytes()


def test_form_and_raw_body_give_the_same_answer(client, video):
    form = client.post("/v1/classify", files={"video": ("clip.mp4", video)})
    raw = client.post("/v1/classify", content=video)
    assert form.status_code == raw.status_code == 200
    assert form.json() == raw.json()
    answer = form.json()
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    assert isinstance(answer["rationale"], str)
    assert answer["rationale_truncated"] is True and answer["rationale_label"] is None  # of 8 tokens


def test_served_probabilities_equal_offline_ones(client, video, vlm):
    clip = read_clip(video, SAMPLING)
    frames = ClipFrames(decode_frames(clip.frames), clip.fps)
    scores = label_log_probabilities(vlm, [frames], label_prompt(TASK), TASK.labels)
    offline = CALIBRATION.posterior(scores)[0]
    served = client.post("/v1/classify?explain=false", content=video).json()
    assert served["rationale"] is None
    assert served["abstained"] is True
    assert np.allclose(offline, [served["probabilities"][label] for label in TASK.labels], atol=1e-3)


@pytest.mark.parametrize(
    ("request_kwargs", "status", "reason"),
    [
        ({"content": b"this is no video"}, 422, "no_video"),
        ({"files": {"video": ("a.mp4", b"\x00" * 100)}}, 422, "no_video"),
        ({"files": {"other": ("a.mp4", b"x")}}, 400, "no_file"),
        ({"content": b""}, 400, "no_file"),
        ({"content": b"\x00" * (2 << 20)}, 413, "too_large"),
        ({"files": {"video": ("a.mp4", b"\x00" * (2 << 20))}}, 413, "too_large"),
    ],
)
def test_a_body_that_is_no_video_gets_a_reason(client, request_kwargs, status, reason):
    answer = client.post("/v1/classify", **request_kwargs)
    assert answer.status_code == status
    assert answer.json()["detail"]["reason"] == reason
    assert answer.json()["detail"]["detail"]


@pytest.mark.parametrize("form", [False, True])
def test_a_body_of_unknown_length_is_read_up_to_the_limit(model_dir, form):
    async def never(clip: ClipFrames) -> dict:
        raise AssertionError("the body is no video")

    app, taken = http_app(read_card(str(model_dir)), never, never, 1), []
    head = b'--b\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\n' if form else b""
    kind = {"content-type": "multipart/form-data; boundary=b"} if form else {}

    async def receive():
        taken.append(1 << 20)
        return {"type": "http.request", "body": (b"" if taken[1:] else head) + b"\x00" * (1 << 20), "more_body": True}

    assert asyncio.run(post(app, receive, **kind)) == 413
    assert sum(taken) <= 3 << 20


async def post(app, receive, **headers: str) -> int:
    """The status of the answer to a request by ASGI."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": "/v1/classify", "raw_path": b"/v1/classify", "query_string": b"", "root_path": ""}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    await app({**scope, "server": ("test", 80), "client": ("test", 1)}, receive, send)
    return sent[0]["status"]


def test_scores_that_are_not_finite_are_no_answer(model_dir, video):
    served = Classifier(str(model_dir), ModelConfig(), ServeConfig())
    served._engine = SimpleNamespace(score=lambda *_: np.array([[np.nan, np.nan]]))
    answer = TestClient(app_of(served)).post("/v1/classify", content=video)
    assert answer.status_code == 500
    assert answer.json()["detail"]["reason"] == "engine_error"


def test_the_class_that_the_rationale_names_is_told_beside_the_label(model_dir, video):
    served = Classifier(str(model_dir), ModelConfig(), ServeConfig())
    said = Completion("All is still.\nAnswer: busy", False, 1, 1)
    served._engine = SimpleNamespace(score=lambda *_: np.array([[0.0, -9.0]]), generate=lambda *_, **__: [said])
    answer = TestClient(app_of(served)).post("/v1/classify", content=video).json()
    assert (answer["label"], answer["rationale_label"], answer["rationale_truncated"]) == ("calm", "busy", False)


@pytest.mark.ray
def test_requests_that_come_together_share_a_batch_and_have_the_answers_of_each_alone(ray_cluster, model_dir, world):
    from ray import serve

    videos = [path.read_bytes() for path in sorted((world / "videos").iterdir())[:12]]
    config = ServeConfig(max_rationale_tokens=8, batch_clips=4)
    alone = Classifier(str(model_dir), ModelConfig(), config)
    url = "http://127.0.0.1:8767/v1/classify"
    serve.start(http_options={"host": "127.0.0.1", "port": 8767})
    try:
        serve.run(application(ServeArguments(model_dir=str(model_dir), serve=config)), name="together")

        async def ask() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=120) as client:
                gone = asyncio.create_task(client.post(url, content=videos[0]))
                await asyncio.sleep(0.05)
                gone.cancel()  # takes nothing from the others
                return await asyncio.gather(*(client.post(url, content=video) for video in videos))

        answers = [answer.json() for answer in asyncio.run(ask())]
    finally:
        serve.shutdown()
    for video, answer in zip(videos, answers, strict=True):
        clip = read_clip(video, SAMPLING)
        frames = ClipFrames(decode_frames(clip.frames), clip.fps)
        assert answer["probabilities"] == pytest.approx(alone.score([frames])[0]["probabilities"], abs=1e-4)
        assert answer["rationale"] == alone.explain([frames])[0]["rationale"]


def test_a_replica_has_the_device_and_threads_that_it_was_given(model_dir):
    arguments = ServeArguments(model_dir=str(model_dir), threads=7)
    options = application(arguments)._bound_deployment.ray_actor_options
    assert options["num_gpus"] == 0
    assert options["runtime_env"]["env_vars"] == {"OMP_NUM_THREADS": "7"}


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as Ray Serve does
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"serve.port: 127.0.0.1:{port} .*--set serve.port={port + 1}"):
            endpoint.check_port("127.0.0.1", port)
    endpoint.check_port("127.0.0.1", port)


def test_replicas_without_a_place_are_refused(model_dir, monkeypatch):
    monkeypatch.setattr(endpoint, "ray_session", lambda _: contextlib.nullcontext(Cluster(({"CPU": 2.0},))))
    with pytest.raises(ResourceError, match=r"serve.replicas: .* 1 replicas: 1 GPUs needed, 0 there"):
        endpoint.serve_run(str(model_dir), ["ray.use_gpu=true", "serve.port=8766"])
    with pytest.raises(ResourceError, match=r"3 replicas: 3 CPUs needed, 2 there"):
        endpoint.serve_run(str(model_dir), ["serve.replicas=3", "serve.port=8766"])


def test_a_runs_own_calibration_takes_the_place_of_the_cards(model_dir, tmp_path):
    own = tmp_path / "calibration.json"
    own.write_text(CALIBRATION.model_copy(update={"temperature": 7.0, "abstain_below": None}).model_dump_json())
    assert read_card(str(model_dir)).calibration == CALIBRATION
    assert read_card(str(model_dir), str(own)).calibration.temperature == 7.0


def test_the_card_is_served(client):
    assert client.get("/v1/model").json()["labels"] == ["calm", "busy"]
    assert client.get("/healthz").status_code == 200


def test_a_directory_without_a_card_is_refused(base_dir):
    with pytest.raises(DataError, match=CARD_FILE):
        application(ServeArguments(model_dir=base_dir))
