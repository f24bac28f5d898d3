"""The steps of the arms: training and evaluation, made from one configuration so that the arms differ in one thing only."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from rbft_ray.core.card import CARD_FILE, Calibration, make_card, parse_card
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.labels import label_counts, take_of_labels
from rbft_ray.core.prompts import Task, description_prompt, label_prompt, prompt_hash, rationale_prompt
from rbft_ray.core.schema import DUPLICATES, REJECTS
from rbft_ray.core.section import result_config
from rbft_ray.core.stage1_answers import captions, definitions, shuffled_within_class
from rbft_ray.core.train_config import StageRecipe, TrainConfig
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.model.deepspeed import own_settings
from rbft_ray.model.vision_features import caches_features
from rbft_ray.pipeline.needs import evaluation_needs, feature_needs, training_needs
from rbft_ray.pipeline.step import Step, StepContext
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, read_rows
from rbft_ray.stages import evaluate, rationalize, train, vision_features


def budget(config: RunConfig) -> dict[str, Any]:
    """What `data.train_per_class` adds to the settings of a step that learns from the training clips."""
    return {} if config.data.train_per_class is None else {"train_per_class": config.data.train_per_class}


def training_clips(config: RunConfig, task: Task, ingested: str) -> list[dict[str, Any]]:
    """The training clips of an ingest step's directory that the run learns from, in a fixed order.

    Raises:
        ConfigError: `data.train_per_class` is a list of another length than the labels.
    """
    clips, each = list_clips(ingested, ["train"]), config.data.train_per_class
    return clips if each is None else take_of_labels(clips, label_counts(each, task.labels), config.seed)


class Arms(NamedTuple):
    """Makes the training and evaluation steps of all arms: same clips, same task, same base.

    features: the step that stores what frozen vision parts make of the training clips, where there is one.
    """

    config: RunConfig
    task: Task
    base: str
    identity: str
    clips: Step
    features: Step | None = None

    def vision_features(self) -> Step | None:
        """The step that computes the vision features of the training clips once, where training takes them.

        Whether a hub id is of a family that can be given features, is seen when the step runs.
        """
        config, train_config = self.config, self.config.train
        if not caches_features(self.base, train_config):
            return None
        dtype = train.DTYPES[train_config.precision]

        def run(context: StepContext) -> Counts:
            return vision_features.compute_features(
                context.out,
                list_clips(context.inputs[self.clips.name], ["train"]),
                self.base,
                config.model.revision,
                dtype,
                context.needs,
                no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
            )

        needs, identities = partial(feature_needs, config), {"base": self.identity}
        return Step(vision_features.STAGE, {"dtype": dtype}, needs, run, (self.clips,), identities)

    def train(
        self,
        name: str,
        recipe: StageRecipe,
        *,
        rationales: Step | None = None,
        start: Step | None = None,
        answers: str = "rationales",
    ) -> Step:
        """A training step: on rationales where given, else on labels; from `start`'s model where given, else from the base.

        answers: with `rationales`, what is learned in their place, of the clips that have one: a key of STAGE1; "labels" is a
            cycle of label training of as many steps.
        """
        answers = answers if rationales else "labels"
        facts = self.clips.inputs if answers == "facts" else ()
        inputs = tuple(step for step in (self.clips, rationales, start, *facts) if step is not None)
        prompt = STAGE1[answers].prompt(self.task)
        settings = {
            "recipe": result_config(recipe),
            "train": _shared_settings(self.config.train),
            "seed": self.config.seed,
            "labels": self.task.labels,
            **budget(self.config),
        }
        needs = partial(training_needs, self.config)
        if rationales and answers != "rationales":
            settings["answers"] = answers
        run = partial(_run_training, self, name, recipe, prompt, rationales, start, answers)
        identities = {"base": self.identity, "prompt": prompt_hash(prompt)}
        caches = (self.features,) if self.features else ()
        return Step(name, settings, needs, run, inputs, identities, caches)

    def evaluate(self, arm: str, model: Step | None) -> Step:
        """Scores validation and test clips with the arm's model (None: the base); the model's card gets the calibration."""
        name = f"evaluate_{arm}"
        inputs = (self.clips,) if model is None else (self.clips, model)
        config = self.config

        def run(context: StepContext) -> Counts:
            trained = None if model is None else storage.join(context.inputs[model.name], train.MODEL_DIR)
            ingested = context.inputs[self.clips.name]
            counts = evaluate.evaluate(
                name,
                context.out,
                _with_examples(list_clips(ingested, ["validation", "test"]), config),
                trained or self.base,
                config.model,
                self.task,
                config.evaluate,
                context.needs,
                train_labels=self.prior_labels(model, ingested),
                refused=[row for row in read_rows(ingested, REJECTS_TABLE, REJECTS) if row["reason"] not in DUPLICATES],
                seed=config.seed,
                no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
            )
            if trained is not None:
                _calibrate_card(storage.join(trained, CARD_FILE), storage.join(context.out, evaluate.CALIBRATION_FILE))
            return counts

        scoring = result_config(config.evaluate)
        if config.evaluate.engine != "vllm":
            scoring.pop("max_model_len")
        settings = {
            "evaluate": scoring,
            "dtype": config.model.dtype,
            "labels": self.task.labels,
            "seed": config.seed,
        }
        identities = {"base": self.identity, "prompt": prompt_hash(label_prompt(self.task))}
        return Step(name, settings, partial(evaluation_needs, config), run, inputs, identities)

    def prior_labels(self, model: Step | None, ingested: str) -> list[str]:
        """The labels whose shares an arm's model has learned; none of the base, nor where training balanced the classes."""
        if model is None or self.config.train.stage2.class_balance != "none":
            return []
        return [clip["label"] for clip in training_clips(self.config, self.task, ingested)]


def _calibrate_card(card_uri: str, calibration_uri: str) -> None:
    """Puts a calibration into a classifier card."""
    card = parse_card(storage.read_bytes(card_uri), card_uri)
    calibrated = card.model_copy(update={"calibration": Calibration.model_validate(storage.read_json(calibration_uri))})
    storage.write_bytes(card_uri, calibrated.model_dump_json(indent=2).encode())


def _shared_settings(config: TrainConfig) -> dict[str, Any]:
    settings = {**result_config(config), "own_deepspeed": own_settings(config.deepspeed)}
    for stage in ("stage1", "stage2"):
        settings.pop(stage)
    if config.method == "full":
        settings.pop("lora")
    return settings


Texts = dict[str, str]  # by clip id


class Stage1(NamedTuple):
    """What a stage 1 learns: the prompt, and the answers of (kept rationales, clips that have one, arms, context)."""

    prompt: Callable[[Task], str]
    answers: Callable[[Texts, list[dict[str, Any]], Arms, StepContext], Texts]


def _true_rationales(texts: Texts, clips: list[dict[str, Any]], arms: Arms, context: StepContext) -> Texts:
    from rbft_ray.demo.world import true_rationales

    return true_rationales(arms.config.data.demo.domain_seed, context.inputs["render"])


STAGE1 = {
    "rationales": Stage1(rationale_prompt, lambda texts, clips, arms, context: texts),
    "shuffled": Stage1(
        rationale_prompt, lambda texts, clips, arms, context: shuffled_within_class(texts, clips, arms.config.seed)
    ),
    "definitions": Stage1(rationale_prompt, lambda texts, clips, arms, context: definitions(clips, arms.task)),
    "captions": Stage1(description_prompt, lambda texts, clips, arms, context: captions(texts, arms.task)),
    "facts": Stage1(rationale_prompt, _true_rationales),
    "labels": Stage1(label_prompt, lambda texts, clips, arms, context: {clip["id"]: clip["label"] for clip in clips}),
}


def _kept(arms: Arms, clips: list[dict[str, Any]], rationales: Step, context: StepContext) -> Texts:
    """The kept rationales of `clips`, chosen among theirs alone: an experiment writes those of more clips than it learns from."""
    written = context.inputs[rationales.name]
    texts = rationalize.kept_among(written, {clip["id"] for clip in clips}, arms.task, arms.config.rationalize)
    if not texts:
        raise DataError(
            f"no rationale was accepted, so stage 1 has nothing to learn; see why with `rbft audit {written}`"
        )
    return texts


def _run_training(
    arms: Arms,
    name: str,
    recipe: StageRecipe,
    prompt: str,
    rationales: Step | None,
    start: Step | None,
    answers: str,
    context: StepContext,
) -> Counts:
    config, task = arms.config, arms.task
    clips = training_clips(config, task, context.inputs[arms.clips.name])
    texts = {} if rationales is None else _kept(arms, clips, rationales, context)
    if arms.features is not None:
        clips = vision_features.with_features(clips, context.inputs[arms.features.name])
    if rationales is not None and answers == "labels":
        share = sum(clip["id"] in texts for clip in clips) / len(clips)
        recipe = recipe.model_copy(update={"epochs": recipe.epochs * share})  # as many steps as on the rationales
    elif rationales is not None:
        clips = [clip for clip in clips if clip["id"] in texts]
    learned = STAGE1[answers].answers(texts, clips, arms, context)
    samples = [{**clip, "answer": learned[clip["id"]]} for clip in clips if clip["id"] in learned]
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
            validation=() if rationales else tuple(list_clips(context.inputs[arms.clips.name], ["validation"])),
            labels=task.labels,
            deepspeed=own_settings(config.train.deepspeed),
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
    """Marks the clips that get a rationale: seeded examples of the test split for the report, or all."""
    if config.evaluate.reason_then_label:
        return [{**clip, "explain": True} for clip in clips]
    test_ids = sorted(clip["id"] for clip in clips if clip["split"] == "test")
    chosen = set(random.Random(config.seed).sample(test_ids, min(config.evaluate.example_rationales, len(test_ids))))
    return [{**clip, "explain": clip["id"] in chosen} for clip in clips]
