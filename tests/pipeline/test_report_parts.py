"""What the report says in words of given numbers, which classes it shows of many, and how it embeds frames."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from rbft_ray.pipeline.reporting import classes, clips, words


def split(accuracy: float, low: float | None, high: float | None, *, scored: int, rejected: int = 0) -> dict[str, Any]:
    """What `words.warnings` reads of a test split."""
    intervals = {"accuracy": [low, high]}
    support = {"a": {"support": scored // 2}, "b": {"support": scored - scored // 2}}
    scores = {"accuracy": accuracy}
    return {"scored": scored, "rejected": rejected, "scores": scores, "intervals": intervals, "per_class": support}


def test_few_clips_and_wide_intervals_are_warned_of():
    assert words.warnings({"rb_ft": split(0.9, 0.87, 0.93, scored=400)}) == []
    (few,) = words.warnings({"rb_ft": split(0.9, 0.87, 0.93, scored=99)})
    assert "99 scored test clips" in few
    (wide,) = words.warnings({"rb_ft": split(0.9, 0.7, 0.95, scored=400)})
    assert "up to 0.25 wide" in wide
    (alone,) = words.warnings({"rb_ft": split(0.9, None, None, scored=40)})
    assert "wide" not in alone
    (guessing,) = words.warnings({"rb_ft": split(0.52, 0.48, 0.56, scored=400)})
    assert "most frequent class (accuracy 0.500): RB-FT" in guessing
    uneven = split(0.75, 0.71, 0.79, scored=400)
    assert words.warnings({"rb_ft": uneven}) == []
    uneven["per_class"] = {"a": {"support": 100}, "b": {"support": 300}}
    (guessing,) = words.warnings({"rb_ft": uneven})
    assert "most frequent class (accuracy 0.750): RB-FT" in guessing
    (lost,) = words.warnings({"rb_ft": split(0.9, 0.87, 0.93, scored=400, rejected=3)})
    assert "3 of 403" in lost


def compared(accuracy: list[float | None], macro_f1: list[float | None], **more: int) -> dict[str, Any]:
    scores = {
        name: {
            "a": 0.5,
            "b": 0.6,
            "difference": 0.1,
            "interval": interval,
            "p": None if interval[0] is None else 0.0004,
        }
        for name, interval in (("accuracy", accuracy), ("macro_f1", macro_f1))
    }
    return {**scores, "clips": 90, "groups": 90, "only_a": 0, "only_b": 0, **more}


def test_the_verdict_claims_a_difference_only_where_the_interval_excludes_0():
    better = words.verdict(compared([0.01, 0.2], [0.02, 0.2]))
    assert (better["tone"], better["headline"]) == ("better", "RB-FT is better than direct SFT on these clips.")
    assert better["sentences"][0] == (
        "Accuracy: RB-FT 0.600, direct SFT 0.500, difference +0.100 (95 % interval +0.010 to +0.200, p < 0.001)."
    )
    assert words.verdict(compared([-0.2, -0.01], [-0.2, -0.02]))["tone"] == "worse"
    assert words.verdict(compared([-0.01, 0.2], [0.0, 0.2]))["tone"] == "unclear"
    mixed = words.verdict(compared([-0.01, 0.2], [0.02, 0.2], only_b=4))
    assert mixed["headline"] == "RB-FT against direct SFT: no clear difference in accuracy, better in macro-F1."
    assert "from only 19 groups" in words.verdict(compared([0.1, 0.2], [0.1, 0.2], groups=19))["sentences"][-1]
    assert len(words.verdict(compared([0.1, 0.2], [0.1, 0.2], groups=20))["sentences"]) == 2
    assert "90 clips that both have scored; 4 are left out" in mixed["sentences"][-1]
    assert "no interval" in words.verdict(compared([None, None], [None, None]))["sentences"][0]


def test_of_many_classes_those_with_the_largest_and_the_smallest_gains_are_shown():
    rows = [{"label": str(i), "gain": (i - 500) / 1000} for i in range(1000)]
    shown = [row["label"] for row in classes.telling_rows(rows)]
    assert shown == [str(i) for i in (*range(999, 979, -1), *range(19, -1, -1))]
    assert classes.telling_rows(rows[:40]) == rows[:40]


def test_probabilities_of_many_classes_keep_gold_and_predictions():
    labels = [f"c{i}" for i in range(1000)]
    values = np.linspace(0, 1, 1000)
    answers = {
        "direct_sft": {"label": "c3", "predicted": "c7", "probabilities": values},
        "rb_ft": {"label": "c3", "predicted": "c999", "probabilities": values},
    }
    shown = clips.telling_probabilities(answers, labels)
    assert [row["label"] for row in shown] == ["c999", "c998", "c997", "c996", "c7", "c3"]
    assert shown[0]["arms"] == {"direct_sft": 1.0, "rb_ft": 1.0}


def test_any_text_stays_inside_its_markdown_cell():
    assert words.markdown_cell("a|b\\|c\n*d* <i> &") == r"a\|b\\\|c \*d\* &lt;i&gt; &amp;"


def test_undefined_values_are_dashes_and_never_numbers():
    assert (words.number(None), words.signed(None), words.span([None, None])) == ("–", "–", "")
    assert (words.number(0.25), words.signed(-0.25), words.span([-0.1, 0.2], sign=True)) == (
        "0.250",
        "-0.250",
        "-0.100 to +0.200",
    )
    assert [words.threshold(value) for value in (None, 2.0, 0.75)] == ["never", "always", "0.750"]


def test_large_frames_are_made_small_and_small_ones_stay():
    frames = {}
    for height in (168, 169, 720):
        out = io.BytesIO()
        Image.new("RGB", (2 * height, height)).save(out, "PNG")
        frames[height] = out.getvalue()
    assert clips.data_uri(frames[168]) == f"data:image/png;base64,{base64.b64encode(frames[168]).decode()}"
    for height in (169, 720):
        head, _, content = clips.data_uri(frames[height]).partition(",")
        assert head == "data:image/jpeg;base64"
        assert Image.open(io.BytesIO(base64.b64decode(content))).size == (336, 168)


def test_classes_that_lost_most_of_their_rationales_are_named():
    counts = {
        "half": {"clips": 10, "blind": 4, "hinted": 1, "none": 5},
        "most": {"clips": 11, "blind": 5, "hinted": 0, "none": 6},
        "empty": {"clips": 0, "blind": 0, "hinted": 0, "none": 0},
    }
    (line,) = words.few_rationales(counts, {"half": "no_answer", "most": "too_long"}, "runs/steps/rationalize-1")
    assert "'most': only 5 of 11" in line and "too long" in line and "rationalize.max_model_len" in line
    assert "`rbft audit runs/steps/rationalize-1`" in line
    (line,) = words.few_rationales(counts, {"most": "wrong_answer"}, "runs/steps/rationalize-1")
    assert "wrong answer" in line and "definition" in line


def test_only_the_model_s_fitness_is_told():
    assert words.unfit_judge({}) == []
    assert words.unfit_judge({"model": {"fit": True}, "peers": {"fit": False, "detail": "no"}}) == []
    (line,) = words.unfit_judge({"model": {"fit": False, "agreement": 0.3, "detail": "agrees with 30%"}})
    assert "agrees with 30%" in line and "a better judge" in line
    (line,) = words.unfit_judge({"model": {"fit": False, "agreement": None, "detail": "6 rationales are too few"}})
    assert "too few" in line and "better" not in line
