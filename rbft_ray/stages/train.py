"""One fine-tuning stage: answers to prompts about clips -> a model. Used for rationales (stage 1) and for labels (stages 2).

in:   samples {id, label, file, row, answer}, a base model
out:  model/ (plain Hugging Face weights, adapters merged), adapter/ (LoRA), training_log.json, tensorboard/,
      rejects/00000.parquet; while it trains: checkpoints/
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rbft_ray.core import batches
from rbft_ray.core.errors import DataError, RbftError
from rbft_ray.core.progress import BEST_METRIC, Progress, is_due
from rbft_ray.core.prompt_checks import TrainingPrompt, check_training_prompts
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS
from rbft_ray.core.train_config import LabelRecipe, StageRecipe, TrainConfig
from rbft_ray.io import storage
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, part
from rbft_ray.runtime.checkpoints import CHECKPOINTS_DIR, CheckpointStore, best_checkpoint
from rbft_ray.runtime.training import fit
from rbft_ray.runtime.worker_group import WorkerContext
from rbft_ray.stages.sample_sizes import measured

if TYPE_CHECKING:
    from rbft_ray.model.samples import MicroBatch, Samples
    from rbft_ray.model.train_engine import TrainEngine
    from rbft_ray.model.vlm import Vlm

MODEL_DIR, ADAPTER_DIR, TRACKING_DIR = "model", "adapter", "tensorboard"
LOG_FILE = "training_log.json"
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # of the weights, by train.precision


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Everything a training worker is told. Frozen and plain, so that it travels to any node.

    samples: rows of `list_clips` with `answer`, and `tokens` of prompt and answer once these are counted; with `features`, where
    those of the clips are stored (`model.vision_features`), in all or in none. prompt: the same for all.
    validation: clips with a label of `labels` to choose the best checkpoint by; empty: the last one is kept.
    deepspeed: keys of the user's own DeepSpeed JSON.
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
    validation: tuple[dict[str, Any], ...] = ()
    labels: tuple[str, ...] = ()
    deepspeed: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def checkpoints(self) -> str:
        return storage.join(self.out, CHECKPOINTS_DIR)

    @property
    def steps(self) -> int:
        return batches.total_steps(len(self.samples), self.recipe.epochs, self.recipe.global_batch)

    @property
    def validates_every_epochs(self) -> float | None:
        return self.recipe.validate_every_epochs if isinstance(self.recipe, LabelRecipe) and self.validation else None

    def steps_after(self, progress: Progress) -> range:
        """The steps that are still to take: none after the last one, or where the recipe's patience is over."""
        patience = self.recipe.patience if isinstance(self.recipe, LabelRecipe) else None
        return range(progress.step, progress.step if progress.is_patience_over(patience) else self.steps)


def train(job: TrainJob, needs: Needs) -> Counts:
    """Trains, writes the model under `job.out`, and returns counts: read = used for training + too long.

    Raises:
        DataError: a prompt tells the label, or no sample is left to train on.
        RbftError: training failed; the last checkpoint stays, and the next call goes on from it.
    """
    check_training_prompts(job.stage, (TrainingPrompt(one["id"], job.prompt, one["label"]) for one in job.samples))
    fitting, rejects = measured(job)
    storage.write_table(part(job.out, REJECTS_TABLE, 0), rejects, REJECTS)
    if not fitting:
        why = f"; all {len(rejects)} are too long for train.max_tokens" if rejects else ""
        raise DataError(f"{job.stage}: no sample to train on{why}")
    fitting_job = dataclasses.replace(job, samples=tuple(fitting))
    result = fit(
        train_worker,
        fitting_job,
        stage=job.stage,
        steps=fitting_job.steps,
        checkpoints=fitting_job.checkpoints,
        needs=needs,
        max_failures=job.config.max_failures,
        resize_check_sec=job.config.resize_check_sec,
    )
    if result["failure"]:
        raise RbftError(f"{job.stage}: {result['failure']}")
    storage.write_json(storage.join(job.out, LOG_FILE), result)
    storage.delete_dir(job.checkpoints)
    return Counts(len(job.samples), len(fitting), len(rejects)).check(job.stage)


def train_worker(job: TrainJob, context: WorkerContext) -> dict[str, Any]:
    """Runs on every Ray Train worker: the whole recipe, straight down. Returns the content of training_log.json."""
    import torch

    from rbft_ray.model import trainable, vlm
    from rbft_ray.model.checkpoint import load_weights
    from rbft_ray.model.meter import Meter
    from rbft_ray.model.samples import Samples, made_ahead
    from rbft_ray.model.train_engine import TrainEngine
    from rbft_ray.model.vision_features import accept_features

    config, progress, failure = job.config, Progress(), ""
    loaded = vlm.load(job.base, dtype=DTYPES[config.precision], revision=job.revision)
    if "features" in job.samples[0]:
        accept_features(loaded.model)
    torch.manual_seed(job.seed)
    model = trainable.make_trainable(loaded.model, config)
    everyone = partial(context.gathered, None)
    with best_checkpoint(job.checkpoints, lambda found: found.step, everyone) as (checkpoint, found):
        if checkpoint:
            load_weights(model, checkpoint)
            progress = found
        engine = TrainEngine(model, job.recipe, config, job.deepspeed)
        if checkpoint:
            engine.restore(checkpoint)
    samples = Samples(loaded, job.prompt, job.samples)
    start_up_sec, meter = context.seconds_since_call(), Meter(context.workers, config.precision)

    with contextlib.closing(engine), _tracked(job, context) as track, _store(job, context) as store:
        for work in made_ahead(partial(_work, job, samples, context), job.steps_after(progress)):
            torch.manual_seed(_noise_seed(job.seed, work.step, context.rank))
            loss_sum = _add_gradients(engine, work, loaded.model.dtype)
            taken = engine.step(batches.cosine_learning_rate(work.step, job.steps, job.recipe.warmup_ratio))
            progress.step = work.step + 1
            progress.losses.append(sum(context.gathered(loss_sum)))
            if context.rank == 0:
                context.post((progress.step, progress.losses[-1]))
            track(progress.step, {"loss": progress.losses[-1], **taken, **meter.step(work.tokens, work.flops)})
            if failure := progress.failure():
                break
            if scores := _validation(job, loaded, progress.step, context):
                progress.validations.append({"step": progress.step, **scores})
                recalls = {f"recall_{label}": recall for label, recall in scores["recall"].items()}
                track(progress.step, {BEST_METRIC: scores[BEST_METRIC], **recalls})
            todo = job.steps_after(progress)
            periodic = progress.step % config.checkpoint_every_steps == 0 and not any(
                context.gathered(store is not None and store.is_busy)  # training does not wait for uploads
            )
            if scores or not todo or periodic:
                _checkpoint(job, engine, progress, store)
                everyone()  # the first worker may wait for an upload, longer than the process groups of DeepSpeed do (10 minutes)
            if not todo:
                break
        kept_step = _export_best(job, store) if store and not failure else None

    speed = {"start_up_sec": start_up_sec, **meter.summary()}
    return {**dataclasses.asdict(progress), "kept_step": kept_step, "failure": failure, "speed": speed}


class _Work(NamedTuple):
    """This worker's part of step `step`. answer_tokens, tokens, flops: of the whole global batch, without padding."""

    step: int
    micro_batches: list["MicroBatch"]
    answer_tokens: int
    tokens: int
    flops: float


def _work(job: TrainJob, samples: "Samples", context: WorkerContext, step: int) -> _Work:
    recipe, lengths = job.recipe, [sample["tokens"] for sample in job.samples]
    classes = [sample["label"] for sample in job.samples]
    indices = batches.batch_indices(
        len(lengths), recipe.global_batch, step, job.seed, classes if recipe.class_balance == "sampling" else None
    )
    weights = batches.balanced_weights(classes) if recipe.class_balance == "loss" else [1.0] * len(classes)
    own = batches.micro_batches(indices, lengths, context.workers, job.config.micro_batch_tokens)[context.rank]
    return _Work(
        step,
        [samples.micro_batch(rows, [weights[row] for row in rows]) for rows in own],
        sum(len(samples.answers[index]) for index in indices),
        sum(lengths[index] for index in indices),
        sum(job.samples[index]["flops"] for index in indices),
    )


def _add_gradients(engine: "TrainEngine", work: _Work, dtype: Any) -> float:
    """Adds the gradients of this worker's part. Returns its part of the loss: per answer token of the global batch."""
    from rbft_ray.model import vlm

    loss_sum = 0.0
    for number, micro in enumerate(work.micro_batches):
        inputs = vlm.to_device(micro.inputs, engine.device, dtype)
        loss = vlm.answer_loss_sum(engine, inputs, micro.weights.to(engine.device)) / work.answer_tokens
        engine.backward(loss, last=number + 1 == len(work.micro_batches))
        loss_sum += loss.item()
    return loss_sum


def _noise_seed(seed: int, step: int, rank: int) -> int:
    """Of dropout: a function of the step, so that a run that was broken goes on as the unbroken one."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])


def _validation(job: TrainJob, loaded: "Vlm", step: int, context: WorkerContext) -> dict[str, Any] | None:
    """Scores of the validation split, where they are due after `step`; the workers share its clips."""
    from rbft_ray.model.validation import predictions, validation_scores

    if not is_due(step, job.steps, len(job.samples), job.recipe.global_batch, job.validates_every_epochs):
        return None
    # With ZeRO-3 every worker must make as many passes: where the clips do not come out even, some are scored twice.
    shares = -(-len(job.validation) // context.workers)
    clips = [job.validation[index % len(job.validation)] for index in range(shares * context.workers)]
    own = predictions(loaded, clips[context.rank :: context.workers], job.prompt, job.labels)
    by_rank = context.gathered(own)
    predicted = [by_rank[index % context.workers][index // context.workers] for index in range(len(job.validation))]
    return validation_scores([clip["label"] for clip in job.validation], predicted, job.labels)


def _store(job: TrainJob, context: WorkerContext) -> contextlib.AbstractContextManager[CheckpointStore | None]:
    """On the first worker what takes its checkpoints; None on the others."""
    if context.rank:
        return contextlib.nullcontext()
    for left in Path(tempfile.gettempdir()).glob(f"{_checkpoint_prefix(job)}*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    return CheckpointStore(job.checkpoints)


def _checkpoint_prefix(job: TrainJob) -> str:
    return f"rbft-checkpoint-{storage.sha256(job.checkpoints.encode())}-"


def _checkpoint(job: TrainJob, engine: "TrainEngine", progress: Progress, store: CheckpointStore | None) -> None:
    folder = tempfile.mkdtemp(prefix=_checkpoint_prefix(job)) if store else None
    try:
        engine.save(folder, dataclasses.asdict(progress))
    except BaseException:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if store and folder:
        store.add(folder, progress)


def _export_best(job: TrainJob, store: CheckpointStore) -> int:
    """Writes the best checkpoint (or the last one, where nothing was validated) as plain weights. Returns its step."""
    from rbft_ray.model.export import export

    store.wait()
    with (
        best_checkpoint(job.checkpoints, Progress.rank) as (checkpoint, found),
        tempfile.TemporaryDirectory() as folder,
    ):
        model, adapter = Path(folder, MODEL_DIR), Path(folder, ADAPTER_DIR)
        export(job.base, job.revision, DTYPES[job.config.precision], job.config, checkpoint, str(model), str(adapter))
        for made in (model, adapter):
            if made.exists():
                storage.upload_dir(str(made), storage.join(job.out, made.name))
        return found.step


@contextlib.contextmanager
def _tracked(job: TrainJob, context: WorkerContext) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A function that logs numbers by step to the run's trackers, on the first worker; it does nothing on the others."""
    from rbft_ray.model.trackers import Trackers

    if context.rank or not job.config.trackers:
        yield lambda step, values: None
        return
    with tempfile.TemporaryDirectory() as folder:
        trackers = Trackers(job.config.trackers, folder, job.stage, job.recipe.model_dump(mode="json"))
        try:
            yield trackers.log
        finally:
            trackers.close()
            storage.upload_dir(folder, storage.join(job.out, TRACKING_DIR))
