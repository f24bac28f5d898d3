"""The verdict on a base: what it gets right by seeing, not by luck."""

import numpy as np
import pytest

from rbft_ray.core.readiness import Examined, readiness

LABELS = ("calm", "busy", "empty", "full")


def clip(label: str, *answers: str | None, truncated: int = 0) -> Examined:
    scores = tuple(0.0 if name == label else -1.0 for name in LABELS)
    return Examined(label, scores, answers, truncated, 200)


def texts(clips: list[Examined], *, poor: bool, **more: object) -> str:
    _, findings = readiness(clips, LABELS, max_tokens=50, context_tokens=512, **more)
    return " | ".join(finding.text for finding in findings if finding.ok != poor)


def test_a_base_that_sees_is_good_enough():
    figures, findings = readiness(
        [clip(label, label, label) for label in LABELS * 4], LABELS, max_tokens=50, context_tokens=512
    )
    assert all(finding.ok for finding in findings)
    assert figures["reasoned_accuracy"] == figures["label_accuracy"] == figures["agreement"] == 1.0
    assert figures["reasoned_p_value"] == pytest.approx(0.25**16)


def test_guessing_is_not_taken_for_seeing():
    rng = np.random.default_rng(0)
    guessed = [clip(label, str(rng.choice(LABELS)), str(rng.choice(LABELS))) for label in LABELS * 8]
    assert "does not tell the classes apart" in texts(guessed, poor=True)
    assert "agree; lower" in texts(guessed, poor=True)


def test_always_the_same_class_is_not_taken_for_seeing():
    same = [clip(label, "busy", "busy") for label in LABELS * 8]
    figures, _ = readiness(same, LABELS, max_tokens=50, context_tokens=512)
    assert figures["agreement"] == 1.0
    assert "does not tell the classes apart: 25% right" in texts(same, poor=True)


def test_answers_without_a_class_neither_agree_nor_count():
    silent = [clip(label, None, None) for label in LABELS]
    figures, _ = readiness(silent, LABELS, max_tokens=50, context_tokens=512)
    assert (figures["agreement"], figures["reasoned_accuracy"]) == (0.0, 0.0)


def test_truncation_and_length_name_what_to_change():
    clips = [clip(label, label, label, truncated=1) for label in LABELS * 4]
    assert "raise rationalize.max_tokens" in texts(clips, poor=True)
    assert "take 250 of 512 tokens" in texts(clips, poor=False)
    long = [("too_long", "prompt of 600")] * 3
    assert "3 clips do not fit into 512 tokens" in texts(clips, poor=True, refused=long)


def test_what_the_engine_failed_on_is_not_called_too_long():
    clips = [clip(label, label, label) for label in LABELS * 4]
    failed = [("engine_error", "OutOfMemoryError: 2 GiB"), ("worker_died", "died"), ("too_long", "prompt of 600")]
    assert "failed on 2 clips; the first: OutOfMemoryError: 2 GiB" in texts(clips, poor=True, refused=failed)
    figures, _ = readiness(clips, LABELS, max_tokens=50, context_tokens=512, refused=failed)
    assert (figures["too_long"], figures["failed"]) == (1, 2)


@pytest.mark.parametrize("clips", [[], [clip("calm")]])
def test_nothing_examined_is_an_error(clips: list[Examined]):
    with pytest.raises(ValueError, match="at least one"):
        readiness(clips, LABELS, max_tokens=50, context_tokens=512)
