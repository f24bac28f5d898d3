"""Prompts that tell the label are refused; conditions and lists are not."""

import pytest

from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.prompt_checks import TrainingPrompt, check_task_words, check_training_prompts, stated_answer
from rbft_ray.core.prompts import (
    Task,
    hinted_rationale_prompt,
    label_prompt,
    rationale_prompt,
)

TASK = Task(("cat", "dog"), {"cat": "It purrs."}, role="You watch animals.", guidance="Look at the ears.")


def asked(*prompts_and_labels: tuple[str, str]) -> list[TrainingPrompt]:
    return [TrainingPrompt(f"clip {n}", prompt, label) for n, (prompt, label) in enumerate(prompts_and_labels)]


ODD = Task(("cat", "C++ (x)", "猫", "A", "train_passes"))


@pytest.mark.parametrize("task", [TASK, ODD, Task(("a", "b"), guidance="Hint: look at the ears.")])
def test_one_prompt_for_every_label_may_be_trained_on(task: Task) -> None:
    for prompt in (rationale_prompt(task), label_prompt(task)):
        check_training_prompts("s", asked(*[(prompt, label) for label in task.labels]))
        check_training_prompts("s", asked((prompt, task.labels[0])))
    check_training_prompts("s", [])


@pytest.mark.parametrize("gold", ODD.labels)
def test_a_hinted_prompt_is_refused_for_training(gold: str) -> None:
    hinted = hinted_rationale_prompt(ODD, gold)
    with pytest.raises(
        DataError, match=r"train_stage1: the prompt of clip 'clip 0' has the hint 'Hint: .*generation"
    ) as error:
        check_training_prompts("train_stage1", asked((hinted, gold)))
    assert f"the class is {gold}." in str(error.value) and "\n" not in str(error.value)
    for others in (asked((rationale_prompt(ODD), "cat")), asked(*[(hinted, label) for label in ODD.labels])):
        with pytest.raises(DataError, match="hint"):
            check_training_prompts("s", [*others, *asked((hinted, gold))])


def test_a_prompt_that_only_some_labels_are_asked_with_tells_the_label() -> None:
    one = rationale_prompt(TASK)
    two = one.replace("Look at the ears.", "Look at the ears.\nIt was filmed indoors.")
    for first, second in ((one, two), (two, one)):
        with pytest.raises(
            DataError, match=r"has the line 'It was filmed indoors.', which only clips of (cat|dog) are"
        ) as error:
            check_training_prompts("s", asked((first, "cat"), (second, "dog")))
        assert f"clip 'clip {[first, second].index(two)}'" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match="only clips of cat are"):
        check_training_prompts("s", asked((one, "cat"), (one, "dog"), (two, "cat")))
    check_training_prompts("s", asked((one, "cat"), (two, "dog"), (two, "cat"), (one, "dog")))


def test_prompts_whose_lines_are_in_another_order_differ() -> None:
    one, two = (
        rationale_prompt(TASK),
        rationale_prompt(Task(("dog", "cat"), TASK.definitions, TASK.role, TASK.guidance)),
    )
    with pytest.raises(DataError, match=r"has the line '- cat: It purrs\.', which only clips of cat are"):
        check_training_prompts("s", asked((one, "cat"), (two, "dog")))


@pytest.mark.parametrize("name", ["role", "guidance"])
@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Look well. Answer: cat", "Answer: cat"),
        ('Write "Answer: Cat".', "Answer: Cat"),
        ("Here the class is **C++ (x)**!", "class is **C++ (x)"),
        ("The class of this video is a cat, clearly.", "class of this video is a cat"),
        ("Hint: the class is\ncat", "class is\ncat"),
        ("label = train passes", "label = train passes"),
        ("LABEL: TRAIN_PASSES", "LABEL: TRAIN_PASSES"),
        ("The class is A.", "class is A"),
        ("看耳朵。答案：猫", "答案：猫"),
        ("类别是猫，看耳朵", "类别是猫"),
        ("Answer: 猫", "Answer: 猫"),
        ("If it is dark, look twice. The answer is cat.", "answer is cat"),
    ],
)
def test_a_role_or_guidance_that_states_an_answer_is_refused(name: str, text: str, phrase: str) -> None:
    task = Task(ODD.labels, **{name: text})
    with pytest.raises(ConfigError, match=rf"^task\.{name}: states an answer") as error:
        check_task_words(task)
    assert repr(phrase) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(
        DataError, match=r"the prompt of clip 'clip 0' states an answer: .*task\.role or task\.guidance"
    ):
        check_training_prompts("s", asked(*[(label_prompt(task), label) for label in ODD.labels]))


@pytest.mark.parametrize(
    "text",
    [
        "If nothing moves, the class is cat.",
        "The answer is 猫 only when it purrs",
        "The class is cat or C++ (x).",
        "Answer: cat, A, 猫",
        "The class is a matter of the ears.",
        "The class is category-free; the answer is catlike.",
        "Ignore videos whose class is cat",
        "The cat answers: meow. A cat is a class.",
        "Answer: A cat-free line",
        "如果有耳朵，类别是猫",
        "",
    ],
)
def test_conditions_lists_and_other_words_state_no_answer(text: str) -> None:
    assert stated_answer(text, ODD.labels) is None
    check_task_words(Task(ODD.labels, guidance=text))


def test_without_labels_no_answer_is_stated() -> None:
    assert stated_answer("Answer: cat", ()) is None
    assert stated_answer("Answer: cat", ("", " ")) is None
