"""Prompts and answers to tensors: the loss sees the answer and nothing else."""

import torch

from rbft_ray.model import vlm as vlm_module
from rbft_ray.model.vlm import IGNORED_LABEL, answer_loss_sum, answer_tokens, encode_prompts, pad_token, with_answers


def batch_of(vlm, clips, prompts, answers):
    tokens = [answer_tokens(vlm.processor, vlm.end_of_turn, answer) for answer in answers]
    encoded = encode_prompts(vlm.processor, clips, prompts)
    return with_answers(encoded, tokens, pad_token(vlm.processor)), tokens


def test_only_the_answer_and_its_end_of_turn_are_trained(vlm, random_clips):
    answers = ["zorb", "a much longer answer, with words", "né"]
    batch, tokens = batch_of(vlm, random_clips[:3], ["Which class?", "What is seen in the video?", "?"], answers)
    for row, answer in enumerate(answers):
        trained = batch["labels"][row] != IGNORED_LABEL
        assert batch["input_ids"][row][trained].tolist() == tokens[row]
        text = vlm.processor.tokenizer.decode(batch["labels"][row][trained])
        assert text == answer + vlm.processor.tokenizer.decode([vlm.end_of_turn])
        masked = vlm.processor.tokenizer.decode(batch["input_ids"][row][~trained])
        assert answer not in masked


def test_batched_loss_is_the_sum_of_single_losses(vlm, random_clips):
    prompts = ["Which class?", "Which class, after so many words?", "Class?", "?"]
    answers = ["one", "two and a half", "three", "4"]
    with torch.inference_mode():
        whole = answer_loss_sum(vlm.model, batch_of(vlm, random_clips, prompts, answers)[0])
        single = [
            answer_loss_sum(vlm.model, batch_of(vlm, [clip], [prompt], [answer])[0])
            for clip, prompt, answer in zip(random_clips, prompts, answers, strict=True)
        ]
    assert torch.isclose(whole, torch.stack(single).sum(), rtol=1e-4)


def test_loss_equals_transformers_own(vlm, random_clips):
    batch, tokens = batch_of(vlm, random_clips[:2], ["Which class?"] * 2, ["alpha", "beta or gamma"])
    with torch.inference_mode():
        ours = answer_loss_sum(vlm.model, batch) / sum(map(len, tokens))
        theirs = vlm.model(**batch).loss
    assert torch.isclose(ours, theirs, rtol=1e-5)


def test_the_models_own_chat_template_is_used(vlm):
    rendered = vlm_module.render_prompt(vlm.processor, "Which class?")
    assert "Which class?" in rendered
    assert rendered.count("<|video_pad|>") == 1
    assert rendered.endswith("<|im_start|>assistant\n")
    assert vlm.processor.tokenizer.decode([vlm.end_of_turn]) == "<|im_end|>"


def test_the_frame_rate_reaches_the_model(vlm, random_clips):
    encoded = encode_prompts(vlm.processor, random_clips, ["?"] * len(random_clips))
    patch = vlm.processor.video_processor.temporal_patch_size
    assert torch.allclose(
        torch.as_tensor(encoded["second_per_grid_ts"]).float(),
        torch.tensor([patch / clip.fps for clip in random_clips]),
    )


def test_frames_are_neither_resized_nor_resampled(vlm, random_clips):
    encoded = encode_prompts(vlm.processor, random_clips, ["?"] * len(random_clips))
    expected = [
        [len(clip.frames) // 2, clip.frames.shape[1] // 14, clip.frames.shape[2] // 14] for clip in random_clips
    ]
    assert encoded["video_grid_thw"].tolist() == expected
