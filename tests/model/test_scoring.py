"""Label scores equal a full forward pass per label, from Transformers and from vLLM."""

import numpy as np
import pytest
import torch

from rbft_ray.core.card import Calibration
from rbft_ray.core.prompts import Task, label_prompt
from rbft_ray.model import engine, scoring
from rbft_ray.model.engine import TransformersEngine
from rbft_ray.model.scoring import label_log_probabilities
from rbft_ray.model.vllm_build import vllm_environment
from rbft_ray.model.vllm_engine import VllmEngine
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
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert np.abs(Calibration().posterior(scores) - Calibration().posterior(expected)).max() < 1e-3


def test_a_clips_score_does_not_depend_on_its_batch(vlm, random_clips):
    prompt = label_prompt(Task(LABELS))
    together = label_log_probabilities(vlm, random_clips, prompt, LABELS)
    alone = np.concatenate([label_log_probabilities(vlm, [clip], prompt, LABELS) for clip in random_clips])
    assert np.allclose(together, alone, atol=1e-3)


def test_labels_of_a_single_token_each(vlm, random_clips):
    labels = ("a", "b")
    scores = label_log_probabilities(vlm, random_clips[:1], "Which?", labels)
    assert np.allclose(scores, brute_force(vlm, random_clips[:1], "Which?", labels), atol=1e-3)


def many_labels(count: int) -> list[str]:
    """Distinct names that share beginnings."""
    syllables = ("ka", "lo", "mi", "nu", "re", "sta", "te", "vo", "za", "é")
    return [" ".join(syllables[int(digit)] for digit in f"{number:03d}") for number in range(count)]


@pytest.mark.parametrize("logits_bytes", [1 << 29, 1 << 20])
def test_a_thousand_labels_in_one_tree_or_in_many(vlm, random_clips, monkeypatch, logits_bytes):
    monkeypatch.setattr(scoring, "_LOGITS_BYTES", logits_bytes)
    labels, some = many_labels(1000), [0, 1, 10, 499, 998, 999]
    scores = label_log_probabilities(vlm, random_clips[:2], "Which?", labels)
    expected = brute_force(vlm, random_clips[:2], "Which?", [labels[index] for index in some])
    assert scores.shape == (2, 1000)
    np.testing.assert_allclose(scores[:, some], expected, rtol=1e-4)


def test_two_labels_with_the_same_tokens_are_refused(vlm, random_clips):
    with pytest.raises(ValueError, match="same tokens"):
        label_log_probabilities(vlm, random_clips[:1], "Which?", ["a", "b", "a"])


@pytest.mark.ray
def test_vllm_gives_the_same_scores(ray_cluster, vlm, base_dir, random_clips):
    import ray

    labels = [*LABELS, *many_labels(200)]

    @ray.remote(num_cpus=1, runtime_env={"env_vars": vllm_environment(gpu=False)})
    def scored() -> np.ndarray:
        return VllmEngine(base_dir, dtype="float32", max_model_len=512).score(random_clips, "Which?", labels)

    scores, expected = ray.get(scored.remote()), label_log_probabilities(vlm, random_clips, "Which?", labels)
    np.testing.assert_allclose(scores, expected, rtol=1e-3)
    assert np.abs(Calibration().posterior(scores) - Calibration().posterior(expected)).max() < 1e-3


def test_scoring_goes_on_with_smaller_batches_where_memory_is_short(vlm, random_clips, monkeypatch):
    clips = [*random_clips, *random_clips]
    expected = TransformersEngine(vlm).score(clips, "Which?", LABELS)
    sizes = []

    def short_of_memory(model, part, prompt, labels):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("no room")
        return label_log_probabilities(model, part, prompt, labels)

    monkeypatch.setattr(engine, "label_log_probabilities", short_of_memory)
    found = TransformersEngine(vlm, batch_clips=8).score(clips, "Which?", LABELS)
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert found == pytest.approx(expected, abs=1e-3)
    monkeypatch.setattr(engine, "label_log_probabilities", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(torch.OutOfMemoryError):
        TransformersEngine(vlm).score(clips, "Which?", LABELS)
