"""Stored vision features stand for the frames in every family: the same inputs, the same loss, the same gradients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from families import FAMILIES, multiple_px, write_family

from rbft_ray.core.errors import DataError
from rbft_ray.core.schema import FEATURES
from rbft_ray.core.train_config import TrainConfig
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.trainable import make_trainable, part_of
from rbft_ray.model.vision_features import (
    FEATURES_INPUT,
    accept_features,
    encode_prompt,
    features_row,
    takes_features,
    vision_features,
)
from rbft_ray.model.vlm import (
    Vlm,
    answer_loss_sum,
    answer_tokens,
    collate,
    encode_prompts,
    load,
    pad_token,
    with_answers,
)

PROMPT, ANSWERS = "Which class?", ("one", "two and a half, with words", "x")


class Family(NamedTuple):
    base: str
    vlm: Vlm
    clips: list[ClipFrames]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    base = write_family(request.param, tmp_path_factory.mktemp(request.param))
    side, rng = multiple_px(request.param), np.random.default_rng(0)
    sizes = [((8, 2, 3), 2.0), ((4, 3, 2), 0.7), ((5, 2, 2), 3.0)]
    clips = [
        ClipFrames(rng.integers(0, 255, (count, high * side, wide * side, 3), dtype=np.uint8), fps)
        for (count, high, wide), fps in sizes
    ]
    return Family(base, load(base, dtype="float32"), clips)


def stored(vlm: Vlm, clips: list[ClipFrames]) -> list[dict[str, Any]]:
    """Rows of FEATURES, through Arrow and back."""
    rows = [features_row(str(index), clip, vision_features(vlm, clip)) for index, clip in enumerate(clips)]
    return pa.Table.from_pylist(rows, schema=FEATURES).to_pylist()


def batch(vlm: Vlm, encoded: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    answers = [answer_tokens(vlm.processor, vlm.end_of_turn, answer) for answer in ANSWERS]
    return with_answers(collate(encoded, pad_token(vlm.processor)), answers, pad_token(vlm.processor))


def test_the_inputs_are_those_of_the_frames_with_features_for_pixels(family: Family) -> None:
    for clip, row in zip(family.clips, stored(family.vlm, family.clips), strict=True):
        of_frames = encode_prompts(family.vlm.processor, [clip], [PROMPT])
        of_features = encode_prompt(family.vlm.processor, row, PROMPT)
        assert set(of_features) - set(of_frames) == {FEATURES_INPUT}
        assert all("pixel_values" in name for name in set(of_frames) - set(of_features))
        for name in set(of_features) & set(of_frames):
            torch.testing.assert_close(of_features[name], of_frames[name], rtol=0, atol=0)


def test_the_loss_of_a_batch_and_its_gradients_are_those_of_the_frames(family: Family) -> None:
    accept_features(family.vlm.model)
    rows = stored(family.vlm, family.clips)
    model = make_trainable(family.vlm.model, TrainConfig(parts=("language",))).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    found = []
    for encoded in (
        [encode_prompts(family.vlm.processor, [clip], [PROMPT]) for clip in family.clips],
        [encode_prompt(family.vlm.processor, row, PROMPT) for row in rows],
    ):
        model.zero_grad()
        loss = answer_loss_sum(model, batch(family.vlm, encoded))
        loss.backward()
        found.append([loss, *(one.grad for one in model.parameters() if one.requires_grad)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_vision_tower_and_the_merger_are_not_run(family: Family) -> None:
    accept_features(family.vlm.model)
    encoded = [encode_prompt(family.vlm.processor, row, PROMPT) for row in stored(family.vlm, family.clips)]
    loss = answer_loss_sum(family.vlm.model, batch(family.vlm, encoded))
    for name, parameter in family.vlm.model.named_parameters():
        if part_of(name) != "language":
            parameter.fill_(torch.nan)
    assert torch.equal(answer_loss_sum(family.vlm.model, batch(family.vlm, encoded)), loss)


def test_a_model_that_takes_features_still_sees_frames(family: Family) -> None:
    labels = ("x", "one", "two")
    before = label_log_probabilities(family.vlm, family.clips, PROMPT, labels)
    accept_features(family.vlm.model)
    np.testing.assert_array_equal(label_log_probabilities(family.vlm, family.clips, PROMPT, labels), before)


def test_features_keep_the_dtype_of_the_model(base_dir: str, random_clips: list[ClipFrames]) -> None:
    vlm = load(base_dir, dtype="bfloat16")
    features = vision_features(vlm, random_clips[0])
    restored = encode_prompt(vlm.processor, features_row("a", random_clips[0], features), PROMPT)[FEATURES_INPUT]
    assert restored.dtype == torch.bfloat16
    assert torch.equal(restored, features.values)


def test_families_are_known_by_their_configuration(family: Family, tmp_path: Path) -> None:
    assert takes_features(family.base)
    (tmp_path / "config.json").write_text('{"model_type": "llava_onevision"}')
    assert not takes_features(str(tmp_path))
    with pytest.raises(DataError, match=r"model\.base: the configuration of .*nowhere.* does not load"):
        takes_features(str(tmp_path / "nowhere"))
