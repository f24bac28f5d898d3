"""Support: whether a rationale's text alone, without its conclusions, leads a judge to the label it argues for.

The judge is a language model that reads text (the base VLM without a video). It gets the rationale prompt as the user's turn and
the stripped rationale as the beginning of its own; what is scored is how it would close the rationale: with a class's
definition and the answer line. A judge that does not read the language of the rationales is found by `fitness` and not used.

Pure: prompts and verdicts; the log-probabilities come from an engine. Shapes: N rationales, K classes in the order of the labels.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rbft_ray.core.prompts import ANSWER_PREFIX, Task, rationale_prompt
from rbft_ray.core.rationale_evidence import quoted_definitions
from rbft_ray.core.rationale_form import parse_answer
from rbft_ray.core.rationale_stance import stance
from rbft_ray.core.rationale_words import label_pattern, sentences

# On the dev half of benchmarks/gate any margin from 0 to 6 nats parts sound from faulty; agreement is 0.88 to 0.94 where the
# judge reads the language and 0.25 to 0.57 where it does not.
MIN_MARGIN = 1.0  # nats
MIN_AGREEMENT = 0.75  # with the labels of rationales that pass the text checks, mean over the classes
MIN_CLASS_AGREEMENT = 0.5  # within a class: below it the check would take most of the class away
MIN_RATIONALES = 20  # from which agreement says anything
MIN_CLASS_RATIONALES = 5
OMITTED = "…"  # stands for a class name


class Support(NamedTuple):
    """margin: log-probability of the gold class minus that of the best other one (`rival`; None for a single class), in nats.

    detail: why it is not supported; empty where it is.
    """

    supported: bool
    margin: float
    rival: str | None
    detail: str = ""


class Fitness(NamedTuple):
    """agreement: share of the judge's first choices that are the gold label, mean over the classes; None of too few.

    detail: why the judge is not to be used, in words; empty where it is fit.
    """

    fit: bool
    agreement: float | None
    detail: str = ""


NOTHING_LEFT = Support(False, float("-inf"), None, "nothing is left of it but its conclusion and definitions")


class Judging(NamedTuple):
    """What the judge is asked: `user` turn, and what the assistant turn `begins` with."""

    user: str
    begins: str


def stripped(text: str, labels: Sequence[str], definitions: Mapping[str, str]) -> str:
    """What a rationale says of its clip: without the answer line, conclusions and verbatim sentences of definitions.

    A sentence that affirms or rejects a class by name ("so this is normal", "it cannot be a collision") is a conclusion and goes
    as a whole; a class name in another use becomes `OMITTED`. What is left may be empty.
    """
    reasoning, _ = parse_answer(text, labels)
    lines = reasoning.splitlines()
    reasoning = "\n".join(line for line in lines if not line.strip().startswith(ANSWER_PREFIX))
    quoted = {part for parts in quoted_definitions(reasoning, definitions).values() for part in parts}
    own = [part for part in sentences(reasoning) if part not in quoted and not any(stance(part, tuple(labels)))]
    names = _names(tuple(labels))
    return " ".join(part for part in (names.sub(OMITTED, part) for part in own) if re.search(r"\w", part))


def _names(labels: tuple[str, ...]) -> re.Pattern[str]:
    """Class names in prose; in scripts that put no spaces between words a name may stand within a run of letters."""
    spaced = r"[^\W\u3040-\u9fff\uac00-\ud7af]"  # a letter or digit that is not kana, Han or Hangul
    return re.compile(rf"(?<!{spaced})(?:{label_pattern(labels) or '(?!)'})(?!{spaced})", re.IGNORECASE)


def judging(task: Task, text: str) -> Judging:
    """The turns for a stripped rationale; `closings` follow what the assistant turn begins with."""
    return Judging(rationale_prompt(task), text if _has_definitions(task) else f"{text}\n{ANSWER_PREFIX}")


def closings(task: Task) -> list[str]:
    """K ways to close a rationale: the class's definition and answer line; the class alone where any definition is missing."""
    if not _has_definitions(task):
        return [f" {label}" for label in task.labels]
    return [f" {task.definitions[label].strip()}\n{ANSWER_PREFIX} {label}" for label in task.labels]


def _has_definitions(task: Task) -> bool:
    return all(task.definitions.get(label, "").strip() for label in task.labels)


def support(
    log_probabilities: np.ndarray, gold_label: str, labels: Sequence[str], min_margin: float = MIN_MARGIN
) -> Support:
    """The verdict on one rationale.

    Args:
        log_probabilities: (K,) float64 of `closings`, natural logarithm; they need not be normalised over the classes.

    Raises:
        ValueError: `gold_label` is not one of `labels`.
    """
    gold = list(labels).index(gold_label)
    others = [index for index in range(len(labels)) if index != gold]
    if not others:
        return Support(True, float("inf"), None)
    best = max(others, key=lambda index: log_probabilities[index])
    margin = float(log_probabilities[gold]) - float(log_probabilities[best])
    if margin >= min_margin:
        return Support(True, margin, labels[best])
    return Support(False, margin, labels[best], f"its text alone speaks for {labels[best]} (margin {margin:.1f})")


def fitness(log_probabilities: np.ndarray, gold_labels: Sequence[str], labels: Sequence[str]) -> Fitness:
    """Whether a judge agrees often enough with rationales that pass the text checks for its vetoes to mean anything.

    Most such rationales are sound. A judge that cannot read them prefers the same class whatever the text says, so that the
    mean over the classes is near 1 / K.

    Args:
        log_probabilities: (N, K) float64 of the rationales with the N `gold_labels`; rows with NaN are left out.
    """
    agrees: dict[str, list[bool]] = {}
    for row, gold in zip(log_probabilities, gold_labels, strict=True):
        if not np.isnan(row).any():
            agrees.setdefault(gold, []).append(labels[int(np.argmax(row))] == gold)
    count = sum(map(len, agrees.values()))
    if count < MIN_RATIONALES:
        return Fitness(False, None, f"{count} rationales are too few to test the judge; it takes {MIN_RATIONALES}")
    shares = {label: sum(found) / len(found) for label, found in agrees.items()}
    agreement = sum(shares.values()) / len(shares)
    if agreement < MIN_AGREEMENT:
        return Fitness(
            False, agreement, f"the judge agrees with {agreement:.0%} of the labels, {MIN_AGREEMENT:.0%} are needed"
        )
    weak = [
        f"{share:.0%} of {label}"
        for label, share in shares.items()
        if share < MIN_CLASS_AGREEMENT and len(agrees[label]) >= MIN_CLASS_RATIONALES
    ]
    if weak:
        return Fitness(False, agreement, f"the judge agrees with only {', '.join(weak)}")
    return Fitness(True, agreement)


def closing_scores(
    texts: Sequence[str], task: Task, score: Callable[[Sequence[Judging], Sequence[str]], np.ndarray]
) -> list[list[float]]:
    """For each of N complete rationales the K log-probabilities of the closings after its stripped text; [] if none is left.

    Args:
        score: log-probabilities (M, K) of the closings after each of M turns; called at most once.
    """
    bare = [stripped(text, task.labels, task.definitions) for text in texts]
    asked = [index for index, text in enumerate(bare) if text]
    found: list[list[float]] = [[] for _ in bare]
    if asked:
        rows = score([judging(task, bare[index]) for index in asked], closings(task))
        for index, row in zip(asked, rows, strict=True):
            found[index] = [float(value) for value in row]
    return found


def verdict(
    scores: Sequence[float] | None, gold_label: str, labels: Sequence[str], min_margin: float = MIN_MARGIN
) -> Support | None:
    """The verdict on the scores of one rationale (of `closing_scores`); None where there are none."""
    if scores is None or np.isnan(scores).any():
        return None
    return support(np.array(scores), gold_label, labels, min_margin) if len(scores) else NOTHING_LEFT


def judge(
    scores: Sequence[Sequence[float] | None],
    gold_labels: Sequence[str],
    labels: Sequence[str],
    min_margin: float = MIN_MARGIN,
) -> tuple[Fitness, list[Support | None]]:
    """Whether the judge is fit, and its verdicts, which count only then; None where it gave no score.

    Args:
        scores: of `closing_scores`; None of a rationale that was not asked about.
    """
    pairs = list(zip(scores, gold_labels, strict=True))
    told = [(row, gold) for row, gold in pairs if row is not None and len(row)]
    table = np.array([row for row, _ in told]).reshape(len(told), len(labels))
    fit = fitness(table, [gold for _, gold in told], labels)
    return fit, [verdict(row, gold, labels, min_margin) for row, gold in pairs]
