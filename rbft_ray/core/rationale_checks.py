"""The verdict on a rationale from its text alone. No model, no video: form, leak of the hint, contradiction, generic talk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_comparison import false_comparison
from rbft_ray.core.rationale_evidence import (
    MIN_OWN_STEMS,
    MIN_OWN_WORDS,
    balance,
    lexicon,
    own_stems,
    quoted_definitions,
    unsupported,
)
from rbft_ray.core.rationale_form import answer_form, is_english, length_fault, other_language, parse_answer, repetition
from rbft_ray.core.rationale_stance import stance
from rbft_ray.core.rationale_words import spoken_label
from rbft_ray.core.rationale_writer import leak, refusal
from rbft_ray.core.schema import Reason

__all__ = ["Knowledge", "Verdict", "check_rationale", "parse_answer", "task_knowledge"]


class Verdict(NamedTuple):
    """reasoning: the text before the answer line; answer: the label it gives, or None; reason: None where accepted.

    detail: the phrase or count that the reason rests on; empty where accepted.
    """

    reasoning: str
    answer: str | None
    reason: Reason | None
    detail: str = ""


@dataclass(frozen=True)
class Knowledge:
    """What the checks may know of a task beside its labels.

    definitions: {label: definition}; cues: {label: phrases that speak for it}; english: whether rationales must be English.
    """

    definitions: Mapping[str, str] = field(default_factory=dict)
    cues: Mapping[str, Sequence[str]] = field(default_factory=dict)
    english: bool = True


def task_knowledge(task: Task, cues: Mapping[str, Sequence[str]]) -> Knowledge:
    """What a task's own words and cues tell the checks; its rationales must be English where its words are."""
    said = "\n".join((task.role, task.guidance, *task.definitions.values()))
    return Knowledge(task.definitions, cues, is_english(said))


def check_rationale(
    text: str, gold_label: str, labels: Sequence[str], *, truncated: bool, knowledge: Knowledge | None = None
) -> Verdict:
    """The first check that fails gives the reason.

    In order: truncated, refusal, the answer line (none, malformed, cut off), other language, length, repetition, mentions
    the hint, wrong answer, generic, contradiction. The checks of English are left out where `knowledge.english` is false.

    Args:
        truncated: whether the writer was stopped by its token limit.
        knowledge: without it nothing is known but the labels: contradictions are found by class names only.
    """
    known = knowledge or Knowledge()
    form = answer_form(text, labels)
    if truncated:
        fault: tuple[Reason, str] | None = (Reason.TRUNCATED, "token limit")
    elif known.english and (found := refusal(form.reasoning, tuple(labels))):
        fault = Reason.REFUSAL, found
    elif form.reason is not None:
        fault = form.reason, form.detail
    else:
        fault = _text_fault(form.reasoning, labels, known)
        if fault is None and form.answer != gold_label:
            fault = Reason.WRONG_ANSWER, f"{form.answer} in place of {gold_label}"
        fault = fault or _meaning_fault(form.reasoning, gold_label, labels, known)
    reason, detail = fault or (None, "")
    return Verdict(form.reasoning, form.answer, reason, detail)


def _text_fault(reasoning: str, labels: Sequence[str], known: Knowledge) -> tuple[Reason, str] | None:
    if known.english and (found := other_language(reasoning)):
        return Reason.OTHER_LANGUAGE, found
    if fault := length_fault(reasoning):
        return fault
    if found := repetition(reasoning):
        return Reason.REPETITION, found
    if found := leak(reasoning, tuple(labels)):
        return Reason.MENTIONS_HINT, found
    return None


def _meaning_fault(
    reasoning: str, gold_label: str, labels: Sequence[str], known: Knowledge
) -> tuple[Reason, str] | None:
    quoted = quoted_definitions(reasoning, known.definitions) if known.english else {}
    if known.english and (found := _stance_fault(reasoning, gold_label, labels, quoted) or false_comparison(reasoning)):
        return Reason.CONTRADICTION, found
    if known.definitions.get(gold_label):
        own = own_stems(reasoning, labels, known.definitions)
        if len(set(own)) < MIN_OWN_STEMS and len(own) < MIN_OWN_WORDS:
            return Reason.GENERIC, f"of its own only: {', '.join(own) or 'nothing'}"
    if known.english and known.cues.get(gold_label):
        with_cues = [label for label in labels if known.cues.get(label)]
        without = [part for parts in quoted.values() for part in parts]
        found = unsupported(balance(reasoning, lexicon(known.cues, known.definitions, with_cues), without), gold_label)
        if found:
            return Reason.CONTRADICTION, found
    return None


def _stance_fault(
    reasoning: str, gold_label: str, labels: Sequence[str], quoted: Mapping[str, Sequence[str]]
) -> str | None:
    """The sentence that rejects the gold class or concludes another one; one that quotes only another's definition."""
    found = stance(reasoning, tuple(labels))
    if gold_label in found.rejected:
        return found.rejected[gold_label]
    for label, sentence in found.affirmed.items():
        if label != gold_label and spoken_label(label) != spoken_label(gold_label):
            return sentence
    return next((parts[0] for label, parts in quoted.items() if label != gold_label and gold_label not in quoted), None)
