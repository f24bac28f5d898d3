"""Leaks learned from examples: what is learned holds for sentences that were left out."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from rbft_ray.core.rationale_leak import leak
from rbft_ray.core.rationale_leak_examples import (
    CLASS_PLACE,
    THRESHOLD,
    classifier,
    leak_probability,
    plain,
    read_examples,
)

LABELS = ("near_miss", "collision")
SUBTLE = (
    "It was put under collision by somebody who had seen more than the video shows.",
    "That the outcome was fixed beforehand makes the swerve easy to read.",
)
SOUND = (
    "The van duly hits the post, and glass lies on the road.",
    "A clerk files the papers and puts a label on the drawer.",
    "All things considered, collision is the better word.",
)


def test_examples_are_different_and_of_both_kinds():
    examples = read_examples()
    assert len({sentence.lower() for sentence, _ in examples}) == len(examples)
    assert min(sum(leaks for _, leaks in examples), sum(not leaks for _, leaks in examples)) > 700
    assert sum(CLASS_PLACE in sentence for sentence, _ in examples) > 700


def test_sentences_that_were_left_out_are_told_apart():
    sentences, leaks = map(np.array, zip(*read_examples(), strict=True))
    left_out = cross_val_predict(
        clone(classifier()),
        [plain(one) for one in sentences],
        leaks,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        method="predict_proba",
    )
    above = left_out[:, 1] > THRESHOLD
    assert above[leaks].mean() > 0.7
    assert above[~leaks].mean() < 0.05


@pytest.mark.parametrize("sentence", SUBTLE)
def test_a_leak_that_no_rule_names_is_found(sentence):
    assert leak(f"A van turns left. {sentence} It stops.", LABELS) == sentence


@pytest.mark.parametrize("sentence", SOUND)
def test_sound_sentences_stay(sentence):
    assert leak(sentence, LABELS) is None
    assert leak_probability(sentence.replace("collision", CLASS_PLACE)) < THRESHOLD
