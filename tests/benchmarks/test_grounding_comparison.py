"""`benchmarks/grounding.py`: what is compared with what, on clips whose facts are known."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rbft_ray.core.schema import CANDIDATES, CLIPS
from rbft_ray.demo.grammar import make_domain
from rbft_ray.demo.language import caption
from rbft_ray.demo.scenes import Scene, random_scene, scene_facts
from rbft_ray.io import storage

SCENES = {f"c{number}": random_scene(np.random.default_rng(number), 2) for number in range(8)}


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "grounding.py"
    spec = importlib.util.spec_from_file_location("grounding_benchmark", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(text: str, number: int = 0, **values: Any) -> dict[str, Any]:
    return {"candidate": number, "hinted": False, "text": text, "accepted": True, "kept": False, **values}


def left_only(scene: Scene) -> str:
    return caption(scene).split(". ")[0] + "."


def world(benchmark: ModuleType) -> Any:
    groups = {name: f"g{number // 2}" for number, name in enumerate(SCENES)}
    return benchmark.World(SCENES, groups, make_domain(100).rules)


def test_a_gate_that_keeps_the_whole_truth_gains_recall_on_the_clips_that_it_keeps(benchmark: ModuleType) -> None:
    candidates = {
        name: [row(left_only(scene)), row(caption(scene), 1, kept=name != "c7")] for name, scene in SCENES.items()
    }
    found = benchmark.comparison(candidates, world(benchmark), benchmark.ungated, benchmark.gated, 0, 200)
    assert (found["clips"], found["paired_clips"]) == (8, 7)
    for part in ("paired", "all"):
        facts = found[part]["facts"]
        assert facts["recall"] == {"a": 0.5, "b": 1.0, "difference": 0.5, "interval": [0.5, 0.5]}
        assert facts["precision"]["difference"] == 0.0
    unstated = found["paired"]["comparison"]["precision"]
    assert unstated == {"a": None, "b": None, "difference": None, "interval": [None, None]}
    benchmark.print_comparison(found, ("ungated", "gated"))
    json.dumps(found, allow_nan=False)


def test_pairs_hold_the_same_clips(benchmark: ModuleType) -> None:
    """The gate changes nothing and drops the clips on which the first rationale is wrong: a gain on all, none in pairs."""
    others = list(SCENES.values())
    candidates = {
        name: [row(caption(scene if number < 4 else others[number - 4]), kept=number < 4)]
        for number, (name, scene) in enumerate(SCENES.items())
    }
    found = benchmark.comparison(candidates, world(benchmark), benchmark.ungated, benchmark.gated, 0, 200)
    assert found["paired_clips"] == 4
    assert found["paired"]["facts"]["precision"]["difference"] == 0.0
    assert found["all"]["facts"]["precision"]["difference"] > 0.1


def test_choices(benchmark: ModuleType) -> None:
    scene, other = SCENES["c0"], SCENES["c1"]
    wrong, half, right = caption(other), left_only(scene) + " " + caption(other).split(". ")[1], caption(scene)
    rows = [
        row(wrong, 0, accepted=False),
        row(half, 1),
        row(right, 2),
        row(caption(scene, 1), 3),
        row(half, 4),
        row(caption(scene, 2), 5),
        row(right, 0, hinted=True, kept=True),
    ]
    assert benchmark.ungated(rows, scene) is rows[0]
    assert benchmark.gated(rows, scene) is rows[6]
    assert benchmark.first_blind(rows, scene) is rows[1]
    assert benchmark.agreed_facts(rows, scene) is rows[2]  # three wordings of the same facts against two
    assert benchmark.best(rows, scene) is rows[2]
    assert benchmark.unanimous(rows, scene) is None
    assert benchmark.unanimous(rows[1:], scene) is rows[1]
    assert [choice((), scene) for choice in benchmark.CHOICES.values()] == [None] * len(benchmark.CHOICES)


def test_verdicts_are_scored_apart(benchmark: ModuleType) -> None:
    candidates = {
        "c0": [row(caption(SCENES["c0"])), row(left_only(SCENES["c0"]), 1, accepted=False)],
        "c1": [row(caption(SCENES["c1"]), hinted=True)],
    }
    found = benchmark.verdict_scores(candidates, world(benchmark))
    assert {name: own["rationales"] for name, own in found.items()} == {
        "accepted, blind": 1,
        "accepted, hinted": 1,
        "rejected, blind": 1,
    }
    assert found["rejected, blind"]["facts"] == {"precision": 1.0, "recall": 0.5}


def test_a_step_is_read_with_the_facts_of_its_clips(benchmark: ModuleType, tmp_path: Path) -> None:
    times = {"frames": [b""], "frame_times_sec": [0.0], "fps": 1.0, "duration_sec": 1.0, "source_fps": 1.0}
    clip = {"id": "c3", "label": "x", "split": "train", "group": "g", "video": "v", "source_frames": 1, "sampling": ""}
    clip |= {**times, "height_px": 1, "width_px": 1}
    rows = [
        {"id": "c3", "label": "x", "answer": "x", "reason": "", "detail": "", "prompt_hash": ""}
        | {"prompt_tokens": 1, "output_tokens": 1, **row(text, number, hinted=hinted)}
        for number, (text, hinted) in enumerate([("with hint", True), ("blind", False)])
    ]
    storage.write_table(str(tmp_path / "ingest-1/clips/00000.parquet"), [clip], CLIPS)
    storage.write_table(str(tmp_path / "rationalize-2/candidates/00000.parquet"), rows, CANDIDATES)
    storage.write_json(str(tmp_path / "rationalize-2/done.json"), {"inputs": {"ingest": "1"}})
    storage.write_json(str(tmp_path / "ingest-1/done.json"), {"inputs": {"render": "0"}})
    storage.write_json(str(tmp_path / "render-0/done.json"), {"config": {"world": {"domain_seed": 7}}})
    facts = [json.dumps({"id": name} | scene_facts(scene)) for name, scene in SCENES.items()]
    storage.write_bytes(str(tmp_path / "render-0/facts.jsonl"), "\n".join(facts).encode())
    read = benchmark.read_world(tmp_path / "rationalize-2")
    assert (read.scenes, read.groups, read.rules) == ({"c3": SCENES["c3"]}, {"c3": "g"}, make_domain(7).rules)
    assert [each["text"] for each in benchmark.by_clip(str(tmp_path / "rationalize-2"))["c3"]] == ["blind", "with hint"]
