"""Do gated rationales state more true facts? `python benchmarks/grounding.py demo --set rationalize.candidates=4`.

Of each training clip of the demo world one rationale against one: ungated is the first that was written without the hint,
gated the one that was kept. Precision and recall of their facts (`rbft_ray.demo.grounding`) are ratios of sums over clips; a
rationale that states nothing is in the recall only. Differences are gated minus ungated, with 95 % bootstrap intervals over
groups of clips, on the clips that have a kept rationale (paired) and on all (the gate drops the others).

Other ways to choose among the blind candidates are measured beside it (`CHOICES`).
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from rbft_ray.core.bootstrap import group_indices, interval, resampled_sums
from rbft_ray.core.schema import CANDIDATES, CANDIDATES_TABLE
from rbft_ray.demo.grammar import RuleSet, make_domain
from rbft_ray.demo.grounding import (
    ATTRIBUTES,
    COMPARISON,
    counted,
    grounding,
    stated_comparisons,
    stated_facts,
    true_comparisons,
    true_facts,
)
from rbft_ray.demo.scenes import Scene, scene_of
from rbft_ray.io.clips import list_clips
from rbft_ray.pipeline.job import storage_root
from rbft_ray.pipeline.recipes import plan
from rbft_ray.pipeline.runner import DONE_FILE, run_steps, step_dir
from rbft_ray.pipeline.settings import load_config
from rbft_ray.runtime.blocks import read_rows
from rbft_ray.runtime.session import ray_session

COLUMNS = ["id", "candidate", "hinted", "text", "accepted", "kept"]
KINDS = ("facts", *ATTRIBUTES, COMPARISON)  # of what is counted; facts: of all attributes
SCORES = ("precision", "recall")
RESAMPLES = 10_000
Row = Mapping[str, Any]
Choice = Callable[[Sequence[Row], Scene], Row | None]  # of one clip's candidates


class World(NamedTuple):
    """The facts of the clips, the groups that they come in, and the rules of the classes."""

    scenes: Mapping[str, Scene]
    groups: Mapping[str, str | None]
    rules: RuleSet


def rationalized(config: str, overrides: Sequence[str]) -> str:
    """Runs the job's steps up to rationalize, where they are not done yet. Returns the last one's directory."""
    planned = plan(load_config(config, overrides))
    root, last = storage_root(planned.config), planned.step("rationalize")
    with ray_session(planned.config.ray) as cluster:
        run_steps(root, planned.steps[: planned.steps.index(last) + 1], cluster)
    return step_dir(root, last)


def input_dir(step: Path, name: str) -> Path:
    """The directory of a step's input, which lies beside it."""
    return step.parent / f"{name}-{json.loads((step / DONE_FILE).read_text())['inputs'][name]}"


def read_world(rationalize: Path) -> World:
    """What is known of the clips that a rationalize step of the demo world worked on."""
    ingest = input_dir(rationalize, "ingest")
    render = input_dir(ingest, "render")
    lines = (render / "facts.jsonl").read_text(encoding="utf-8").splitlines()
    facts = {row["id"]: scene_of(row) for row in map(json.loads, lines)}
    groups = {clip["id"]: clip["group"] for clip in list_clips(str(ingest), ["train"])}
    world = json.loads((render / DONE_FILE).read_text())["config"]["world"]
    return World({name: facts[name] for name in groups}, groups, make_domain(world["domain_seed"]).rules)


def by_clip(rationalize: str) -> dict[str, list[Row]]:
    """The candidates of each clip, the blind ones first, in the order in which they were written."""
    found: dict[str, list[Row]] = {}
    for row in read_rows(rationalize, CANDIDATES_TABLE, CANDIDATES, COLUMNS):
        found.setdefault(row["id"], []).append(row)
    return {name: sorted(rows, key=lambda row: (row["hinted"], row["candidate"])) for name, rows in found.items()}


def ungated(rows: Sequence[Row], scene: Scene) -> Row | None:
    """The first rationale that was written without the hint."""
    return next((row for row in rows if not row["hinted"]), None)


def gated(rows: Sequence[Row], scene: Scene) -> Row | None:
    """The rationale that the gate kept."""
    return next((row for row in rows if row["kept"]), None)


def accepted_blind(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["accepted"] and not row["hinted"]]


def first_blind(rows: Sequence[Row], scene: Scene) -> Row | None:
    """The first accepted one without the hint: no clip is rescued by the hint."""
    return next(iter(accepted_blind(rows)), None)


def agreed_facts(rows: Sequence[Row], scene: Scene) -> Row | None:
    """The accepted one whose facts are, on average, stated by the most accepted ones; of equals the first."""
    pool = accepted_blind(rows)
    stated = [stated_facts(row["text"], len(scene.objects)) for row in pool]
    votes = Counter(fact for facts in stated for fact in facts)
    means = [sum(votes[fact] for fact in facts) / max(1, len(facts)) for facts in stated]
    return pool[int(np.argmax(means))] if pool else None


def unanimous(rows: Sequence[Row], scene: Scene) -> Row | None:
    """The first one where all of the clip's blind candidates were accepted; the other clips are dropped."""
    pool = accepted_blind(rows)
    return pool[0] if pool and len(pool) == sum(not row["hinted"] for row in rows) else None


def best(rows: Sequence[Row], scene: Scene) -> Row | None:
    """The accepted one of highest precision, by the scene's facts: no rule among the accepted can do better."""
    right = {row["text"]: grounding(row["text"], scene).precision or 0.0 for row in rows}
    return max(accepted_blind(rows), key=lambda row: right[row["text"]], default=None)


CHOICES: dict[str, Choice] = {
    "first blind": first_blind,
    "agreed facts": agreed_facts,
    "unanimous": unanimous,
    "best": best,
}


def counts(row: Row | None, scene: Scene, rules: RuleSet) -> np.ndarray:
    """(KINDS, 3): right, stated and true facts of a rationale; zeros where there is none."""
    if row is None:
        return np.zeros((len(KINDS), 3))
    stated, true = stated_facts(row["text"], len(scene.objects)), true_facts(scene)
    comparisons = counted(stated_comparisons(row["text"]), true_comparisons(scene, rules))
    own = [counted(stated, true), *(counted(stated, true, attribute) for attribute in ATTRIBUTES), comparisons]
    return np.array(own, float)


def chosen_counts(candidates: Mapping[str, Sequence[Row]], world: World, choice: Choice) -> np.ndarray:
    """(clips, KINDS, 3): `counts` of one rationale of each clip of the world; zeros of a clip that has none."""
    return np.stack(
        [counts(choice(candidates.get(name, ()), scene), scene, world.rules) for name, scene in world.scenes.items()]
    )


def shares(sums: np.ndarray) -> np.ndarray:
    """Precision and recall (..., 2) of sums of right, stated and true facts (..., 3); nan of nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., :1] / sums[..., 1:]


def finite(value: float) -> float | None:
    """For JSON, which knows no nan."""
    return float(value) if np.isfinite(value) else None


def told(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def span(limits: Sequence[float | None]) -> str:
    return "-" if None in limits else " to ".join(told(limit, "+.3f") for limit in limits)


def compared_counts(
    a: np.ndarray, b: np.ndarray, groups: Sequence[str | None], seed: int, resamples: int
) -> dict[str, Any]:
    """{kind: {precision, recall: a, b, difference b - a, interval}}; every resample holds the same clips for a and b."""
    index = group_indices(groups, len(a))
    points = [shares(each.sum(axis=0)) for each in (a, b)]
    flat = [each.reshape(len(a), -1) for each in (a, b)]
    drawn = [shares(sums.reshape(-1, *a.shape[1:])) for sums in resampled_sums(flat, index, seed, resamples)]
    found: dict[str, Any] = {}
    for place, kind in enumerate(KINDS):
        found[kind] = {}
        for at, score in enumerate(SCORES):
            one, other = (each[place, at] for each in points)
            differences = (drawn[1] - drawn[0])[:, place, at]
            limits = interval(differences, defined=bool(np.isfinite(differences).all()))
            found[kind][score] = {
                **{"a": finite(one), "b": finite(other), "difference": finite(other - one)},
                "interval": limits,
            }
    return found


def comparison(
    candidates: Mapping[str, Sequence[Row]], world: World, a: Choice, b: Choice, seed: int, resamples: int
) -> dict[str, Any]:
    """One way to choose against another: on the clips for which both choose one (paired), and on all (each on its own)."""
    one, other = (chosen_counts(candidates, world, choice) for choice in (a, b))
    groups = list(world.groups.values())
    both = (one[:, 0, 2] > 0) & (other[:, 0, 2] > 0)
    kept_groups = [group for group, chosen in zip(groups, both, strict=True) if chosen]
    found: dict[str, Any] = {"clips": len(both), "paired_clips": int(both.sum())}
    if both.any():
        found["paired"] = compared_counts(one[both], other[both], kept_groups, seed, resamples)
        found["all"] = compared_counts(one, other, groups, seed, resamples)
    return found


def verdict_scores(candidates: Mapping[str, Sequence[Row]], world: World) -> dict[str, Any]:
    """Precision and recall by attribute of all candidates: accepted and rejected, blind and hinted."""
    sums: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for name, scene in world.scenes.items():
        for row in candidates.get(name, ()):
            key = f"{'accepted' if row['accepted'] else 'rejected'}, {'hinted' if row['hinted'] else 'blind'}"
            sums[key] = sums.get(key, 0) + counts(row, scene, world.rules)
            sizes[key] = sizes.get(key, 0) + 1
    return {
        key: {
            "rationales": sizes[key],
            **{
                kind: dict(zip(SCORES, map(finite, values), strict=True))
                for kind, values in zip(KINDS, shares(own), strict=True)
            },
        }
        for key, own in sorted(sums.items())
    }


def print_comparison(found: Mapping[str, Any], names: tuple[str, str]) -> None:
    """For people, on standard error."""
    console = Console(stderr=True, width=120)
    for part, clips in (("paired", found["paired_clips"]), ("all", found["clips"])):
        table = Table(title=f"{part}: {clips} clips")
        for column in ("", "score", *names, "difference", "95 %"):
            table.add_column(column, justify="left" if column in ("", "score") else "right")
        for kind, scores in found.get(part, {}).items():
            for score, own in scores.items():
                values = [told(own["a"]), told(own["b"]), told(own["difference"], "+.3f")]
                table.add_row(kind, score, *values, span(own["interval"]))
        console.print(table)


def print_choices(choices: Mapping[str, Any]) -> None:
    """Precision and recall of each way to choose, and the differences from ungated, on standard error."""
    table = Table(title="other choices; differences from ungated on the same clips and on all")
    for column in ("", "clips", *SCORES, "precision, paired", "recall, paired", "precision, all", "recall, all"):
        table.add_column(column, justify="right" if column else "left")
    for name, found in choices.items():
        if "all" not in found:
            continue
        own = [told(found["all"]["facts"][score]["b"]) for score in SCORES]
        parts = [span(found[part]["facts"][score]["interval"]) for part in ("paired", "all") for score in SCORES]
        table.add_row(name, str(found["paired_clips"]), *own, *parts)
    Console(stderr=True, width=140).print(table)


def print_verdicts(verdicts: Mapping[str, Any]) -> None:
    """Precision of every kind of fact by verdict, on standard error."""
    table = Table(title="precision of all candidates")
    for column in ("", "rationales", *KINDS):
        table.add_column(column, justify="right" if column else "left")
    for key, own in verdicts.items():
        table.add_row(key, str(own["rationales"]), *(told(own[kind]["precision"]) for kind in KINDS))
    Console(stderr=True, width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", help="'demo' or a YAML file of a demo run; or the directory of its rationalize step")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="KEY.PATH=VALUE over the file")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    arguments = parser.parse_args()
    source = arguments.source
    if not (Path(source) / DONE_FILE).is_file():
        source = rationalized(source, arguments.overrides)
    candidates, world = by_clip(source), read_world(Path(source))
    found = comparison(candidates, world, ungated, gated, 0, arguments.resamples)
    choices = {
        name: comparison(candidates, world, ungated, choice, 0, arguments.resamples) for name, choice in CHOICES.items()
    }
    verdicts = verdict_scores(candidates, world)
    print_comparison(found, ("ungated", "gated"))
    print_choices(choices)
    print_verdicts(verdicts)
    json.dump({"step": source, **found, "choices": choices, "verdicts": verdicts}, sys.stdout)
    print()


if __name__ == "__main__":
    main()
