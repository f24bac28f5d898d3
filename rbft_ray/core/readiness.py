"""Whether a base is good enough to bootstrap from, judged by what it says of some training clips before any tuning."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from rbft_ray.core.schema import Reason

MOST_TRUNCATED = 0.1  # share of answers that the token limit cuts off
GOOD_AGREEMENT = 0.5  # share of pairs of answers on the same clip that agree
SIGNIFICANCE = 0.05


class Examined(NamedTuple):
    """One clip. scores: (labels,) log-probabilities; answers: the class that each sample ends with, None where it has none."""

    label: str
    scores: tuple[float, ...]
    answers: tuple[str | None, ...]
    truncated: int
    prompt_tokens: int


class Finding(NamedTuple):
    ok: bool
    text: str


def readiness(
    clips: Sequence[Examined],
    labels: Sequence[str],
    *,
    max_tokens: int,
    context_tokens: int,
    refused: Sequence[tuple[str, str]] = (),
) -> tuple[dict[str, Any], list[Finding]]:
    """Figures, and what they mean in plain words; the base is good enough where every finding is `ok`.

    The accuracy is tested against guessing (exact binomial test, one-sided) on the clips' most frequent answers.

    Args:
        clips: examined clips, about equally many of each class.
        max_tokens: of an answer; context_tokens: what the engine takes in all; refused: (reason, detail) of clips that it did
            not take.

    Raises:
        ValueError: no clips, or a clip without a sample.
    """
    if not clips or not all(clip.answers for clip in clips):
        raise ValueError("readiness needs at least one clip, and one sample of each")
    from scipy.stats import binomtest

    said = [answer for clip in clips for answer in clip.answers]
    pairs = [one == other is not None for clip in clips for one, other in combinations(clip.answers, 2)]
    right = sum(_most_frequent(clip.answers) == clip.label for clip in clips)
    test = binomtest(right, len(clips), 1 / len(labels), alternative="greater")
    scored = [labels[int(np.argmax(clip.scores))] == clip.label for clip in clips]
    figures: dict[str, Any] = {
        "clips": len(clips),
        "samples_per_clip": len(clips[0].answers),
        "chance": 1 / len(labels),
        "label_accuracy": float(np.mean(scored)),
        "reasoned_accuracy": right / len(clips),
        "reasoned_p_value": float(test.pvalue),
        "right_at_least_once": float(np.mean([clip.label in clip.answers for clip in clips])),
        "agreement": float(np.mean(pairs)) if pairs else None,
        "truncated": sum(clip.truncated for clip in clips) / len(said),
        "longest_prompt_tokens": max(clip.prompt_tokens for clip in clips),
        "context_tokens": context_tokens,
        "too_long": sum(reason == Reason.TOO_LONG for reason, _ in refused),
        "failed": sum(reason != Reason.TOO_LONG for reason, _ in refused),
    }
    return figures, [*_findings(figures, max_tokens), *_failures(refused)]


def _most_frequent(answers: Sequence[str | None]) -> str | None:
    given = [answer for answer in answers if answer is not None]
    return max(given, key=given.count) if given else None


def _findings(figures: dict[str, Any], max_tokens: int) -> list[Finding]:
    sees = figures["reasoned_p_value"] < SIGNIFICANCE
    accuracy, chance = figures["reasoned_accuracy"], figures["chance"]
    found = [
        Finding(
            sees,
            f"the base tells the classes apart after reasoning: {accuracy:.0%} right, guessing gives {chance:.0%}"
            if sees
            else f"the base does not tell the classes apart: {accuracy:.0%} right after reasoning, guessing gives "
            f"{chance:.0%} (p = {figures['reasoned_p_value']:.2f}). A rationale with the right name is then right by luck; "
            "give each class a definition (task.definitions), say what to look at (task.guidance), or take a larger base",
        ),
        Finding(
            figures["right_at_least_once"] > chance,
            f"{figures['right_at_least_once']:.0%} of the clips have a right rationale among "
            f"{figures['samples_per_clip']} samples: about so many would keep a blind one",
        ),
    ]
    if figures["agreement"] is not None:
        steady = figures["agreement"] >= GOOD_AGREEMENT
        found.append(
            Finding(
                steady,
                f"{figures['agreement']:.0%} of the pairs of samples on one clip agree"
                + ("" if steady else "; lower rationalize.temperature, or more guidance"),
            )
        )
    whole = figures["truncated"] <= MOST_TRUNCATED
    found.append(
        Finding(
            whole,
            f"{figures['truncated']:.0%} of the samples were cut off at {max_tokens} tokens"
            + ("" if whole else "; raise rationalize.max_tokens"),
        )
    )
    needed = figures["longest_prompt_tokens"] + max_tokens
    fits = not figures["too_long"]
    found.append(
        Finding(
            fits,
            f"the longest prompt and answer take {needed} of {figures['context_tokens']} tokens"
            if fits
            else f"{figures['too_long']} clips do not fit into {figures['context_tokens']} tokens; raise "
            "rationalize.max_model_len, or lower sampling.num_frames or sampling.max_pixels",
        )
    )
    return found


def _failures(refused: Sequence[tuple[str, str]]) -> list[Finding]:
    others = [detail for reason, detail in refused if reason != Reason.TOO_LONG]
    return [Finding(False, f"the engine failed on {len(others)} clips; the first: {others[0]}")] if others else []
