"""A domain on disk as an ordinary data set: `manifest.csv`, `videos/*.mp4`, `facts.jsonl`, `task.json`."""

import csv
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from rbft_ray.core.prompts import Task, rationale_text
from rbft_ray.demo.grammar import Domain, make_domain, scene_of_class
from rbft_ray.demo.language import reasoning, rule_task
from rbft_ray.demo.render import render_frames, write_mp4
from rbft_ray.demo.scenes import Scene, scene_facts, scene_of, with_fact
from rbft_ray.io import storage

GUIDANCE = "Each object acts twice: first and second."
MANIFEST_COLUMNS = ("id", "path", "label", "split", "group")
SPLITS = ("train", "validation", "test")
_PAIR_TRIES = 20


@dataclass(frozen=True)
class Clip:
    """One clip of a data set. `group` is shared by the two of a counterfactual pair; `look_seed` draws the pixels."""

    id: str
    label: str
    split: str
    group: str
    look_seed: tuple[int, ...]
    scene: Scene

    @property
    def path(self) -> str:
        return f"videos/{self.id}.mp4"


def domain_task(domain_seed: int) -> Task:
    """The classification task of a domain, as its prompts state it."""
    domain = make_domain(domain_seed)
    return rule_task(domain.rules, domain.labels, guidance=GUIDANCE)


def true_rationales(domain_seed: int, folder: str) -> dict[str, str]:
    """{clip id: rationale from the true facts} of a data set that `write_world` wrote: what no model can improve on."""
    domain = make_domain(domain_seed)
    lines = map(json.loads, storage.read_bytes(storage.join(folder, "facts.jsonl")).decode().splitlines())
    return {row["id"]: rationale_text(reasoning(scene_of(row), domain.rules), row["label"]) for row in lines}


def counterfactual(rng: np.random.Generator, domain: Domain, scene: Scene) -> Scene:
    """The scene with one fact of one object changed, or with the order of its two actions reversed."""
    index = int(rng.integers(len(scene.objects)))
    thing = scene.objects[index]
    change = rng.choice(["colour", "shape", "action", "order"])
    if change == "order":
        return with_fact(rng, scene, index, actions=thing.actions[::-1])
    if change == "action":
        actions = list(thing.actions)
        actions[rng.integers(len(actions))] = str(rng.choice(domain.actions))
        return with_fact(rng, scene, index, actions=tuple(actions))
    return with_fact(rng, scene, index, **{change: str(rng.choice(getattr(domain, change + "s")))})


def _partner(
    rng: np.random.Generator, domain: Domain, scene: Scene, still_needed: dict[str, int]
) -> tuple[Scene, str] | None:
    """A counterfactual of another class of which clips are still needed, with its label; None if none was found."""
    own = domain.rules.label(scene)
    for _ in range(_PAIR_TRIES):
        other = counterfactual(rng, domain, scene)
        label = domain.rules.label(other)
        if label != own and still_needed[label]:
            return other, label
    return None


def draw_split(domain: Domain, split: str, per_class: Sequence[int], seed: int) -> list[Clip]:
    """The clips of one split, in random order of the classes, as counterfactual pairs where the counts allow it.

    Args:
        per_class: number of clips of each class, in the order of the domain's labels.

    Raises:
        ValueError: `per_class` has not one number of at least 0 per class.
    """
    if len(per_class) != len(domain.labels) or min(per_class) < 0:
        raise ValueError(f"one count of at least 0 per class is needed, for {len(domain.labels)} classes: {per_class}")
    entropy = (domain.seed, seed, SPLITS.index(split), 7004)
    rng = np.random.default_rng(entropy)
    needed = dict(zip(domain.labels, per_class, strict=True))
    clips: list[Clip] = []
    group = 0
    while any(needed.values()):
        label = max(needed, key=lambda name: (needed[name], rng.random()))
        scene = scene_of_class(rng, domain.rules, label, domain.colours, domain.shapes, domain.actions)
        needed[label] -= 1
        pair = [(scene, label)]
        partner = _partner(rng, domain, scene, needed)
        if partner is not None:
            needed[partner[1]] -= 1
            pair.append(partner)
        for one, its_label in pair:
            name = f"{split}-{len(clips):05d}"
            clips.append(Clip(name, its_label, split, f"{split}-g{group:05d}", (*entropy, group), one))
        group += 1
    return clips


def draw_world(
    domain: Domain, train_per_class: Sequence[int], val_per_class: int, test_per_class: int, seed: int
) -> list[Clip]:
    """The clips of all splits, as `write_world` renders them.

    Raises:
        ValueError: `train_per_class` has not one number of at least 0 per class.
    """
    counts = {"train": train_per_class}
    counts |= {"validation": [val_per_class] * len(domain.labels), "test": [test_per_class] * len(domain.labels)}
    return [clip for split in SPLITS for clip in draw_split(domain, split, counts[split], seed)]


def _write_clips(out_dir: Path, domain: Domain, clips: list[Clip]) -> None:
    for clip in clips:
        frames = render_frames(clip.scene, np.random.default_rng(clip.look_seed), domain.look)
        write_mp4(out_dir / clip.path, frames, domain.crf)


def _rows(clips: list[Clip]) -> Iterator[dict[str, str]]:
    for clip in clips:
        yield {name: getattr(clip, name) for name in MANIFEST_COLUMNS}


def write_world(
    out_dir: Path,
    *,
    domain_seed: int,
    train_per_class: Sequence[int],
    val_per_class: int,
    test_per_class: int,
    seed: int = 0,
    processes: int = 2,
) -> None:
    """Renders a data set of the domain into `out_dir`; the same arguments give the same bytes.

    `manifest.csv` has the columns id, path (relative to it), label, split (train, validation or test) and group (shared
    by the two clips of a counterfactual pair). `facts.jsonl` has a line of facts per clip; `task.json` the labels,
    definitions, role and guidance.

    Args:
        train_per_class: training clips of each class, in the order of the labels.
        processes: how many render at a time; the result does not depend on it.

    Raises:
        ValueError: `train_per_class` has not one number of at least 0 per class.
    """
    domain, task = make_domain(domain_seed), domain_task(domain_seed)
    clips = draw_world(domain, train_per_class, val_per_class, test_per_class, seed)
    (out_dir / "videos").mkdir(parents=True, exist_ok=True)
    if processes > 1:
        parts = [clips[start::processes] for start in range(processes)]
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            list(pool.map(_write_clips, [out_dir] * processes, [domain] * processes, parts))
    else:
        _write_clips(out_dir, domain, clips)
    with (out_dir / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, MANIFEST_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(clips))
    lines = (json.dumps({"id": clip.id, "label": clip.label} | scene_facts(clip.scene)) for clip in clips)
    (out_dir / "facts.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    content = {
        "labels": list(task.labels),
        "definitions": dict(task.definitions),
        "role": task.role,
        "guidance": task.guidance,
    }
    (out_dir / "task.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
