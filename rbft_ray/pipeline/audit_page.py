"""The page of `rbft audit`: what was accepted and why not, with examples; of a run with the frames that the model saw."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from PIL import Image

from rbft_ray.core.schema import SPLITS
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.io.manifests import STAGE as INGEST
from rbft_ray.pipeline.audit_rows import Checked
from rbft_ray.pipeline.frames import spaced_frames
from rbft_ray.pipeline.runner import DONE_FILE
from rbft_ray.pipeline.templates import environment

EXAMPLES = 4  # of each reason
FRAMES = 4  # of each example
FRAME_SIDE_PX = 168  # of the longer side, about twice what the page shows; a frame is 3 to 7 kB


def page(found: Mapping[str, Any], checked: Sequence[Checked], step: str | None = None) -> str:
    """A self-contained HTML page: accept rate per class and reason, examples of each reason side by side.

    Args:
        found: the summary of `audit.summarised`.
        step: directory of the rationalize step that wrote them: its clips' frames stand beside the examples.
    """
    examples = {reason: chosen(checked, found["classes"], reason) for reason in found["reasons"]}
    accepted = chosen(checked, found["classes"], None)
    shown = [one.rationale.clip for one in (*accepted, *(one for own in examples.values() for one in own))]
    return (
        environment()
        .get_template("audit.html.j2")
        .render(
            found=found,
            of_run="clips" in found,
            examples=examples,
            accepted=accepted,
            kept={one.rationale.clip: one for one in checked if one.rationale.kept and one.verdict.reason is None},
            frames=clip_frames(step, shown) if step else {},
        )
    )


def chosen(checked: Iterable[Checked], labels: Iterable[str], reason: str | None) -> list[Checked]:
    """At most 4 of those with the reason (None: accepted), each of another clip, the classes in turn."""
    queues: dict[str, list[Checked]] = {label: [] for label in labels}
    seen: set[str] = set()
    for one in checked:
        if one.verdict.reason != reason:
            continue
        clip = one.rationale.clip or one.rationale.id
        if clip not in seen and len(queues[one.rationale.label]) < EXAMPLES:
            seen.add(clip)
            queues[one.rationale.label].append(one)
    rounds = [queue[place] for place in range(EXAMPLES) for queue in queues.values() if place < len(queue)]
    return rounds[:EXAMPLES]


def clip_frames(step: str, ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """{clip id: frames {data, time_sec}} from the clips that a rationalize step read; without those that are gone."""
    marker = storage.join(step, DONE_FILE)
    inputs = storage.read_json(marker)["inputs"] if storage.exists(marker) else {}
    if INGEST not in inputs:
        return {}
    ingest = storage.join(step.rstrip("/").rpartition("/")[0], f"{INGEST}-{inputs[INGEST]}")
    wanted = set(ids)
    return {
        clip["id"]: spaced_frames(clip, FRAMES, small_jpeg)
        for clip in list_clips(ingest, SPLITS)
        if clip["id"] in wanted
    }


def small_jpeg(encoded: bytes) -> str:
    """A stored frame as a data URI: a JPEG whose longer side has at most 168 px."""
    with Image.open(io.BytesIO(encoded)) as image:
        small = image.convert("RGB")
    small.thumbnail((FRAME_SIDE_PX, FRAME_SIDE_PX))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
