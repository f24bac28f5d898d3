"""The HTTP interface around a real classifier, and equal answers offline and served."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from rbft_ray.core.card import CARD_FILE, Calibration, make_card
from rbft_ray.core.config import ModelConfig, ServeConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.io.clips import ClipFrames
from rbft_ray.io.video import decode_frames, read_clip
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.stages.serve import Classifier, ServeArguments, application, http_app, read_card

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
    config = ServeConfig(max_upload_mib=1, max_rationale_tokens=8)
    return TestClient(http_app(Classifier(str(model_dir), ModelConfig(), config), config.max_upload_mib))


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
    ],
)
def test_a_body_that_is_no_video_gets_a_reason(client, request_kwargs, status, reason):
    answer = client.post("/v1/classify", **request_kwargs)
    assert answer.status_code == status
    assert answer.json()["detail"]["reason"] == reason
    assert answer.json()["detail"]["detail"]


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
