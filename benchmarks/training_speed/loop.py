"""The stage's first peer: a DeepSpeed loop on batches that lie ready in memory. No Ray, no clips to read, no trackers."""

import torch

from rbft_ray.core import batches
from rbft_ray.model import trainable, vlm
from rbft_ray.model.deepspeed import deepspeed_config
from rbft_ray.model.samples import MicroBatch, Samples
from rbft_ray.stages.train import TrainJob
from training_speed.group import join_group
from training_speed.record import Clock, Times


def deepspeed_loop(job: TrainJob) -> Times:
    """The optimizer steps of `job` and nothing else, in a process of `in_group`.

    job: with `tokens` in its samples, as `stages.train.measured` counts them.
    """
    import deepspeed
    import torch.distributed as dist

    rank, workers = join_group()
    loaded = vlm.load(job.base, dtype="float32", device=vlm.best_device())
    torch.manual_seed(job.seed)
    model = trainable.make_trainable(loaded.model, job.config)
    engine, optimizer, _, _ = deepspeed.initialize(
        model=model.train(),
        optimizer=torch.optim.AdamW(trainable.parameter_groups(model, job.recipe, job.config.method)),
        config=deepspeed_config(job.config.deepspeed, {}, precision="fp32", max_grad_norm=job.recipe.max_grad_norm),
        dist_init_required=False,
    )
    steps = ready_steps(job, Samples(loaded, job.prompt, job.samples), rank, workers)
    dist.barrier()
    clock = Clock()
    for step, (micro_batches, answer_tokens) in enumerate(steps):
        factor = batches.cosine_learning_rate(step, job.steps, job.recipe.warmup_ratio)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        for number, micro in enumerate(micro_batches):
            inputs = vlm.to_device(micro.inputs, engine.device, torch.float32)
            loss = vlm.answer_loss_sum(engine, inputs) / answer_tokens
            engine.set_gradient_accumulation_boundary(number + 1 == len(micro_batches))
            engine.backward(loss * workers, scale_wrt_gas=False)
            engine.step()
        clock.step()
    dist.destroy_process_group()
    return clock.times


def ready_steps(job: TrainJob, samples: Samples, rank: int, workers: int) -> list[tuple[list[MicroBatch], int]]:
    """Of every step: this process's micro-batches, the same as the stage's, and the answer tokens of the global batch."""
    lengths = [sample["tokens"] for sample in job.samples]
    steps = []
    for step in range(job.steps):
        indices = batches.batch_indices(len(lengths), job.recipe.global_batch, step, job.seed)
        own = batches.micro_batches(indices, lengths, workers, job.config.micro_batch_tokens)[rank]
        ready = [samples.micro_batch(list(rows), [1.0] * len(rows)) for rows in own]
        steps.append((ready, sum(len(samples.answers[index]) for index in indices)))
    return steps
