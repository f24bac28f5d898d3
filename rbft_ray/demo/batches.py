"""Lessons to tensors: token ids, supervised positions, rope positions, patches of pixels, facts for the vision loss.

Shapes: B lessons, L tokens (right-padded), N = 4 temporal patches of a clip, P = 36 patches and M = 9 merged patches
(a 3x3 grid) of each.
"""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from rbft_ray.core.prompts import ANSWER_PREFIX
from rbft_ray.demo.grammar import WORDINGS
from rbft_ray.demo.lessons import Lesson, general_look
from rbft_ray.demo.model import MERGE, PATCH_PX, PIXEL_MEAN, PIXEL_STD, TEMPORAL_PATCH_FRAMES
from rbft_ray.demo.render import NUM_SAMPLED, SAMPLED_TIMES_SEC, Appearance, render_frames
from rbft_ray.demo.scenes import ACTIONS, COLOURS, FRAME_PX, NUM_STEPS, SHAPES, Scene

GRID = FRAME_PX // PATCH_PX
MERGED_GRID = GRID // MERGE
CLIP_PATCHES = NUM_SAMPLED // TEMPORAL_PATCH_FRAMES
VIDEO_TOKENS = CLIP_PATCHES * MERGED_GRID**2
TOKENS_PER_TEMPORAL_PATCH = 2  # rope steps: tokens_per_second x seconds per temporal patch, 2 x 1.0
IGNORED = -100
NAME_WEIGHT = 4.0
VERDICT_WEIGHT = 4.0  # of "match" and "differ"
LENGTH_MULTIPLE = 32  # of L: few different shapes to compile
BLUR_SHARE = 0.3


@dataclass(frozen=True)
class Batch:
    """ids (B, L) int64, positions (3, B, L) int64. targets (B, L) int64: what to predict from each position or IGNORED.

    weights (B, L) float32: of each target in the loss; class names and verdicts weigh more.

    patches (B*N, P, 1176) float32 and facts (B, N, 3 columns, 3 kinds) int64 of clips; both None for text alone.
    """

    ids: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    patches: torch.Tensor | None
    facts: torch.Tensor | None


def to_patches(frames: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 frames to (B * T/2, P, 1176) float32, as the Qwen2-VL video processor lays them out."""
    clips, count = frames.shape[:2]
    pixels = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float().div_(255)
    pixels = (pixels - torch.tensor(PIXEL_MEAN).view(3, 1, 1)) / torch.tensor(PIXEL_STD).view(3, 1, 1)
    times, side = count // TEMPORAL_PATCH_FRAMES, MERGED_GRID
    pixels = pixels.reshape(clips, times, TEMPORAL_PATCH_FRAMES, 3, side, MERGE, PATCH_PX, side, MERGE, PATCH_PX)
    pixels = pixels.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
    return pixels.reshape(clips * times, GRID * GRID, 3 * TEMPORAL_PATCH_FRAMES * PATCH_PX * PATCH_PX)


def blurred(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 frames, smoothed a little in both directions (as compression does)."""
    wide = frames.astype(np.float32)
    wide = 0.5 * wide + 0.25 * (np.roll(wide, 1, axis=1) + np.roll(wide, -1, axis=1))
    wide = 0.5 * wide + 0.25 * (np.roll(wide, 1, axis=2) + np.roll(wide, -1, axis=2))
    return (wide + 0.5).astype(np.uint8)


def lesson_frames(scene: Scene, look: Appearance | None, rng: np.random.Generator) -> np.ndarray:
    """(T, H, W, 3) uint8: the sampled frames of a general clip, sometimes blurred."""
    frames = render_frames(scene, rng, look or general_look(rng), SAMPLED_TIMES_SEC)
    return blurred(frames) if rng.random() < BLUR_SHARE else frames


def scene_targets(scene: Scene) -> np.ndarray:
    """(N, 3, 3) int64: colour, shape, present action in each third of the width, at each temporal patch; 0: none."""
    targets = np.zeros((CLIP_PATCHES, MERGED_GRID, 3), np.int64)
    for thing in scene.objects:
        column = min(int(thing.x_px * MERGED_GRID / FRAME_PX), MERGED_GRID - 1)
        targets[:, column, 0] = 1 + COLOURS.index(thing.colour)
        targets[:, column, 1] = 1 + SHAPES.index(thing.shape)
        doing = [1 + ACTIONS.index(action) for action in thing.actions]
        targets[:, column, 2] = np.repeat(doing, CLIP_PATCHES // NUM_STEPS)
    return targets


def _weighted(answer: str) -> list[tuple[str, float]]:
    """An answer and the end of its turn in pieces, with their weights: a class name and an answer of one word weigh more."""
    reasoning, prefix, name = answer.rpartition(ANSWER_PREFIX)
    if not prefix:
        return [(f"{answer}<|im_end|>", 1.0 if " " in answer else NAME_WEIGHT)]
    before, found, after = reasoning.rpartition(name)
    stated = [(before, 1.0), (found, NAME_WEIGHT)] if found else []
    return [*stated, (after + prefix, 1.0), (f"{name}<|im_end|>", NAME_WEIGHT)]


def lesson_ids(tokenizer: PreTrainedTokenizerBase, lesson: Lesson) -> tuple[list[int], list[float]]:
    """Token ids of a conversation in the chat template, and the weight of each in the loss (0 but for answers)."""
    video = "<|vision_start|>" + "<|video_pad|>" * VIDEO_TOKENS + "<|vision_end|>" if lesson.scene else ""
    pieces = [("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", 0.0)]
    for number, (prompt, answer) in enumerate(lesson.turns):
        seen = video if number == 0 else ""
        pieces.append((f"<|im_start|>user\n{seen}{prompt}<|im_end|>\n<|im_start|>assistant\n", 0.0))
        pieces.extend(_weighted(answer))
        pieces.append(("\n", 0.0))
    verdict_ids = {tokenizer(f" {word}").input_ids[0] for words in WORDINGS for word in words}
    ids: list[int] = []
    weights: list[float] = []
    for (_, weight), piece_ids in zip(pieces, tokenizer([text for text, _ in pieces]).input_ids, strict=True):
        ids.extend(piece_ids)
        weights.extend(weight * (VERDICT_WEIGHT if piece_id in verdict_ids else 1.0) for piece_id in piece_ids)
    return ids, weights


def rope_positions(ids: torch.Tensor, video_token_id: int, after_largest: bool = False) -> torch.Tensor:
    """(3, B, L) int64 rope positions of (B, L) ids: one video at the same place in every row, or none.

    Args:
        after_largest: the text after a video goes on from the largest position in it, as in vLLM (0.32) and in Qwen's
            own code; else from its height and width alone, as in Transformers (5.19). Long videos make a difference.
    """
    count, length = ids.shape
    positions = torch.arange(length).repeat(3, 1)
    where = (ids[0] == video_token_id).nonzero()
    if len(where):
        start = int(where[0])
        steps = torch.arange(CLIP_PATCHES) * TOKENS_PER_TEMPORAL_PATCH
        side = torch.arange(MERGED_GRID)
        grid = torch.stack(torch.meshgrid(steps, side, side, indexing="ij")).reshape(3, -1)
        positions[:, start : start + VIDEO_TOKENS] = start + grid
        extent = max(MERGED_GRID, int(steps[-1]) + 1) if after_largest else MERGED_GRID
        positions[:, start + VIDEO_TOKENS :] -= VIDEO_TOKENS - extent
    return positions[:, None].expand(3, count, length)


def make_batch(
    tokenizer: PreTrainedTokenizerBase, lessons: list[Lesson], rng: np.random.Generator, after_largest: bool = False
) -> Batch:
    """Lessons of one form (all with a video or all without) as one batch. `after_largest`: see `rope_positions`."""
    rows = [lesson_ids(tokenizer, lesson) for lesson in lessons]
    length = -(-max(len(ids) for ids, _ in rows) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    pad_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    padded = torch.tensor([ids + [pad_id] * (length + 1 - len(ids)) for ids, _ in rows])
    weights = torch.tensor([own + [0.0] * (length + 1 - len(own)) for _, own in rows])[:, 1:]
    ids, targets = padded[:, :-1], padded[:, 1:].masked_fill(weights == 0, IGNORED)
    positions = rope_positions(ids, tokenizer.convert_tokens_to_ids("<|video_pad|>"), after_largest)
    clips = [(lesson.scene, lesson.look) for lesson in lessons if lesson.scene is not None]
    if not clips:
        return Batch(ids, targets, weights, positions, None, None)
    patches = to_patches(np.stack([lesson_frames(scene, look, rng) for scene, look in clips]))
    facts = torch.from_numpy(np.stack([scene_targets(scene) for scene, _ in clips]))
    return Batch(ids, targets, weights, positions, patches, facts)
