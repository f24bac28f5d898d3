"""Every prompt of the project, in one place: the prompt contract.

Three prompts state the same task (role, guidance, classes with their definitions) and differ in what they ask for:

- `rationale_prompt`: reason first, then one answer line. Generation without the label, and the input of stage-1 training.
- `hinted_rationale_prompt`: the same with the gold label as a hint. Generation only; never a training input.
- `label_prompt`: the bare label. The input of stage-2 training, evaluation and serving.

A fourth, `description_prompt`, asks for what is seen alone; a control of experiments is trained under it.

`PROMPT_VERSION` changes with any wording; `prompt_hash` of the rendered text is stored in every rationale row and classifier card.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PROMPT_VERSION = "1"
ANSWER_PREFIX = "Answer:"
CLASSES_LINE = "Classes:"
HINT_START = "Hint: the class is"


@dataclass(frozen=True)
class Task:
    """What a prompt says of the classification task. `labels` is ordered: the order of every probability vector."""

    labels: tuple[str, ...]
    definitions: Mapping[str, str] = field(default_factory=dict)
    role: str = "You are an expert in video classification."
    guidance: str = ""


def _task_lines(task: Task) -> list[str]:
    lines = [f"{task.role} Decide which class the video belongs to."]
    if task.guidance:
        lines.append(task.guidance)
    lines.append(CLASSES_LINE)
    for label in task.labels:
        definition = task.definitions.get(label, "")
        lines.append(f"- {label}: {definition}" if definition else f"- {label}")
    return lines


def _reasoning_lines() -> list[str]:
    return [
        "First say what is seen and in which order, and reason about which class it fits.",
        f'Then end with one line "{ANSWER_PREFIX} " and the class name.',
    ]


def rationale_prompt(task: Task) -> str:
    """The prompt for a rationale that the label does not enter."""
    return "\n".join(_task_lines(task) + _reasoning_lines())


def hinted_rationale_prompt(task: Task, gold_label: str) -> str:
    """The prompt for a rationale under the hint `gold_label`. It is never a training input (label leak).

    Raises:
        ValueError: `gold_label` is not one of `task.labels`.
    """
    if gold_label not in task.labels:
        raise ValueError(f"hint {gold_label!r} is not in the label set {list(task.labels)}")
    hint = f"{HINT_START} {gold_label}. Do not mention the hint; explain what in the video shows the class."
    return "\n".join([*_task_lines(task), hint, *_reasoning_lines()])


def label_prompt(task: Task) -> str:
    """The prompt whose answer is the bare class name."""
    return "\n".join([*_task_lines(task), "Answer only with the class name."])


def description_prompt(task: Task) -> str:
    """The prompt for what is seen, without the classes."""
    return "\n".join(filter(None, [task.role, task.guidance, "Say what is seen and in which order."]))


def rationale_text(reasoning: str, label: str) -> str:
    """A complete rationale: reasoning, then the answer line. The target of stage-1 training."""
    return f"{reasoning.strip()}\n{ANSWER_PREFIX} {label}"


def rationale_form(labels: Sequence[str]) -> str:
    """A regular expression of every complete rationale: lines of reasoning, then the answer line with one of `labels`.

    For constrained decoding. A line of reasoning is one that does not begin with the answer prefix, spelt out character by
    character because grammars know no look-ahead: so nothing can follow the answer line.
    """
    starts = "|".join(f"{ANSWER_PREFIX[:index]}[^{char}\\n]" for index, char in enumerate(ANSWER_PREFIX))
    return f"(({starts})[^\\n]*\\n)+{ANSWER_PREFIX} ({'|'.join(re.escape(label) for label in labels)})"


def prompt_hash(rendered: str) -> str:
    """First 16 hex digits of the SHA-256 of a rendered prompt, with the prompt version."""
    return hashlib.sha256(f"{PROMPT_VERSION}\n{rendered}".encode()).hexdigest()[:16]
