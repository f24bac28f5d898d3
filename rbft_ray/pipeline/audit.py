"""`rbft audit`: the text checks on rationales that were written elsewhere, or by a run. No videos, no model."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_checks import check_rationale, task_knowledge
from rbft_ray.core.rationale_diversity import diversity
from rbft_ray.core.schema import Reason
from rbft_ray.io import storage
from rbft_ray.pipeline.audit_page import page
from rbft_ray.pipeline.audit_rows import Checked, Rationale, config_of, in_our_form, read_rationales, step_of
from rbft_ray.runtime.progress import console

DETAILS = 5  # most frequent details of a reason


def check_all(
    uri: str, rationales: list[Rationale], config: RunConfig | None = None, prefix: str | None = None
) -> list[Checked]:
    """The verdict on every rationale. Labels are `data.labels`, else a row's own, else those found and defined.

    A candidate that a run rejected stays rejected for the reason that is recorded.

    Raises:
        DataError: a rationale's label is not among the labels of the configuration.
    """
    task = config.task if config else RunConfig().task
    renamed = config.data.label_map if config else {}
    known = (config.data.labels or ()) if config else ()
    rationales = [_renamed(row, renamed) for row in rationales]
    found = known or tuple(sorted({*(row.label for row in rationales), *task.definitions}))
    if task.definitions and not {row.label for row in rationales} & set(task.definitions):
        raise DataError(
            f"{uri}: no label is among those of task.definitions ({', '.join(task.definitions)}); the first: "
            f"{rationales[0].label!r}; rename them with data.label_map"
        )
    knowledge = task_knowledge(Task(found, task.definitions, task.role, task.guidance), task.cues)
    checked = []
    for row in rationales:
        if known and row.label not in known:
            raise DataError(
                f"{uri}: {row.id}: label {row.label!r} is not among the configuration's ({', '.join(known)}); "
                "rename it with data.label_map"
            )
        labels = known or row.labels or found
        text = in_our_form(row.text, prefix, labels) if prefix else row.text
        verdict = check_rationale(text, row.label, labels, truncated=False, knowledge=knowledge)
        if row.recorded:  # the run's gate knew the task, and may know more than the text
            verdict = verdict._replace(reason=Reason(row.recorded), detail=row.detail)
        checked.append(Checked(row, verdict))
    return checked


def _renamed(row: Rationale, names: Mapping[str, str]) -> Rationale:
    labels = tuple(dict.fromkeys(names.get(label, label) for label in row.labels)) if row.labels else None
    return row._replace(label=names.get(row.label, row.label), labels=labels)


def summarised(uri: str, checked: list[Checked]) -> dict[str, Any]:
    """Counts of all and per class (rationales, accepted, reasons, diversity), ids and details per reason; ready for JSON.

    Of the candidates of a run also the number of clips, and of clips with a rationale that stage 1 trains on.
    """
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
    found = {
        "rationales": len(checked),
        "accepted": accepted,
        "accept_rate": accepted / len(checked),
        "reasons": dict(reasons.most_common()),
    }
    clips = {one.rationale.clip for one in checked} - {""}
    if clips:
        found["clips"] = len(clips)
        found["clips_kept"] = len({one.rationale.clip for one in checked if one.rationale.kept})
    return found


def audit(
    uri: str, config: RunConfig | None = None, *, prefix: str | None = None, html: str | None = None
) -> dict[str, Any]:
    """The summary of a file's or a run's rationales; `html` is where to write the page.

    Args:
        config: for labels, definitions and cues; None: that of the run, where it is one. Without any, contradictions are found by
            class names only.
        prefix: what the file's own answer line starts with, such as "Classification:".

    Raises:
        DataError: the file cannot be read as rationales, or has labels that the configuration has not.
        StorageError: the page cannot be written.
    """
    checked = check_all(uri, read_rationales(uri), config or config_of(uri), prefix)
    found = summarised(uri, checked)
    if html:
        step = step_of(uri) if any(row.rationale.clip for row in checked) else None
        storage.write_bytes(html, page(found, checked, step).encode())
    return found


def print_audit(found: dict[str, Any]) -> None:
    """The summary on the terminal: accept rate, diversity and reasons per class."""
    console.print(escape(found["file"]))
    by = "" if "clips" in found else " by their text"
    table = Table(title=f"{found['accepted']} of {found['rationales']} rationales accepted{by}")
    for column in ("class", "rationales", "accepted", "overlap", "rejected as"):
        numbers = column in ("rationales", "accepted", "overlap")
        table.add_column(column, justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    for label, own in found["classes"].items():
        overlap = own["diversity"]["overlap"]
        table.add_row(escape(label), *_cells(own), "-" if overlap is None else f"{overlap:.2f}", _reasons(own))
    table.add_section()
    table.add_row("all", *_cells(found), "", _reasons(found))
    console.print(table)
    for reason, details in found["details"].items():
        detail, count = next(iter(details.items()))
        console.print(escape(f"{reason}: {count} x {detail[:100]!r}" if detail else reason), highlight=False)
    console.print(
        "overlap: mean pairwise Jaccard index of 3-word groups within a class; 0 all different, 1 all the same"
    )


def _cells(own: dict[str, Any]) -> list[str]:
    return [str(own["rationales"]), f"{own['accept_rate']:.0%}"]


def _reasons(own: dict[str, Any]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in own["reasons"].items())
