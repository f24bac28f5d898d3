"""`rbft prompts show`: the exact text that the model gets for one clip, in generation, training and scoring. Writes nothing."""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.text import Text

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError
from rbft_ray.core.labels import Row
from rbft_ray.core.prompts import (
    PROMPT_VERSION,
    Task,
    hinted_rationale_prompt,
    label_prompt,
    prompt_hash,
    rationale_form,
    rationale_prompt,
    rationale_text,
)
from rbft_ray.core.rationale_checks import task_knowledge
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE, REJECTS
from rbft_ray.io.manifests import STAGE as INGEST
from rbft_ray.model.vlm import answer_tokens, end_of_turn_token, load_processor, render_prompt
from rbft_ray.pipeline.dataset import Dataset, data_seed, load_dataset, split_and_limited
from rbft_ray.pipeline.job import storage_root
from rbft_ray.pipeline.recipes import Plan, plan
from rbft_ray.pipeline.runner import step_dir
from rbft_ray.runtime.blocks import REJECTS_TABLE, read_rows
from rbft_ray.runtime.progress import console
from rbft_ray.stages import rationalize

MANY_IDS = 10_000  # above it, similar ids are not looked for
NAMED_CLASSES = 5  # on a line of the terminal; `--json` has all
REASONING_PLACE = "<one or more lines of reasoning>"


class Renderer(NamedTuple):
    """The base's own chat template and tokens."""

    processor: Any
    end_of_turn: int

    @property
    def end_text(self) -> str:
        return self.processor.tokenizer.decode([self.end_of_turn])

    @property
    def video_token(self) -> str:
        """What stands for the video in a rendered prompt; empty where the family names none."""
        return getattr(self.processor, "video_token", None) or ""

    def asked(self, used: str, prompt: str) -> dict[str, Any]:
        """A prompt as it is rendered; `text_tokens` does not count the video's."""
        rendered = render_prompt(self.processor, prompt)
        tokenizer = self.processor.tokenizer
        tokens = tokenizer(rendered)["input_ids"]
        video = tokenizer.convert_tokens_to_ids(self.video_token) if self.video_token else None
        return {
            "used": used,
            "prompt_hash": prompt_hash(prompt),
            "text_tokens": sum(token != video for token in tokens),
            "rendered": rendered,
        }

    def learnt(self, used: str, prompt: str, answer: str | None) -> dict[str, Any]:
        """A prompt of training: all of it is masked; `loss` is the text that carries the loss, None where there is none yet."""
        asked = self.asked(used, prompt)
        return {
            **asked,
            "masked": asked["rendered"],
            "loss": None if answer is None else answer + self.end_text,
            "loss_tokens": None if answer is None else len(answer_tokens(self.processor, self.end_of_turn, answer)),
        }


def shown_prompts(config: RunConfig, clip_id: str | None = None) -> dict[str, Any]:
    """Every prompt of one clip, ready for JSON: the first training clip, or that of `clip_id`.

    Returns:
        the clip, what it is asked (`prompts`: blind, hinted, stage1, stage2 of a training clip; reasoned, scoring of another), the
        state of its rationale, and what the configuration lacks. Reads the manifest and the base's processor, no video.

    Raises:
        ConfigError: there is no such clip, or the role or guidance states an answer.
        DataError: the manifest or the base cannot be used.
    """
    planned = plan(config)
    clip = _find_clip(config, _dataset(config, planned.task), clip_id)
    processor = load_processor(planned.base, config.model.revision)
    renderer = Renderer(processor, end_of_turn_token(processor))
    found: dict[str, Any] = {
        "name": config.name,
        "clip": clip["id"],
        "split": clip["split"],
        "label": clip["label"],
        "video": clip["video"],
        "base": planned.base,
        "prompt_version": PROMPT_VERSION,
        "video_placeholder": renderer.video_token,
        "end_of_turn": renderer.end_text,
        "labels": list(planned.task.labels),
        "mode": config.rationalize.mode,
    }
    if clip["split"] == "train":
        found["rationale"] = _rationale(planned, clip)
        found["prompts"] = _training_clip(planned, clip, renderer, found["rationale"]["text"])
    else:
        found["rationale"] = None
        found["prompts"] = _held_out_clip(planned, renderer)
    return {**found, "lacks": lacks(planned.task, config.task.cues)}


def _dataset(config: RunConfig, task: Task) -> Dataset:
    """The rows of the manifest, or those that the demo world would write."""
    if config.data.manifest is not None:
        return load_dataset(config.data, data_seed(config))
    from rbft_ray.demo import world
    from rbft_ray.demo.grammar import make_domain

    demo = config.data.demo
    counts = demo.train_per_class, demo.val_per_class, demo.test_per_class
    rows: list[Row] = [
        {"id": clip.id, "video": clip.path, "label": clip.label, "split": clip.split, "group": clip.group}
        for clip in world.draw_world(make_domain(demo.domain_seed), *counts, data_seed(config))
    ]
    return Dataset(split_and_limited(rows, config.data, data_seed(config)), [], task.labels)


def _find_clip(config: RunConfig, data: Dataset, clip_id: str | None) -> Row:
    if clip_id is None:
        return next(row for row in data.rows if row["split"] == "train")
    found = next((row for row in data.rows if row["id"] == clip_id), None)
    if found is not None:
        return found
    refused = next((row for row in data.rejects if row["id"] == clip_id), None)
    if refused is not None:
        raise ConfigError(f"--clip {clip_id!r}: its row is rejected ({refused['reason']}): {refused['detail']}")
    ids = [row["id"] for row in data.rows]
    close = difflib.get_close_matches(clip_id, ids, 3) if len(ids) <= MANY_IDS else []
    limited = " that data.limit_per_split leaves" if config.data.limit_per_split else ""
    such = ", ".join(repr(one) for one in close or ids[:3])
    where, look = _where(config.data.manifest)
    raise ConfigError(
        f"--clip {clip_id!r}: no such id among the {len(ids)} clips{limited} of {where}, such as {such}; {look}"
    )


def _where(manifest: str | dict[str, str] | None) -> tuple[str, str]:
    """What holds the ids, and how to find one there."""
    if manifest is None:
        return "the demo world", "`rbft demo render` writes its manifest; its size is in data.demo"
    named = manifest if isinstance(manifest, str) else ", ".join(manifest.values())
    return f"data.manifest {named}", "an id is data.id, else the column 'id', else the video's path in the manifest"


def _rationale(planned: Plan, clip: Row) -> dict[str, Any]:
    """state ('kept', 'rejected' or 'none yet'), text (None unless kept), hinted, detail."""
    root = storage_root(planned.config)
    out = step_dir(root, planned.step(rationalize.STAGE))
    for row in read_rows(out, CANDIDATES_TABLE, CANDIDATES, ["id", "text", "kept", "hinted"]):
        if row["kept"] and row["id"] == clip["id"]:
            return {"state": "kept", "text": row["text"], "hinted": row["hinted"], "detail": out}
    for name in (rationalize.STAGE, INGEST):
        for row in read_rows(step_dir(root, planned.step(name)), REJECTS_TABLE, REJECTS):
            if row["id"] == clip["id"]:
                detail = f"{name} rejected the clip ({row['reason']}): {row['detail']}"
                return {"state": "rejected", "text": None, "hinted": None, "detail": detail}
    return {"state": "none yet", "text": None, "hinted": None, "detail": "`rbft run` writes it"}


def _training_clip(planned: Plan, clip: Row, renderer: Renderer, rationale: str | None) -> dict[str, dict[str, Any]]:
    task, mode = planned.task, planned.config.rationalize.mode
    passes = rationalize.PASSES[mode]
    shown = {}
    if False in passes:
        shown["blind"] = renderer.asked("writes rationales without the label", rationale_prompt(task))
    if True in passes:
        when = "where no blind rationale was accepted, " if False in passes else ""
        hinted = hinted_rationale_prompt(task, clip["label"])
        shown["hinted"] = renderer.asked(f"{when}writes rationales with the gold label as a hint", hinted)
    stage1 = renderer.learnt("stage 1 trains on the clip's rationale", rationale_prompt(task), rationale)
    required = rationale_text(REASONING_PLACE, clip["label"]) + renderer.end_text
    shown["stage1"] = {**stage1, "required": required, "form": rationale_form(task.labels)}
    used = "stage 2 trains on the label; evaluation and server score every label as the answer"
    shown["stage2"] = renderer.learnt(used, label_prompt(task), clip["label"])
    return shown


def _held_out_clip(planned: Plan, renderer: Renderer) -> dict[str, dict[str, Any]]:
    shown = {"scoring": renderer.asked("evaluation scores every label as the answer", label_prompt(planned.task))}
    if planned.config.evaluate.reason_then_label:
        used = "evaluation also reads the answer line of a rationale (evaluate.reason_then_label)"
        shown["reasoned"] = renderer.asked(used, rationale_prompt(planned.task))
    return shown


def lacks(task: Task, cues: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """What a configuration says nothing of: {key, classes (of the label set), costs: in plain words}."""
    undefined = [label for label in task.labels if not task.definitions.get(label)]
    uncued = [label for label in task.labels if not cues.get(label)]
    contradicting = (
        "a rationale that describes another class is rejected only where it names a class or quotes a definition"
        if task_knowledge(task, cues).english
        else "they would not be read, as contradictions are looked for only in rationales of tasks in English"
    )
    by_name = "the model knows the class by its name alone, and a rationale that is generic cannot be rejected"
    unguided = "no prompt says what to look at, so rationales may dwell on what does not tell the classes apart"
    found: list[dict[str, Any]] = []
    if undefined:
        found.append({"key": "task.definitions", "classes": undefined, "costs": by_name})
    if not task.guidance:
        found.append({"key": "task.guidance", "classes": [], "costs": unguided})
    if uncued:
        found.append({"key": "task.cues", "classes": uncued, "costs": contradicting})
    return found


def print_prompts(found: dict[str, Any]) -> None:
    """The prompts on the terminal. Rendered text is indented by four spaces; nothing in it is taken for markup."""
    _say(f"{found['name']}: {found['split']} clip {found['clip']}, class {found['label']} ({found['video']})")
    _say(f"base {found['base']}, prompt version {found['prompt_version']}, rationalize.mode {found['mode']}")
    if found["video_placeholder"]:
        _say(f"{found['video_placeholder']} stands for the video, whose own tokens are not counted")
    if found["rationale"] is None:
        _say("not a training clip: no rationale is written for it and no stage trains on it")
    for name, shown in found["prompts"].items():
        _say()
        _say(f"{name}: {shown['used']}", "bold")
        _say(f"  prompt hash {shown['prompt_hash']}, {shown['text_tokens']} text tokens")
        if "masked" in shown:
            _say("  masked, carries no loss: the whole prompt")
        _block(shown["rendered"], "dim" if "masked" in shown else "")
        if "masked" in shown:
            _print_loss(shown, found)
    _print_lacks(found["lacks"])


def _print_loss(shown: dict[str, Any], found: dict[str, Any]) -> None:
    if shown["loss"] is None:
        what = "none yet" if found["rationale"]["state"] == "none yet" else "none"
        _say(f"  carries the loss: {what}; {found['rationale']['detail']}. The form that is required:")
        _block(shown["required"], "yellow")
        return
    kept = ""
    if "form" in shown:
        kept = ", kept rationale written with the hint" if found["rationale"]["hinted"] else ", kept rationale"
    tokens = f"{shown['loss_tokens']} tokens, {found['end_of_turn']} included"
    _say(f"  carries the loss: the answer with its end-of-turn token ({tokens}{kept})")
    _block(shown["loss"], "green")


def _print_lacks(lacking: list[dict[str, Any]]) -> None:
    _say()
    if not lacking:
        _say("the task has definitions and cues of every class, and guidance")
    for one in lacking:
        classes = one["classes"]
        more = f" and {len(classes) - NAMED_CLASSES} more" if len(classes) > NAMED_CLASSES else ""
        of = f" for {', '.join(classes[:NAMED_CLASSES])}{more}" if classes else ""
        _say(f"no {one['key']}{of}: {one['costs']}")


def _block(text: str, style: str) -> None:
    for line in text.removesuffix("\n").split("\n"):
        _say(f"    {line}", style)


def _say(text: str = "", style: str = "") -> None:
    console.print(Text(text), style=style or None)
