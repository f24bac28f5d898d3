"""Label scores equal a full forward pass per label."""

import numpy as np
import pytest
import torch

from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.model.scoring import label_log_probabilities, posterior
from rbft_ray.model.vlm import answer_loss_sum, answer_tokens, encode_prompts, pad_token, with_answers

LABELS = ("Normal", "Normal activity", "no é", "火车 进出")  # a label that is a prefix of another, accents, Chinese


def brute_force(vlm, clips, prompt, labels) -> np.ndarray:
    scores = np.zeros((len(clips), len(labels)))
    for row, clip in enumerate(clips):
        for column, label in enumerate(labels):
            tokens = [answer_tokens(vlm.processor, vlm.end_of_turn, label)]
            batch = with_answers(encode_prompts(vlm.processor, [clip], [prompt]), tokens, pad_token(vlm.processor))
            with torch.inference_mode():
                scores[row, column] = -answer_loss_sum(vlm.model, batch).item()
    return scores


def test_scores_equal_a_full_forward_pass_per_label(vlm, random_clips):
    prompt = label_prompt(Task(LABELS))
    scores = label_log_probabilities(vlm, random_clips, prompt, LABELS)
    expected = brute_force(vlm, random_clips, prompt, LABELS)
    assert np.abs(scores - expected).max() < 1e-3
    assert np.abs(posterior(scores) - posterior(expected)).max() < 1e-3


def test_a_clips_score_does_not_depend_on_its_batch(vlm, random_clips):
    prompt = label_prompt(Task(LABELS))
    together = label_log_probabilities(vlm, random_clips, prompt, LABELS)
    alone = np.concatenate([label_log_probabilities(vlm, [clip], prompt, LABELS) for clip in random_clips])
    assert np.allclose(together, alone, atol=1e-3)


def test_labels_of_a_single_token_each(vlm, random_clips):
    labels = ("a", "b")
    scores = label_log_probabilities(vlm, random_clips[:1], "Which?", labels)
    assert np.allclose(scores, brute_force(vlm, random_clips[:1], "Which?", labels), atol=1e-3)


@pytest.mark.parametrize("shift", [0.0, -1e4, 700.0])
def test_posterior_is_a_softmax_that_does_not_overflow(shift):
    scores = np.array([[0.0, -1.0, -2.0]]) + shift
    expected = np.exp([0.0, -1.0, -2.0]) / np.exp([0.0, -1.0, -2.0]).sum()
    assert np.allclose(posterior(scores), expected)
