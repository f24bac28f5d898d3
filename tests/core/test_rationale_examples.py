"""What is learned from examples holds for sentences that were left out."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from rbft_ray.core import rationale_leak, rationale_stance
from rbft_ray.core.rationale_examples import CLASS_PLACE, classifier, plain, read_examples, resemblance
from rbft_ray.core.rationale_leak import leak
from rbft_ray.core.rationale_stance import stance

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
KINDS = {"leak": (True, False), "stance": ("concludes", "rejects", "neither")}


@pytest.mark.parametrize(("bank", "fewest"), [("leak", 900), ("stance", 300)])
def test_examples_are_different_and_of_every_kind(bank, fewest):
    examples = read_examples(bank)
    assert len({sentence.lower() for sentence, _ in examples}) == len(examples)
    for kind in KINDS[bank]:
        assert sum(found == kind for _, found in examples) > fewest
    named = sum(CLASS_PLACE in sentence for sentence, _ in examples)
    assert named == len(examples) if bank == "stance" else named > 700


@pytest.mark.parametrize(
    ("bank", "kind", "above", "recall", "false"),
    [
        ("leak", True, rationale_leak.LIKELY, 0.7, 0.05),
        ("stance", "rejects", rationale_stance.LIKELY, 0.5, 0.1),
        ("stance", "concludes", rationale_stance.LIKELY, 0.5, 0.1),
    ],
)
def test_sentences_that_were_left_out_are_told_apart(bank, kind, above, recall, false):
    sentences, kinds = zip(*read_examples(bank), strict=True)
    left_out = cross_val_predict(
        clone(classifier(bank)),
        [plain(one) for one in sentences],
        kinds,
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        method="predict_proba",
    )
    found = left_out[:, sorted(set(kinds)).index(kind)] > above
    is_kind = np.array([one == kind for one in kinds])
    assert found[is_kind].mean() > recall
    assert found[~is_kind].mean() < false


@pytest.mark.parametrize("sentence", SUBTLE)
def test_a_leak_that_no_rule_names_is_found(sentence):
    assert leak(f"A van turns left. {sentence} It stops.", LABELS) == sentence


@pytest.mark.parametrize("sentence", SOUND)
def test_sound_sentences_stay(sentence):
    assert leak(sentence, LABELS) is None
    assert resemblance("leak", sentence.replace("collision", CLASS_PLACE))[True] < rationale_leak.LIKELY


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("Chalk this one up as a collision.", {"affirmed": {"collision"}}),
        ("My money is on collision, given the dent in the door.", {"affirmed": {"collision"}}),
        ("Collision would be stretching it, since the two never meet.", {"rejected": {"collision"}}),
        ("Collision repair shops line the left side of the street.", {}),
    ],
)
def test_a_stance_that_no_rule_names_is_found(sentence, found):
    told = stance(sentence, LABELS)
    assert {name: set(of) for name, of in told._asdict().items() if of} == found


def test_a_class_that_is_named_beside_another_has_its_own_stance():
    told = stance("Since the bumpers touch, it ranks as a collision, whereas near miss has to bow out.", LABELS)
    assert set(told.affirmed) == {"collision"} and set(told.rejected) == {"near_miss"}
