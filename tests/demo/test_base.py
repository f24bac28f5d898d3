"""The base model's parts: tokenizer, chat template, training batches against Transformers' own, loading."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from rbft_ray.core.prompts import ANSWER_PREFIX, rationale_prompt
from rbft_ray.core.sampling import SamplingContract
from rbft_ray.demo import BASE_DIR
from rbft_ray.demo.batches import Batch, lesson_frames, make_batch
from rbft_ray.demo.forward import FactProbe, lesson_losses, vision_features
from rbft_ray.demo.lessons import RULE_LESSONS, Lesson, question_lesson, rule_lesson
from rbft_ray.demo.model import base_config, save_base
from rbft_ray.demo.tokenizer import SPECIAL_TOKENS, train_tokenizer
from rbft_ray.demo.world import domain_task
from rbft_ray.io.video import decode_frames, read_clip

MAX_BASE_BYTES = 12 * 2**20
METADATA = {"fps": 2.0, "total_num_frames": 8, "duration": 4.0, "frames_indices": list(range(8))}


@pytest.fixture(scope="module")
def fresh_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with random weights."""
    tokenizer = train_tokenizer(count=200)
    torch.manual_seed(0)
    out_dir = tmp_path_factory.mktemp("base")
    save_base(Qwen2_5_VLForConditionalGeneration(base_config(tokenizer)), tokenizer, out_dir)
    return out_dir


def chat(lesson: Lesson) -> list[dict[str, object]]:
    messages: list[dict[str, object]] = []
    for number, (prompt, answer) in enumerate(lesson.turns):
        video = [{"type": "video"}] if lesson.scene is not None and number == 0 else []
        messages.append({"role": "user", "content": [*video, {"type": "text", "text": prompt}]})
        messages.append({"role": "assistant", "content": answer})
    return messages


@pytest.mark.parametrize("text", ["café Ünïcödé", "视频分类：跑步", "two  spaces\n\nand 123 :-)", "emoji 🎬"])
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = train_tokenizer(count=200)
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_special_tokens_are_single_and_prompts_are_short(fresh_dir: Path) -> None:
    tokenizer = AutoProcessor.from_pretrained(fresh_dir).tokenizer
    assert all(len(tokenizer(token).input_ids) == 1 for token in SPECIAL_TOKENS)
    assert len(tokenizer(rationale_prompt(domain_task(0))).input_ids) < 160


def test_chat_template_is_that_of_qwen(fresh_dir: Path) -> None:
    processor = AutoProcessor.from_pretrained(fresh_dir)
    content = [{"type": "video"}, {"type": "text", "text": "Hello"}]
    said = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert said == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Hello<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("kind", [*RULE_LESSONS, "question"])
def test_training_ids_are_those_of_the_processor(fresh_dir: Path, kind: str) -> None:
    processor = AutoProcessor.from_pretrained(fresh_dir)
    rng = np.random.default_rng(4)
    lesson = question_lesson(rng, (0.0, 1.0, 0.0)) if kind == "question" else RULE_LESSONS[kind](rng)
    batch = make_batch(processor.tokenizer, [lesson], np.random.default_rng(0))
    text = processor.apply_chat_template(chat(lesson), tokenize=False)
    videos = {"videos": [np.zeros((8, 84, 84, 3), np.uint8)], "video_metadata": [METADATA]} if lesson.scene else {}
    ids = processor(text=[text], return_tensors="pt", **videos)["input_ids"][0]
    assert torch.equal(batch.ids[0, : len(ids)], ids)
    supervised = processor.tokenizer.decode(batch.targets[0][batch.weights[0] > 0])
    assert supervised == "".join(answer + "<|im_end|>" for _, answer in lesson.turns)


def test_training_forward_is_that_of_transformers(fresh_dir: Path) -> None:
    """Pixels, rope positions, vision features and loss of the fast path against the library's own."""
    processor = AutoProcessor.from_pretrained(fresh_dir)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(fresh_dir, dtype=torch.float32)
    lesson = rule_lesson(np.random.default_rng(6))
    assert lesson.scene is not None
    batch = make_batch(processor.tokenizer, [lesson], np.random.default_rng(1))
    frames = lesson_frames(lesson.scene, lesson.look, np.random.default_rng(1))
    text = processor.apply_chat_template(chat(lesson), tokenize=False)
    inputs = processor(text=[text], videos=[frames], video_metadata=[METADATA], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert batch.patches is not None
    torch.testing.assert_close(batch.patches.flatten(0, 1), inputs["pixel_values_videos"], atol=1e-5, rtol=0)
    positions, _ = model.model.get_rope_index(
        inputs["input_ids"],
        inputs["mm_token_type_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        second_per_grid_ts=inputs["second_per_grid_ts"],
    )
    assert torch.equal(batch.positions[:, :, :length], positions)
    even = Batch(batch.ids, batch.targets, (batch.weights > 0).float(), batch.positions, batch.patches, batch.facts)
    with torch.no_grad():
        output = model(**inputs)
        features = model.model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"]).pooler_output
        own_loss, _ = lesson_losses(model, FactProbe(), even)
        own_features = vision_features(model.model.visual, batch.patches)
    torch.testing.assert_close(own_features.flatten(0, 1), features, atol=1e-4, rtol=1e-3)
    loss = torch.nn.functional.cross_entropy(output.logits[0], batch.targets[0, :length])
    torch.testing.assert_close(own_loss, loss, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not BASE_DIR.is_dir(), reason="no base in this checkout")
def test_base_loads_is_small_and_answers_in_the_format(world: Path) -> None:
    assert sum(path.stat().st_size for path in BASE_DIR.iterdir()) <= MAX_BASE_BYTES
    processor = AutoProcessor.from_pretrained(BASE_DIR)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(BASE_DIR)
    assert model.dtype == torch.bfloat16
    task = domain_task(3)  # the domain of the rendered clip
    content = [{"type": "video"}, {"type": "text", "text": rationale_prompt(task)}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    video = next((world / "videos").glob("test-*.mp4"))
    frames = decode_frames(read_clip(video.read_bytes(), SamplingContract(max_pixels=84 * 84)).frames)
    inputs = processor(text=[text], videos=[frames], video_metadata=[METADATA], return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=110, do_sample=False)
    said = processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.splitlines()[-1].removeprefix(f"{ANSWER_PREFIX} ") in task.labels
