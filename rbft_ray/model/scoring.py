"""One posterior: class probabilities of a clip from a generative VLM.

score(label) = sum of log p(token | video, prompt, tokens before), over the label's tokens with its end-of-turn token, so that
"Normal" and "Normal activity" do not share mass. `core.card.Calibration` makes the posterior of them. By default they are not
divided by the label's length: the sum is the log-probability that the model answers so, which is what stage 2 trains.
`evaluate.length_correction: per_token` is for a base that never saw the labels, where long names lose by their length alone.

The video and the prompt are computed once per clip. The labels' tokens then run in one more pass as a tree: a token sees the
prompt and the tokens before it in its label, so that labels with a common prefix share it.

No gradients, but no inference mode either: while a model trains, ZeRO-3 keeps weights that it gathered here for the next step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rbft_ray.core.trie import Trie, tries
from rbft_ray.io.clips import ClipFrames
from rbft_ray.model.vlm import Vlm, answer_tokens, collate, encode_prompts, pad_token, to_device

_LOGITS_BYTES = 1 << 29  # of one pass over label tokens, in fp32


def label_tokens(processor: Any, end_of_turn: int, labels: Sequence[str]) -> list[list[int]]:
    """Each label's tokens with its end-of-turn token."""
    return [answer_tokens(processor, end_of_turn, label) for label in labels]


@torch.no_grad()
def label_log_probabilities(
    vlm: Vlm,
    clips: Sequence[ClipFrames],
    prompt: str,
    labels: Sequence[str],
) -> np.ndarray:
    """Scores of every label for every clip: float64 (clips, labels), natural logarithm, not normalised over the labels.

    Clips whose prompts are equally long share a forward pass; the caller chooses how many come at a time.

    Raises:
        ValueError: two labels have the same tokens.
        DataError: the model cannot take frames of this size.
    """
    answers = label_tokens(vlm.processor, vlm.end_of_turn, labels)
    scores = np.zeros((len(clips), len(labels)), dtype=np.float64)
    prompts = [encode_prompts(vlm.processor, [clip], [prompt]) for clip in clips]
    by_length: dict[int, list[int]] = {}  # no padding, which the pass over the labels' tokens does not know
    for index, encoded in enumerate(prompts):  # clips of one size may differ: Qwen3-VL writes the time of each frame
        by_length.setdefault(encoded["input_ids"].shape[1], []).append(index)
    for members in by_length.values():
        batch = collate([prompts[index] for index in members], pad_token(vlm.processor))
        scores[members] = answer_log_probabilities(vlm, batch, answers)
    return scores


@torch.no_grad()
def answer_log_probabilities(
    vlm: Vlm, prompts: Mapping[str, torch.Tensor], answers: Sequence[Sequence[int]]
) -> np.ndarray:
    """Sum of the log-probabilities of every answer's tokens after every prompt: float64 (B, answers), natural logarithm.

    Args:
        prompts: `input_ids` (B, P) int64 and what else the model takes, with or without a video; equally long, not padded.
        answers: the tokens of each, different ones.
    """
    count = len(prompts["input_ids"])
    device, dtype = vlm.model.device, vlm.model.dtype
    inputs = to_device(prompts, device, dtype)
    prefill = vlm.model(**inputs, use_cache=True, logits_to_keep=1)
    first = prefill.logits[:, -1:].float().log_softmax(-1)  # (B, 1, V)
    cache, length = prefill.past_key_values, inputs["input_ids"].shape[1]
    scores = torch.zeros(count, len(answers), dtype=torch.float64)
    for trie in tries(answers, max(1, _LOGITS_BYTES // (4 * first.shape[-1] * count))):
        log_probs = first
        if len(trie.tokens) > 1:
            log_probs = torch.cat([first, _tree_pass(vlm.model, cache, length, trie, count)], dim=1)
            cache.crop(1 - len(trie.tokens))
        for label, path in zip(trie.labels, trie.paths, strict=True):
            taken = log_probs[:, list(path), list(answers[label])]  # (B, tokens of the label)
            scores[:, label] = taken.double().sum(1).cpu()
    return scores.numpy()


def _tree_pass(model: Any, cache: Any, length: int, trie: Trie, count: int) -> torch.Tensor:
    """Log-probabilities after each node but node 0: float32 (B, nodes - 1, V). Extends the cache by the nodes."""
    device, dtype, size = model.device, model.dtype, len(trie.tokens) - 1
    seen = torch.zeros(size, size, dtype=torch.bool)
    for node in range(1, size + 1):
        seen[node - 1, [ancestor - 1 for ancestor in trie.ancestors(node)]] = True
    seen = torch.cat([torch.ones(size, length, dtype=torch.bool), seen], dim=1).to(device)
    mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
    tokens = torch.tensor(trie.tokens[1:], device=device).expand(count, size)
    depths = torch.tensor(trie.depths[1:], device=device)
    output = model(
        input_ids=tokens,
        attention_mask=mask.expand(count, 1, size, length + size),
        position_ids=_positions_after(model, length + depths - 1, count),
        past_key_values=cache,
        use_cache=True,
    )
    return output.logits.float().log_softmax(-1)


def _positions_after(model: Any, places: torch.Tensor, count: int) -> torch.Tensor:
    """Rotary positions of text tokens at `places` (N,) in the sequence: (B, N), or (3, B, N) for Qwen-VL models.

    Those keep, from the prefill, by how much the position of text differs from its place (`rope_deltas`).
    """
    deltas = getattr(model.model, "rope_deltas", None)
    if deltas is None:
        return places.expand(count, -1)
    return (places + deltas.to(places.device)).expand(3, count, -1)
