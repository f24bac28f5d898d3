"""The world: determinism, counterfactual pairs, no single telling fact, files that other tools read."""

import csv
import filecmp
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from rbft_ray.demo.grammar import DOMAIN_RELATION_PAIRS, GENERAL_RELATION_PAIRS, is_domain_name, make_domain
from rbft_ray.demo.language import caption, reasoning, stated_objects
from rbft_ray.demo.lessons import drawn_case
from rbft_ray.demo.render import GENERAL, mp4_bytes, render_frames
from rbft_ray.demo.scenes import Scene, random_scene
from rbft_ray.demo.world import domain_task, draw_split, write_world

DOMAIN_SEED = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("world")
    write_world(
        out_dir,
        domain_seed=DOMAIN_SEED,
        train_per_class=[6, 2, 2, 2],
        val_per_class=1,
        test_per_class=2,
        processes=1,
    )
    return out_dir


def manifest(out_dir: Path) -> list[dict[str, str]]:
    with (out_dir / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_same_arguments_give_the_same_bytes(world: Path, tmp_path: Path) -> None:
    write_world(
        tmp_path, domain_seed=DOMAIN_SEED, train_per_class=[6, 2, 2, 2], val_per_class=1, test_per_class=2, processes=2
    )
    names = [path.relative_to(world) for path in world.rglob("*") if path.is_file()]
    assert len(names) == 24 + 3
    _, different, missing = filecmp.cmpfiles(world, tmp_path, [str(name) for name in names], shallow=False)
    assert not different and not missing


def test_manifest_has_the_counts_asked_for(world: Path) -> None:
    rows = manifest(world)
    labels = json.loads((world / "task.json").read_text())["labels"]
    train = [sum(row["split"] == "train" and row["label"] == label for row in rows) for label in labels]
    assert train == [6, 2, 2, 2]
    assert sum(row["split"] == "test" for row in rows) == 8
    assert all((world / row["path"]).is_file() for row in rows)


def test_clips_decode_with_decord(world: Path) -> None:
    decord = pytest.importorskip("decord")
    reader = decord.VideoReader(str(world / manifest(world)[0]["path"]))
    assert reader.get_batch(range(len(reader))).shape == (32, 84, 84, 3)
    assert reader.get_avg_fps() == pytest.approx(8.0)


def test_task_json_is_the_domain_task(world: Path) -> None:
    content, task = json.loads((world / "task.json").read_text()), domain_task(DOMAIN_SEED)
    assert content == {
        "labels": list(task.labels),
        "definitions": dict(task.definitions),
        "role": task.role,
        "guidance": task.guidance,
    }
    assert all(len(sentence.split()) <= 25 for sentence in task.definitions.values())


@pytest.mark.parametrize("seed", range(4))
def test_pairs_differ_in_class_and_in_one_fact_or_order(seed: int) -> None:
    clips = draw_split(make_domain(seed), "train", [40, 40, 40, 40], seed=0)
    groups = defaultdict(list)
    for clip in clips:
        groups[clip.group].append(clip)
    pairs = [group for group in groups.values() if len(group) == 2]
    assert len(pairs) > 60
    for one, other in pairs:
        assert one.label != other.label
        changed = [
            (getattr(a, name), getattr(b, name))
            for a, b in zip(one.scene.objects, other.scene.objects, strict=True)
            for name in ("colour", "shape", "actions")
            if getattr(a, name) != getattr(b, name)
        ]
        assert len(changed) == 1
        before, after = changed[0]
        if isinstance(before, tuple):
            assert before == after[::-1] or sum(a != b for a, b in zip(before, after, strict=True)) == 1


def single_facts(scene: Scene) -> dict[str, str]:
    left, right = scene.objects
    return {
        f"{place} {name}": value
        for place, thing in (("left", left), ("right", right))
        for name, value in (
            ("colour", thing.colour),
            ("shape", thing.shape),
            ("first", thing.actions[0]),
            ("second", thing.actions[1]),
            ("size", str(int(thing.radius_px // 2))),
            ("height", str(int(thing.y_px // 14))),
        )
    }


@pytest.mark.parametrize("seed", range(6))
def test_no_single_fact_predicts_the_class(seed: int) -> None:
    """The best prediction from one fact (a linear probe on its one-hot code), fitted on one half, fails."""
    clips = draw_split(make_domain(seed), "test", [1000] * 4, seed=0)
    facts = [single_facts(clip.scene) for clip in clips]
    half = np.arange(len(clips)) % 4 < 2  # pairs stay together
    for name in facts[0]:
        counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for clip, fact, fitted in zip(clips, facts, half, strict=True):
            if fitted:
                counts[fact[name]][clip.label] += 1
        best = {value: max(of_value, key=lambda label: of_value[label]) for value, of_value in counts.items()}
        tested = [(clip, fact) for clip, fact, fitted in zip(clips, facts, half, strict=True) if not fitted]
        held_out = [best.get(fact[name]) == clip.label for clip, fact in tested]
        assert np.mean(held_out) <= 0.25 + 0.05, name


def test_domain_rules_and_names_are_not_in_the_general_world() -> None:
    assert not set(DOMAIN_RELATION_PAIRS) & set(GENERAL_RELATION_PAIRS)
    assert all(is_domain_name(label) for seed in range(20) for label in make_domain(seed).labels)
    rng = np.random.default_rng(0)
    assert not any(is_domain_name(label) for _ in range(50) for label in drawn_case(rng)[1].labels)


def test_captions_say_all_facts_and_are_read_back() -> None:
    rng = np.random.default_rng(1)
    for number in range(90):
        scene = random_scene(rng, 1 + number % 3)
        facts = [(thing.colour, thing.shape, thing.actions) for thing in scene.objects]
        assert stated_objects(caption(scene, number % 3)) == facts
    scene, rules, _, _ = drawn_case(rng)
    assert len(stated_objects(reasoning(scene, rules))) == 2


def test_rendering_and_encoding_are_deterministic() -> None:
    scene = random_scene(np.random.default_rng(2), 2)
    look = make_domain(DOMAIN_SEED).look
    one, other = (render_frames(scene, np.random.default_rng(5), look) for _ in range(2))
    assert np.array_equal(one, other)
    assert mp4_bytes(one) == mp4_bytes(other)
    assert render_frames(scene, np.random.default_rng(5), GENERAL).shape == (32, 84, 84, 3)
