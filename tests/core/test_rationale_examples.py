"""What is learned from examples holds for sentences that were left out."""

from collections import Counter
from typing import get_args

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from rbft_ray.core.rationale_examples import (
    CLASS_PLACE,
    Bank,
    digest,
    fit,
    likeness,
    pipeline,
    plain,
    read_examples,
    resemblance,
    stored,
)
from rbft_ray.core.rationale_stance import LIKELY, stance
from rbft_ray.core.rationale_writer import LEAKS, REFUSES, leak, parts_of

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
FEWEST = {"leak": 900, "refusal": 300, "sound": 900, "concludes": 300, "rejects": 300, "neither": 300}
BANKS = get_args(Bank)


@pytest.mark.parametrize("bank", BANKS)
def test_examples_are_different_and_of_every_kind(bank):
    examples = read_examples(bank)
    assert len({sentence.lower() for sentence, _ in examples}) == len(examples)
    counts = Counter(kind for _, kind in examples)
    assert all(count > FEWEST[kind] for kind, count in counts.items())
    named = sum(CLASS_PLACE in sentence for sentence, _ in examples)
    assert named == len(examples) if bank == "stance" else named > 700


@pytest.mark.parametrize(
    ("bank", "wanted"),
    [
        ("writer", [("leak", LEAKS, 0.65, 0.05), ("refusal", REFUSES, 0.65, 0.02)]),
        ("stance", [("rejects", LIKELY, 0.6, 0.15), ("concludes", LIKELY, 0.6, 0.15)]),
    ],
)
def test_sentences_that_were_left_out_are_told_apart(bank, wanted):
    examples = read_examples(bank)
    learned, left_out = train_test_split(
        examples, test_size=0.2, random_state=0, stratify=[kind for _, kind in examples]
    )
    fitted = fit(learned)
    for kind, above, recall, false in wanted:
        is_kind = np.array([own == kind for _, own in left_out])
        read = [parts_of(sentence) if kind == "leak" else [sentence] for sentence, _ in left_out]
        taken = np.array([max(likeness(fitted, part)[kind] for part in parts) > above for parts in read])
        assert taken[is_kind].mean() > recall
        assert taken[~is_kind].mean() < false


@pytest.mark.parametrize("bank", BANKS)
def test_the_stored_classifier_is_that_of_the_examples(bank):
    assert stored(bank).digest == digest(bank), "fit them again: python -m rbft_ray.core.rationale_examples"


def test_a_fit_again_gives_the_stored_classifier_and_that_of_scikit_learn():
    examples, kept = read_examples("stance"), stored("stance")
    fitted = fit(examples)
    assert fitted.kinds == kept.kinds
    assert not fitted.places.items() ^ kept.places.items()  # in 60,000 names pytest would look for likeness for minutes
    pipe = pipeline(list(kept.places)).fit(
        [plain(sentence) for sentence, _ in examples], [kind for _, kind in examples]
    )
    sentences = [sentence for sentence, _ in examples[::100]]
    scores = 1 / (1 + np.exp(-pipe.decision_function([plain(sentence) for sentence in sentences])))
    for sentence, row in zip(sentences, scores, strict=True):
        assert likeness(kept, sentence) == pytest.approx(likeness(fitted, sentence), abs=0.01)
        assert list(likeness(fitted, sentence).values()) == pytest.approx(row.tolist(), abs=0.01)


@pytest.mark.parametrize("sentence", SUBTLE)
def test_a_leak_that_no_rule_names_is_found(sentence):
    assert leak(f"A van turns left. {sentence} It stops.", LABELS) == sentence


@pytest.mark.parametrize("sentence", SOUND)
def test_sound_sentences_stay(sentence):
    assert leak(sentence, LABELS) is None
    assert resemblance("writer", sentence.replace("collision", CLASS_PLACE))["leak"] < LEAKS


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
