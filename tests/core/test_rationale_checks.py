"""The verdict on a rationale: the first check that fails gives the reason, and an answer is never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.prompts import rationale_text
from rbft_ray.core.rationale_checks import Knowledge, check_rationale, parse_answer
from rbft_ray.core.rationale_diversity import diversity
from rbft_ray.core.rationale_form import is_english, other_language, repetition
from rbft_ray.core.rationale_stance import stance
from rbft_ray.core.rationale_words import content_stems, sentences, stem
from rbft_ray.core.rationale_writer import leak, refusal
from rbft_ray.core.schema import Reason

LABELS = ("cat", "cat jump", "dog")
REASONING = "The animal leaps over a low wooden fence."
HOME = ("normal", "abnormal")
KNOWN = Knowledge(
    definitions={"normal": "Everyday activity.", "abnormal": "A theft or a break-in at the house."},
    cues={
        "normal": ("delivers a parcel", "nothing unusual"),
        "abnormal": ("takes a parcel", "forced entry", "suspicious"),
    },
)


@given(st.sampled_from(LABELS), st.lists(st.sampled_from(["It", "moves", "\n", "Answer:", "left."]), max_size=8))
def test_a_rationale_as_written_is_read_back(label: str, words: list[str]) -> None:
    reasoning = " ".join(words)
    assert parse_answer(rationale_text(reasoning, label), LABELS) == (reasoning.strip(), label)


@given(st.text(max_size=300), st.sampled_from(LABELS), st.booleans())
def test_any_text_gets_a_verdict(text: str, label: str, truncated: bool) -> None:
    verdict = check_rationale(text, label, LABELS, truncated=truncated)
    assert verdict.reason is not None or verdict.answer == label


@pytest.mark.parametrize(
    ("last_line", "reason"),
    [
        ("Answer: Cat", Reason.MALFORMED_ANSWER),
        ("Answer: cat.", Reason.MALFORMED_ANSWER),
        ("answer: cat", Reason.MALFORMED_ANSWER),
        ("The answer is cat", Reason.MALFORMED_ANSWER),
        ("Answer: cat or dog", Reason.MALFORMED_ANSWER),
        ("Answer:", Reason.NO_ANSWER),
        ("Answer: emu", Reason.MALFORMED_ANSWER),
        ("Answer:cat", Reason.MALFORMED_ANSWER),
        ("Classification: cat", Reason.MALFORMED_ANSWER),
        ("It leaps again. Answer: cat", Reason.MALFORMED_ANSWER),
        ("Answer: dog\nAnswer: cat", Reason.MALFORMED_ANSWER),
        ("Answer: cat\nOr maybe not.", Reason.MALFORMED_ANSWER),
        ("It may be a cat.", Reason.NO_ANSWER),
        ("After that the ani", Reason.TRUNCATED),
        ("Answer: do", Reason.TRUNCATED),
    ],
)
def test_any_other_last_line_is_no_answer(last_line: str, reason: Reason) -> None:
    verdict = check_rationale(f"{REASONING}\n{last_line}", "cat", LABELS, truncated=False)
    assert verdict.reason is reason


def test_another_prefix_is_named() -> None:
    verdict = check_rationale(f"{REASONING}\nClassification: cat", "cat", LABELS, truncated=False)
    assert verdict.detail == "other prefix: Classification:"


@pytest.mark.parametrize(
    ("text", "truncated", "reason"),
    [
        (f"{REASONING}\nAnswer: cat", False, None),
        (f"{REASONING}\nAnswer: cat", True, Reason.TRUNCATED),
        ("Hint", True, Reason.TRUNCATED),
        ("", False, Reason.NO_ANSWER),
        ("The hint", False, Reason.NO_ANSWER),
        ("Hint says dog\nAnswer: dog", False, Reason.EMPTY_REASONING),
        ("Answer: cat", False, Reason.EMPTY_REASONING),
        ("It leaps on and on. " * 200 + "\nAnswer: cat", False, Reason.TOO_LONG),
        ("I cannot tell what the video shows.", False, Reason.REFUSAL),
        ("El gato salta la valla y corre por el jardín.\nAnswer: cat", False, Reason.OTHER_LANGUAGE),
        ("The hint says that it is a dog.\nAnswer: dog", False, Reason.MENTIONS_HINT),
        (f"{REASONING}\nAnswer: dog", False, Reason.WRONG_ANSWER),
        (f"{REASONING} So this is a dog.\nAnswer: cat", False, Reason.CONTRADICTION),
        (f"{REASONING} It is not a cat.\nAnswer: cat", False, Reason.CONTRADICTION),
    ],
)
def test_the_first_check_that_fails_gives_the_reason(text: str, truncated: bool, reason: Reason | None) -> None:
    assert check_rationale(text, "cat", LABELS, truncated=truncated).reason is reason


def test_an_accepted_rationale_has_no_detail() -> None:
    verdict = check_rationale(f"{REASONING}\nAnswer: cat", "cat", LABELS, truncated=False)
    assert verdict == (REASONING, "cat", None, "")


@pytest.mark.parametrize(
    "text",
    [
        "As hinted, it leaps.",
        "The Hints show a cat.",
        "It fits the given label well.",
        "It has the CORRECT class.",
        "This agrees with the gold label.",
        "Knowing the answer, I see a cat.",
        "We were told that it is a cat.",
        "The video has been identified as cat.",
        "That is why it was marked as cat.",
        "The class, as stated in the prompt, is cat.",
        "The annotators see a cat.",
        "My task is to explain why it is a cat.",
    ],
)
def test_words_that_give_the_label_away_are_found(text: str) -> None:
    assert leak(text, LABELS)
    verdict = check_rationale(f"{REASONING} {text}\nAnswer: cat", "cat", LABELS, truncated=False)
    assert verdict.reason is Reason.MENTIONS_HINT and verdict.detail in text


@pytest.mark.parametrize(
    "text",
    [
        "A chintz curtain hangs there.",
        "The classroom is empty.",
        "A label on the box shows a cat.",
        "According to the label on the jar it is jam.",
        "The correct way is left.",
        "Given the rain, the road is wet.",
        "There is a hint of fog.",
        "The door hints at a break-in.",
        "It is true that the dog is small.",
        "The passengers are told to wait.",
        'A sign reads "the given label".',
        "It can be classified as cat.",
    ],
)
def test_words_that_only_look_like_a_leak_pass(text: str) -> None:
    assert leak(text, LABELS) is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with this.",
        "As an AI model I have no eyes.",
        "No video was attached.",
        "The images are too blurry for a decision.",
        "I would need more context to answer.",
        "Any answer would be a guess.",
        "Unable to determine the class.",
    ],
)
def test_refusals_are_found(text: str) -> None:
    assert refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "The number plate cannot be read.",
        "I cannot see any damage to the car.",
        "The man could not open the door.",
        "It is too dark to see his face.",
        "A sign says please keep clear.",
    ],
)
def test_what_cannot_be_seen_is_no_refusal(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "A cat leaps. " * 3,
        "It runs on and on and on and on and on.",
        "A red car stops here. Then a red car stops here. Again, a red car stops here.",
        "A man walks to the door and waits and a man walks to the door and waits and a man walks to the door and waits and",
        "\n".join(f"At 0:0{second}, the road ahead is empty and dry." for second in range(1, 6)),
        "\n".join(f"In frame {number} the hand is held still." for number in range(4)),
    ],
)
def test_loops_are_found(text: str) -> None:
    assert repetition(text)


@pytest.mark.parametrize(
    "text",
    [
        "The left lane is full. The middle lane is full. The right lane is full.",
        "The first bin is closed; the second bin is closed; the third bin is closed.",
        "A car passes. A second car passes.",
        "The wheel goes round and round and round.",
        "At 0:01 the road is empty. At 0:02 a cyclist comes. At 0:03 he brakes. At 0:04 the road is empty.",
    ],
)
def test_enumerations_are_no_loops(text: str) -> None:
    assert repetition(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Ein Mann nimmt das Paket und rennt zur Straße.",
        "A cat sits there. 一只猫跳过了围栏，然后跑进花园。",
        "O homem pega o pacote e foge pela rua.",
        "The road is wet. De trein rijdt zonder te stoppen langs het perron.",
        "Мужчина берёт посылку и убегает.",
    ],
)
def test_other_languages_are_found(text: str) -> None:
    assert other_language(text)
    assert not is_english(text)


@pytest.mark.parametrize(
    "text",
    [
        'On the van stands "Lieferservice Bauer und Sohn", a German name.',
        "A red coupé hits a white van.",
        "Left: green cross, first blinks, second shakes.",
    ],
)
def test_names_and_quotations_are_english_enough(text: str) -> None:
    assert other_language(text) is None


def test_a_task_in_another_language_is_not_checked_for_english() -> None:
    text = "Der Mann nimmt das Paket und rennt zur Straße.\nAnswer: abnormal"
    assert check_rationale(text, "abnormal", HOME, truncated=False).reason is Reason.OTHER_LANGUAGE
    assert check_rationale(text, "abnormal", HOME, truncated=False, knowledge=Knowledge(english=False)).reason is None


@pytest.mark.parametrize(
    ("text", "affirmed", "rejected"),
    [
        ("So this is normal.", {"normal"}, set()),
        ("It cannot be normal, so the clip is abnormal.", {"abnormal"}, {"normal"}),
        ("I rule out abnormal because nothing is taken.", set(), {"abnormal"}),
        ("A normal visit would look different.", set(), {"normal"}),
        ("It looks abnormal at first.", set(), set()),
        ("It would be normal otherwise.", set(), {"normal"}),
        ("I would call it normal.", {"normal"}, set()),
    ],
)
def test_conclusions_by_class_name(text: str, affirmed: set[str], rejected: set[str]) -> None:
    found = stance(text, HOME)
    assert (set(found.affirmed), set(found.rejected)) == (affirmed, rejected)


def test_a_name_that_agrees_only_without_case_has_no_stance() -> None:
    assert stance("So this is istanbul.", ("İstanbul", "x")) == ({}, {})


def test_the_longest_class_name_counts() -> None:
    assert set(stance("So this is a cat jump.", LABELS).affirmed) == {"cat jump"}


@pytest.mark.parametrize(
    ("reasoning", "label", "reason"),
    [
        ("A courier delivers a brown parcel and drives off in a van.", "normal", None),
        ("A courier delivers a brown parcel and drives off in a van.", "abnormal", Reason.CONTRADICTION),
        ("A man took the padded parcel from the step and ran down the street.", "abnormal", None),
        ("The street stays calm. There are no signs of forced entry at the door.", "abnormal", Reason.CONTRADICTION),
        ("There are no signs of forced entry, but a man takes the parcel and runs.", "abnormal", None),
        ("Two children kick a ball over the lawn and laugh.", "abnormal", None),  # no cue of any class: no verdict
    ],
)
def test_cues_decide_with_negation(reasoning: str, label: str, reason: Reason | None) -> None:
    verdict = check_rationale(f"{reasoning}\nAnswer: {label}", label, HOME, truncated=False, knowledge=KNOWN)
    assert verdict.reason is reason
    assert bool(verdict.detail) == (reason is not None)


RAILWAY = ("passes", "stops", "trespass")
ON_RAILS = Knowledge(
    cues={
        "passes": ("goes through", "does not slow down"),
        "stops": ("slows down", "doors open"),
        "trespass": ("on the tracks", "climbs down"),
    }
)


@pytest.mark.parametrize(
    ("reasoning", "label", "reason"),
    [
        ("A train rolls along the platform without slowing down.", "passes", None),
        ("A train rolls along the platform and never slows down.", "stops", Reason.CONTRADICTION),
        ("A train slows down beside the platform in the rain.", "passes", Reason.CONTRADICTION),
        ("A train goes through the station on track 2.", "passes", None),
        ("A white train comes into view on the far track.", "passes", None),
        ("A man with a bag walks on the wet tracks.", "passes", Reason.CONTRADICTION),
        ("The doors open for a moment at first, then a train goes through.", "passes", None),
        ("The doors open at once, but a man climbs down to the rails.", "trespass", None),
        ("The doors open at once, but a man climbs down to the rails.", "stops", Reason.CONTRADICTION),
        ("A driver does nothing more and slows down at last.", "stops", None),
    ],
)
def test_cues_count_by_negation_place_and_concession(reasoning: str, label: str, reason: Reason | None) -> None:
    verdict = check_rationale(f"{reasoning}\nAnswer: {label}", label, RAILWAY, truncated=False, knowledge=ON_RAILS)
    assert verdict.reason is reason, verdict.detail


def test_without_cues_evidence_is_not_weighed() -> None:
    text = "A courier delivers a brown parcel and drives off in a van.\nAnswer: abnormal"
    assert check_rationale(text, "abnormal", HOME, truncated=False).reason is None


@pytest.mark.parametrize(
    "text",
    [
        "The definition says: A theft or a break-in at the house. All features of the class are met.",
        "The video clearly shows a situation that is a theft or a break-in at a house.",
    ],
)
def test_a_restated_definition_is_generic(text: str) -> None:
    verdict = check_rationale(f"{text}\nAnswer: abnormal", "abnormal", HOME, truncated=False, knowledge=KNOWN)
    assert verdict.reason is Reason.GENERIC


def test_a_quoted_definition_of_another_class_contradicts() -> None:
    text = "Smoke rises over the roof of a shed. A theft or a break-in at the house.\nAnswer: normal"
    known = Knowledge(definitions=KNOWN.definitions)
    assert check_rationale(text, "normal", HOME, truncated=False, knowledge=known).reason is Reason.CONTRADICTION


def test_words_lose_their_inflection() -> None:
    assert len({stem(word) for word in ("take", "takes", "taking", "took", "taken")}) == 1
    assert len({stem(word) for word in ("stop", "stops", "stopped", "stopping")}) == 1
    assert len({stem(word) for word in ("carry", "carries", "carried")}) == 1
    assert content_stems("The man is taking the parcels") == ["man", "tak", "parcel"]


def test_sentences_end_at_lines_and_lose_list_signs() -> None:
    assert sentences("1. A cat leaps. It lands.\n- A dog barks") == ["A cat leaps.", "It lands.", "A dog barks"]


def test_diversity_is_told_per_class() -> None:
    found = diversity(
        {"cat": ["A cat leaps over it.", "A cat leaps over it."], "dog": ["One dog.", "Two men walk by."], "emu": []}
    )
    assert (found["cat"]["overlap"], found["cat"]["same_text"], found["cat"]["common_share"]) == (1.0, 1.0, 1.0)
    assert (found["dog"]["overlap"], found["dog"]["same_text"]) == (0.0, 0.0)
    assert found["emu"] == {
        "rationales": 0,
        "overlap": None,
        "same_text": None,
        "common_sentence": None,
        "common_share": None,
    }


@pytest.mark.parametrize(
    "mark", ["- ", "* ", "• ", "– ", "+ ", "» ", "1. ", "2) ", "(3) ", "[4] ", "#5 ", "6: ", "7 - ", "a) ", "Step 8: "]
)
def test_marks_of_a_list_are_no_part_of_a_sentence(mark: str) -> None:
    assert sentences(f"{mark}A cat leaps.\n{mark}It lands.") == ["A cat leaps.", "It lands."]


@pytest.mark.parametrize("text", ["2 cars stop.", "A cat leaps.", "I wait.", "“Stop” is on the sign."])
def test_what_begins_like_a_mark_stays(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize("opener", ["Likewise", "Yet another time,", "As before,", "In the same breath"])
def test_an_opener_hides_no_loop(opener: str) -> None:
    assert repetition(
        f"The lane on the left is full. {opener} the lane on the left is full. Later that lane on the left is full."
    )


@pytest.mark.parametrize("heading", ["**Answer:** crash", "### Answer:", "**Answer: crash**", "- **Answer:**"])
def test_a_heading_of_the_answer_line_is_no_second_answer(heading: str) -> None:
    said = "The bus stops at the kerb and two men get off with their bags."
    verdict = check_rationale(f"{said}\n{heading}\nAnswer: crash", "crash", ("crash", "calm"), truncated=False)
    assert (verdict.reason, verdict.reasoning, verdict.answer) == (None, said, "crash")


@pytest.mark.parametrize("second", ["**Answer:** calm", "Answer: crash"])
def test_a_second_answer_line_is_malformed(second: str) -> None:
    text = f"The bus stops at the kerb and two men get off with their bags.\n{second}\nAnswer: crash"
    verdict = check_rationale(text, "crash", ("crash", "calm"), truncated=False)
    assert verdict.reason == Reason.MALFORMED_ANSWER


CLASSES = ("near_miss", "collision", "no_event")


@pytest.mark.parametrize(
    "text",
    [
        "Let's go through the classes:\n- **near_miss**: the gap closes to a metre before the van swerves.\n"
        "- **collision**: the two vehicles would have to touch.\n- **no_event**: nothing would come close.",
        "1. near_miss – the van swerves at the last moment\n2. collision – not applicable\n3. no_event – does not fit",
        "near_miss (a close call): yes, the van swerves.\ncollision (contact): there is none.",
    ],
)
def test_a_list_of_the_classes_concludes_none_of_them(text: str) -> None:
    assert not set(stance(text, CLASSES).affirmed) & {"collision", "no_event"}
    verdict = check_rationale(f"{text}\nAnswer: near_miss", "near_miss", CLASSES, truncated=False)
    assert verdict.reason is None


@pytest.mark.parametrize(
    "sentence",
    [
        "Based on the provided video, a van swerves around a cyclist.",
        "In the frames provided, the sky is grey.",
        "To determine the correct class, I go through the sequence.",
        "Therefore, the correct label for this video is near_miss.",
        "The video is best classified as near_miss.",
        "Among the given options, near_miss is the best fit.",
        "**Step-by-step reasoning:**",
    ],
)
def test_formulae_of_models_are_neither_leak_nor_refusal(sentence: str) -> None:
    assert leak(sentence, CLASSES) is None and refusal(sentence, CLASSES) is None
