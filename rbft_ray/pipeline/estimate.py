"""`rbft estimate`: memory, tokens and hours of the training stages. Starts nothing, reads the manifest and no video."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from rbft_ray import demo
from rbft_ray.core.batches import total_steps
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError
from rbft_ray.core.estimate import (
    DEFAULT_GPU,
    DEFAULT_MFU,
    GPUS,
    Gpu,
    ModelShape,
    Sample,
    hours,
    micro_batch_tokens,
    sample_flops,
    video_tokens,
)
from rbft_ray.core.labels import label_counts
from rbft_ray.core.prompts import Task, label_prompt, rationale_prompt
from rbft_ray.core.train_config import StageRecipe, TrainConfig
from rbft_ray.core.training_memory import (
    CHECKPOINT_BYTES,
    VALUE_BYTES,
    Memory,
    Zero,
    activation_bytes,
    training_memory,
    zero_of,
)
from rbft_ray.model.base import resolve_base
from rbft_ray.model.deepspeed import own_settings
from rbft_ray.model.shape import model_shape
from rbft_ray.model.token_counts import TokenCounts, largest_clip
from rbft_ray.model.vision_features import FEATURED_PARTS, caches_features
from rbft_ray.pipeline.dataset import data_seed, load_dataset, make_task

SOURCES = (
    "weights, gradients, optimizer states: ZeRO (arXiv 1910.02054, section 3), as DeepSpeed 0.19.8 allocates them; "
    "activations: Korthikanti et al. (arXiv 2205.05198, section 4)",
    "hours: 6, 4 or 2 FLOPs per token and parameter (trained; frozen, but gradients pass; forward only), 2 more where blocks are "
    "recomputed, and attention (PaLM, arXiv 2204.02311, appendix B), over GPUs x peak x share reached",
)


class TrainingStage(NamedTuple):
    """A training step of the run. samples: at most; sample: of the longest one."""

    name: str
    recipe: StageRecipe
    samples: int
    sample: Sample


def estimate(config: RunConfig, gpu: str = DEFAULT_GPU, mfu: float = DEFAULT_MFU) -> dict[str, Any]:
    """What training takes, ready for JSON: bytes, tokens and hours, upper bounds where sizes are not known before videos are read.

    Args:
        gpu: one of GPUS, in any case and with or without spaces; mfu: share of its peak that training is assumed to reach,
            recomputed FLOPs included.

    Raises:
        ConfigError: another GPU, an MFU outside (0, 1], or a configuration that trains nothing.
        DataError: the manifest or the base cannot be used.
    """
    card = _gpu(gpu)
    if not 0 < mfu <= 1:
        raise ConfigError(f"--mfu {mfu:g}: must be above 0 and at most 1")
    train, own = config.train, own_settings(config.train.deepspeed)
    clips, task = _clips(config)
    base = resolve_base(config.model.base, str(demo.BASE_DIR))
    shape = model_shape(base, config.model.revision, train)
    tokens = TokenCounts(base, config.model.revision)
    stages = _stages(config, shape, task, clips, tokens)
    cached = FEATURED_PARTS if caches_features(base, train) else set()
    zero = zero_of(train, own)
    host = _most(zero, shape, stages, train).memory
    return {
        "name": config.name,
        "base": base,
        "gpu": {"name": card.name, "memory_bytes": card.memory_bytes, "peak_flops": card.peak(train.precision)},
        "gpus": train.planned_workers,
        "mfu": mfu,
        "method": train.method,
        "precision": train.precision,
        "gradient_checkpointing": train.gradient_checkpointing,
        "zero_stage": zero.stage,
        "parameters": {name: dataclasses.asdict(part) for name, part in shape.parts.items()},
        "training_clips": clips,
        "stages": {stage.name: _costs(stage, shape, train, card, mfu, cached) for stage in stages},
        "vision_features": _features_costs(stages[0], shape, train, card, mfu, cached),
        "memory": [_memory_row(one, _most(one, shape, stages, train), card) for one in _table(train, own)],
        "host": {
            "start_bytes": shape.weights * zero.value_bytes,
            "offloaded_bytes": host.host,
            "step_bytes": host.host_step,
        },
        "disk": {
            "checkpoint_bytes": shape.trained * CHECKPOINT_BYTES,
            "model_bytes": shape.weights * VALUE_BYTES[train.precision],
        },
        "warnings": _warnings(config, shape, stages, tokens),
        "sources": list(SOURCES),
    }


def _gpu(name: str) -> Gpu:
    wanted = "".join(name.upper().replace("-", " ").split())
    if wanted not in GPUS:
        raise ConfigError(f"--gpu {name}: is none of {', '.join(GPUS)}")
    return GPUS[wanted]


def _clips(config: RunConfig) -> tuple[int, Task]:
    """Number of training clips, and the task."""
    if config.data.manifest is not None:
        dataset = load_dataset(config.data, data_seed(config))
        task = make_task(config, dataset.labels)
        found = Counter(row["label"] for row in dataset.rows if row["split"] == "train")
    else:
        from rbft_ray.demo.world import domain_task

        task = domain_task(config.data.demo.domain_seed)
        found = Counter(dict(zip(task.labels, config.data.demo.train_per_class, strict=True)))
    count, limit, each = found.total(), config.data.limit_per_split, config.data.train_per_class
    learned = count if each is None else (found & Counter(label_counts(each, task.labels))).total()
    return min(learned, limit or count), task


def _stages(config: RunConfig, shape: ModelShape, task: Task, clips: int, tokens: TokenCounts) -> list[TrainingStage]:
    contract = config.sampling
    clip = largest_clip(contract, shape.patch_px * shape.merge)
    video = video_tokens(shape, len(clip.frames), contract.max_pixels)
    beside = tokens.beside_video(clip, video.tokens)

    def stage(name: str, recipe: StageRecipe, prompt: str, answer: int) -> TrainingStage:
        text = tokens.prompt(prompt) + beside
        return TrainingStage(
            name, recipe, clips, Sample(video.tokens, text, answer + 1, video.patches, video.frame_patches)
        )

    label = max(tokens.text(name) for name in task.labels)
    return [
        stage("train_stage1", config.train.stage1, rationale_prompt(task), config.rationalize.max_tokens),
        stage("train_direct_sft", config.train.stage2, label_prompt(task), label),
        stage("train_rb_ft", config.train.stage2, label_prompt(task), label),
    ]


def _features_costs(
    stage: TrainingStage, shape: ModelShape, train: TrainConfig, gpu: Gpu, mfu: float, cached: Set[str]
) -> dict[str, Any] | None:
    """Of what frozen vision parts make of each clip, computed once for all stages; None where it is not stored."""
    if not cached:
        return None
    flops = stage.samples * sample_flops(shape, stage.sample, recomputes=False, parts=cached)
    return {
        "clips": stage.samples,
        "flops": flops,
        "hours": hours(flops, train.planned_workers, gpu, train.precision, mfu),
    }


def _costs(
    stage: TrainingStage, shape: ModelShape, train: TrainConfig, gpu: Gpu, mfu: float, cached: Set[str]
) -> dict[str, Any]:
    """cached: parts of the model that the stage need not compute."""
    steps = total_steps(stage.samples, stage.recipe.epochs, stage.recipe.global_batch)
    samples = steps * stage.recipe.global_batch
    parts = [part for part in shape.parts if part not in cached]
    flops = samples * sample_flops(shape, stage.sample, recomputes=train.gradient_checkpointing, parts=parts)
    return {
        "clips": stage.samples,
        "epochs": stage.recipe.epochs,
        "steps": steps,
        "tokens_per_clip": {
            "video": stage.sample.video,
            "text": stage.sample.text,
            "answer": stage.sample.answer,
            "all": stage.sample.tokens,
        },
        "tokens": samples * stage.sample.tokens,
        "micro_batch_tokens": _micro_batch(stage, train),
        "flops": flops,
        "hours": hours(flops, train.planned_workers, gpu, train.precision, mfu),
    }


def _per_worker(stage: TrainingStage, train: TrainConfig) -> int:
    return -(-stage.recipe.global_batch // train.planned_workers)


def _micro_batch(stage: TrainingStage, train: TrainConfig) -> int:
    return micro_batch_tokens(stage.sample, _per_worker(stage, train), train.micro_batch_tokens)


def _table(train: TrainConfig, own: Mapping[str, Any]) -> list[Zero]:
    """The ZeRO stages that the precision allows."""
    return [zero_of(train, own, stage) for stage in range(train.precision == "fp16", 4)]


class _Need(NamedTuple):
    """Of one training stage; activations in bytes."""

    stage: str
    memory: Memory
    activations: float

    @property
    def peak(self) -> float:
        return self.memory.peak(self.activations)


def _most(zero: Zero, shape: ModelShape, stages: list[TrainingStage], train: TrainConfig) -> _Need:
    """What the training stage needs that needs the most."""
    needs = []
    for stage in stages:
        tokens = _micro_batch(stage, train)
        activations = activation_bytes(
            shape,
            stage.sample,
            tokens,
            zero.value_bytes,
            checkpointing=train.gradient_checkpointing,
            adapters=train.method == "lora",
        )
        accumulates = tokens < _per_worker(stage, train) * stage.sample.tokens
        needs.append(_Need(stage.name, training_memory(shape, zero, accumulates=accumulates), activations))
    return max(needs, key=lambda need: need.peak)


def _memory_row(zero: Zero, need: _Need, gpu: Gpu) -> dict[str, Any]:
    """Bytes per GPU at a ZeRO stage. all: the most at a time, which need not be the sum."""
    return {
        "zero_stage": zero.stage,
        "weights": need.memory.weights,
        "gradients": need.memory.gradients,
        "optimizer_states": need.memory.states,
        "activations": need.activations,
        "buffers": need.memory.buffers,
        "optimizer_step": need.memory.step,
        "start": need.memory.start,
        "all": need.peak,
        "fits": need.peak <= gpu.memory_bytes,
        "of_stage": need.stage,
    }


def _warnings(config: RunConfig, shape: ModelShape, stages: list[TrainingStage], tokens: TokenCounts) -> list[str]:
    train, contract, unit, found = config.train, config.sampling, shape.patch_px * shape.merge, []
    if tokens.missing:
        found.append(tokens.missing)
    longest = max(stage.sample.tokens for stage in stages)
    if longest > train.max_tokens:
        found.append(
            f"a clip with all its frames and the longest answer has {longest:,} tokens, above train.max_tokens "
            f"{train.max_tokens:,}: it would be rejected"
        )
    whole = stages[0].sample.tokens
    if whole > config.rationalize.max_model_len:
        found.append(
            f"a clip with all its frames and a whole rationale has {whole:,} tokens, above rationalize.max_model_len "
            f"{config.rationalize.max_model_len:,}: it would be rejected"
        )
    if shape.own_px is None and contract.multiple_px % unit:
        found.append(f"sampling.multiple_px is {contract.multiple_px}; the base takes multiples of {unit} px")
    if train.lora.use_dora and train.method == "lora":
        found.append("DoRA's temporary copies of whole weights are not counted")
    if train.workers is None:
        found.append("train.workers is null (one per GPU): counted with 1; set it to the number of GPUs")
    elif train.min_workers is not None and train.min_workers < train.workers:
        found.append(f"with fewer than {train.workers} workers (train.min_workers) each holds more and all take longer")
    if train.stage2.validate_every_epochs:
        found.append("the passes over the validation split are not counted")
    return found
