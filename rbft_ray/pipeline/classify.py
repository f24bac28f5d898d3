"""`rbft classify`: a trained classifier on many videos that nobody has labelled, as one resumable job.

Under the storage root: steps/ as of any run. The answers are one table (CSV, JSONL or Parquet), a row for each video:

    id, video                     as the manifest or the folder names them
    label, confidence, abstained  as of `rbft serve`; confidence: the label's probability
    p_LABEL                       the probability of each class
    rationale, rationale_label    where they are asked for
    rejected, detail              why there is no answer, else empty
"""

import io
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.markup import escape
from rich.table import Table

from rbft_ray.core.card import ClassifierCard
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.prompts import label_prompt, prompt_hash, rationale_prompt
from rbft_ray.core.schema import REJECTS, SCORES
from rbft_ray.core.section import result_config
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.io.manifests import STAGE as MANIFEST_STAGE
from rbft_ray.io.manifests import read_videos
from rbft_ray.model.base import base_identity
from rbft_ray.pipeline.checks import check_machine, check_place
from rbft_ray.pipeline.dataset import Dataset, absolute_data, data_identity, with_sizes
from rbft_ray.pipeline.endpoint import find_model
from rbft_ray.pipeline.job import storage_root
from rbft_ray.pipeline.needs import evaluation_needs, ingest_needs
from rbft_ray.pipeline.runner import check_resources, run_steps, step_dir, unfinished
from rbft_ray.pipeline.settings import parse_config, with_overrides
from rbft_ray.pipeline.step import Step, StepContext
from rbft_ray.runtime.blocks import REJECTS_TABLE, Counts, read_rows
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import ray_session
from rbft_ray.stages import evaluate, ingest
from rbft_ray.stages.serve import read_card

STAGE = "classify"
SPLIT = "test"  # of all rows: scoring reads clips by split


def classify(run_dir: str, videos: str, out: str, overrides: list[str], *, explain: bool = False) -> dict[str, int]:
    """Classifies `videos` and writes the answers to `out`. Returns {label: clips}, prints it and what was rejected.

    Args:
        run_dir: as of `rbft serve`: a finished run, or a model directory with its card.
        videos: a manifest, a folder of videos at any depth, or one video.
        out: path or URI that ends in .csv, .jsonl or .parquet.
        overrides: KEY.PATH=VALUE over the run's configuration.
        explain: also write a rationale for each video.

    Raises:
        RbftError: something that the user can mend; what is done stays.
    """
    write = _WRITERS.get(posixpath.splitext(out)[1].lower())
    if write is None:
        raise ConfigError(f"--out {out}: must end in {', '.join(_WRITERS)}")
    found = find_model(run_dir)
    card = read_card(found.model_dir, found.calibration)
    config = _config(found.config, overrides, explain)
    root = found.root or storage_root(config)
    data = absolute_data(config.data.model_copy(update={"manifest": videos}))
    rows, refused = read_videos(str(data.manifest), data)
    dataset = with_sizes(Dataset([{**row, "label": "", "split": SPLIT} for row in rows], refused, card.labels))
    steps = _steps(config, card, found.model_dir, dataset, explain)
    check_machine(root)
    check_place(posixpath.dirname(out) or ".")
    if todo := unfinished(root, steps):
        with ray_session(config.ray) as cluster:
            check_resources(todo, cluster)
            run_steps(root, steps, cluster)
    clips, scored = (step_dir(root, step) for step in steps)
    answers = {
        row["id"]: evaluate.prediction(row, card.task(), card.calibration)
        for row in read_rows(scored, evaluate.SCORES_TABLE, SCORES)
    }
    rejects = {row["id"]: row for step in (clips, scored) for row in read_rows(step, REJECTS_TABLE, REJECTS)}
    if not answers:
        first = next(iter([*rejects.values(), *refused]))
        raise DataError(f"{videos}: no video can be classified; the first: {first['detail']}")
    lines = [_line(row, card, answers.get(row["id"]), rejects.get(row["id"], {}), explain) for row in rows]
    lines += [_line({"relative": row["video"], **row}, card, None, row, explain) for row in refused]
    storage.write_bytes(out, write(lines))
    return _told(lines, card, out)


def _config(values: Mapping[str, Any], overrides: list[str], explain: bool) -> RunConfig:
    """The run's, without what it says of its own data but how a row names its video."""
    kept = {name: value for name, value in dict(values.get("data", {})).items() if name in ("video", "id")}
    return parse_config(with_overrides({**values, "data": kept}, overrides))


def _steps(config: RunConfig, card: ClassifierCard, model_dir: str, dataset: Dataset, explain: bool) -> list[Step]:
    def decode(context: StepContext) -> Counts:
        return ingest.ingest(
            context.out,
            dataset.rows,
            card.sampling,
            context.needs,
            block_clips=config.ingest.block_clips,
            no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
        )

    def answer(context: StepContext) -> Counts:
        clips = list_clips(context.inputs[MANIFEST_STAGE], [SPLIT])
        return evaluate.score(
            STAGE,
            context.out,
            [{**clip, "explain": explain} for clip in clips],
            model_dir,
            config.model,
            card.task(),
            config.evaluate,
            context.needs,
            no_progress_timeout_sec=config.ray.no_progress_timeout_sec,
        )

    sampling = {"sampling": result_config(card.sampling)}
    clips = Step(MANIFEST_STAGE, sampling, partial(ingest_needs, config), decode, (), {"data": data_identity(dataset)})
    settings: dict[str, Any] = {"dtype": config.model.dtype, "engine": config.evaluate.engine, "explain": explain}
    prompts = {"label": prompt_hash(label_prompt(card.task()))}
    if explain:
        settings["max_rationale_tokens"] = config.evaluate.max_rationale_tokens
        prompts["rationale"] = prompt_hash(rationale_prompt(card.task()))
    identities = {"model": base_identity(model_dir, None), **prompts}
    return [clips, Step(STAGE, settings, partial(evaluation_needs, config), answer, (clips,), identities)]


def _line(
    row: Mapping[str, Any],
    card: ClassifierCard,
    answer: Mapping[str, Any] | None,
    rejected: Mapping[str, Any],
    explain: bool,
) -> dict[str, Any]:
    """A row of the answers."""
    probabilities = answer["probabilities"] if answer else [None] * len(card.labels)
    line = {
        "id": row["id"],
        "video": row["relative"],
        "label": answer["predicted"] if answer else None,
        "confidence": max(probabilities) if answer else None,
        "abstained": answer["abstained"] if answer else None,
        **{f"p_{label}": value for label, value in zip(card.labels, probabilities, strict=True)},
    }
    if explain:
        line |= {"rationale": answer and answer["rationale"], "rationale_label": answer and answer["reasoned"]}
    return line | {"rejected": rejected.get("reason", ""), "detail": rejected.get("detail", "")}


def _csv(lines: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pyarrow.csv.write_csv(pa.Table.from_pylist(lines), out)
    return out.getvalue()


def _jsonl(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def _parquet(lines: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(lines), out)
    return out.getvalue()


_WRITERS: Mapping[str, Callable[[list[dict[str, Any]]], bytes]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}


def _told(lines: list[dict[str, Any]], card: ClassifierCard, out: str) -> dict[str, int]:
    """Prints how many clips each class has, and what has no answer."""
    answered = [line for line in lines if line["label"] is not None]
    counts = Counter(line["label"] for line in answered)
    abstained = Counter(line["label"] for line in answered if line["abstained"])
    table = Table(title=f"{len(answered)} of {len(lines)} videos classified")
    for column in ("class", "videos", "abstained"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label in card.labels:
        table.add_row(escape(label), str(counts[label]), str(abstained[label]))
    console.print(table)
    for reason, count in Counter(line["rejected"] for line in lines if line["label"] is None).most_common():
        first = next(line for line in lines if line["rejected"] == reason)
        console.print(f"[yellow]![/yellow] {count} x {reason}, such as {escape(first['detail'])}")
    console.print(f"answers: {out}")
    return {label: counts[label] for label in card.labels}
