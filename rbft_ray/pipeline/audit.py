"""`rbft audit`: the text checks on rationales that were written elsewhere. No videos, no model."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import ANSWER_PREFIX, Task
from rbft_ray.core.rationale_checks import Verdict, check_rationale, task_knowledge
from rbft_ray.core.rationale_diversity import diversity
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE, Reason
from rbft_ray.io import storage
from rbft_ray.pipeline.templates import environment
from rbft_ray.runtime.progress import console

WRITERS = ("gpt", "assistant", "model")  # of a LLaVA conversation's answers
EXAMPLES = 4  # of each reason on the page
DETAILS = 5  # most frequent details of a reason


class Rationale(NamedTuple):
    """One rationale to check. labels: its own label set, if the file names one; truncated: as its writer recorded."""

    id: str
    label: str
    text: str
    labels: tuple[str, ...] | None = None
    truncated: bool = False


class Checked(NamedTuple):
    rationale: Rationale
    verdict: Verdict


def read_rationales(uri: str) -> list[Rationale]:
    """The rationales of a LLaVA JSON file, a JSONL file, or the candidates of a rationalize step (directory or Parquet file).

    Raises:
        DataError: nothing there, another form, or no rationale; names the file, the line or entry, and the field.
    """
    if uri.endswith(".parquet"):
        found = list(_candidates([uri]))
    elif storage.size_bytes(uri) is None:
        found = list(_candidates(_candidate_files(uri)))
    else:
        found = _read_text(uri)
    if not found:
        raise DataError(f"{uri}: holds no rationale")
    return found


def _candidate_files(uri: str) -> list[str]:
    below = storage.join(uri, CANDIDATES_TABLE)
    for place in (below, uri):
        files = [name for name in storage.list_files(place) if name.endswith(".parquet")]
        if files:
            return [storage.join(place, name) for name in files]
    raise DataError(f"{uri}: no such file, and no directory with {CANDIDATES_TABLE}/*.parquet of a rationalize step")


def _candidates(files: Iterable[str]) -> Iterable[Rationale]:
    columns = ["id", "label", "candidate", "hinted", "text", "reason"]
    for file in files:
        if storage.size_bytes(file) is None:
            raise DataError(f"{file}: no such file")
        for row in storage.read_table(file, CANDIDATES, columns).to_pylist():
            name = f"{row['id']} ({'hinted' if row['hinted'] else 'blind'} {row['candidate']})"
            yield Rationale(name, row["label"], row["text"], truncated=row["reason"] == Reason.TRUNCATED.value)


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
    for number, line in enumerate(text.splitlines(), 1):
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
    return row[name]


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
    choices = "|".join(re.escape(name) for name in sorted(named, key=len, reverse=True))
    text = re.sub(rf"(?im)^[ \t]*{re.escape(prefix)}", ANSWER_PREFIX, text.strip())
    end = re.search(rf"(?i)(?:\s|^)(?:{re.escape(prefix)}|{ANSWER_PREFIX})\s*({choices})\.?$", text)
    return f"{text[: end.start()].rstrip()}\n{ANSWER_PREFIX} {named[end.group(1).lower()]}" if end else text


def check_all(
    uri: str, rationales: list[Rationale], config: RunConfig | None = None, prefix: str | None = None
) -> list[Checked]:
    """The verdict on every rationale. Labels are those of the configuration, else a row's own, else the set found.

    Raises:
        DataError: a rationale's label is not among the labels of the configuration.
    """
    task = config.task if config else RunConfig().task
    renamed = config.data.label_map if config else {}
    known = (config.data.labels or tuple(task.definitions)) if config else ()
    found = known or tuple(sorted({row.label for row in rationales}))
    knowledge = task_knowledge(Task(found, task.definitions, task.role, task.guidance), task.cues)
    checked = []
    for row in rationales:
        row = row._replace(label=renamed.get(row.label, row.label))
        if known and row.label not in known:
            raise DataError(
                f"{uri}: {row.id}: label {row.label!r} is not among the configuration's ({', '.join(known)}); "
                "rename it with data.label_map"
            )
        labels = known or row.labels or found
        text = in_our_form(row.text, prefix, labels) if prefix else row.text
        checked.append(
            Checked(row, check_rationale(text, row.label, labels, truncated=row.truncated, knowledge=knowledge))
        )
    return checked


def summarised(uri: str, checked: list[Checked]) -> dict[str, Any]:
    """Counts of all and per class (rationales, accepted, reasons, diversity), ids and details per reason; ready for JSON."""
    by_label: dict[str, list[Checked]] = defaultdict(list)
    by_reason: dict[str, list[Checked]] = defaultdict(list)
    for one in checked:
        by_label[one.rationale.label].append(one)
        if one.verdict.reason is not None:
            by_reason[one.verdict.reason.value].append(one)
    spread = diversity({label: [one.verdict.reasoning for one in own] for label, own in by_label.items()})
    ordered = sorted(by_reason, key=lambda reason: (-len(by_reason[reason]), reason))
    return {
        "file": uri,
        **_counts(checked),
        "classes": {label: {**_counts(by_label[label]), "diversity": spread[label]} for label in sorted(by_label)},
        "details": {
            reason: dict(Counter(one.verdict.detail for one in by_reason[reason]).most_common(DETAILS))
            for reason in ordered
        },
        "ids": {reason: [one.rationale.id for one in by_reason[reason]] for reason in ordered},
    }


def _counts(checked: list[Checked]) -> dict[str, Any]:
    reasons = Counter(one.verdict.reason.value for one in checked if one.verdict.reason is not None)
    accepted = len(checked) - sum(reasons.values())
    return {
        "rationales": len(checked),
        "accepted": accepted,
        "accept_rate": accepted / len(checked),
        "reasons": dict(reasons.most_common()),
    }


def audit(
    uri: str, config: RunConfig | None = None, *, prefix: str | None = None, html: str | None = None
) -> dict[str, Any]:
    """The summary of a file's rationales; `html` is where to write the page.

    Args:
        config: for labels, definitions and cues; without it, contradictions are found by class names only.
        prefix: what the file's own answer line starts with, such as "Classification:".

    Raises:
        DataError: the file cannot be read as rationales, or has labels that the configuration has not.
        StorageError: the page cannot be written.
    """
    checked = check_all(uri, read_rationales(uri), config, prefix)
    found = summarised(uri, checked)
    if html:
        storage.write_bytes(html, page(found, checked).encode())
    return found


def page(found: dict[str, Any], checked: list[Checked]) -> str:
    """A self-contained HTML page: accept rate per class and reason, examples of each reason side by side."""
    templates = environment()
    examples: dict[str, list[Checked]] = {reason: [] for reason in found["reasons"]}
    for label in found["classes"]:  # classes in turn, so that one does not fill the page
        for reason, kept in examples.items():
            own = [one for one in checked if one.rationale.label == label and one.verdict.reason == reason]
            kept.extend(own[: max(1, EXAMPLES // len(found["classes"]))])
    accepted = [one for one in checked if one.verdict.reason is None][:EXAMPLES]
    return templates.get_template("audit.html.j2").render(
        found=found, examples={reason: kept[:EXAMPLES] for reason, kept in examples.items()}, accepted=accepted
    )


def print_audit(found: dict[str, Any]) -> None:
    """The summary on the terminal: accept rate, diversity and reasons per class."""
    console.print(escape(found["file"]))
    table = Table(title=f"{found['accepted']} of {found['rationales']} rationales accepted by their text")
    for column in ("class", "rationales", "accepted", "overlap", *found["reasons"]):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, own in found["classes"].items():
        overlap = own["diversity"]["overlap"]
        table.add_row(escape(label), *_cells(own), "-" if overlap is None else f"{overlap:.2f}", *_reasons(own, found))
    table.add_section()
    table.add_row("all", *_cells(found), "", *_reasons(found, found))
    console.print(table)
    for reason, details in found["details"].items():
        detail, count = next(iter(details.items()))
        console.print(escape(f"{reason}: {count} x {detail[:100]!r}" if detail else reason), highlight=False)
    console.print(
        "overlap: mean pairwise Jaccard index of 3-word groups within a class; 0 all different, 1 all the same"
    )


def _cells(own: dict[str, Any]) -> list[str]:
    return [str(own["rationales"]), f"{own['accept_rate']:.0%}"]


def _reasons(own: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [str(own["reasons"].get(reason, 0)) for reason in found["reasons"]]
