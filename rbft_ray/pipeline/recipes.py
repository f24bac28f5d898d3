"""Whole runs as lists of steps. `plan` is the job: data -> rationales -> stage 1 -> three arms -> evaluation."""

import random
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from rbft_ray import demo
from rbft_ray.core.card import CARD_FILE, make_card
from rbft_ray.core.config import RunConfig, StageRecipe, TrainConfig, result_config
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import (
    Task,
    hinted_rationale_prompt,
    label_prompt,
    prompt_hash,
    rationale_form,
    rationale_prompt,
)
from rbft_ray.core.resources import Needs
from rbft_ray.core.schema import REJECTS, SPLITS
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.io.manifests import STAGE as MANIFEST_STAGE
from rbft_ray.model.base import base_identity, resolve_base
from rbft_ray.pipeline.dataset import Dataset, data_identity, load_dataset, make_task
from rbft_ray.pipeline.step import Step, StepContext
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts
from rbft_ray.runtime.session import replica_needs
from rbft_ray.stages import evaluate, ingest, rationalize, train

ARMS = ("zero_shot", "direct_sft", "rb_ft")


class Plan(NamedTuple):
    """A run, decided before anything starts. base: directory or hub id."""

    config: RunConfig
    steps: tuple[Step, ...]
    task: Task
    base: str

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)


def plan(config: RunConfig) -> Plan:
    """Reads the manifest (not the videos) and lists the steps of the run.

    Raises:
        ConfigError, DataError: the configuration or the data cannot be used.
    """
    base = resolve_base(config.model.base, str(demo.BASE_DIR))
    identity = base_identity(base, config.model.revision)
    sources: tuple[Step, ...]
    if config.data.manifest is None:
        task, sources = _demo_task(config), (_render_step(config),)
        clips = _ingest_step(config, None, task, sources, {})
    else:
        dataset = load_dataset(config.data, config.seed)
        task, sources = make_task(config, dataset.labels), ()
        clips = _ingest_step(config, dataset, task, sources, {"data": data_identity(dataset)})
    rationales = _rationalize_step(config, task, clips, base, identity)
    arms = _Arms(config, task, base, identity, clips)
    stage1 = arms.train("train_stage1", config.train.stage1, rationales=rationales)
    direct_sft = arms.train("train_direct_sft", config.train.stage2)
    rb_ft = arms.train("train_rb_ft", config.train.stage2, start=stage1)
    scored = [arms.evaluate(arm, model) for arm, model in zip(ARMS, (None, direct_sft, rb_ft), strict=True)]
    return Plan(config, (*sources, clips, rationales, stage1, direct_sft, rb_ft, *scored), task, base)


def _demo_task(config: RunConfig) -> Task:
    from rbft_ray.demo.world import domain_task

    return domain_task(config.data.demo.domain_seed)


def _render_step(config: RunConfig) -> Step:
    world = config.data.demo

    def run(context: StepContext) -> Counts:
        import pathlib

        from rbft_ray.demo.world import write_world

        write_world(
            pathlib.Path(context.out),
            domain_seed=world.domain_seed,
            train_per_class=world.train_per_class,
            val_per_class=world.val_per_class,
            test_per_class=world.test_per_class,
            seed=config.seed,
        )
        clips = sum(world.train_per_class) + 4 * (world.val_per_class + world.test_per_class)
        return Counts(clips, clips, 0)

    return Step("render", {"world": result_config(world), "seed": config.seed}, lambda _cluster: Needs(), run)


def _ingest_step(
    config: RunConfig, dataset: Dataset | None, task: Task, sources: tuple[Step, ...], identities: Mapping[str, str]
) -> Step:
    def run(context: StepContext) -> Counts:
        found = dataset
        if found is None:
            manifest = storage.join(context.inputs["render"], "manifest.csv")
            data = config.data.model_copy(update={"manifest": manifest})
            found = load_dataset(data, config.seed, task.labels)
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
        settings["seed"] = config.seed

    def needs(cluster: Mapping[str, float]) -> Needs:
        return Needs(config.ingest.workers or max(1, int(cluster.get("CPU", 1))))

    return Step(MANIFEST_STAGE, settings, needs, run, sources, identities)


def _check_splits(ingest_dir: str) -> None:
    found = {clip["split"] for clip in list_clips(ingest_dir, SPLITS)}
    for split in ("train", "test"):
        if split not in found:
            raise DataError(
                f"no video of the {split} split could be read; the reasons are in {ingest_dir}/{REJECTS_TABLE}"
            )


def _rationalize_step(config: RunConfig, task: Task, clips: Step, base: str, identity: str) -> Step:
    def run(context: StepContext) -> Counts:
        return rationalize.rationalize(
            context.out,
            list_clips(context.inputs[clips.name], ["train"]),
            base,
            config.model,
            task,
            config.rationalize,
            context.needs,
            seed=config.seed,
            no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
        )

    prompts = {
        "blind": prompt_hash(rationale_prompt(task)),
        "hinted": prompt_hash("\n".join(hinted_rationale_prompt(task, label) for label in task.labels)),
        "form": prompt_hash(rationale_form(task.labels)),
    }
    settings = {"rationalize": result_config(config.rationalize), "dtype": config.model.dtype, "seed": config.seed}
    replicas, gpus = config.rationalize.replicas, config.rationalize.tensor_parallel
    return Step(
        rationalize.STAGE,
        settings,
        lambda cluster: replica_needs(replicas, config.ray, cluster, gpus),
        run,
        (clips,),
        {"base": identity, **prompts},
    )


class _Arms(NamedTuple):
    """Makes the training and evaluation steps of all arms: same clips, same task, same base."""

    config: RunConfig
    task: Task
    base: str
    identity: str
    clips: Step

    def train(
        self, name: str, recipe: StageRecipe, *, rationales: Step | None = None, start: Step | None = None
    ) -> Step:
        """A training step: on rationales where given, else on labels; from `start`'s model where given, else from the base."""
        inputs = tuple(step for step in (self.clips, rationales, start) if step is not None)
        prompt = rationale_prompt(self.task) if rationales else label_prompt(self.task)
        settings = {
            "recipe": result_config(recipe),
            "train": _shared_settings(self.config.train),
            "seed": self.config.seed,
            "labels": self.task.labels,
        }
        needs = partial(_group_needs, self.config)
        run = partial(_run_training, self, name, recipe, prompt, rationales, start)
        return Step(name, settings, needs, run, inputs, {"base": self.identity, "prompt": prompt_hash(prompt)})

    def evaluate(self, arm: str, model: Step | None) -> Step:
        """Scores validation and test clips with the arm's model (None: the base)."""
        name = f"evaluate_{arm}"
        inputs = (self.clips,) if model is None else (self.clips, model)
        config = self.config

        def run(context: StepContext) -> Counts:
            trained = None if model is None else storage.join(context.inputs[model.name], train.MODEL_DIR)
            return evaluate.evaluate(
                name,
                context.out,
                _with_examples(list_clips(context.inputs[self.clips.name], ["validation", "test"]), config),
                trained or self.base,
                config.model,
                self.task,
                config.evaluate,
                context.needs,
                no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
            )

        settings = {
            "evaluate": result_config(config.evaluate),
            "dtype": config.model.dtype,
            "labels": self.task.labels,
            "seed": config.seed,
        }
        identities = {"base": self.identity, "prompt": prompt_hash(label_prompt(self.task))}
        replicas = config.evaluate.replicas
        return Step(
            name, settings, lambda cluster: replica_needs(replicas, config.ray, cluster), run, inputs, identities
        )


def _shared_settings(config: TrainConfig) -> dict[str, Any]:
    settings = result_config(config)
    for stage in ("stage1", "stage2"):
        settings.pop(stage)
    if config.method == "full":
        settings.pop("lora")
    return settings


def _group_needs(config: RunConfig, cluster: Mapping[str, float]) -> Needs:
    each = replica_needs(config.train.workers, config.ray, cluster)
    return Needs(each.workers, each.cpus, each.gpus, gang=True)


def _run_training(
    arms: _Arms,
    name: str,
    recipe: StageRecipe,
    prompt: str,
    rationales: Step | None,
    start: Step | None,
    context: StepContext,
) -> Counts:
    config, task = arms.config, arms.task
    clips = list_clips(context.inputs[arms.clips.name], ["train"])
    if rationales is not None:
        texts = rationalize.kept_rationales(context.inputs[rationales.name])
        samples = [{**clip, "answer": texts[clip["id"]]} for clip in clips if clip["id"] in texts]
        if not samples:
            where = storage.join(context.inputs[rationales.name], REJECTS_TABLE)
            raise DataError(f"no rationale was accepted, so stage 1 has nothing to learn; the reasons are in {where}")
    else:
        samples = [{**clip, "answer": clip["label"]} for clip in clips]
    counts = train.train(
        train.TrainJob(
            stage=name,
            base=storage.join(context.inputs[start.name], train.MODEL_DIR) if start else arms.base,
            revision=None if start else config.model.revision,
            prompt=prompt,
            samples=tuple(samples),
            config=config.train,
            recipe=recipe,
            seed=config.seed,
            out=context.out,
        ),
        context.needs,
    )
    if rationales is None:
        card = make_card(
            name.removeprefix("train_"),
            task,
            config.sampling,
            base=config.model.base,
            base_identity=arms.identity,
            data_identity=arms.clips.id,
        )
        card_uri = storage.join(context.out, train.MODEL_DIR, CARD_FILE)
        storage.write_bytes(card_uri, card.model_dump_json(indent=2).encode())
    return counts


def _with_examples(clips: list[dict[str, Any]], config: RunConfig) -> list[dict[str, Any]]:
    """Marks the seeded example clips of the test split that get a rationale for the report."""
    test_ids = sorted(clip["id"] for clip in clips if clip["split"] == "test")
    chosen = set(random.Random(config.seed).sample(test_ids, min(config.evaluate.example_rationales, len(test_ids))))
    return [{**clip, "explain": clip["id"] in chosen} for clip in clips]
