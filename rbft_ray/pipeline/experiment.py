"""`rbft experiment`: the arms of a protocol over worlds (or one own data set), label budgets and seeds, as one resumable job.

Under the storage root: steps/ as of any run (shared by all runs that need the same step), and
    experiments/NAME-SHA/runs.jsonl    a line per finished run, with its answers to the test clips
    experiments/NAME-SHA/results.json  what `core.experiment.compare_arms` makes of them
    experiments/NAME-SHA/curves.svg    macro-F1 against the training clips per class
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from rbft_ray.core.bootstrap import group_indices
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.experiment import Answer, Protocol, RunScore, compare_arms, protocol_sha
from rbft_ray.core.labels import label_counts
from rbft_ray.core.schema import PREDICTIONS, PREDICTIONS_FILE
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.io.manifests import STAGE as MANIFEST_STAGE
from rbft_ray.pipeline.checks import check_base, check_machine
from rbft_ray.pipeline.experiment_runs import Run, append_run, check_same_steps, read_runs
from rbft_ray.pipeline.job import storage_root
from rbft_ray.pipeline.protocol import ARMS, read_protocol, run_config, section_of
from rbft_ray.pipeline.recipes import Plan, sources
from rbft_ray.pipeline.reporting.gains import budget_words, learning_curves, print_results
from rbft_ray.pipeline.runner import check_resources, run_steps, step_dir
from rbft_ray.pipeline.step import Step
from rbft_ray.runtime.kept_group import kept_groups
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import ray_session
from rbft_ray.stages import rationalize

PLACE = ("storage", "ray")  # sections that say where an experiment runs
ANSWER_COLUMNS: Mapping[Answer, str] = {"label": "predicted", "reasoned": "reasoned"}  # of PREDICTIONS
RESULTS_FILE, CURVES_FILE = "results.json", "curves.svg"


def runs_of(protocol: Protocol) -> Iterator[Run]:
    """All runs, those of one world and budget one after the other, so that an interrupted experiment has whole pairs."""
    for world in protocol.worlds:
        for budget in protocol.budgets:
            for seed in protocol.seeds:
                for arm in protocol.arms:
                    yield Run(world, budget, seed, arm)


def run_plan(config: RunConfig, name: str) -> Plan:
    """The steps of one arm, up to its evaluation. The whole pool gets its rationales once, for all seeds and budgets."""
    arm, found = ARMS[name], sources(config)
    arms, model = found.arms, None
    steps = [*found.data, found.clips]
    if arm.trained and arms.features:
        steps.append(arms.features)
    if arm.stage1 is not None:
        pool = config.model_copy(update={"seed": 0, "data": config.data.model_copy(update={"train_per_class": None})})
        rationales = sources(pool).rationales
        start = arms.train("train_stage1", config.train.stage1, rationales=rationales, answers=arm.stage1)
        steps += [rationales, start]
    else:
        start = None
    if arm.trained:
        model = arms.train("train_labels", config.train.stage2, start=start)
        steps.append(model)
    scored = arms.evaluate("reasoned" if config.evaluate.reason_then_label else "arm", model)
    return Plan(config, (*steps, scored), arms.task, arms.base, arms.identity)


def before_training(plans: Iterable[Plan]) -> list[Step]:
    """The steps of the plans up to their rationales, each once: done first, so that one worker group does what follows."""
    found = {}
    for plan in plans:
        rationales = [step for step in plan.steps if step.name == rationalize.STAGE]
        clips = [step for step in plan.steps if step.name == MANIFEST_STAGE]
        found.update({step.id: step for last in clips for step in (*last.inputs, last)})
        found.update({step.id: step for step in rationales})
    return list(found.values())


def check_classes(plans: Iterable[Plan], root: str) -> None:
    """Whether every class has the training clips that the budgets ask for, and a test clip.

    Raises:
        DataError: it has fewer; names the label.
    """
    there: dict[str, dict[str, Counter[str]]] = {}
    for plan in plans:
        clips = step_dir(root, plan.step(MANIFEST_STAGE))
        if clips not in there:
            there[clips] = {
                split: Counter(clip["label"] for clip in list_clips(clips, [split])) for split in ("train", "test")
            }
        each = plan.config.data.train_per_class
        for label, wanted in label_counts(each, plan.task.labels).items() if each is not None else ():
            if wanted > there[clips]["train"][label]:
                found = there[clips]["train"][label]
                raise DataError(f"budgets: {wanted} training clips of {label!r} are asked for, there are {found}")
        for label in plan.task.labels:
            if not there[clips]["test"][label]:
                raise DataError(
                    f"data.manifest: {label!r} has no test clip, so it has no F1; add one, or leave the class out (data.labels)"
                )


def run_experiment(source: str, overrides: list[str]) -> dict[str, Any]:
    """Does what is left of the experiment, prints its table and returns its results.

    Args:
        overrides: as of `read_protocol`, and so under its hash, but for those of `PLACE`.

    Raises:
        RbftError: something that the user can mend; finished runs stay.
    """
    place = [text for text in overrides if section_of(text) in PLACE]
    protocol = read_protocol(source, [text for text in overrides if text not in place])
    todo = list(runs_of(protocol))
    config = run_config(protocol, todo[0], place)
    root = storage_root(config)
    folder = storage.join(root, "experiments", f"{protocol.name}-{protocol_sha(protocol)[:12]}")
    done = read_runs(folder)
    check_machine(root)
    check_base(run_plan(config, todo[0].arm))
    check_same_steps(folder, {run: _directories(run_plan(run_config(protocol, run, place), run.arm)) for run in done})
    todo = [run for run in todo if run not in done]
    total = len(done) + len(todo)
    console.print(f"{protocol.name}: {len(done)} of {total} runs are done")
    with ray_session(config.ray) as cluster, kept_groups():
        for world, of_world in groupby(todo, key=lambda run: run.world):
            plans = [(run, run_plan(run_config(protocol, run, place), run.arm)) for run in of_world]
            check_resources([step for _, plan in plans for step in plan.steps], cluster)
            console.print(f"world {world}: clips and rationales")
            run_steps(root, before_training(plan for _, plan in plans), cluster)
            check_classes([plan for _, plan in plans], root)
            for run, plan in plans:
                of = f"world {world}, {budget_words(run.budget)} per class, seed {run.seed}, {run.arm}"
                console.print(f"run {len(done) + 1} of {total}: {of}")
                run_steps(root, plan.steps, cluster)
                done[run] = _scores(run, plan, root)
                append_run(folder, run, done[run], _directories(plan))
    untrained = [name for name, arm in ARMS.items() if not arm.trained]
    results = compare_arms([score for scores in done.values() for score in scores], protocol, untrained=untrained)
    storage.write_json(storage.join(folder, RESULTS_FILE), results)
    storage.write_bytes(storage.join(folder, CURVES_FILE), learning_curves(results).encode())
    print_results(results)
    return results


def _directories(plan: Plan) -> list[str]:
    return [step.directory for step in plan.steps]


def _scores(run: Run, plan: Plan, root: str) -> list[RunScore]:
    """The run's answers to all test clips, in the order of their ids: those of each way in which it answered.

    A clip that could not be scored counts as an error, so that the runs of a world have the same clips.
    """
    uri = storage.join(step_dir(root, plan.steps[-1]), PREDICTIONS_FILE)
    answers = {
        answer: column
        for answer, column in ANSWER_COLUMNS.items()
        if answer == "label" or plan.config.evaluate.reason_then_label
    }
    rows = storage.read_table(uri, PREDICTIONS, ["id", *answers.values()]).to_pylist()
    answered = {row["id"]: row for row in rows}
    ingested = step_dir(root, plan.step(MANIFEST_STAGE))
    tested = sorted(list_clips(ingested, ["test"]), key=lambda clip: clip["id"])
    place = {label: index for index, label in enumerate(plan.task.labels)}
    gold = np.array([place[clip["label"]] for clip in tested])
    groups = group_indices([clip["group"] for clip in tested], len(tested))
    return [
        RunScore(
            *run,
            gold,
            np.array([place.get(answered.get(clip["id"], {}).get(column), -1) for clip in tested]),
            groups,
            answer,
        )
        for answer, column in answers.items()
    ]
