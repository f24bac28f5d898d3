"""The final choice among the candidates of a job: by judges that are fit, then by how sure the model is."""

from typing import Any

import pytest

from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_selection import by_model, by_peers, select
from rbft_ray.core.rationale_support import MIN_RATIONALES
from rbft_ray.core.schema import CANDIDATES, Reason

TASK = Task(("calm", "alarm"))
SAID = {"calm": "A girl waters the plants.", "alarm": "Flames rise from the roof."}


def draft(clip: str, label: str, *, number: int = 0, **fields: Any) -> dict[str, Any]:
    row = dict.fromkeys(CANDIDATES.names) | {"id": clip, "label": label, "candidate": number, "hinted": False}
    row |= {"text": f"{SAID[label]}\nAnswer: {label}", "accepted": True, "kept": False, "reason": "", "detail": ""}
    return row | fields


def job(scores: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Sound drafts, one of each clip, as many as a judge must see; `scores` are what the judge says of each class."""
    labels = list(SAID) * MIN_RATIONALES
    return [draft(f"clip {n}", label, closings=scores[label]) for n, label in enumerate(labels)]


READS = {"calm": [-1.0, -9.0], "alarm": [-9.0, -1.0]}
READS_NOT = {"calm": [-1.0, -9.0], "alarm": [-1.0, -9.0]}


def test_each_clip_keeps_the_accepted_candidate_that_the_model_is_surest_of() -> None:
    drafts = [
        draft("a", "calm", number=0, log_probability=-0.5),
        draft("a", "calm", number=1, log_probability=-0.1),
        draft("a", "calm", number=2, log_probability=-0.01, accepted=False, reason="repetition"),
        draft("b", "calm", number=0),
        draft("b", "calm", number=1),
        draft("c", "alarm", accepted=False, reason="no_answer"),
    ]
    found = select(drafts, TASK, {})
    assert [(row["id"], row["candidate"]) for row in found.candidates if row["kept"]] == [("a", 1), ("b", 0)]
    assert not any(row["kept"] for row in drafts), "the drafts stay as they are"


def test_a_judge_that_is_fit_rejects_what_it_finds_unsupported() -> None:
    drafts = [*job(READS), draft("odd", "calm", closings=READS["alarm"]), draft("left", "calm", closings=[])]
    found = select(drafts, TASK, {"model": by_model})
    assert found.judges["model"].fit
    *sound, odd, left = found.candidates
    assert all(row["kept"] and row["margin"] == 8.0 for row in sound)
    for row in (odd, left):
        assert (row["accepted"], row["kept"], row["reason"]) == (False, False, Reason.UNSUPPORTED)
        assert row["detail"].startswith("model: ")
    assert "alarm" in odd["detail"] and odd["margin"] == -8.0 and left["margin"] is None


@pytest.mark.parametrize(
    "drafts", [job(READS_NOT), job(READS)[: MIN_RATIONALES - 2]], ids=["does not read them", "too few to tell"]
)
def test_a_judge_that_is_not_fit_rejects_nothing(drafts: list[dict[str, Any]]) -> None:
    found = select([*drafts, draft("odd", "calm", closings=READS["alarm"])], TASK, {"model": by_model})
    assert not found.judges["model"].fit and found.judges["model"].detail
    assert all(row["kept"] for row in found.candidates)


def test_candidates_that_were_not_scored_stand() -> None:
    drafts = [
        *job(READS),
        draft("unscored", "calm", closings=None),
        draft("broken", "calm", closings=[float("nan")] * 2),
    ]
    found = select(drafts, TASK, {"model": by_model})
    assert found.judges["model"].fit
    assert all(row["kept"] for row in found.candidates)


def test_peers_judge_what_the_model_left_and_rejected_ones_have_no_say() -> None:
    wrong = [
        draft(f"wrong {n}", "calm", text=f"{SAID['alarm']}\nAnswer: calm", closings=READS["calm"]) for n in range(3)
    ]
    out = [draft(f"out {n}", "calm", text=f"{SAID['alarm']}\nAnswer: calm", closings=READS["alarm"]) for n in range(60)]
    found = select([*job(READS), *wrong, *out], TASK, {"model": by_model, "peers": by_peers})
    assert not found.judges["model"].fit, "with so many wrong labels the judge does not agree with enough of them"
    found = select([*job(READS), *wrong, *out[:3]], TASK, {"model": by_model, "peers": by_peers})
    assert found.judges["model"].fit and found.judges["peers"].fit
    reasons = {row["id"]: row["detail"].partition(":")[0] for row in found.candidates if not row["accepted"]}
    assert reasons == {f"wrong {n}": "peers" for n in range(3)} | {f"out {n}": "model" for n in range(3)}
