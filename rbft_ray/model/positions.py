"""Rotary positions of a video and the text after it, as the model was trained and as vLLM serves it.

Qwen2-VL and Qwen2.5-VL start the text after a video at the largest position in the video + 1, on any of the three axes (Qwen2-VL,
arXiv 2409.12191, section 2.1; vLLM does so). Transformers 5.19 (`get_rope_index`) advances by the larger of height and width alone,
so that a video that is longer than wide gives other positions in training and scoring than in vLLM.

Qwen2.5-VL places a frame at floor(number in the grid x seconds per grid x tokens per second). Transformers multiplies in the
type of its inputs, vLLM in float64, which for some rates gives a neighbouring position: here it is float64 too.

Qwen3-VL needs neither: each frame is a video of its own behind its time as text ("<1.5 seconds>"), one grid long.
"""

from itertools import groupby
from typing import Any

import torch


def follow_reference(model: Any) -> None:
    """Makes `get_rope_index` of a loaded model, where it has one, start each part after the largest position before it and
    count the time of frames in float64."""
    inner = getattr(model, "model", None)
    original = getattr(inner, "get_rope_index", None)
    if inner is None or original is None:
        return

    def get_rope_index(input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if (seconds := kwargs.get("second_per_grid_ts")) is not None:
            kwargs["second_per_grid_ts"] = torch.as_tensor(seconds).double()
        positions, deltas = original(input_ids, *args, **kwargs)
        kinds = kwargs.get("mm_token_type_ids")
        if kinds is None:
            return positions, deltas
        mask = kwargs.get("attention_mask")
        return reference_positions(positions, kinds, torch.ones_like(input_ids) if mask is None else mask)

    inner.get_rope_index = get_rope_index


def reference_positions(
    positions: torch.Tensor, kinds: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shifts each run of tokens of one kind to the largest position before it + 1.

    Args:
        positions: (3, B, L) int64; kinds: (B, L), 0 text, 1 image, 2 video; mask: (B, L), 0 for padding.

    Returns:
        (3, B, L) positions and (B, 1) differences between the next position and the number of tokens.
    """
    positions = positions.clone()
    deltas = []
    for row in range(kinds.shape[0]):
        kept = mask[row].bool().nonzero().flatten()
        start = next_position = 0
        for _, run in groupby(kinds[row, kept].tolist()):
            tokens = kept[start : start + len(list(run))]
            start += len(tokens)
            positions[:, row, tokens] += next_position - positions[:, row, tokens].min()
            next_position = int(positions[:, row, tokens].max()) + 1
        deltas.append(next_position - len(kept))
    return positions, torch.tensor(deltas, device=positions.device).unsqueeze(1)
