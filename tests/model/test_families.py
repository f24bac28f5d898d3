"""Each family of models takes the same path: prompts, loss, label scores and rationales, with Transformers and with vLLM."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
import torch
from families import FAMILIES, MAX_PARAMETERS, multiple_px, write_family

from rbft_ray.core.errors import DataError
from rbft_ray.core.resources import Cluster
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.engine import Completion, Request, TransformersEngine
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.video_input import check_family, frame_multiple_px, video_text
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import VllmEngine
from rbft_ray.model.vlm import (
    IGNORED_LABEL,
    Vlm,
    answer_loss_sum,
    answer_tokens,
    encode_prompts,
    load,
    pad_token,
    render_prompt,
    to_device,
    with_answers,
)

LABELS = ("Normal", "Normal activity", "no é", "x")
ANSWERS = ("one", "two and a half, with words", "né")
PROMPTS = ("Which class?", "Which class is it, after so many words?", "?")
USES_FRAME_RATE = {"qwen2_vl": False, "qwen2_5_vl": True, "qwen3_vl": True, "internvl": False}
RATIONALE_TOKENS = 24


class Family(NamedTuple):
    """A tiny model and three clips of several sizes, lengths and rates."""

    name: str
    base: str
    vlm: Vlm
    clips: list[ClipFrames]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Of models so small a second thread makes the forward pass no faster, and on a busy machine much slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name = request.param
    base = write_family(name, tmp_path_factory.mktemp(name))
    side, rng = multiple_px(name), np.random.default_rng(0)
    shapes = [(8, 2, 3), (4, 3, 2), (12, 2, 2)]
    clips = [
        ClipFrames(rng.integers(0, 255, (count, high * side, wide * side, 3), dtype=np.uint8), fps)
        # In the last, frames lie 0.7 s x 2 apart, which float32 cannot hold.
        for (count, high, wide), fps in zip(shapes, (2.0, 0.5, 2 / 0.7), strict=True)
    ]
    return Family(name, base, load(base, dtype="float32"), clips)


def batch_of(vlm: Vlm, clips: Sequence[ClipFrames], prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Any]:
    tokens = [answer_tokens(vlm.processor, vlm.end_of_turn, answer) for answer in answers]
    return with_answers(encode_prompts(vlm.processor, clips, prompts), tokens, pad_token(vlm.processor))


@torch.inference_mode()
def plain_score(vlm: Vlm, clip: ClipFrames, prompt: str, answer: str) -> float:
    """Log-probability of an answer and its end of turn, by one forward pass over all tokens."""
    batch = batch_of(vlm, [clip], [prompt], [answer])
    labels = batch.pop("labels")[0, 1:]
    log_probs = vlm.model(**batch, use_cache=False).logits[0, :-1].double().log_softmax(-1)
    trained = labels != IGNORED_LABEL
    return float(log_probs[trained].gather(1, labels[trained, None]).sum())


def at_rate(clip: ClipFrames, fps: float) -> ClipFrames:
    return clip._replace(fps=fps)


def test_a_family_is_tiny_and_the_same_each_time(family: Family, tmp_path) -> None:
    again = load(write_family(family.name, tmp_path / "again"), dtype="float32").model.state_dict()
    first = family.vlm.model.state_dict()
    assert sum(value.numel() for value in first.values()) < MAX_PARAMETERS
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_loss_of_a_batch_is_the_sum_of_single_losses(family: Family) -> None:
    with torch.inference_mode():
        whole = answer_loss_sum(family.vlm.model, batch_of(family.vlm, family.clips, PROMPTS, ANSWERS))
        single = [
            answer_loss_sum(family.vlm.model, batch_of(family.vlm, [clip], [prompt], [answer]))
            for clip, prompt, answer in zip(family.clips, PROMPTS, ANSWERS, strict=True)
        ]
    assert torch.isclose(whole, torch.stack(single).sum(), rtol=1e-4)


def test_the_loss_has_a_gradient_in_vision_tower_merger_and_language_model(family: Family) -> None:
    answer_loss_sum(family.vlm.model, batch_of(family.vlm, family.clips, PROMPTS, ANSWERS)).backward()
    without = [
        name for name, value in family.vlm.model.named_parameters() if value.grad is None or not value.grad.any()
    ]
    family.vlm.model.zero_grad()
    assert without == []


def test_only_the_answer_and_its_end_of_turn_are_trained(family: Family) -> None:
    processor, tokenizer = family.vlm.processor, family.vlm.processor.tokenizer
    batch = batch_of(family.vlm, family.clips, PROMPTS, ANSWERS)
    for row, (clip, prompt, answer) in enumerate(zip(family.clips, PROMPTS, ANSWERS, strict=True)):
        trained = batch["labels"][row] != IGNORED_LABEL
        assert tokenizer.decode(batch["labels"][row][trained]) == answer + "<|im_end|>"
        seen = batch["attention_mask"][row].bool()
        assert not (trained & ~seen).any()
        assert tokenizer.decode(batch["input_ids"][row][seen & ~trained]) == whole_prompt(processor, clip, prompt)


def whole_prompt(processor: Any, clip: ClipFrames, prompt: str) -> str:
    """The rendered prompt with all tokens that stand for the video."""
    rendered = render_prompt(processor, prompt)
    assert rendered.count(processor.video_token) == 1
    assert prompt in rendered
    assert rendered.endswith("<|im_start|>assistant\n")
    return rendered.replace(processor.video_token, video_text(processor, clip))


def test_a_videos_tokens_are_known_without_its_pixels(family: Family) -> None:
    processor = family.vlm.processor
    for clip in [*family.clips, ClipFrames(family.clips[0].frames[:5], 3.0)]:
        encoded = encode_prompts(processor, [clip], ["Which?"])
        tokens = processor.tokenizer(whole_prompt(processor, clip, "Which?"))["input_ids"]
        assert encoded["input_ids"][0].tolist() == tokens


def test_frames_keep_their_size_unless_the_model_has_one_of_its_own(family: Family) -> None:
    encoded = encode_prompts(family.vlm.processor, family.clips, PROMPTS)
    if frame_multiple_px(family.vlm.processor) is None:
        size = family.vlm.processor.video_processor.size
        assert encoded["pixel_values"].shape == (8 + 4 + 12, 3, size.height, size.width)
        return
    patch = multiple_px(family.name) // 2
    shapes = [clip.frames.shape for clip in family.clips]
    assert encoded["video_grid_thw"].tolist() == [[t // 2, h // patch, w // patch] for t, h, w, _ in shapes]


def test_frames_that_do_not_suit_the_model_are_refused(family: Family) -> None:
    odd = ClipFrames(np.zeros((4, 40, 60, 3), dtype=np.uint8), 1.0)
    if frame_multiple_px(family.vlm.processor) is None:
        assert encode_prompts(family.vlm.processor, [odd], ["?"])["pixel_values"].shape[0] == 4
        return
    with pytest.raises(DataError, match=rf"60x40 px .* sampling\.multiple_px to {multiple_px(family.name)}"):
        encode_prompts(family.vlm.processor, [odd], ["?"])


def test_a_family_that_counts_video_tokens_differently_is_refused_before_vllm_starts(family, monkeypatch) -> None:
    check_family(family.vlm.processor)

    def other(inputs: dict[str, Any], index: int) -> str:
        return "<video>" * inputs["num_soft_tokens_per_video"][index]

    monkeypatch.setattr(family.vlm.processor, "replace_video_token", other)
    with pytest.raises(DataError, match=r"model\.base: how \w+ models count a video's tokens is not known"):
        check_family(family.vlm.processor)


def test_tree_scores_equal_plain_passes(family: Family) -> None:
    clips = [*family.clips, at_rate(family.clips[0], 0.5), at_rate(family.clips[0], 4.0)]
    scores = label_log_probabilities(family.vlm, clips, PROMPTS[0], LABELS)
    expected = [[plain_score(family.vlm, clip, PROMPTS[0], label) for label in LABELS] for clip in clips]
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_the_pixels_and_where_it_matters_the_frame_rate_change_the_scores(family: Family) -> None:
    slow, fast = at_rate(family.clips[0], 0.5), at_rate(family.clips[0], 4.0)
    black = ClipFrames(np.zeros_like(slow.frames), slow.fps)
    scores = label_log_probabilities(family.vlm, [slow, fast, black], PROMPTS[0], LABELS)
    assert np.abs(scores[0] - scores[2]).max() > 0.05
    if USES_FRAME_RATE[family.name]:
        assert np.abs(scores[0] - scores[1]).max() > 0.05
    else:
        np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def reference_positions(family: Family, kinds: list[int], clip: ClipFrames) -> np.ndarray:
    """Positions (3, tokens) as the Qwen-VL papers and vLLM have them, token by token.

    Text goes on by one on all axes. A video's tokens lie in a grid that starts after the largest position so far; Qwen2.5-VL
    places its frames by their time, Qwen2-VL by their number, and in Qwen3-VL each is a video of its own.
    """
    count, height, width, _ = clip.frames.shape
    high, wide = height // multiple_px(family.name), width // multiple_px(family.name)
    step = 1.0
    if family.name == "qwen2_5_vl":
        seconds = torch.tensor(2 / clip.fps, dtype=torch.float32).to(family.vlm.model.dtype).item()
        step = seconds * family.vlm.model.config.vision_config.tokens_per_second
    depth = 1 if family.name == "qwen3_vl" else count // 2
    grid = np.stack(np.meshgrid(np.floor(np.arange(depth) * step), range(high), range(wide), indexing="ij"))
    found, token = np.zeros((3, 0)), 0
    while token < len(kinds):
        start = found.max() + 1 if token else 0
        part = grid.reshape(3, -1) if kinds[token] == 2 else np.zeros((3, 1))
        found, token = np.concatenate([found, start + part], axis=1), token + part.shape[1]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_positions_are_those_of_the_reference(family: Family, dtype: torch.dtype) -> None:
    if family.name == "internvl":
        assert not hasattr(family.vlm.model.model, "get_rope_index")  # each token's position is its place
        return
    vlm = family.vlm._replace(model=load(family.base, dtype=str(dtype).removeprefix("torch.")).model)
    inputs = to_device(encode_prompts(vlm.processor, family.clips, PROMPTS), "cpu", dtype)
    seen = inputs["attention_mask"].bool()
    pixels = inputs.pop("pixel_values_videos")
    positions, deltas = vlm.model.model.get_rope_index(**inputs)
    for row, clip in enumerate(family.clips):
        kinds = inputs["mm_token_type_ids"][row][seen[row]].tolist()
        expected = reference_positions(family._replace(vlm=vlm), kinds, clip)
        assert positions[:, row, seen[row]].tolist() == expected.tolist()
        assert int(deltas[row]) == expected.max() + 1 - len(kinds)
    assert pixels.dtype == dtype


def requests_of(family: Family) -> list[Request]:
    return [Request(clip, prompt) for clip, prompt in zip(family.clips, PROMPTS, strict=True)]


def test_a_rationale_does_not_depend_on_its_batch(family: Family) -> None:
    engine = TransformersEngine(family.vlm)
    together = engine.generate(requests_of(family), max_tokens=RATIONALE_TOKENS, temperature=0.0)
    alone = [engine.generate([one], max_tokens=RATIONALE_TOKENS, temperature=0.0)[0] for one in requests_of(family)]
    assert together == alone
    assert len({answer.text for answer in together}) > 1


@ray.remote(num_cpus=1, runtime_env={"env_vars": vllm_environment(gpu=False)})
class Replica:
    """A vLLM engine in a process of its own, as in the stages."""

    def __init__(self, base: str):
        self._engine = VllmEngine(base, dtype="float32", max_model_len=512)

    def score(self, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
        return self._engine.score(clips, prompt, labels)

    def score_texts(self, turns: Sequence[tuple[str, str]], answers: Sequence[str]) -> np.ndarray:
        return self._engine.score_texts(turns, answers)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return self._engine.generate(requests, max_tokens=RATIONALE_TOKENS, temperature=0.0)


@pytest.fixture(scope="module")
def replica(family: Family, ray_cluster: Cluster) -> Iterator[Any]:
    actor = Replica.remote(family.base)
    yield actor
    ray.kill(actor)


@pytest.mark.ray
def test_vllm_gives_the_same_scores(family: Family, replica: Any) -> None:
    clips = [*family.clips, at_rate(family.clips[0], 0.5), at_rate(family.clips[0], 4.0)]
    scores = ray.get(replica.score.remote(clips, PROMPTS[0], LABELS))
    np.testing.assert_allclose(scores, label_log_probabilities(family.vlm, clips, PROMPTS[0], LABELS), atol=1e-3)
    assert bool(np.abs(scores[3] - scores[4]).max() > 0.05) == USES_FRAME_RATE[family.name]


@pytest.mark.ray
def test_vllm_scores_texts_without_a_video(family: Family, replica: Any) -> None:
    turns, answers = [("What is it?", "The ball is"), ("Which?", "")], ["x", "y"]
    scores = ray.get(replica.score_texts.remote(turns, answers))
    tokenizer = family.vlm.processor.tokenizer
    for row, (user, begins) in enumerate(turns):
        text = render_prompt(family.vlm.processor, user, video=False) + begins
        with torch.inference_mode():
            logits = family.vlm.model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
        expected = logits.log_softmax(-1)[tokenizer.convert_tokens_to_ids(answers)]
        np.testing.assert_allclose(scores[row], expected, atol=1e-3)


@pytest.mark.ray
def test_vllm_writes_the_same_rationales(family: Family, replica: Any) -> None:
    expected = TransformersEngine(family.vlm).generate(
        requests_of(family), max_tokens=RATIONALE_TOKENS, temperature=0.0
    )
    found = ray.get(replica.generate.remote(requests_of(family)))
    assert [answer.error for answer in found] == [None] * 3  # as many tokens as the processor makes of the clip
    # Of letters that the token limit cuts in the middle of their bytes, vLLM gives nothing and Transformers a mark.
    assert found == [answer._replace(text=answer.text.rstrip("\ufffd")) for answer in expected]
