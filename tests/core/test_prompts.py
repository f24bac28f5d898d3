"""The prompt contract: the gold label enters nothing but the hinted prompt, and wording goes with the version."""

import re

import pytest

from rbft_ray.core.prompts import (
    PROMPT_VERSION,
    Task,
    hinted_rationale_prompt,
    label_prompt,
    prompt_hash,
    rationale_form,
    rationale_prompt,
)
from rbft_ray.core.rationale_checks import parse_answer

TASK = Task(("cat", "dog"), {"cat": "It purrs."}, role="You watch animals.", guidance="Look at the ears.")
PINNED_HASHES = {"1": ["e711148879c558fd", "51b5d1840b9d7dfe", "21d84cb12377aadd"]}


def prompts(task: Task) -> list[str]:
    return [rationale_prompt(task), hinted_rationale_prompt(task, "cat"), label_prompt(task)]


@pytest.mark.parametrize("gold", TASK.labels)
def test_without_its_hint_line_every_hinted_prompt_is_the_rationale_prompt(gold: str) -> None:
    lines = hinted_rationale_prompt(TASK, gold).split("\n")
    hints = [line for line in lines if line.startswith("Hint:")]
    assert len(hints) == 1 and gold in hints[0]
    assert "\n".join(line for line in lines if line not in hints) == rationale_prompt(TASK)


@pytest.mark.parametrize("prompt", [rationale_prompt, label_prompt])
def test_a_label_stands_only_in_the_class_list(prompt) -> None:
    for label in TASK.labels:
        lines = [line for line in prompt(TASK).split("\n") if label in line]
        assert len(lines) == 1 and lines[0].startswith(f"- {label}")


@pytest.mark.parametrize("prompt", prompts(TASK), ids=["rationale", "hinted", "label"])
def test_every_prompt_states_the_whole_task_in_the_order_of_the_labels(prompt: str) -> None:
    assert "You watch animals." in prompt and "Look at the ears." in prompt
    assert "- cat: It purrs.\n- dog\n" in prompt


def test_the_three_prompts_differ() -> None:
    assert len(set(prompts(TASK))) == 3


def test_a_hint_outside_the_label_set_is_refused() -> None:
    with pytest.raises(ValueError, match="'emu'"):
        hinted_rationale_prompt(TASK, "emu")


def test_the_hash_changes_with_the_text() -> None:
    texts = [*prompts(TASK), *prompts(Task(("dog", "cat"))), "", " "]
    assert len({prompt_hash(text) for text in texts}) == len(texts)
    assert all(len(prompt_hash(text)) == 16 and int(prompt_hash(text), 16) >= 0 for text in texts)


def test_the_wording_of_this_prompt_version_is_pinned() -> None:
    """A change of wording needs a new PROMPT_VERSION, and a line here."""
    assert [prompt_hash(prompt) for prompt in prompts(TASK)] == PINNED_HASHES[PROMPT_VERSION]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("A man walks in.\nAnswer: cat", True),
        ("Answering is hard.\nAn ear.\nAnswer: a dog (big)", True),
        ("Seen.\nAnswer: cow", False),
        ("Answer: cat", False),
        ("Seen.\nAnswer: cat\nMore.", False),
        ("Seen.\nAnswer: cat\nAnswer: cat", False),
        ("Seen. Answer: cat", False),
        ("\nAnswer: cat", False),
    ],
)
def test_the_form_is_reasoning_and_then_one_answer_line(text: str, fits: bool) -> None:
    labels = ("cat", "a dog (big)")
    assert bool(re.fullmatch(rationale_form(labels), text)) == fits
    if fits:
        assert parse_answer(text, labels)[1] in labels
