"""An experiment's runs: what they share, and what sets an arm apart."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rbft_ray.core.errors import ConfigError, DataError
from rbft_ray.core.experiment import RunScore, paired_runs, protocol_sha, scores_by_world
from rbft_ray.pipeline.experiment import (
    CURVES_FILE,
    RESULTS_FILE,
    _scores,
    clip_steps,
    rationale_steps,
    run_experiment,
    run_plan,
    runs_of,
)
from rbft_ray.pipeline.experiment_runs import RUNS_FILE, Run, read_runs
from rbft_ray.pipeline.protocol import ARMS, read_protocol, run_config
from rbft_ray.pipeline.reporting.gains import learning_curves, print_results
from rbft_ray.pipeline.runner import step_dir
from rbft_ray.pipeline.settings import dump_config

ROOT = Path(__file__).parents[2]
PROTOCOLS, RESULTS = ROOT / "jobs" / "protocols", ROOT / "docs" / "results"
PROTOCOL = """
name: small
worlds: [0, 1]
seeds: [0, 1]
budgets: [4, 8]
arms: [direct_sft, direct_sft_same_steps, rb_ft_gated, rb_ft_shuffled, rb_ft_captions, rb_ft_oracle]
comparisons: [[rb_ft_gated, direct_sft_same_steps]]
hypotheses: [4]
val_per_class: 2
test_per_class: 5
config:
  train: {stage1: {epochs: 2}, stage2: {epochs: 3, patience: null}}
"""


@pytest.fixture
def protocol(tmp_path):
    (tmp_path / "small.yaml").write_text(PROTOCOL)
    return read_protocol(str(tmp_path / "small.yaml"))


def step_ids(protocol, run):
    return {step.name: step.id for step in run_plan(run_config(protocol, run), run.arm).steps}


def test_every_arm_of_every_world_budget_and_seed_is_run_once(protocol):
    runs = list(runs_of(protocol))
    assert len(runs) == len(set(runs)) == 2 * 2 * 2 * 6


def test_arms_of_one_world_budget_and_seed_share_clips_and_rationales_and_differ_in_stage_1(protocol):
    plans = {arm: step_ids(protocol, Run(0, 4, 1, arm)) for arm in protocol.arms}
    assert len({ids["ingest"] for ids in plans.values()}) == 1
    assert len({ids["rationalize"] for arm, ids in plans.items() if arm != "direct_sft"}) == 1
    assert len({ids.get("train_stage1") for ids in plans.values()}) == len(protocol.arms)
    assert len({ids["train_labels"] for ids in plans.values()}) == len(protocol.arms)


def test_seeds_and_budgets_share_a_worlds_clips_and_nothing_that_is_learned(protocol):
    first, other_seed, other_budget, other_world = (
        step_ids(protocol, Run(*place, "rb_ft_gated")) for place in ((0, 4, 0), (0, 4, 1), (0, 8, 0), (1, 4, 0))
    )
    assert first["ingest"] == other_seed["ingest"] == other_budget["ingest"] != other_world["ingest"]
    assert (
        first["rationalize"] == other_seed["rationalize"] == other_budget["rationalize"] != other_world["rationalize"]
    )
    for name in ("train_stage1", "train_labels", "evaluate_arm"):
        assert len({ids[name] for ids in (first, other_seed, other_budget, other_world)}) == 4


def test_clips_and_rationales_of_a_world_come_first_and_once(protocol):
    runs = [run for run in runs_of(protocol) if run.world == 0]
    plans = [run_plan(run_config(protocol, run), run.arm) for run in runs]
    assert [step.name for step in clip_steps(plans)] == ["render", "ingest"]
    assert [step.name for step in rationale_steps(plans)] == ["rationalize"]


def test_no_arm_is_stopped_early_or_chosen_by_validation_labels(protocol):
    for arm in ARMS:
        config = run_config(protocol, Run(0, 4, 0, arm))
        assert config.train.stage2.validate_every_epochs is None
        assert "train_per_class: 4" in dump_config(config)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rb_ft_oracle]", "rb_ft_oracel]", "arms: rb_ft_oracel is unknown"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "seeds"),
        ("hypotheses", "hypothesis", r"hypothesis: unknown key.*A protocol has the keys name, worlds, seeds"),
        ("budgets: [4, 8]", "budgets: [four]", r"budgets\.0"),
        ("seeds: [0, 1]\n", "", r"seeds: Field required\. A protocol"),
        (
            "config:",
            "data: {manifest: mine.csv}\nconfig:",
            r"data: is of the runs' configuration; put it under `config:`",
        ),
        ("config:", "config:\n  seed: 3", r"config\.seed: an experiment sets it itself"),
        ("config:", "config:\n  rationalize: {mode: blind}", r"config\.rationalize\.mode"),
        ("config:", "config:\n  data: {demo: {val_per_class: 3}}", r"config\.data\.demo"),
    ],
)
def test_a_wrong_protocol_is_refused_by_name(tmp_path, old, new, message):
    (tmp_path / "wrong.yaml").write_text(PROTOCOL.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_protocol(str(tmp_path / "wrong.yaml"))


def test_splits_of_ones_own_videos_are_drawn_by_a_seed_of_ones_own(protocol, tmp_path):
    run = Run(0, 4, 1, "direct_sft")
    assert run_config(protocol, run).data.seed == 0
    other = read_protocol(str(tmp_path / "small.yaml"), ["data.seed=7"])
    assert run_config(other, run).data.seed == 7


def test_what_is_set_is_under_the_protocols_hash(tmp_path, protocol):
    source = str(tmp_path / "small.yaml")
    found = read_protocol(source, ["answer=reasoned", "rationalize.candidates=4"])
    config = run_config(found, Run(0, 4, 0, "direct_sft"), ["storage=elsewhere"])
    assert config.evaluate.reason_then_label and config.rationalize.candidates == 4 and config.storage == "elsewhere"
    assert config.train.stage1.epochs == 2
    shas = [protocol_sha(each) for each in (protocol, read_protocol(source, ["rationalize.candidates=4"]), found)]
    assert len(set(shas)) == 3
    with pytest.raises(ConfigError, match="rationalise"):
        run_config(read_protocol(source, ["rationalise.candidates=4"]), Run(0, 4, 0, "direct_sft"))


@pytest.mark.parametrize("source", sorted(PROTOCOLS.glob("*.yaml")), ids=lambda source: source.stem)
def test_committed_protocols_are_sound_and_committed_results_are_theirs(source):
    protocol = read_protocol(str(source))
    for run in runs_of(protocol):
        run_config(protocol, run)
    labels = [f"name={protocol.name}-labels", "answer=label"]
    for name, overrides in {source.stem: [], f"{source.stem}-labels": labels}.items():
        results = RESULTS / f"experiment-{name}.json"
        if results.exists():
            made = protocol_sha(read_protocol(str(source), overrides))
            assert json.loads(results.read_text())["protocol_sha"] == made


def test_committed_results_are_those_of_committed_runs_of_a_committed_protocol():
    protocols = map(read_protocol, map(str, PROTOCOLS.glob("*.yaml")))
    planned = {f"{each.name}-{protocol_sha(each)[:12]}": set(runs_of(each)) for each in protocols}
    for file in RESULTS.glob(f"*/{RUNS_FILE}"):
        done = read_runs(str(file.parent))
        assert set(done) == planned[file.parent.name]
        results = json.loads((RESULTS / f"experiment-{file.parent.name.rpartition('-')[0]}.json").read_text())
        for row in results["comparisons"]:
            runs = [score for scores in done.values() for score in scores if score.answer == row["answer"]]
            budget = tuple(row["budget"]) if isinstance(row["budget"], list) else row["budget"]
            gains = scores_by_world(paired_runs(runs, row["arm"], row["baseline"], budget))
            assert {str(world): pytest.approx(np.mean(of)) for world, of in gains.items()} == row["gain_by_world"]


def test_the_protocol_that_the_docs_show_is_one(tmp_path):
    text = (ROOT / "docs" / "experiments.md").read_text()
    (tmp_path / "question.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    shown = read_protocol(str(tmp_path / "question.yaml"))
    assert (shown.name, shown.manifest) == ("question", "videos.csv")
    run_config(shown, next(runs_of(shown)))
    assert [f"| {arm}" in text or f", {arm} |" in text for arm in ARMS] == [True] * len(ARMS)


def test_finished_runs_are_read_back(tmp_path):
    row = {
        "world": 0,
        "budget": 4,
        "seed": 1,
        "arm": "direct_sft",
        "gold": [0, 1],
        "answers": {"label": [1, -1], "reasoned": [0, 1]},
        "groups": [0, 1],
    }
    (tmp_path / RUNS_FILE).write_text(json.dumps(row) + "\n")
    ((run, scores),) = read_runs(str(tmp_path)).items()
    assert run == Run(0, 4, 1, "direct_sft") and all(isinstance(score, RunScore) for score in scores)
    assert [(score.answer, score.predicted.tolist()) for score in scores] == [("label", [1, -1]), ("reasoned", [0, 1])]
    np.testing.assert_array_equal(scores[1].gold, [0, 1])
    np.testing.assert_array_equal(scores[1].groups, [0, 1])
    assert read_runs(str(tmp_path / "nothing")) == {}


UNTRAINED = """
name: untrained
worlds: [3]
seeds: [0]
budgets: [1]
pool_per_class: 1
arms: [zero_shot, zero_shot_reasoned]
comparisons: [[zero_shot_reasoned, zero_shot]]
hypotheses: [1]
val_per_class: 1
test_per_class: 2
config:
  sampling: {num_frames: 4, max_pixels: 7056}
  evaluate: {max_rationale_tokens: 8}
"""


@pytest.mark.ray
def test_an_experiment_does_what_is_left_of_it_and_ends_with_the_same_results(ray_cluster, tmp_path, capsys):
    source, place = tmp_path / "untrained.yaml", [f"storage={tmp_path / 'runs'}"]
    source.write_text(UNTRAINED)
    results = run_experiment(str(source), place)
    sha = protocol_sha(read_protocol(str(source)))
    assert (results["protocol_sha"], results["n_pairs"], results["n_test"], results["missing"]) == (sha, 1, 8, [])
    (compared,) = results["comparisons"]
    assert compared["gain_macro_f1"] == 0.0  # bare labels of one and the same base
    assert compared["p_value"] is None  # seeds make no difference to them
    folder = tmp_path / "runs" / "experiments" / f"untrained-{sha[:12]}"
    runs, whole = folder / RUNS_FILE, (folder / RUNS_FILE).read_text()
    assert json.loads((folder / RESULTS_FILE).read_text()) == results and (folder / CURVES_FILE).exists()
    assert [json.loads(line)["arm"] for line in whole.splitlines()] == ["zero_shot", "zero_shot_reasoned"]
    capsys.readouterr()

    runs.write_text(whole.splitlines(keepends=True)[0])
    assert run_experiment(str(source), place) == results
    assert runs.read_text() == whole
    said = capsys.readouterr().out
    assert "1 of 2 runs are done" in said and "run 2 of 2" in said and "run 1 of 2" not in said

    assert run_experiment(str(source), place) == results
    assert "2 of 2 runs are done" in capsys.readouterr().out and runs.read_text() == whole


@pytest.fixture
def own_data(tmp_path, world):
    """A protocol on a user's own videos, which are in `videos/`."""
    shutil.copytree(world, tmp_path / "videos")
    text = UNTRAINED.replace("worlds: [3]\n", "").replace("[1]", "[4]").replace("pool_per_class: 1\n", "")
    source = tmp_path / "own.yaml"
    source.write_text(text + f"  data: {{manifest: {tmp_path / 'videos' / 'manifest.csv'}}}\n")
    return str(source)


@pytest.mark.ray
def test_an_experiment_on_ones_own_videos_has_their_clips_and_labels(ray_cluster, own_data, tmp_path):
    place = f"storage=local://{tmp_path / 'runs'}"  # by fsspec, as an object store
    results = run_experiment(own_data, [place])
    assert (results["worlds"], results["n_pairs"], results["n_test"], results["missing"]) == ([0], 1, 8, [])
    with pytest.raises(DataError, match=r"5 training clips of .* are asked for, there are 4"):
        run_experiment(own_data, [place, "budgets=[5]", "hypotheses=[5]"])
    (done,) = {file.parent for file in (tmp_path / "runs" / "experiments").glob(f"*/{RUNS_FILE}")}
    protocol = read_protocol(own_data)
    run = Run(0, 4, 0, "zero_shot")
    plan, root = run_plan(run_config(protocol, run, [place]), run.arm), f"local://{tmp_path / 'runs'}"
    predictions = Path(step_dir(str(tmp_path / "runs"), plan.steps[-1]), "predictions.parquet")
    whole = pq.read_table(predictions)
    lost = whole.filter(pc.equal(whole["split"], "test"))["id"].to_pylist()[0]
    pq.write_table(whole.filter(pc.not_equal(whole["id"], lost)), predictions)
    before, (after,) = read_runs(str(done))[run][0], _scores(run, plan, root)
    assert after.gold.tolist() == before.gold.tolist() and len(after.gold) == 8
    assert (after.predicted != before.predicted).sum() == (after.predicted == -1).sum() == 1  # lost is an error
    pq.write_table(whole, predictions)
    manifest = tmp_path / "videos" / "manifest.csv"
    first, clip, *others = manifest.read_text().splitlines()
    manifest.write_text("\n".join([first, *others, clip]))  # in another order it is the same data set
    assert run_experiment(own_data, [place]) == results
    label = first.split(",").index("label")
    of_one = others[-1].split(",")[label]
    without = [line for line in [clip, *others] if "test" not in line or line.split(",")[label] != of_one]
    manifest.write_text("\n".join([first, *without]))
    with pytest.raises(DataError, match=f"{of_one}.* has no test clip"):
        run_experiment(own_data, [place, "name=without"])
    manifest.write_text("\n".join([first, *others]))
    with pytest.raises(DataError, match="the data, the base or rbft-ray itself changed since"):
        run_experiment(own_data, [place])


def test_own_videos_are_drawn_from_by_every_seed_and_take_no_world(own_data):
    protocol = read_protocol(own_data, ["seeds=[0,1]", "arms=[rb_ft_gated,zero_shot]", "comparisons=[]"])
    plans = [step_ids(protocol, run) for run in runs_of(protocol) if run.arm == "rb_ft_gated"]
    assert list(plans[0]) == ["ingest", "rationalize", "train_stage1", "train_labels", "evaluate_arm"]
    shared = [name for name in plans[0] if plans[0][name] == plans[1][name]]
    assert shared == ["ingest", "rationalize"]
    with pytest.raises(ConfigError, match=r"worlds: data\.manifest is one data set"):
        read_protocol(own_data, ["worlds=[0,1]"])
    with pytest.raises(ConfigError, match="rb_ft_oracle learns the facts of a demo world"):
        read_protocol(own_data, ["arms=[rb_ft_oracle,zero_shot]", "comparisons=[]"])


def test_the_table_has_every_figure_in_its_column_and_fits_80(capsys, monkeypatch):
    arm = {"arm": "rb_ft_gated", "budget": 16, "macro_f1": None, "ci95": [None, None], "answer": "label"}
    row = {"arm": "rb_ft_gated", "baseline": "direct_sft_same_steps", "budget": 8, "gain_macro_f1": -0.01}
    row |= {"answer": "label"}
    row |= {"ci95": [-0.02, 0.03], "ci95_worlds": [-0.06, -0.07], "p_value": 0.04, "p_adjusted": None}
    row |= {"detectable_gain": 0.05}
    monkeypatch.setenv("COLUMNS", "80")
    reasoned = arm | {"answer": "reasoned", "macro_f1": 0.5, "ci95": [0.4, 0.6]}
    recalls = [{"train_clips": n, "classes": 4, "recall_gain": gain} for n, gain in ((2, 0.25), (9, -0.125))]
    uneven = row | {"budget": [9, 2], "recall_gains": recalls}
    print_results({"arms": [arm, reasoned], "comparisons": [row, uneven], "n_pairs": 4, "n_test": 8})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    found = [line.split() for line in lines]
    assert ["rb_ft_gated", "16", "–"] in found and ["rb_ft_gated", "16", "0.500", "0.400", "to", "0.600"] in found
    assert ["rb_ft_gated", "8", "-0.010", "-0.020", "to", "0.030", "0.040", "0.050"] in found
    assert ["-", "direct_sft_same_steps", "(-0.060", "to", "-0.070)", "(–)"] in found
    assert ["rb_ft_gated", "9/2", "2", "4", "0.250"] in found
    assert ["9", "4", "-0.125"] in found


def test_learning_curves_show_every_arm_with_even_budgets():
    rows = [
        {"arm": arm, "budget": budget, "macro_f1": 0.5, "ci95": [0.4, 0.6], "answer": answer}
        for answer in ("label", "reasoned")
        for arm in ("direct_sft", "rb_ft_gated")
        for budget in (4, 16, [9, 3])
    ]
    found = ElementTree.fromstring(learning_curves({"arms": rows, "protocol_sha": "0"}))
    said = ["".join(text.itertext()) for text in found.iter("{http://www.w3.org/2000/svg}text")]
    assert {"direct_sft", "rb_ft_gated", "4", "16", "training clips per class"} <= set(said)
    assert {"bare label", "answer after a rationale"} <= set(said) and said.count("direct_sft") == 1
    ElementTree.fromstring(learning_curves({"arms": [], "protocol_sha": "0"}))


def test_each_label_is_rare_under_some_seed_of_an_uneven_budget(tmp_path):
    (tmp_path / "uneven.yaml").write_text(PROTOCOL.replace("[4, 8]", "[4, [8, 4, 4, 2]]"))
    uneven = read_protocol(str(tmp_path / "uneven.yaml"))
    counts = [run_config(uneven, Run(0, (8, 4, 4, 2), seed, "direct_sft")).data.train_per_class for seed in range(4)]
    assert counts == [(8, 4, 4, 2), (4, 4, 2, 8), (4, 2, 8, 4), (2, 8, 4, 4)]
    assert {run.budget for run in runs_of(uneven)} == {4, (8, 4, 4, 2)}


def test_answers_after_a_rationale_are_asked_for_where_they_are_compared(protocol):
    run = Run(0, 4, 0, "rb_ft_gated")
    bare, reasoned = (
        run_plan(run_config(protocol.model_copy(update={"answer": answer}), run), run.arm)
        for answer in ("label", "reasoned")
    )
    assert [step.id for step in bare.steps[:-1]] == [step.id for step in reasoned.steps[:-1]]
    assert (bare.steps[-1].name, reasoned.steps[-1].name) == ("evaluate_arm", "evaluate_reasoned")
