"""`rbft experiment`: the arms of a protocol over own videos (or worlds of the demo), label budgets and seeds, as one resumable job.

Under the storage root: steps/ as of any run (shared by all runs that need the same step), and
    experiments/NAME-SHA/runs.jsonl    a line per finished run, with its answers to the test clips
    experiments/NAME-SHA/results.json  what `core.experiment.compare_arms` makes of them
    experiments/NAME-SHA/curves.svg    macro-F1 against the training clips per class
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np

from rbft_ray.core.bootstrap import group_indices
from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.experiment import Answer, Protocol, RunScore, compare_arms, protocol_sha
from rbft_ray.core.labels import Row, label_counts
from rbft_ray.core.schema import PREDICTIONS, PREDICTIONS_FILE, SPLITS
from rbft_ray.io import storage
from rbft_ray.io.clips import list_clips
from rbft_ray.io.manifests import STAGE as MANIFEST_STAGE
from rbft_ray.pipeline.checks import check_base, check_machine
from rbft_ray.pipeline.data_summary import print_data
from rbft_ray.pipeline.dataset import Dataset, read_dataset
from rbft_ray.pipeline.experiment_runs import RUNS_FILE, Run, append_run, check_same_steps, read_runs
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


def run_plan(config: RunConfig, name: str, dataset: Dataset | None = None) -> Plan:
    """The steps of one arm, up to its evaluation. The whole pool gets its rationales once, for all seeds and budgets.

    dataset: of `config.data.manifest`, where it has been read before.
    """
    arm, found = ARMS[name], sources(config, dataset)
    arms, model = found.arms, None
    steps = [*found.data, found.clips]
    if arm.trained and arms.features:
        steps.append(arms.features)
    if arm.stage1 is not None:
        pool = config.model_copy(update={"seed": 0, "data": config.data.model_copy(update={"train_per_class": None})})
        rationales = sources(pool, found.dataset).rationales
        start = arms.train("train_stage1", config.train.stage1, rationales=rationales, answers=arm.stage1)
        steps += [rationales, start]
    else:
        start = None
    if arm.trained:
        model = arms.train("train_labels", config.train.stage2, start=start)
        steps.append(model)
    scored = arms.evaluate("reasoned" if config.evaluate.reason_then_label else "arm", model)
    return Plan(config, (*steps, scored), arms.task, arms.base, arms.identity, found.dataset)


def clip_steps(plans: Iterable[Plan]) -> list[Step]:
    """The steps that make the clips of the plans, each once."""
    clips = [plan.step(MANIFEST_STAGE) for plan in plans]
    return list({step.id: step for last in clips for step in (*last.inputs, last)}.values())


def rationale_steps(plans: Iterable[Plan]) -> list[Step]:
    """Those that write their rationales, each once: done before any training, so that one worker group does what follows."""
    return list({step.id: step for plan in plans for step in plan.steps if step.name == rationalize.STAGE}.values())


def check_classes(plans: Iterable[Plan], clips_of: Callable[[Plan], Iterable[Row]]) -> None:
    """Whether every class has the training clips that the budgets ask for, and a test clip.

    Args:
        clips_of: the clips of a plan, or the rows of its manifest.

    Raises:
        DataError: it has fewer; names the label.
    """
    there: dict[str, Counter[tuple[str, str]]] = {}
    for plan in plans:
        data = plan.step(MANIFEST_STAGE).id
        if data not in there:
            there[data] = Counter((clip["label"], clip["split"]) for clip in clips_of(plan))
        each = plan.config.data.train_per_class
        for label, wanted in label_counts(each, plan.task.labels).items() if each is not None else ():
            if wanted > (found := there[data][label, "train"]):
                raise DataError(f"budgets: {wanted} training clips of {label!r} are asked for, there are {found}")
        for label in plan.task.labels:
            if not there[data][label, "test"]:
                raise DataError(
                    f"data.manifest: {label!r} has no test clip, so it has no F1; add one, or leave the class out (data.labels)"
                )


def run_experiment(source: str, overrides: list[str]) -> dict[str, Any]:
    """Does what is left of the experiment, prints its tables and where they lie, and returns its results.

    Args:
        overrides: as of `read_protocol`, and so under its hash, but for those of `PLACE`.

    Raises:
        RbftError: something that the user can mend; finished runs stay.
    """
    place = [text for text in overrides if section_of(text) in PLACE]
    protocol = read_protocol(source, [text for text in overrides if text not in place])
    runs = list(runs_of(protocol))
    config = run_config(protocol, runs[0], place)
    root = storage_root(config)
    folder = storage.join(root, "experiments", f"{protocol.name}-{protocol_sha(protocol)[:12]}")
    done = read_runs(folder)
    check_machine(root)
    dataset = None if config.data.manifest is None else read_dataset(config)
    plans = {run: run_plan(run_config(protocol, run, place), run.arm, dataset) for run in runs}
    check_base(plans[runs[0]])
    check_same_steps(folder, {run: _directories(plans[run]) for run in done})
    if dataset is not None:
        print_data(dataset)
        check_classes(plans.values(), lambda _plan: dataset.rows)
    console.print(f"{protocol.name}: {len(done)} of {len(runs)} runs are done; results go to {folder}")
    todo = [run for run in runs if run not in done]
    with ray_session(config.ray) as cluster, kept_groups():
        for world, of_world in groupby(todo, key=lambda run: run.world):
            own = {run: plans[run] for run in of_world}
            check_resources([step for plan in own.values() for step in plan.steps], cluster)
            where = "" if dataset else f"world {world}, "
            console.print(f"{where or 'all runs, '}clips and rationales")
            run_steps(root, clip_steps(own.values()), cluster)
            check_classes(own.values(), lambda plan: list_clips(step_dir(root, plan.step(MANIFEST_STAGE)), SPLITS))
            run_steps(root, rationale_steps(own.values()), cluster)
            for run, plan in own.items():
                of = f"{where}{budget_words(run.budget)} per class, seed {run.seed}, {run.arm}"
                console.print(f"run {len(done) + 1} of {len(runs)}: {of}")
                run_steps(root, plan.steps, cluster)
                done[run] = _scores(run, plan, root)
                append_run(folder, run, done[run], _directories(plan))
    untrained = [name for name, arm in ARMS.items() if not arm.trained]
    results = compare_arms([score for scores in done.values() for score in scores], protocol, untrained=untrained)
    storage.write_json(storage.join(folder, RESULTS_FILE), results)
    storage.write_bytes(storage.join(folder, CURVES_FILE), learning_curves(results).encode())
    print_results(results)
    console.print(f"{RESULTS_FILE}, {CURVES_FILE} and {RUNS_FILE}: {folder}")
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
