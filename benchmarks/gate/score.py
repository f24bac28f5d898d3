"""How well the checks find planted faults: `python benchmarks/gate/score.py FILE.jsonl [--config CONFIG.yaml] [--judge BASE]`.

Recall of each fault, its precision, and false rejections of sound rationales, with Wilson 95 % intervals. With `--judge`, what
passes the text checks is also judged by a model (`core.rationale_support`), task by task, where it proves fit for the task;
with `--peers` the rationales also judge one another (`core.rationale_peers`).
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from rbft_ray.core import rationale_support
from rbft_ray.core.prompts import Task
from rbft_ray.core.rationale_checks import Knowledge, Verdict, check_rationale
from rbft_ray.core.rationale_peers import judge_by_peers
from rbft_ray.core.rationale_support import Judging
from rbft_ray.core.schema import Reason

Judge = Callable[[Sequence[Judging], Sequence[str]], np.ndarray]  # log-probabilities (N, K) of K closings after N turns
UNSUPPORTED = Reason.UNSUPPORTED.value

REASONS = {  # fault: the reasons that name it; any other rejection counts as caught too
    "no_answer": {"no_answer"},
    "malformed_answer": {"malformed_answer"},
    "truncated": {"truncated", "no_answer"},
    "too_short": {"empty_reasoning"},
    "refusal": {"refusal"},
    "other_language": {"other_language"},
    "repetition": {"repetition"},
    "leak": {"mentions_hint"},
    "contradiction": {"contradiction", UNSUPPORTED},
    "wrong_class": {"contradiction", UNSUPPORTED},
    "generic": {"generic"},
}


def wilson(hits: int, total: int) -> list[float | None]:
    """The Wilson score interval (Wilson 1927) of a share: [low, high]; of nothing: [None, None]."""
    if not total:
        return [None, None]
    found = binomtest(hits, total).proportion_ci(method="wilson")
    return [round(float(found.low), 4), round(float(found.high), 4)]


def rate(hits: int, total: int) -> dict[str, Any]:
    """hits, total, their share (None of nothing) and its interval."""
    return {
        "hits": hits,
        "total": total,
        "share": round(hits / total, 4) if total else None,
        "interval": wilson(hits, total),
    }


def read_rows(path: Path, config: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The rows of a JSONL file; definitions and cues of `config` take the place of a row's own.

    Raises:
        ValueError: a row has no text or label; names the line.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row.get("text"), str) or not isinstance(row.get("label"), str):
            raise ValueError(f"{path}:{number}: needs text and label")
        rows.append({**row, **(config or {})})
    return rows


def judged(row: dict[str, Any], labels: list[str]) -> Verdict:
    """The verdict of the text checks on one row. Only what a gate may see goes in."""
    knowledge = Knowledge(row.get("definitions") or {}, row.get("cues") or {})
    return check_rationale(row["text"], row["label"], row.get("labels") or labels, truncated=False, knowledge=knowledge)


def reasons_of(
    rows: list[dict[str, Any]], judge: Judge | None, peers: bool
) -> tuple[list[str | None], dict[str, dict[str, Any]]]:
    """Why each row is rejected (None: it is not), and for each judge and task whether it was fit."""
    labels = sorted({row["label"] for row in rows} | {label for row in rows for label in row.get("definitions") or ()})
    verdicts = [judged(row, labels) for row in rows]
    reasons = [None if verdict.reason is None else verdict.reason.value for verdict in verdicts]
    tasks: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if reasons[index] is None:
            tasks[json.dumps([row.get("labels") or labels, row.get("definitions") or {}])].append(index)
    report: dict[str, dict[str, Any]] = {}
    for key, members in tasks.items():
        names, definitions = json.loads(key)
        task = Task(tuple(names), definitions)
        texts, golds = [rows[index]["text"] for index in members], [rows[index]["label"] for index in members]
        found = {"peers": judge_by_peers(texts, golds, task, [str(index) for index in members])} if peers else {}
        if judge is not None:
            closings = rationale_support.closing_scores(texts, task, judge)
            found["model"] = rationale_support.judge(closings, golds, task.labels)
        for name, (fitness, verdicts_of_judge) in found.items():
            agreement = None if fitness.agreement is None else round(fitness.agreement, 4)
            told = {"fit": fitness.fit, "agreement": agreement, "detail": fitness.detail}
            report[f"{name}, {rows[members[0]].get('domain') or ', '.join(names)}"] = told
            for index, support in zip(members, verdicts_of_judge, strict=True):
                if fitness.fit and support is not None and not support.supported:
                    reasons[index] = UNSUPPORTED
    return reasons, report


def loaded_judge(base: str) -> Judge:
    """A base VLM that reads text, by Transformers. `base`: a directory, a hub id, or `demo` for the embedded one."""
    from rbft_ray.demo import BASE_DIR
    from rbft_ray.model.scoring import answer_log_probabilities, label_tokens
    from rbft_ray.model.vlm import best_device, load, render_prompt

    vlm = load(str(BASE_DIR) if base == "demo" else base, dtype="float32", device=best_device())
    tokenizer = vlm.processor.tokenizer

    def score(asked: Sequence[Judging], closings: Sequence[str]) -> np.ndarray:
        answers, rows = label_tokens(vlm.processor, vlm.end_of_turn, closings), []
        for user, begins in asked:
            prompt = render_prompt(vlm.processor, user, video=False) + begins
            encoded = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
            rows.append(answer_log_probabilities(vlm, encoded, answers)[0])
        return np.array(rows).reshape(len(asked), len(closings))

    return score


def _precision(caught: int, sound: int, faulty: int, false: int) -> float | None:
    """Precision where a fault is as frequent as soundness: recall / (recall + false rejections)."""
    if not faulty or not sound or not caught + false:
        return None
    recall, wrong = caught / faulty, false / sound
    return round(recall / (recall + wrong), 4) if recall + wrong else None


def scored(rows: list[dict[str, Any]], judge: Judge | None = None, peers: bool = False) -> dict[str, Any]:
    """Recall by fault and variant, precision by fault and reason, false rejections by variant.

    The precision of a fault: of the rows that were rejected for its reasons, those that have any fault. `balanced`: what
    it would be with as many sound rows as rows of that fault, all rejections counted. `judges`: where there are
    any, their fitness for each task.
    """
    reasons, fitness = reasons_of(rows, judge, peers)
    faults: dict[str, list[int]] = defaultdict(list)
    variants: dict[str, list[int]] = defaultdict(list)
    sound: dict[str, list[int]] = defaultdict(list)
    rejected_for: dict[str, Counter[str]] = defaultdict(Counter)
    by_reason: dict[str, list[int]] = defaultdict(list)
    for row, reason in zip(rows, reasons, strict=True):
        caught = int(reason is not None)
        cues = "with cues" if row.get("cues") else "without cues"
        if row["fault"] is None:
            sound[row.get("variant") or "plain"].append(caught)
        else:
            faults[row["fault"]].append(caught)
            variants[f"{row['fault']}: {row.get('variant') or '-'}"].append(caught)
            variants[f"{row['fault']}: ({cues})"].append(caught)
        if reason is not None:
            rejected_for[row["fault"] or "sound"][reason] += 1
            by_reason[reason].append(int(row["fault"] is not None))
    all_sound = [caught for found in sound.values() for caught in found]
    hard = [caught for name, found in sound.items() if name != "plain" for caught in found]
    all_faulty = [caught for found in faults.values() for caught in found]
    return {
        "rows": len(rows),
        "all_faults": {
            "recall": rate(sum(all_faulty), len(all_faulty)),
            "precision": rate(sum(all_faulty), sum(all_faulty) + sum(all_sound)),
        },
        "faults": {
            name: {
                "recall": rate(sum(found), len(found)),
                "precision": _fault_precision(name, by_reason),
                "balanced": _precision(sum(found), len(all_sound), len(found), sum(all_sound)),
                "reasons": dict(rejected_for[name].most_common()),
            }
            for name, found in sorted(faults.items())
        },
        "variants": {name: rate(sum(found), len(found)) for name, found in sorted(variants.items())},
        "reasons": {name: rate(sum(found), len(found)) for name, found in sorted(by_reason.items())},
        "false_rejections": {
            "all": rate(sum(all_sound), len(all_sound)),
            "plain": rate(sum(sound["plain"]), len(sound["plain"])),
            "hard_negatives": rate(sum(hard), len(hard)),
            **{name: rate(sum(found), len(found)) for name, found in sorted(sound.items()) if name != "plain"},
            "reasons": dict(rejected_for["sound"].most_common()),
        },
        **({"judges": fitness} if judge or peers else {}),
    }


def _fault_precision(name: str, by_reason: dict[str, list[int]]) -> dict[str, Any]:
    found = [true for reason in REASONS.get(name, set()) for true in by_reason.get(reason, [])]
    return rate(sum(found), len(found))


def _cell(values: dict[str, Any]) -> str:
    if values["share"] is None:
        return "-"
    low, high = values["interval"]
    return f"{values['share']:.3f} ({low:.3f} to {high:.3f}) {values['hits']}/{values['total']}"


def print_table(found: dict[str, Any]) -> None:
    """The scores for people, on standard error."""
    console = Console(stderr=True, width=150)
    table = Table(title=f"{found['rows']} rows; share (95 % interval)")
    for column in ("fault", "recall", "precision of its reasons", "balanced precision"):
        table.add_column(column)
    for name, values in found["faults"].items():
        balanced = "-" if values["balanced"] is None else f"{values['balanced']:.3f}"
        table.add_row(name, _cell(values["recall"]), _cell(values["precision"]), balanced)
    table.add_row("all faults", _cell(found["all_faults"]["recall"]), _cell(found["all_faults"]["precision"]), "")
    console.print(table)
    table = Table(title="sound rationales that were rejected")
    for column in ("variant", "rejected"):
        table.add_column(column)
    for name, values in found["false_rejections"].items():
        if name != "reasons":
            table.add_row(name, _cell(values))
    console.print(table)
    for name, fitness in found.get("judges", {}).items():
        agreement = "" if fitness["agreement"] is None else f", agreement {fitness['agreement']:.2f}"
        console.print(f"{name}: {'fit' if fitness['fit'] else 'not used: ' + fitness['detail']}{agreement}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="JSONL with label, text, fault, variant; labels, definitions, cues")
    parser.add_argument("--config", type=Path, help="YAML with definitions and cues (of a task), for rows without")
    parser.add_argument(
        "--judge", help="a base VLM (directory, hub id, or `demo`) that judges whether the text supports the label"
    )
    parser.add_argument("--peers", action="store_true", help="rationales also judge one another (core.rationale_peers)")
    arguments = parser.parse_args()
    config = None
    if arguments.config:
        config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
        config = config.get("task", config)
        config = {"definitions": config.get("definitions", {}), "cues": config.get("cues", {})}
    judge = loaded_judge(arguments.judge) if arguments.judge else None
    found = scored(read_rows(arguments.file, config), judge, arguments.peers)
    print_table(found)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
