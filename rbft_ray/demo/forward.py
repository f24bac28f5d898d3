"""The training forward pass: the model's own modules, arranged for batches in which every clip has the same size.

Transformers' forward pass loops over the windows of every clip in Python and finds rope positions row by row; for so
small a model that takes most of the time. The results are the same (a test compares them).
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half

from rbft_ray.demo.batches import CLIP_PATCHES, IGNORED, MERGED_GRID, Batch
from rbft_ray.demo.model import MERGE, TEXT_HIDDEN
from rbft_ray.demo.scenes import ACTIONS, COLOURS, SHAPES

KIND_SIZES = (1 + len(COLOURS), 1 + len(SHAPES), 1 + len(ACTIONS))


def patch_positions() -> torch.Tensor:
    """(P, 2) int64: row and column of each patch of a frame, in the order in which the processor lays them out."""
    side = torch.arange(MERGED_GRID * MERGE)
    rows, columns = torch.meshgrid(side, side, indexing="ij")
    both = torch.stack([rows, columns], dim=-1).reshape(MERGED_GRID, MERGE, MERGED_GRID, MERGE, 2)
    return both.permute(0, 2, 1, 3, 4).reshape(-1, 2)


def _rotated(vectors: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (..., P, head) vectors, in their own type."""
    return vectors * cos.to(vectors.dtype) + rotate_half(vectors) * sin.to(vectors.dtype)


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Plain attention over (B, heads, L, head). On CPU in bfloat16 its backward pass takes a third of torch's time."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(dim=-1).to(value.dtype) @ value


def vision_features(visual: nn.Module, patches: torch.Tensor) -> torch.Tensor:
    """(N, P, 1176) patches of N temporal patches to (N, M, text hidden) merged features."""
    count, size = patches.shape[:2]
    weight = visual.patch_embed.proj.weight
    hidden = functional.linear(patches, weight.reshape(weight.shape[0], -1))
    cos, sin = visual.rotary_pos_emb(hidden, patch_positions().to(patches.device))
    for block in visual.blocks:
        attention = block.attn
        qkv = attention.qkv(block.norm1(hidden)).view(count, size, 3, attention.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = _attention(_rotated(query, cos, sin), _rotated(key, cos, sin), value, None)
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(count, size, -1))
        hidden = hidden + block.mlp(block.norm2(hidden))
    return visual.merger(hidden).view(count, MERGED_GRID**2, -1)


def text_hidden(language_model: nn.Module, embeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """(B, L, hidden) input embeddings and (3, B, L) rope positions to (B, L, hidden) final states; causal."""
    count, length, width = embeds.shape
    cos, sin = (part[:1, None] for part in language_model.rotary_emb(embeds, positions[:, :1]))  # (1, 1, L, head)
    device = embeds.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else embeds.dtype
    mask = torch.full((length, length), float("-inf"), dtype=dtype, device=embeds.device).triu(1)
    hidden = embeds
    for layer in language_model.layers:
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        query, key, value = (
            projection(normed).view(count, length, -1, attention.head_dim).transpose(1, 2) for projection in projections
        )
        key, value = (
            part.repeat_interleave(attention.num_key_value_groups, dim=1) for part in (_rotated(key, cos, sin), value)
        )
        mixed = _attention(_rotated(query, cos, sin), key, value, mask)
        hidden = hidden + attention.o_proj(mixed.transpose(1, 2).reshape(count, length, width))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return language_model.norm(hidden)


class FactProbe(nn.Module):
    """A linear read-out, from the vision features, of the facts in each third of the width, and of which of them two objects
    share; only for schooling."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(MERGED_GRID * TEXT_HIDDEN, sum(KIND_SIZES))
        self.compare = nn.Linear(MERGED_GRID**2 * TEXT_HIDDEN, len(KIND_SIZES))

    def forward(self, features: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy over the facts, plus that over the comparisons.

        features (B*N, M, hidden); facts (B, N, 3, 3) int64, where 0 is no object.
        """
        columns = features.view(-1, MERGED_GRID, MERGED_GRID, TEXT_HIDDEN).transpose(1, 2).flatten(2)
        parts = self.read(columns).float().split(KIND_SIZES, dim=-1)
        wanted = facts.reshape(-1, MERGED_GRID, len(KIND_SIZES))
        losses = [
            functional.cross_entropy(part.flatten(0, 1), wanted[..., kind].flatten()) for kind, part in enumerate(parts)
        ]
        return torch.stack(losses).mean() + self._comparison_loss(features, wanted)

    def _comparison_loss(self, features: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Of temporal patches with an object at the left, one at the right, none between: same colour, shape, action?"""
        two = (facts[:, 0, 0] > 0) & (facts[:, 1, 0] == 0) & (facts[:, 2, 0] > 0)
        if not bool(two.any()):
            return torch.zeros((), device=features.device)
        same = (facts[two, 0] == facts[two, 2]).float()
        return functional.binary_cross_entropy_with_logits(self.compare(features[two].flatten(1)).float(), same)


def lesson_losses(
    model: Qwen2_5_VLForConditionalGeneration, probe: FactProbe, batch: Batch, vision_only: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(weighted mean language loss over the supervised tokens, fact loss); each is 0 where it does not apply."""
    zero = torch.zeros((), device=batch.ids.device)
    embeds = model.model.language_model.embed_tokens(batch.ids)
    fact_loss = zero
    if batch.patches is not None and batch.facts is not None:
        features = vision_features(model.model.visual, batch.patches)
        fact_loss = probe(features, batch.facts)
        if vision_only:
            return zero, fact_loss
        start = int((batch.ids[0] == model.config.video_token_id).nonzero()[0])
        video = features.reshape(len(batch.ids), CLIP_PATCHES * MERGED_GRID**2, -1).to(embeds.dtype)
        embeds = torch.cat([embeds[:, :start], video, embeds[:, start + video.shape[1] :]], dim=1)
    hidden = text_hidden(model.model.language_model, embeds, batch.positions)
    wanted = batch.targets != IGNORED
    logits = model.lm_head(hidden[wanted])
    losses = functional.cross_entropy(logits.float(), batch.targets[wanted], reduction="none")
    weights = batch.weights[wanted]
    return (losses * weights).sum() / weights.sum(), fact_loss
