"""What fine-tuning takes: tokens, floating-point operations, hours. Arithmetic on the shape of a model; nothing is measured.

FLOPs per token and parameter: 2 of the forward pass, 2 of the gradient of the inputs, 2 of the gradient of the weights (Kaplan et
al. 2020, arXiv 2001.08361, section 2.1), 2 more where the forward pass is repeated; attention as in appendix B of PaLM (Chowdhery
et al. 2022, arXiv 2204.02311), which does not halve it for the causal mask. `training_memory` has the bytes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PARTS = ("vision", "merger", "language")  # in the order in which a clip goes through them


@dataclass(frozen=True)
class Tower:
    """Equal transformer blocks. attention, key_values: heads x head dimension of queries, and of keys (or values).

    gated: the MLP has two input layers; fused: one linear layer makes queries, keys and values; normed: queries and keys each go
    through a norm.
    """

    layers: int
    hidden: int
    attention: int
    key_values: int
    intermediate: int
    gated: bool
    fused: bool
    normed: bool = False


@dataclass(frozen=True)
class Part:
    """Parameters of one part of a model. trained: of the base's own weights; adapter: beside them, all trained."""

    weights: int
    trained: int
    adapter: int


@dataclass(frozen=True)
class ModelShape:
    """What memory and FLOPs depend on.

    parts: by name, PARTS; tables: parameters of input embedding and output layer together (one, where they are tied)
    tensors: number of elements of every parameter tensor, adapters included; largest_trained: of the trained ones
    merge: patches per token, along a side; frames_per_patch: along time
    own_px: side of the frames that the model's processor makes; None: it takes frames of any size
    """

    parts: Mapping[str, Part]
    tables: int
    vocabulary: int
    tensors: tuple[int, ...]
    largest_trained: int
    vision: Tower
    language: Tower
    patch_px: int
    merge: int
    frames_per_patch: int
    own_px: int | None = None

    @property
    def weights(self) -> int:
        """Parameters of the base."""
        return sum(part.weights for part in self.parts.values())

    @property
    def parameters(self) -> int:
        """Parameters of the base and its adapters."""
        return self.weights + sum(part.adapter for part in self.parts.values())

    @property
    def trained(self) -> int:
        return sum(part.trained + part.adapter for part in self.parts.values())

    def needs_backward(self, part: str) -> bool:
        """True where gradients pass through `part`: it is trained, or what comes before it is."""
        upto = PARTS[: PARTS.index(part) + 1]
        return any(self.parts[name].trained or self.parts[name].adapter for name in upto)


class Sample(NamedTuple):
    """Tokens of one training sample. frame_patches: patches that attend to each other in the vision tower."""

    video: int
    text: int
    answer: int
    patches: int
    frame_patches: int

    @property
    def tokens(self) -> int:
        return self.video + self.text + self.answer


class VideoTokens(NamedTuple):
    """tokens: of a whole clip in the language model; patches: in the vision tower; frame_patches: of what it sees at once."""

    tokens: int
    patches: int
    frame_patches: int


def video_tokens(shape: ModelShape, frames: int, frame_pixels: int) -> VideoTokens:
    """Of a clip of `frames` frames with `frame_pixels` pixels each (height x width), which whole tokens need not fill."""
    pixels = frame_pixels if shape.own_px is None else shape.own_px**2
    seen = -(-frames // shape.frames_per_patch)
    per_frame = pixels // (shape.patch_px * shape.merge) ** 2
    return VideoTokens(seen * per_frame, seen * per_frame * shape.merge**2, per_frame * shape.merge**2)


def micro_batch_tokens(sample: Sample, per_worker: int, most_tokens: int) -> int:
    """Tokens of the largest micro-batch of a worker that has `per_worker` samples of a step: a longer sample goes alone."""
    return min(max(most_tokens, sample.tokens), per_worker * sample.tokens)


def sample_flops(shape: ModelShape, sample: Sample, *, recomputes: bool, parts: Collection[str] = PARTS) -> float:
    """FLOPs of one forward and backward pass of `parts`. recomputes: blocks run forward twice (activation checkpointing).

    Every vision block counts as if it saw whole frames: of a tower with window attention too much, by less than a tenth.
    """
    positions = {"vision": sample.patches, "merger": sample.video, "language": sample.tokens}
    flops = 0.0
    for name in parts:
        part, repeats = shape.parts[name], recomputes and name != "merger"
        adapter = part.adapter * (3 + repeats)
        flops += 2.0 * positions[name] * (_of_blocks(shape, name) * _passes(shape, name, repeats) + adapter)
    if "language" in parts:
        output = shape.vocabulary * shape.language.hidden
        flops += 2.0 * sample.answer * output * _passes(shape, "language", False)
    towers = {"vision": (shape.vision, sample.frame_patches), "language": (shape.language, sample.tokens)}
    for name, (tower, seen) in towers.items():
        if name in parts:
            passes = 3 + recomputes if shape.needs_backward(name) else 1
            flops += 4.0 * tower.layers * tower.attention * seen * positions[name] * passes
    return flops


def _of_blocks(shape: ModelShape, part: str) -> int:
    """Parameters that every token is multiplied with: not the embedding, which is looked up, nor the output layer."""
    return shape.parts[part].weights - (shape.tables if part == "language" else 0)


def _passes(shape: ModelShape, part: str, repeats: bool) -> int:
    """How often a part's weights are multiplied: forward, again forward, for the gradients of inputs and of the weights."""
    if not shape.needs_backward(part):
        return 1
    return 2 + repeats + bool(shape.parts[part].trained)


@dataclass(frozen=True)
class Gpu:
    """peaks: FLOP/s of dense matrix products in 16 bit with fp32 sums, and in fp32; memory_bytes: by name (80 GB are 80e9)."""

    name: str
    half: float
    single: float
    memory_bytes: float

    def peak(self, precision: str) -> float:
        """FLOP/s at train.precision. PyTorch's fp32 products do not use TF32 unless told to."""
        return self.single if precision == "fp32" else self.half


# NVIDIA's data sheets; dense, at the boost clock.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("H100", 989e12, 67e12, 80e9),  # SXM
        Gpu("H200", 989e12, 67e12, 141e9),  # SXM
        Gpu("A100", 312e12, 19.5e12, 80e9),
        Gpu("L40S", 362e12, 91.6e12, 48e9),
        Gpu("RTX4090", 165e12, 82.6e12, 24e9),
    )
}
DEFAULT_GPU, DEFAULT_MFU = "H100", 0.35  # an assumption; PaLM's training reached 0.46 (appendix B)


def hours(flops: float, gpus: int, gpu: Gpu, precision: str, mfu: float) -> float:
    """Hours of `flops` on so many GPUs that reach the share `mfu` of their peak, recomputed FLOPs included."""
    return flops / (gpus * gpu.peak(precision) * mfu) / 3600
