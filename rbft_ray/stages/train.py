"""One fine-tuning stage: answers to prompts about clips -> a model. Used for rationales (stage 1) and for labels (stages 2).

in:   samples {id, file, row, answer}, a base model
out:  model/ (plain Hugging Face weights, adapters merged), training_log.json, rejects/00000.parquet
"""

import dataclasses
import math
import tempfile
from typing import Any

from rbft_ray.core import batches
from rbft_ray.core.config import StageRecipe, TrainConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompt_checks import TrainingPrompt, check_training_prompts
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS, Reason, reject
from rbft_ray.io import storage
from rbft_ray.io.clips import read_clip_rows, read_frames
from rbft_ray.runtime import training
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, part

MODEL_DIR = "model"


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Everything a training worker is told. Frozen and plain, so that it travels to any node.

    `samples`: rows of `list_clips` with `answer`; `prompt`: the same for all; `checkpoints`: where Ray Train keeps its own.
    """

    stage: str
    base: str
    revision: str | None
    prompt: str
    samples: tuple[dict[str, Any], ...]
    config: TrainConfig
    recipe: StageRecipe
    seed: int
    out: str

    @property
    def steps(self) -> int:
        return batches.total_steps(len(self.samples), self.recipe.epochs, self.recipe.global_batch)


def train(job: TrainJob, needs: Needs) -> Counts:
    """Trains, writes the model under `job.out`, and returns counts: read = used for training + too long.

    Raises:
        DataError: a prompt tells the label, or no sample is left to train on.
    """
    check_training_prompts(job.stage, (TrainingPrompt(one["id"], job.prompt, one["label"]) for one in job.samples))
    fitting, rejects = _reject_too_long(job)
    storage.write_table(part(job.out, REJECTS_TABLE, 0), rejects, REJECTS)
    if not fitting:
        why = f"; all {len(rejects)} are too long for train.max_tokens" if rejects else ""
        raise DataError(f"{job.stage}: no sample to train on{why}")
    fitting_job = dataclasses.replace(job, samples=tuple(fitting))
    result = training.fit(
        train_worker,
        fitting_job,
        stage=job.stage,
        steps=fitting_job.steps,
        storage_dir=job.out,
        needs=needs,
        max_failures=job.config.max_failures,
    )
    storage.write_json(storage.join(job.out, "training_log.json"), result)
    return Counts(len(job.samples), len(fitting), len(rejects)).check(job.stage)


def _reject_too_long(job: TrainJob) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from rbft_ray.model.vlm import answer_tokens, encode_prompts, end_of_turn_token, load_processor

    processor = load_processor(job.base, job.revision)
    end_of_turn = end_of_turn_token(processor)
    prompt_tokens: dict[tuple[int, ...], int] = {}  # by the clip's shape: the video decides the prompt's length
    fitting, rejects = [], []
    sizes = read_clip_rows(job.samples, ["height_px", "width_px", "frame_times_sec"])
    for sample, row in zip(job.samples, sizes, strict=True):
        shape = (len(row["frame_times_sec"]), row["height_px"], row["width_px"])
        if shape not in prompt_tokens:
            encoded = encode_prompts(processor, read_frames([sample]), [job.prompt])
            prompt_tokens[shape] = encoded["input_ids"].shape[1]
        tokens = prompt_tokens[shape] + len(answer_tokens(processor, end_of_turn, sample["answer"]))
        if tokens <= job.config.max_tokens:
            fitting.append(sample)
        else:
            detail = f"{tokens} tokens of prompt and answer exceed train.max_tokens {job.config.max_tokens}"
            rejects.append(reject(sample, job.stage, Reason.TOO_LONG, detail))
    return fitting, rejects


def train_worker(job: TrainJob, context: training.WorkerContext) -> dict[str, Any]:
    """Runs on every Ray Train worker: the whole recipe, straight down. Returns the steps and the loss of each."""
    import torch

    from rbft_ray.model import lora, vlm

    config, recipe = job.config, job.recipe
    torch.manual_seed(job.seed)
    loaded = vlm.load(job.base, dtype=_dtype(config), revision=job.revision)
    model = lora.add_adapter(loaded.model, config.lora) if config.method == "lora" else loaded.model
    engine, optimizer = _deepspeed_engine(job, model, context.workers)
    step, losses = 0, []
    with context.restored_checkpoint() as checkpoint:
        if checkpoint is not None:
            _, state = engine.load_checkpoint(checkpoint, load_module_strict=config.method == "full")
            step, losses = state["step"], state["losses"]
    answers = [vlm.answer_tokens(loaded.processor, loaded.end_of_turn, sample["answer"]) for sample in job.samples]

    while step < job.steps:
        factor = batches.cosine_learning_rate(step, job.steps, recipe.warmup_ratio)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        indices = batches.batch_indices(len(job.samples), recipe.global_batch, step, job.seed)
        answer_tokens = batches.answer_token_count(answers, indices)
        loss_sum = 0.0
        for rows in batches.worker_micro_batches(indices, context.rank, context.workers, config.micro_batch):
            loss = vlm.answer_loss_sum(engine, _micro_batch(job, loaded, answers, rows, engine.device))
            # DeepSpeed averages over workers and micro-batches; wanted is the sum over the global batch's answer tokens.
            engine.backward(loss * (len(indices) / config.micro_batch / answer_tokens))
            engine.step()
            loss_sum += loss.item()
        step += 1
        losses.append(context.sum_over_workers(loss_sum) / answer_tokens)
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} at step {step}; lower train.*.learning_rate")
        context.progress(step, losses[-1])
        if step % config.checkpoint_every_steps == 0 and step < job.steps:
            with tempfile.TemporaryDirectory() as folder:
                state = {"step": step, "losses": losses}
                engine.save_checkpoint(folder, client_state=state, exclude_frozen_parameters=config.method == "lora")
                context.report_checkpoint(folder, {"step": step, "loss": losses[-1]})

    gathered = engine._zero3_consolidated_16bit_state_dict() if config.deepspeed.zero_stage == 3 else None
    if context.rank == 0:
        _export(job, engine.module, gathered, loaded.processor)
    return {"steps": step, "losses": losses}


def _dtype(config: TrainConfig) -> str:
    return "bfloat16" if config.precision == "bf16" else "float32"


def _deepspeed_engine(job: TrainJob, model: Any, workers: int) -> tuple[Any, Any]:
    """(DeepSpeed engine, optimizer) around the trainable parameters of `model`."""
    import deepspeed
    import torch

    from rbft_ray.model.deepspeed import deepspeed_config
    from rbft_ray.model.lora import parameter_groups

    if job.config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    engine, optimizer, _, _ = deepspeed.initialize(
        model=model.train(),
        optimizer=torch.optim.AdamW(parameter_groups(model, job.recipe)),
        config=deepspeed_config(
            job.config.deepspeed,
            precision=job.config.precision,
            global_batch=job.recipe.global_batch,
            micro_batch=job.config.micro_batch,
            workers=workers,
            max_grad_norm=job.recipe.max_grad_norm,
        ),
        dist_init_required=False,
    )
    return engine, optimizer


def _micro_batch(job: TrainJob, loaded: Any, answers: list[list[int]], rows: Any, device: Any) -> dict[str, Any]:
    """Model inputs with labels for these samples."""
    from rbft_ray.model import vlm

    clips = read_frames([job.samples[row] for row in rows])
    inputs = vlm.encode_prompts(loaded.processor, clips, [job.prompt] * len(rows))
    batch = vlm.with_answers(inputs, [answers[row] for row in rows], vlm.pad_token(loaded.processor))
    return vlm.to_device(batch, device, loaded.model.dtype)


def _export(job: TrainJob, model: Any, gathered: dict[str, Any] | None, processor: Any) -> None:
    """Writes plain weights with the processor, as `from_pretrained` and vLLM read them. `gathered`: ZeRO-3's whole state."""
    from rbft_ray.model import lora, vlm

    if gathered is not None:
        whole = vlm.load(job.base, dtype=_dtype(job.config), revision=job.revision).model
        model = lora.add_adapter(whole, job.config.lora) if job.config.method == "lora" else whole
        unexpected = model.load_state_dict(gathered, strict=False).unexpected_keys  # tied weights may be missing
        if unexpected:
            raise RuntimeError(f"gathered weights that the model has not: {unexpected[:3]}")
    with tempfile.TemporaryDirectory() as folder:
        lora.merged(model).save_pretrained(folder)
        processor.save_pretrained(folder)
        processor.video_processor.save_pretrained(folder)  # vLLM wants video_preprocessor_config.json on its own
        storage.upload_dir(folder, storage.join(job.out, MODEL_DIR))
