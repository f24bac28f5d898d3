"""Bytes that fine-tuning takes on each GPU, on the host and on disk. Arithmetic on the shape of a model; nothing is measured.

Weights, gradients and optimizer states are those of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054, section 3: in mixed precision
2 + 2 + 12 bytes per parameter), as DeepSpeed 0.19.8 allocates them. Activations are counted as Korthikanti et al. 2022 (arXiv
2205.05198, section 4) count them, term by term for the blocks that we train.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rbft_ray.core.estimate import ModelShape, Sample, Tower
from rbft_ray.core.train_config import TrainConfig

VALUE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}  # by train.precision
MOMENT_BYTES = 8  # Adam's two, in fp32
MASTER_BYTES = 4
CHECKPOINT_BYTES = MASTER_BYTES + MOMENT_BYTES  # of TrainEngine.save, per trained parameter
STEP_BYTES = 8  # of a value while Adam updates it: its gradient in fp32, and the root of the second moment
LOSS_BYTES = 12  # of a logit where the backward pass begins: its log-probability and two gradients, in fp32


@dataclass(frozen=True)
class Zero:
    """What of a DeepSpeed configuration decides memory; defaults as in DeepSpeed 0.19.8.

    value_bytes: of a weight; gradient_bytes: of one that is kept until the step. Elements: reduce_bucket (of a buffer through
    which gradients are averaged; two with `overlaps`), live (gathered weights at a time, ZeRO-3), persistent (tensors of
    so many are never partitioned, ZeRO-3), sub_group (updated at a time, ZeRO-3).
    """

    stage: int
    workers: int
    value_bytes: int
    gradient_bytes: int
    offload_optimizer: bool = False
    offload_parameters: bool = False
    overlaps: bool = False
    reduce_bucket: int = 500_000_000
    live: int = 1_000_000_000
    persistent: int = 100_000
    sub_group: int = 1_000_000_000


_ELEMENTS = {
    "reduce_bucket": "reduce_bucket_size",
    "live": "stage3_max_live_parameters",
    "persistent": "stage3_param_persistence_threshold",
    "sub_group": "sub_group_size",
}


def zero_of(train: TrainConfig, own: Mapping[str, Any], stage: int | None = None) -> Zero:
    """What DeepSpeed is told by a configuration, at another ZeRO stage where one is given.

    Args:
        own: keys of the user's DeepSpeed JSON, which come first.
    """
    settings, zero, value = train.deepspeed, own.get("zero_optimization", {}), VALUE_BYTES[train.precision]
    if stage is None:
        stage = int(zero.get("stage", settings.zero_stage))

    def offloads(key: str, wanted: bool) -> bool:
        return (zero[key] or {}).get("device", "none") != "none" if key in zero else wanted

    return Zero(
        stage,
        train.planned_workers,
        value_bytes=value,
        gradient_bytes=4 if own.get("data_types", {}).get("grad_accum_dtype") == "fp32" else value,
        offload_optimizer=stage >= 1 and offloads("offload_optimizer", settings.offload_optimizer),
        offload_parameters=stage == 3 and offloads("offload_param", settings.offload_parameters),
        overlaps=bool(zero.get("overlap_comm")),
        **{name: int(zero[key]) for name, key in _ELEMENTS.items() if key in zero},
    )


class Memory(NamedTuple):
    """Bytes of one worker.

    gradients: kept from one micro-batch to the next; states: fp32 weights and Adam's moments; buffers: of communication, beside the
    activations; step: what the optimizer step takes beyond weights, gradients and states; start: the whole model, before it is
    partitioned; host: in main memory; host_step: there in the step, beyond that.
    """

    weights: float
    gradients: float
    states: float
    buffers: float = 0.0
    step: float = 0.0
    start: float = 0.0
    host: float = 0.0
    host_step: float = 0.0

    def peak(self, activations: float) -> float:
        """The most at a time: in the backward pass, in the step, or at the start."""
        return max(self.weights + self.gradients + self.states + max(activations + self.buffers, self.step), self.start)


def training_memory(shape: ModelShape, zero: Zero, *, accumulates: bool) -> Memory:
    """Memory of one worker without activations. accumulates: some step has more than one micro-batch.

    Where DeepSpeed differs from the paper's table:

    - Without ZeRO, fp32 needs no master copy: 4 + 4 + 8 bytes. With it every worker clones its partition all the same, so fp32 has
      12 bytes of states too. (ZeRO-3 means to share an fp32 partition with the weights, but compares a torch.device with a
      string, which are never equal: `_create_fp32_partitions`.)
    - ZeRO-1 keeps whole gradients until the last micro-batch of a step, then moves its own part to a flat buffer. Where they are
      added up in fp32 (data_types.grad_accum_dtype), those of the last micro-batch stay beside the sums (`BF16_Optimizer`).
    - ZeRO-2 averages every micro-batch into a partition of its own (`grads_in_partition`) before it adds that to the kept one.
    - ZeRO-3 keeps small tensors whole on every worker beside their partitions, and gathers up to `live` weights.
    - The reduce bucket is allocated whole, whatever the model's size.
    """
    if zero.stage == 0:
        return _without_zero(shape, zero)
    memory = _zero3(shape, zero) if zero.stage == 3 else _zero1_or_2(shape, zero, accumulates)
    return _offloaded(memory, shape, zero, accumulates)


def _without_zero(shape: ModelShape, zero: Zero) -> Memory:
    trained, value = shape.trained, zero.value_bytes
    master, copied = (
        (0, STEP_BYTES - 4) if value == MASTER_BYTES else (MASTER_BYTES, STEP_BYTES)
    )  # fp32: no second gradient
    averaged = min(zero.reduce_bucket, trained) * value
    return Memory(
        weights=shape.parameters * value,
        gradients=trained * value,
        states=trained * (master + MOMENT_BYTES),
        step=max(averaged, trained * copied),
    )


def _zero1_or_2(shape: ModelShape, zero: Zero, accumulates: bool) -> Memory:
    own, value, bucket_value = shape.trained / zero.workers, zero.value_bytes, zero.value_bytes
    gradients = own * zero.gradient_bytes
    if zero.stage == 1:
        last = value if zero.gradient_bytes != value else 0
        gradients, bucket_value = float(shape.trained * (zero.gradient_bytes + last)), zero.gradient_bytes
    moved = own * value  # a flat buffer with this worker's part of a micro-batch's gradients
    bucket = zero.reduce_bucket * bucket_value * (2 if zero.overlaps else 1)
    twice = zero.stage == 2 and accumulates and zero.gradient_bytes == value
    step = own * STEP_BYTES if zero.stage == 2 else max(bucket + moved, moved + own * STEP_BYTES - gradients)
    return Memory(
        weights=shape.parameters * value,
        gradients=gradients,
        states=own * (MASTER_BYTES + MOMENT_BYTES),
        buffers=bucket + (moved if twice else 0.0),
        step=step,
    )


def _zero3(shape: ModelShape, zero: Zero) -> Memory:
    own, value, bucket = shape.trained / zero.workers, zero.value_bytes, zero.reduce_bucket * zero.value_bytes
    small = sum(size for size in shape.tensors if size <= zero.persistent)
    return Memory(
        weights=(shape.parameters / zero.workers + small) * value,
        gradients=own * zero.gradient_bytes,
        states=own * (MASTER_BYTES + MOMENT_BYTES),
        buffers=bucket + min(zero.live, shape.parameters - small) * value,
        step=bucket + min(zero.sub_group, own) * STEP_BYTES,
        start=shape.parameters * value,
    )


def _offloaded(memory: Memory, shape: ModelShape, zero: Zero, accumulates: bool) -> Memory:
    """With what is offloaded on the host. There fp32 gradients stay from step to step.

    ZeRO-1 and ZeRO-2 move gradients and weights through buffers of the largest trained tensor and of a partition, and ZeRO-2 adds
    up the gradients of micro-batches on the host.
    """
    own, value = shape.trained / zero.workers, zero.value_bytes
    if zero.offload_optimizer:
        held = MASTER_BYTES + MASTER_BYTES + MOMENT_BYTES
        largest, adds_up = shape.largest_trained * value, zero.stage == 2 and accumulates
        moved = 0.0 if zero.stage == 3 else own * value + largest
        summed = own * zero.gradient_bytes if zero.stage == 3 or adds_up else 0.0
        memory = memory._replace(
            gradients=memory.gradients if zero.stage == 1 else 0.0,
            states=0.0,
            buffers=memory.buffers - (own * value if adds_up else 0.0) + (0.0 if zero.stage == 3 else largest),
            step=0.0,
            host=own * held + moved + summed,
            host_step=own * STEP_BYTES,
        )
    if zero.offload_parameters and zero.stage == 3:
        partition = shape.parameters / zero.workers * value
        memory = memory._replace(weights=memory.weights - partition, host=memory.host + partition)
    return memory


def activation_bytes(
    shape: ModelShape, sample: Sample, tokens: int, value_bytes: int, *, checkpointing: bool, adapters: bool
) -> float:
    """Bytes that the forward pass of a micro-batch of `tokens` tokens, made of such samples, leaves for its backward pass.

    With checkpointing (full recomputation) every block keeps its input alone, and one block at a time all it needs. Where samples
    are padded to one length, every language block also keeps the mask of samples x length x length values. Gradients of activations
    are not counted but for those of the logits, which are the most where the vocabulary is large.
    """
    samples = tokens / sample.tokens
    patches, video = sample.patches * samples, sample.video * samples
    norm = _norm_bytes(value_bytes, adapters)
    kept = patches * value_bytes * 3 * shape.frames_per_patch * shape.patch_px**2  # the pixels
    one_block = 0.0
    if shape.needs_backward("vision"):
        block = patches * _block_bytes(shape.vision, value_bytes, norm, padded=False)
        kept += shape.vision.layers * (patches * value_bytes * shape.vision.hidden if checkpointing else block)
        one_block = block
    if shape.needs_backward("merger"):
        kept += video * shape.merge**2 * shape.vision.hidden * (norm + 3 * value_bytes)
    if shape.needs_backward("language"):
        padded = samples > 1
        block = tokens * _block_bytes(shape.language, value_bytes, norm, padded=padded)
        block += padded * samples * sample.tokens**2 * value_bytes
        kept += shape.language.layers * (tokens * value_bytes * shape.language.hidden if checkpointing else block)
        kept += tokens * norm * shape.language.hidden + samples * (sample.answer + 1) * shape.vocabulary * LOSS_BYTES
        one_block = max(one_block, block)
    return kept + (one_block if checkpointing else 0.0)


def _norm_bytes(value_bytes: int, adapters: bool) -> int:
    """Per value: an RMSNorm's input in fp32, its output, and what its weight is multiplied with where that is trained."""
    return 4 + value_bytes * (1 if adapters else 2)


def _block_bytes(tower: Tower, value_bytes: int, norm: int, *, padded: bool) -> float:
    """Of one token in one block: two norms (four where queries and keys have their own), attention and MLP.

    Attention is PyTorch's scaled_dot_product_attention, which keeps queries, keys, values and its output but no scores; with a
    mask Transformers repeats keys and values for every head. A fused layer's output stays whole beside queries and keys with
    rotary embeddings, and the output of clips and windows that are run one by one is joined. A gated MLP keeps both input
    layers, the activation and the product.
    """
    if tower.fused:
        attention = 4 * tower.attention + 3 * tower.key_values
    else:
        attention = 2 * tower.attention + 2 * (tower.attention if padded else tower.key_values)
    mlp = (4 if tower.gated else 2) * tower.intermediate
    normed = 2 * tower.hidden + (tower.attention + tower.key_values if tower.normed else 0)
    return norm * normed + value_bytes * (attention + mlp)
