"""`rbft`: a thin shell over the recipes and stages."""

import json
import pathlib
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from rbft_ray.core.estimate import DEFAULT_GPU, DEFAULT_MFU, GPUS

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rationale-bootstrapped fine-tuning of video classifiers on Ray.",
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration of a run.")
demo_app = typer.Typer(no_args_is_help=True, help="The embedded video world and its base VLM.")
prompts_app = typer.Typer(no_args_is_help=True, help="What the model is asked.")
app.add_typer(config_app, name="config")
app.add_typer(prompts_app, name="prompts")
app.add_typer(demo_app, name="demo")

Config = Annotated[str, typer.Argument(help="YAML file, or 'demo'")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY.PATH=VALUE over the file; may be repeated")]


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print steps, their state and resources; run nothing")
    ] = False,
) -> None:
    """Run the whole job: ingest, rationalize, train, evaluate, report. A second run does only what is left."""
    from rbft_ray.pipeline.job import run_job
    from rbft_ray.pipeline.settings import load_config

    run_job(load_config(config, overrides or []), dry_run=dry_run)


@app.command()
def preflight(config: Config, overrides: Overrides = None) -> None:
    """Say how well the base describes your clips, before any training. Exit code 1 where it is not good enough."""
    from rbft_ray.pipeline.preflight import run_preflight
    from rbft_ray.pipeline.settings import load_config

    if not run_preflight(load_config(config, overrides or [])):
        raise typer.Exit(1)


@app.command()
def estimate(
    config: Config,
    overrides: Overrides = None,
    gpu: Annotated[str, typer.Option(help=f"one of {', '.join(GPUS)}")] = DEFAULT_GPU,
    mfu: Annotated[float, typer.Option(help="share of the GPU's peak that training is assumed to reach")] = DEFAULT_MFU,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what training takes: memory per GPU by ZeRO stage, tokens, hours. Needs no GPU, starts nothing."""
    from rbft_ray.pipeline.estimate import estimate as estimated
    from rbft_ray.pipeline.estimate_tables import print_estimate
    from rbft_ray.pipeline.settings import load_config

    found = estimated(load_config(config, overrides or []), gpu, mfu)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_estimate(found)


@app.command()
def experiment(
    protocol: Annotated[
        str, typer.Argument(help="YAML file: budgets, seeds, arms, comparisons, and the configuration of the runs")
    ],
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the results as JSON, too")] = False,
) -> None:
    """Does RB-FT help on your videos? Run what is left of an experiment on them, or on worlds of the demo; compare its arms."""
    from rbft_ray.pipeline.experiment import run_experiment

    results = run_experiment(protocol, overrides or [])
    if as_json:
        print(json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False))


@app.command()
def serve(
    run_dir: Annotated[str, typer.Argument(help="runs/NAME of a finished run, or a model directory with its card")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="such as serve.port=8001")] = None,
) -> None:
    """Serve a trained classifier over HTTP: POST /v1/classify with a video file."""
    from rbft_ray.pipeline.endpoint import serve_run

    serve_run(run_dir, overrides or [])


@app.command()
def classify(
    run_dir: Annotated[str, typer.Argument(help="runs/NAME of a finished run, or a model directory with its card")],
    videos: Annotated[str, typer.Argument(help="a folder of videos, a manifest, or one video; needs no labels")],
    out: Annotated[str, typer.Option(help="table of answers to write: .csv, .jsonl or .parquet")] = "answers.csv",
    explain: Annotated[bool, typer.Option("--explain", help="also write a rationale for each video")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="such as evaluate.engine=vllm")] = None,
) -> None:
    """Classify many videos with a trained classifier: label, confidence and probabilities of each, in one table."""
    from rbft_ray.pipeline.classify import classify as classified

    classified(run_dir, videos, out, overrides or [], explain=explain)


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="only what takes seconds")] = False,
) -> None:
    """Say what this machine has and lacks for the job. Exit code 0 where the job can run."""
    from rbft_ray.pipeline.doctor import examine

    if not examine(quick=quick):
        raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="predictions.parquet, or runs/NAME:ARM of a finished run")],
    b: Annotated[str, typer.Argument(help="the same, compared with the first")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Compare two arms or runs on the test clips that both have: differences with intervals, and McNemar's test."""
    from rbft_ray.pipeline.compare import compare_files, print_comparison

    found = compare_files(a, b)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_comparison(found)


@app.command()
def audit(
    file: Annotated[str, typer.Argument(help="a run (runs/NAME), or a LLaVA JSON or JSONL file (id, label, text)")],
    config: Annotated[str | None, typer.Option(help="YAML file with labels, definitions and cues of the task")] = None,
    answer_prefix: Annotated[
        str | None, typer.Option(help='what the file\'s own answer line starts with, such as "Classification:"')
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: counts and ids per reason")] = False,
    html: Annotated[str | None, typer.Option(help="write a page with examples of each reason here")] = None,
) -> None:
    """Show which rationales of a run were rejected and why; or check the text of rationales that were written elsewhere."""
    from rbft_ray.pipeline.audit import audit as audited
    from rbft_ray.pipeline.audit import print_audit
    from rbft_ray.pipeline.settings import load_config

    found = audited(file, load_config(config) if config else None, prefix=answer_prefix, html=html)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_audit(found)


@config_app.command("show")
def config_show(
    config: Annotated[str | None, typer.Argument(help="YAML file, or 'demo'")] = None, overrides: Overrides = None
) -> None:
    """Print every key with its meaning and value: the defaults, or those of a file."""
    from rbft_ray.pipeline.settings import dump_config, load_config

    print(dump_config(load_config(config, overrides or [])), end="")


@prompts_app.command("show")
def prompts_show(
    config: Config,
    clip: Annotated[str | None, typer.Option(help="id of a clip; default: the first training clip")] = None,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, on one line")] = False,
) -> None:
    """Print the exact prompts of one clip (generation, training, scoring), what carries the loss, and what the task lacks."""
    from rbft_ray.pipeline.prompts import print_prompts, shown_prompts
    from rbft_ray.pipeline.settings import load_config

    found = shown_prompts(load_config(config, overrides or []), clip)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        print_prompts(found)


@demo_app.command("render")
def demo_render(
    out: Annotated[pathlib.Path, typer.Argument(help="directory to write")],
    domain_seed: Annotated[int, typer.Option(help="which domain: rules and appearance")] = 100,
    train_per_class: Annotated[int, typer.Option()] = 64,
    val_per_class: Annotated[int, typer.Option()] = 16,
    test_per_class: Annotated[int, typer.Option()] = 250,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Write a domain of the video world as an ordinary data set: manifest.csv and mp4 files."""
    from rbft_ray.core.errors import StorageError
    from rbft_ray.demo.world import write_world

    try:
        write_world(
            out,
            domain_seed=domain_seed,
            train_per_class=(train_per_class,) * 4,
            val_per_class=val_per_class,
            test_per_class=test_per_class,
            seed=seed,
        )
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error}") from None
    print(f"wrote {out / 'manifest.csv'}")


@demo_app.command("check-base")
def demo_check_base(
    clips: Annotated[int, typer.Option(help="held-out clips per measure")] = 100,
    base: Annotated[pathlib.Path | None, typer.Option(help="model directory; default: the one in the package")] = None,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Measure what the demo's base VLM can do, as one JSON line."""
    from rbft_ray.demo import BASE_DIR
    from rbft_ray.demo.check import check_base

    print(json.dumps(check_base(base or BASE_DIR, clips, seed)))


def main() -> None:
    """The console script."""
    from rbft_ray.core.errors import ConfigError
    from rbft_ray.pipeline.job import STOPPED, guarded

    code = 0

    def command() -> None:
        nonlocal code
        try:
            code = app(standalone_mode=False) or 0
        except TyperException as error:
            if not str(error):  # no command was named; the help has been printed
                code = ConfigError.exit_code
                return
            raise ConfigError(f"{error} (see --help)") from None
        if code == STOPPED:  # Typer has caught Ctrl-C
            raise KeyboardInterrupt

    sys.exit(guarded(command) or code)


if __name__ == "__main__":
    main()
