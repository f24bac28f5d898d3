"""Rationales with planted faults, to measure a gate on: `python benchmarks/gate/faults.py --out DIR` writes its halves.

A gate is scored once on a half that was written without sight of it; the devs have been, and are for tuning. Each has sentences,
languages and demo domains of its own.
"""

import argparse
import json
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from english import english_domains
from planting import FAULTS, World, finished
from rendered import rendered_domains
from wording import HALVES, dealt

FAULTY = {"english": 15, "demo": 4}  # rows of each fault per domain and half
SOUND = {"english": 110, "demo": 29}  # plain sound rows per domain and half
HARD = {"english": 55, "demo": 15}  # hard negatives per domain and half
_TRIES = 200

Draw = Callable[[np.random.Generator, World, str], tuple[str | None, str]]


def _rng(seed: int, *keys: str) -> np.random.Generator:
    """Depends on its keys alone: a new fault or domain leaves the other rows as they are."""
    return np.random.default_rng([seed, *(zlib.crc32(key.encode()) for key in keys)])


def sound(rng: np.random.Generator, world: World, label: str) -> tuple[None, str]:
    return None, finished(rng, world, world.sound(rng, label), label)


def hard(kind: str) -> Draw:
    """Draws hard negatives of one kind."""
    return lambda rng, world, label: (kind, finished(rng, world, world.hard(rng, label, kind), label))


def drawn(seed: int, world: World, fault: str | None, name: str, count: int, draw: Draw) -> list[dict[str, Any]]:
    """`count` rows of different texts, about equally many of each class.

    Raises:
        RuntimeError: the pools do not have so many different texts.
    """
    rng = _rng(seed, HALVES[world.half].key, world.name, name)
    rows: dict[str, dict[str, Any]] = {}
    for label in dealt(rng, world.labels, count):
        for _ in range(_TRIES):
            variant, text = draw(rng, world, label)
            if text not in rows:
                break
        else:
            raise RuntimeError(f"{world.name}, {world.half}, {name}: no more than {len(rows)} different texts")
        rows[text] = {"label": label, "text": text, "fault": fault, "variant": variant}
    return list(rows.values())


def domain_rows(world: World, seed: int) -> list[dict[str, Any]]:
    """All the rows of one domain and half, in random order."""
    size = "demo" if world.name.startswith("demo") else "english"
    rows = drawn(seed, world, None, "sound", SOUND[size], sound)
    for i, kind in enumerate(world.hard_kinds):
        count = len(range(i, HARD[size], len(world.hard_kinds)))
        rows += drawn(seed, world, None, kind, count, hard(kind))
    for fault, plant in FAULTS.items():
        rows += drawn(seed, world, fault, fault, FAULTY[size], plant)
    task = {"labels": list(world.labels), "definitions": world.definitions, "cues": world.cues}
    order = _rng(seed, HALVES[world.half].key, world.name).permutation(len(rows))
    return [
        {"id": f"{world.half}-{world.name}-{i:03d}", "domain": world.name, **task, **rows[at], "half": world.half}
        for i, at in enumerate(order)
    ]


def half_rows(half: str, seed: int) -> list[dict[str, Any]]:
    """All the rows of one half."""
    worlds: list[World] = [*english_domains(half), *rendered_domains(half)]
    return [row for world in worlds for row in domain_rows(world, seed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory for the files, a .jsonl for each half")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for half in HALVES:
        rows = half_rows(half, arguments.seed)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (arguments.out / f"{half}.jsonl").write_text("".join(lines), encoding="utf-8")
        kinds = Counter(row["fault"] or ("hard negative" if row["variant"] else "plain sound") for row in rows)
        print(json.dumps({"half": half, "rows": len(rows), **dict(sorted(kinds.items()))}))


if __name__ == "__main__":
    main()
