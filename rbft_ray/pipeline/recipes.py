"""Whole runs as lists of steps. `plan` is the job: data -> rationales -> stage 1 -> three arms -> evaluation."""

import pathlib
import tempfile
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from rich.markup import escape

from rbft_ray import demo
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.labels import take_each
from rbft_ray.core.prompts import (
    Task,
    hinted_rationale_prompt,
    label_prompt,
    prompt_hash,
    rationale_form,
    rationale_prompt,
)
from rbft_ray.core.rationale_checks import task_knowledge
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS, SPLITS
from rbft_ray.core.section import result_config
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.io.manifests import STAGE as MANIFEST_STAGE
from rbft_ray.model.base import base_identity, resolve_base
from rbft_ray.pipeline.arms import Arms, budget, training_clips
from rbft_ray.pipeline.dataset import Dataset, data_identity, data_seed, load_dataset, make_task, read_dataset
from rbft_ray.pipeline.needs import ingest_needs, rationale_needs
from rbft_ray.pipeline.reporting.words import rationale_warnings
from rbft_ray.pipeline.step import Step, StepContext
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, read_rows
from rbft_ray.runtime.progress import console
from rbft_ray.stages import ingest, preflight, rationalize

ARMS = ("zero_shot", "direct_sft", "rb_ft")


class Plan(NamedTuple):
    """A run, decided before anything starts. base: directory or hub id; identity: of its weights.

    dataset: the rows of the manifest; None for the demo world.
    """

    config: RunConfig
    steps: tuple[Step, ...]
    task: Task
    base: str
    identity: str
    dataset: Dataset | None = None

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


class Sources(NamedTuple):
    """What all arms of a run share: their steps come first, in this order. dataset: as in `Plan`."""

    data: tuple[Step, ...]
    clips: Step
    rationales: Step
    arms: Arms
    dataset: Dataset | None

    @property
    def steps(self) -> tuple[Step, ...]:
        features = (self.arms.features,) if self.arms.features else ()
        return (*self.data, self.clips, self.rationales, *features)


def plan(config: RunConfig) -> Plan:
    """Reads the manifest (not the videos) and lists the steps of the run.

    Raises:
        ConfigError, DataError: the configuration or the data cannot be used.
    """
    found = sources(config)
    arms = found.arms
    stage1 = arms.train("train_stage1", config.train.stage1, rationales=found.rationales)
    direct_sft = arms.train("train_direct_sft", config.train.stage2)
    rb_ft = arms.train("train_rb_ft", config.train.stage2, start=stage1)
    scored = [arms.evaluate(arm, model) for arm, model in zip(ARMS, (None, direct_sft, rb_ft), strict=True)]
    steps = (*found.steps, stage1, direct_sft, rb_ft, *scored)
    return Plan(config, steps, arms.task, arms.base, arms.identity, found.dataset)


def sources(config: RunConfig, dataset: Dataset | None = None) -> Sources:
    """The steps that come before any training, and what makes the arms' steps.

    Args:
        dataset: of `config.data.manifest`, where it has been read before.

    Raises:
        ConfigError, DataError: the configuration or the data cannot be used.
    """
    base = resolve_base(config.model.base, str(demo.BASE_DIR))
    identity = base_identity(base, config.model.revision)
    data: tuple[Step, ...]
    if config.data.manifest is None:
        task, data = _demo_task(config), (_render_step(config),)
        clips = _ingest_step(config, None, task, data, {})
    else:
        dataset = dataset or read_dataset(config)
        task, data = make_task(config, dataset.labels), ()
        clips = _ingest_step(config, dataset, task, data, {"data": data_identity(dataset)})
    _check_target_prior(config, task)
    arms = Arms(config, task, base, identity, clips)
    arms = arms._replace(features=arms.vision_features())
    return Sources(data, clips, _rationalize_step(config, task, clips, base, identity), arms, dataset)


def _check_target_prior(config: RunConfig, task: Task) -> None:
    prior = config.evaluate.target_prior
    if prior is None:
        return
    if set(prior) != set(task.labels) or min(prior.values()) <= 0 or abs(sum(prior.values()) - 1) > 1e-6:
        raise ConfigError(
            f"evaluate.target_prior: needs a share above 0 for each of {', '.join(task.labels)}, with the sum 1; got {prior}"
        )


def preflight_plan(config: RunConfig) -> Plan:
    """The steps of `rbft preflight`: the data as in the run, then the untuned base on some training clips."""
    whole = plan(config)
    clips = whole.step(MANIFEST_STAGE)

    def run(context: StepContext) -> Counts:
        return preflight.preflight(
            context.out,
            take_each(list_clips(context.inputs[clips.name], ["train"]), config.preflight.clips, config.seed),
            whole.base,
            config.model,
            whole.task,
            config.preflight,
            config.rationalize,
            context.needs,
            seed=config.seed,
            no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
        )

    rationale = config.rationalize
    settings = {
        "preflight": result_config(config.preflight),
        "max_tokens": rationale.max_tokens,
        "temperature": rationale.temperature,
        "max_model_len": rationale.max_model_len,
        "dtype": config.model.dtype,
        "seed": config.seed,
    }
    prompts = {"label": prompt_hash(label_prompt(whole.task)), "rationale": prompt_hash(rationale_prompt(whole.task))}
    step = Step(
        preflight.STAGE,
        settings,
        partial(rationale_needs, config),
        run,
        (clips,),
        {"base": whole.identity, **prompts},
    )
    return whole._replace(steps=(*clips.inputs, clips, step))


def _demo_task(config: RunConfig) -> Task:
    from rbft_ray.demo.world import domain_task

    return domain_task(config.data.demo.domain_seed)


def _render_step(config: RunConfig) -> Step:
    world = config.data.demo

    def run(context: StepContext) -> Counts:
        from rbft_ray.demo.world import write_world

        with tempfile.TemporaryDirectory() as folder:
            write_world(
                pathlib.Path(folder),
                domain_seed=world.domain_seed,
                train_per_class=world.train_per_class,
                val_per_class=world.val_per_class,
                test_per_class=world.test_per_class,
                seed=data_seed(config),
            )
            storage.upload_dir(folder, context.out)
        clips = sum(world.train_per_class) + 4 * (world.val_per_class + world.test_per_class)
        return Counts(clips, clips, 0)

    return Step("render", {"world": result_config(world), "seed": data_seed(config)}, lambda _cluster: Needs(), run)


def _ingest_step(
    config: RunConfig, dataset: Dataset | None, task: Task, sources: tuple[Step, ...], identities: Mapping[str, str]
) -> Step:
    def run(context: StepContext) -> Counts:
        found = dataset
        if found is None:
            manifest = storage.join(context.inputs["render"], "manifest.csv")
            data = config.data.model_copy(update={"manifest": manifest})
            found = load_dataset(data, data_seed(config), task.labels)
        counts = ingest.ingest(
            context.out,
            found.rows,
            config.sampling,
            context.needs,
            block_clips=config.ingest.block_clips,
            no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
        )
        manifest_rejects = storage.join(context.out, REJECTS_TABLE, "manifest.parquet")
        storage.write_table(manifest_rejects, found.rejects, REJECTS)
        _check_splits(context.out)
        refused = len(found.rejects)
        return counts.plus(Counts(refused, 0, refused))

    settings: dict[str, Any] = {"sampling": result_config(config.sampling), "labels": task.labels}
    if dataset is None:
        settings["data"] = result_config(config.data)
        settings["seed"] = data_seed(config)

    return Step(MANIFEST_STAGE, settings, partial(ingest_needs, config), run, sources, identities)


def _check_splits(ingest_dir: str) -> None:
    found = {clip["split"] for clip in list_clips(ingest_dir, SPLITS)}
    for split in ("train", "test"):
        if split not in found:
            lost = [row for row in read_rows(ingest_dir, REJECTS_TABLE, REJECTS) if row["split"] == split]
            why = f"; the first of {len(lost)}: {lost[0]['detail']}" if lost else ""
            raise DataError(f"no video of the {split} split could be read{why} (all: {ingest_dir}/{REJECTS_TABLE})")


def _rationalize_step(config: RunConfig, task: Task, clips: Step, base: str, identity: str) -> Step:
    knowledge = task_knowledge(task, config.task.cues)

    def run(context: StepContext) -> Counts:
        counts = rationalize.rationalize(
            context.out,
            training_clips(config, task, context.inputs[clips.name]),
            base,
            config.model,
            task,
            config.rationalize,
            context.needs,
            knowledge=knowledge,
            seed=config.seed,
            no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
        )
        by_class = rationalize.counts_by_class(context.out, task.labels)
        reasons = rationalize.main_reasons(context.out)
        for line in rationale_warnings(by_class, reasons, rationalize.judges(context.out), context.out):
            console.print(f"[yellow]![/yellow] {escape(line)}")
        return counts

    prompts = {
        "blind": prompt_hash(rationale_prompt(task)),
        "hinted": prompt_hash("\n".join(hinted_rationale_prompt(task, label) for label in task.labels)),
        "form": prompt_hash(rationale_form(task.labels)),
    }
    settings = {
        "rationalize": result_config(config.rationalize),
        "cues": config.task.cues,
        "dtype": config.model.dtype,
        "seed": config.seed,
        **budget(config),
    }
    return Step(
        rationalize.STAGE,
        settings,
        partial(rationale_needs, config),
        run,
        (clips,),
        {"base": identity, **prompts},
    )
