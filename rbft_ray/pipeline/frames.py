"""Stored frames of clips for the pages that the pipeline writes."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rbft_ray.io.clips import read_clip_rows


def spaced_frames(clip: Mapping[str, Any], most: int, data_uri: Callable[[bytes], str]) -> list[dict[str, Any]]:
    """At most `most` frames of a clip of `list_clips`, evenly spaced: {data, time_sec}.

    Args:
        data_uri: makes a data URI of a frame as it is stored.
    """
    (stored,) = read_clip_rows([dict(clip)], ["frames", "frame_times_sec"])
    count = len(stored["frames"])
    places = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return [{"data": data_uri(stored["frames"][i]), "time_sec": stored["frame_times_sec"][i]} for i in places]
