"""The rationales that `rbft audit` checks: from files that others wrote, or from the candidates of a run."""

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import ANSWER_PREFIX
from rbft_ray.core.rationale_checks import Verdict
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE
from rbft_ray.io import storage
from rbft_ray.pipeline.run_files import begun_run
from rbft_ray.pipeline.runner import DONE_FILE
from rbft_ray.pipeline.settings import parse_config

WRITERS = ("gpt", "assistant", "model")  # of a LLaVA conversation's answers


class Rationale(NamedTuple):
    """One rationale to check.

    labels: its own label set, if the file names one. Of the candidates of a run also: clip: the clip's id; recorded and
    detail: why the run rejected it, "" where it did not; kept: whether stage 1 trains on it.
    """

    id: str
    label: str
    text: str
    labels: tuple[str, ...] | None = None
    clip: str = ""
    recorded: str = ""
    detail: str = ""
    kept: bool = False


class Checked(NamedTuple):
    rationale: Rationale
    verdict: Verdict


def read_rationales(uri: str) -> list[Rationale]:
    """The rationales of a LLaVA JSON file, a JSONL file, a run (runs/NAME), or a rationalize step (directory or Parquet file).

    Raises:
        DataError: nothing there, another form, or no rationale; names the file, the line or entry, and the field.
    """
    if uri.endswith(".parquet"):
        found = list(_candidates([uri]))
    elif storage.size_bytes(uri) is None:
        step = step_of(uri)
        found = list(_candidates(_candidate_files(step or uri, step is not None)))
    else:
        found = _read_text(uri)
    if not found:
        raise DataError(f"{uri}: holds no rationale")
    return found


def step_of(uri: str) -> str | None:
    """The directory of the rationalize step that a run, step, candidates or one file of them belong to, else None."""
    uri = uri.rstrip("/")
    if run := begun_run(uri):
        return run.steps.get("rationalize")
    places = [uri, posixpath.dirname(uri), posixpath.dirname(posixpath.dirname(uri))]
    return next((place for place in places if storage.exists(storage.join(place, DONE_FILE))), None)


def config_of(uri: str) -> RunConfig | None:
    """The configuration of a run that was begun; None of anything else."""
    run = begun_run(uri)
    return parse_config(run.config) if run else None


def _candidate_files(uri: str, of_run: bool) -> list[str]:
    below = storage.join(uri, CANDIDATES_TABLE)
    for place in (below, uri):
        files = [name for name in storage.list_files(place) if name.endswith(".parquet")]
        if files:
            return [storage.join(place, name) for name in files]
    if of_run or storage.exists(uri):
        raise DataError(
            f"{uri}: has no {CANDIDATES_TABLE}/*.parquet: not a rationalize step, or not one that has ended"
        )
    raise DataError(f"{uri}: no such file, and no directory with {CANDIDATES_TABLE}/*.parquet of a rationalize step")


def _candidates(files: Iterable[str]) -> Iterator[Rationale]:
    columns = ["id", "label", "candidate", "hinted", "text", "kept", "reason", "detail"]
    for file in files:
        if storage.size_bytes(file) is None:
            raise DataError(f"{file}: no such file")
        for row in storage.read_table(file, CANDIDATES, columns).to_pylist():
            name = f"{row['id']} ({'hinted' if row['hinted'] else 'blind'} {row['candidate']})"
            found = Rationale(name, row["label"], row["text"], clip=row["id"], kept=row["kept"])
            yield found._replace(recorded=row["reason"], detail=row["detail"])


def _read_text(uri: str) -> list[Rationale]:
    try:
        text = storage.read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{uri}: is no UTF-8 text: {error.reason} at byte {error.start}") from None
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{uri}:{error.lineno}: is no JSON: {error.msg}") from None
        return [_rationale(row, f"{uri}: entry {number}", number) for number, row in enumerate(rows, 1)]
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # other line separators may stand in a text
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{uri}:{number}: is no JSON: {error.msg}") from None
            found.append(_rationale(row, f"{uri}:{number}", number))
    return found


def _rationale(row: Any, where: str, number: int) -> Rationale:
    if not isinstance(row, dict):
        raise DataError(f"{where}: must be an object with fields, not a {type(row).__name__}")
    label = _field(row, ("label", "ground_truth"), where)
    text = _written(row, where) if "conversations" in row else _field(row, ("text", "rationale"), where)
    labels = row.get("labels")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(name, str) for name in labels)):
        raise DataError(f"{where}: field labels: must be a list of names")
    name = next((row[key] for key in ("id", "video") if isinstance(row.get(key), (str, int))), number)
    return Rationale(str(name), label, text, tuple(labels) if labels else None)


def _field(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DataError(f"{where}: has no field {' or '.join(names)}; it has {', '.join(map(str, row)) or 'none'}")
    if not isinstance(row[name], str):
        raise DataError(f"{where}: field {name}: must be text, not {type(row[name]).__name__}")
    return row[name].encode("utf-8", "replace").decode()  # half an emoji


def _written(row: dict[str, Any], where: str) -> str:
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError(f"{where}: field conversations: must be a list of {{from, value}}")
    written = [turn for turn in turns if turn.get("from") in WRITERS]
    if not written:
        raise DataError(f"{where}: field conversations: has no turn from {', '.join(WRITERS)}")
    return _field(written[-1], ("value",), f"{where}: field conversations")


def in_our_form(text: str, prefix: str, labels: Iterable[str]) -> str:
    """`text` with `prefix` in place of which our answer line stands, for files that end in "Classification: Abnormal".

    The label may differ in case, end in a full stop, and stand on the last line of the reasoning.
    """
    named = {label.lower(): label for label in labels}
    exact = set(labels)
    choices = "|".join(re.escape(name) for name in sorted(named, key=len, reverse=True))
    text = re.sub(rf"(?im)^[ \t]*{re.escape(prefix)}", ANSWER_PREFIX, text.strip())
    end = re.search(rf"(?i)(?:\s|^)(?:{re.escape(prefix)}|{ANSWER_PREFIX})\s*({choices})\.?$", text)
    if end is None:
        return text
    said = end.group(1)
    return f"{text[: end.start()].rstrip()}\n{ANSWER_PREFIX} {said if said in exact else named[said.lower()]}"
