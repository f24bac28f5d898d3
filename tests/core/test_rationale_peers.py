"""Peers: rationales of one job judge one another, without those of the same clip."""

import numpy as np
import pytest

from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_peers import judge_by_peers, peer_log_probabilities
from rbft_ray.core.rationale_support import NOTHING_LEFT

TASK = Task(("calm", "alarm"), {"calm": "Everyday activity.", "alarm": "A theft or a fire."})
CALM = (
    "A girl waters the plants.",
    "A neighbour waters a hedge.",
    "A girl walks the dog.",
    "A neighbour walks a dog home.",
)
ALARM = (
    "A man smashes the pane.",
    "Flames rise from the roof.",
    "A man climbs the roof.",
    "Flames come out of the pane.",
)


def _job(repeats: int = 5) -> tuple[list[str], list[str], list[str]]:
    texts = [*CALM, *ALARM] * repeats
    gold = (["calm"] * len(CALM) + ["alarm"] * len(ALARM)) * repeats
    return texts, gold, [str(index) for index in range(len(texts))]


def test_a_rationale_of_another_class_is_not_supported() -> None:
    texts, gold, clips = _job()
    texts += [
        "Flames rise from the roof and the pane. So this is calm.\nAnswer: calm",
        "Everyday activity.\nAnswer: calm",
    ]
    fit, found = judge_by_peers(texts, [*gold, "calm", "calm"], TASK, [*clips, "x", "y"])
    assert fit.fit
    assert [verdict.supported for verdict in found] == [True] * len(gold) + [False, False]
    assert "alarm" in found[-2].detail and found[-1] == NOTHING_LEFT


def test_where_classes_share_their_words_peers_are_not_used() -> None:
    pairs = [(one, other) for one in range(6) for other in range(6)]
    texts = [f"The colours, c{one} and d{other}, differ." for one, other in pairs]
    gold = ["calm" if (one + other) % 2 else "alarm" for one, other in pairs]  # no word tells the class
    fit, _ = judge_by_peers(texts, gold, TASK, [str(index) for index in range(len(texts))])
    assert not fit.fit and "agrees" in fit.detail


def test_rationales_of_one_clip_do_not_speak_for_one_another() -> None:
    texts, gold, clips = _job()
    false = ["Flames rise from the roof."] * 3
    scores = peer_log_probabilities([*texts, *false], [*gold, *["calm"] * 3], TASK.labels, [*clips, "x", "x", "x"])
    alone = peer_log_probabilities([*texts, false[0]], [*gold, "calm"], TASK.labels, [*clips, "x"])
    np.testing.assert_allclose(scores[-1], alone[-1])
    assert scores[-1, 0] < scores[-1, 1]


def test_scores_are_log_probabilities_of_the_smoothed_counts() -> None:
    scores = peer_log_probabilities(["red", "red", "blue"], ["a", "a", "b"], ("a", "b"), ["1", "2", "3"])
    a, b = 2 * (1 + 1) / (1 + 2), 2 * (0 + 1) / (1 + 2)  # of "red" given one "red" of a and one "blue" of b
    np.testing.assert_allclose(np.exp(scores[0]), [a / (a + b), b / (a + b)])
    np.testing.assert_allclose(np.exp(scores).sum(axis=1), 1.0)


@pytest.mark.parametrize("texts", [[], ["Answer: calm"], ["一只猫跳过了围栏。"], ["Smoke"]])
def test_odd_jobs_prove_no_judge(texts: list[str]) -> None:
    fit, found = judge_by_peers(texts, ["calm"] * len(texts), TASK, ["x"] * len(texts))
    assert not fit.fit and len(found) == len(texts)
