"""Samples as model inputs: encoded clips are kept up to a number of bytes."""

import pytest

from rbft_ray.model import samples as module
from rbft_ray.model.samples import Samples


def test_encoded_clips_are_kept_up_to_so_many_bytes(vlm, clips, monkeypatch: pytest.MonkeyPatch):
    reads, read_frames = [], module.read_frames
    monkeypatch.setattr(module, "read_frames", lambda rows: reads.append(rows[0]["id"]) or read_frames(rows))
    answered = [{**clip, "answer": clip["label"]} for clip in clips[:3]]
    taken = Samples(vlm, "Which class?", answered).micro_batch([0], [1.0]).inputs
    one = sum(value.nbytes for name, value in taken.items() if name != "labels")
    monkeypatch.setattr(module, "CACHE_BYTES", int(2.5 * one))
    samples = Samples(vlm, "Which class?", answered)
    for row in (0, 1, 2, 2, 1, 0):
        samples.micro_batch([row], [1.0])
    assert reads[1:] == [answered[row]["id"] for row in (0, 1, 2, 0)]
