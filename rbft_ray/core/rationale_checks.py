"""The verdict on a rationale from its text alone: form, answer, leak of the hint. No model, no video."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rbft_ray.core.prompts import ANSWER_PREFIX
from rbft_ray.core.schema import Reason

MIN_REASONING_WORDS = 4
_HINT_WORDS = re.compile(r"\b(hint(ed|s)?|(given|provided|gold|true|correct) (label|class))\b", re.IGNORECASE)


class Verdict(NamedTuple):
    """reasoning: the text before the answer line; answer: the label it gives, or None; reason: None where accepted."""

    reasoning: str
    answer: str | None
    reason: Reason | None


def parse_answer(text: str, labels: Sequence[str]) -> tuple[str, str | None]:
    """(reasoning, answer). The answer is the last line, exactly `Answer: <label>`; anything else is None, never a guess."""
    head, _, last = text.strip().rpartition("\n")
    if not last.startswith(f"{ANSWER_PREFIX} "):
        return text.strip(), None
    answer = last.removeprefix(f"{ANSWER_PREFIX} ")
    return head.strip(), answer if answer in labels else None


def check_rationale(text: str, gold_label: str, labels: Sequence[str], *, truncated: bool) -> Verdict:
    """The first check that fails gives the reason: truncated, no answer, empty reasoning, mentions the hint, wrong answer."""
    reasoning, answer = parse_answer(text, labels)
    if truncated:
        reason = Reason.TRUNCATED
    elif answer is None:
        reason = Reason.NO_ANSWER
    elif len(reasoning.split()) < MIN_REASONING_WORDS:
        reason = Reason.EMPTY_REASONING
    elif _HINT_WORDS.search(reasoning):
        reason = Reason.MENTIONS_HINT
    elif answer != gold_label:
        reason = Reason.WRONG_ANSWER
    else:
        reason = None
    return Verdict(reasoning, answer, reason)
