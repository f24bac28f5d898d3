"""Controls of the rationale's content."""

from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.prompts import Task
from rbft_ray.core.stage1_answers import captions, definitions, shuffled_within_class


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20), st.integers(0, 9))
def test_shuffled_rationales_stay_in_their_class_and_leave_their_clip(labels: list[str], seed: int) -> None:
    clips = [{"id": f"clip {index}", "label": label} for index, label in enumerate(labels)]
    texts = {clip["id"]: f"of {clip['id']}" for clip in clips}
    moved = shuffled_within_class(texts, clips, seed)
    label_of = {texts[clip["id"]]: clip["label"] for clip in clips}
    assert sorted(moved.values()) == sorted(texts.values())
    for clip in clips:
        assert label_of[moved[clip["id"]]] == clip["label"]
        assert moved[clip["id"]] != texts[clip["id"]] or labels.count(clip["label"]) == 1
    assert moved == shuffled_within_class(texts, clips, seed)


def test_definitions_end_with_the_answer_line() -> None:
    task = Task(("up", "down"), {"up": "It rises."})
    found = definitions([{"id": "1", "label": "up"}, {"id": "2", "label": "down"}], task)
    assert found["1"].startswith("It rises.\n") and found["1"].endswith(" up")
    assert found["2"].startswith("down\n")


def test_captions_keep_what_is_seen_and_drop_what_is_concluded() -> None:
    task = Task(("up", "down"), {"up": "It rises.", "down": "It falls."})
    texts = {"1": "A ball leaves the hand. It rises.\nAnswer: up", "2": "It falls.\nAnswer: down"}
    assert captions(texts, task) == {"1": "A ball leaves the hand."}
