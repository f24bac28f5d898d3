"""Refuses prompts that tell the label: training prompts that depend on it, a role or guidance that states an answer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.prompts import CLASSES_LINE, HINT_START, Task
from rbft_ray.core.rationale_words import spoken_label

SHORT_LABEL = 2  # characters; such a label ("A", "no") is a word of other sentences too
_QUOTES = r"[\s\"'“”‘’「」*`]*"
_STATES = (
    r"(?:\b(?:class|label|category|classification|answer)\b(?: (?:of|for) (?:this|the|each|every|any) (?:video|clip))?"
    r"\s*(?:is|was|=|[:：])|(?:类别|标签|答案)\s*(?:是|为|[:：]))"
)
_CONDITION = re.compile(
    r"\b(?:if|when|whenever|where|wherever|unless|otherwise|else|while|whether|until|whose)\b|如果|若|当|否则|只有",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。！？\n]")


class TrainingPrompt(NamedTuple):
    """What is asked of one training clip, and the clip's gold label."""

    clip: str
    prompt: str
    label: str


def check_training_prompts(stage: str, prompts: Iterable[TrainingPrompt]) -> None:
    """Refuses training prompts that tell the gold label: the model would learn to copy it, and is not told it later.

    A prompt must be asked of clips of every label among `prompts`, as then it cannot depend on the label; and none may have the
    hint line, or an answer stated in its role or guidance.

    Raises:
        DataError: names the clip, the phrase that tells its label, and what to do.
    """
    asked: dict[str, dict[str, str]] = {}  # prompt: {label: the first clip}
    for clip, prompt, label in prompts:
        asked.setdefault(prompt, {}).setdefault(label, clip)
    labels = tuple(sorted({label for clips in asked.values() for label in clips}))
    for prompt, clips in asked.items():
        where = f"{stage}: the prompt of clip {next(iter(clips.values()))!r}"
        head, _, tail = prompt.rpartition(f"\n{CLASSES_LINE}\n")
        hint = next((line for line in tail.split("\n") if line.startswith(HINT_START)), None)
        if hint:
            raise DataError(f"{where} has the hint {hint!r}, which is for generation only; train on rationale_prompt")
        if phrase := stated_answer(head or prompt, labels):
            raise DataError(f"{where} states an answer: {phrase!r}; take it out of task.role or task.guidance")
    for prompt, clips in asked.items():
        lacking = [label for label in labels if label not in clips]
        if lacking:
            other = next(other for other, its_clips in asked.items() if lacking[0] in its_clips)
            raise DataError(_difference(stage, prompt, other, asked))


def _difference(stage: str, prompt: str, other: str, asked: Mapping[str, Mapping[str, str]]) -> str:
    """What one of two prompts says and the other does not, as an error line."""
    lines = {text: text.split("\n") for text in (prompt, other)}
    extra = {text: [line for line in own if line not in lines[_other(lines, text)]] for text, own in lines.items()}
    blamed = prompt if extra[prompt] or not extra[other] else other
    pairs = zip(lines[blamed], lines[_other(lines, blamed)], strict=False)
    phrase = next(iter(extra[blamed]), None) or next((one for one, two in pairs if one != two), "")
    clip = next(iter(asked[blamed].values()))
    return (
        f"{stage}: the prompt of clip {clip!r} has the line {phrase[:200]!r}, which only clips of {', '.join(asked[blamed])} "
        "are asked with, so it tells the label; ask every clip with the same prompt (rationale_prompt, label_prompt)"
    )


def _other(pair: Iterable[str], one: str) -> str:
    return next(text for text in pair if text != one)


def check_task_words(task: Task) -> None:
    """Refuses a role or guidance that states an answer ("Answer: cat", "the class is cat"): it stands in every clip's prompt.

    Raises:
        ConfigError: names the field, the phrase and what to do.
    """
    for name, text in (("role", task.role), ("guidance", task.guidance)):
        if phrase := stated_answer(text, task.labels):
            raise ConfigError(
                f"task.{name}: states an answer for every clip: {phrase!r}; take it out, say on which condition it holds "
                '("if ..., the class is ..."), or describe the class in task.definitions'
            )


def stated_answer(text: str, labels: Sequence[str]) -> str | None:
    """The phrase of `text` that states one of `labels` as the answer; None where there is none.

    A sentence with a condition ("if it is dark, the class is night") states none, nor does a list ("the class is cat or dog").
    """
    if not labels:
        return None
    states, listing = _answer_patterns(tuple(labels))
    for found in states.finditer(text):
        before = _SENTENCE_END.split(text[: found.start()])[-1]
        after = _SENTENCE_END.split(text[found.end() :])[0]
        if not _CONDITION.search(f"{before} {after}") and not listing.match(text, found.end()):
            return found.group(0)
    return None


@lru_cache(maxsize=8)
def _answer_patterns(labels: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """(a stated answer; what follows the first label of a list), with the labels as they are or as they are spoken."""
    names = {name for label in labels for name in (label.strip(), spoken_label(label)) if name}
    ordered = sorted(names, key=lambda name: (-len(name), name))
    named = "|".join(re.escape(name).replace(r"\ ", r"[\s_-]+") + _end_of(name) for name in ordered) or "(?!)"
    return (
        re.compile(rf"{_STATES}{_QUOTES}(?:(?:an?|the|always) )?{_QUOTES}(?:{named})", re.IGNORECASE),
        re.compile(rf"{_QUOTES}(?:[,/|、]|\bor\b|\band\b|或|和)+{_QUOTES}(?:or )?{_QUOTES}(?:{named})", re.IGNORECASE),
    )


def _end_of(name: str) -> str:
    """What must follow a label: no further letter, and after a short one the end of a clause."""
    if len(name) <= SHORT_LABEL and name.isascii():
        return rf"(?={_QUOTES}(?:[.,;:!?\n/|]|or\b|and\b|$))"
    return "(?!-?[a-z0-9_])"
