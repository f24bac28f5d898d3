"""One posterior: class probabilities of a clip from a generative VLM.

score(label) = sum of log p(token | video, prompt, tokens before), over the label's tokens with its end-of-turn token, so that
"Normal" and "Normal activity" do not share mass. The posterior is the softmax of the scores over the label set.
The video and the prompt are computed once per clip; the labels run on copies of that key-value cache.
"""

from collections.abc import Sequence

import numpy as np
import torch

from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.vlm import Vlm, answer_tokens, encode_prompts, pad_token, to_device


@torch.inference_mode()
def label_log_probabilities(vlm: Vlm, clips: Sequence[ClipFrames], prompt: str, labels: Sequence[str]) -> np.ndarray:
    """Unnormalised scores of every label for every clip: float64 (clips, labels), natural logarithm.

    Clips whose prompts have equal length share a forward pass; the caller chooses how many come at a time.
    """
    answers = [answer_tokens(vlm.processor, vlm.end_of_turn, label) for label in labels]
    scores = np.zeros((len(clips), len(labels)), dtype=np.float64)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, clip in enumerate(clips):
        by_shape.setdefault(clip.frames.shape, []).append(index)
    for members in by_shape.values():  # equal shapes: no padding, so that positions need no mask
        scores[members] = _score_batch(vlm, [clips[index] for index in members], prompt, answers)
    return scores


def _score_batch(vlm: Vlm, clips: Sequence[ClipFrames], prompt: str, answers: Sequence[Sequence[int]]) -> np.ndarray:
    device, dtype = vlm.model.device, vlm.model.dtype
    inputs = to_device(encode_prompts(vlm.processor, clips, [prompt] * len(clips)), device, dtype)
    prefill = vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    count, width = len(answers), max(len(answer) for answer in answers)
    tokens = torch.full((count, width), pad_token(vlm.processor), dtype=torch.long, device=device)
    mask = torch.zeros((count, width), dtype=torch.bool, device=device)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = torch.tensor(answer, device=device)
        mask[row, : len(answer)] = True
    log_probs = prefill.logits[:, -1:].float().log_softmax(-1).repeat_interleave(count, dim=0)  # (B x labels, 1, V)
    wanted = tokens.repeat(len(clips), 1)
    if width > 1:
        cache = prefill.past_key_values
        cache.batch_repeat_interleave(count)
        # Right padding and causal attention: padded positions are masked out below and change nothing before them.
        step = vlm.model(input_ids=wanted[:, :-1], past_key_values=cache, use_cache=True)
        log_probs = torch.cat([log_probs, step.logits.float().log_softmax(-1)], dim=1)
    taken = log_probs.gather(2, wanted.unsqueeze(-1)).squeeze(-1)  # (B x labels, width)
    sums = (taken.double() * mask.repeat(len(clips), 1)).sum(1)
    return sums.view(len(clips), count).cpu().numpy()


def posterior(log_probabilities: np.ndarray) -> np.ndarray:
    """Softmax over the last axis: float64 (clips, labels), rows sum to 1."""
    shifted = log_probabilities - log_probabilities.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    return weights / weights.sum(axis=-1, keepdims=True)
