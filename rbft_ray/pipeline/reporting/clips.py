"""Test clips for the report, with frames and what every arm says: the worst mistakes and the examples with a rationale."""

import base64
import io
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from rbft_ray.core.schema import PREDICTIONS
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.pipeline.frames import spaced_frames
from rbft_ray.pipeline.recipes import ARMS, Plan
from rbft_ray.pipeline.reporting.facts import evaluate_dir
from rbft_ray.pipeline.reporting.words import METHOD
from rbft_ray.pipeline.runner import step_dir
from rbft_ray.stages import evaluate

WORST = 6
FRAMES = 8
FRAME_HEIGHT_PX = 168  # twice what the page shows; with 12 clips of 8 frames well below 2 MB
MAX_LABELS = 6  # of one clip's probabilities
COLUMNS = ["id", "label", "split", "predicted", "probabilities", "abstained", "rationale", "reasoned"]


def told_clips(plan: Plan, root: str) -> dict[str, list[dict[str, Any]]]:
    """`mistakes`: RB-FT's most confident wrong answers on the test split; `examples`: a seeded draw of test clips with rationale.

    Each clip: id, label, frames {data, time_sec}, answers {arm: row of PREDICTIONS and confidence}, table of probabilities.
    """
    tables = {arm: _test_table(evaluate_dir(plan, root, arm)) for arm in ARMS}
    chosen = {
        "mistakes": worst_mistakes(tables[METHOD]),
        "examples": drawn_examples(tables[METHOD], plan.config.evaluate.example_rationales, plan.config.seed),
    }
    wanted = pa.array(sorted({clip_id for ids in chosen.values() for clip_id in ids}), pa.string())
    answers = {
        arm: {row["id"]: row for row in table.filter(pc.is_in(table["id"], wanted)).to_pylist()}
        for arm, table in tables.items()
    }
    where = {clip["id"]: clip for clip in list_clips(step_dir(root, plan.step("ingest")), ["test"])}
    return {
        kind: [
            {
                "id": clip_id,
                "label": where[clip_id]["label"],
                "frames": spaced_frames(where[clip_id], FRAMES, data_uri),
                **_answers(answers, clip_id, plan.task.labels),
            }
            for clip_id in ids
        ]
        for kind, ids in chosen.items()
    }


def _test_table(out: str) -> pa.Table:
    """The test rows of an arm's predictions, with `confidence`."""
    table = storage.read_table(storage.join(out, evaluate.PREDICTIONS_FILE), PREDICTIONS, COLUMNS)
    table = table.filter(pc.equal(table["split"], "test"))
    labels = len(table["probabilities"][0])
    probabilities = np.asarray(pc.list_flatten(table["probabilities"])).reshape(-1, labels)
    return table.append_column("confidence", pa.array(probabilities.max(axis=1)))


def worst_mistakes(table: pa.Table) -> list[str]:
    """Ids of the 6 wrong predictions of highest confidence; of equal confidence the first id."""
    wrong = table.filter(pc.not_equal(table["label"], table["predicted"]))
    return wrong.sort_by([("confidence", "descending"), ("id", "ascending")])["id"].to_pylist()[:WORST]


def drawn_examples(table: pa.Table, count: int, seed: int) -> list[str]:
    """Ids of the clips with a rationale, sorted; of more than `count` a seeded draw, so that no one has picked them."""
    ids = sorted(table.filter(pc.is_valid(table["rationale"]))["id"].to_pylist())
    return ids if len(ids) <= count else sorted(random.Random(seed).sample(ids, count))


def _answers(
    answers: Mapping[str, Mapping[str, dict[str, Any]]], clip_id: str, labels: Sequence[str]
) -> dict[str, Any]:
    own = {arm: rows[clip_id] for arm, rows in answers.items() if clip_id in rows}
    return {"answers": own, "probabilities": telling_probabilities(own, labels)}


def telling_probabilities(answers: Mapping[str, Mapping[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Rows {label, arms: {arm: probability}}: all labels in their order, or of more than 6 those that matter.

    Those are the gold label, every arm's prediction, and then the most probable ones of RB-FT; RB-FT's most probable comes first.
    """
    columns = {arm: np.asarray(row["probabilities"]) for arm, row in answers.items()}
    shown = list(range(len(labels)))
    if len(labels) > MAX_LABELS:
        leading = columns[METHOD]
        needed = {row[name] for row in answers.values() for name in ("label", "predicted")}
        order = sorted(shown, key=lambda place: (labels[place] not in needed, -leading[place]))
        shown = sorted(order[:MAX_LABELS], key=lambda place: -leading[place])
    return [
        {"label": labels[place], "arms": {arm: float(values[place]) for arm, values in columns.items()}}
        for place in shown
    ]


def data_uri(encoded: bytes) -> str:
    """A stored frame as it is, or a JPEG of 168 px height where it is taller."""
    with Image.open(io.BytesIO(encoded)) as image:
        mime = image.get_format_mimetype()
        if image.height > FRAME_HEIGHT_PX:
            out = io.BytesIO()
            width = max(1, round(image.width * FRAME_HEIGHT_PX / image.height))
            image.convert("RGB").resize((width, FRAME_HEIGHT_PX)).save(out, "JPEG", quality=80)
            mime, encoded = "image/jpeg", out.getvalue()
    return f"data:{mime};base64,{base64.b64encode(encoded).decode()}"
