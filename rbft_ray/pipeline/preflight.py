"""`rbft preflight`: how well the base describes the user's own clips, before anything is trained."""

from typing import Any

from rbft_ray.core.config import RunConfig
from rbft_ray.core.errors import DataError
from rbft_ray.core.readiness import Finding, readiness
from rbft_ray.core.schema import REJECTS
from rbft_ray.io import storage
from rbft_ray.pipeline.checks import check_base, check_machine, length_warnings
from rbft_ray.pipeline.data_summary import print_data
from rbft_ray.pipeline.job import storage_root
from rbft_ray.pipeline.recipes import preflight_plan
from rbft_ray.pipeline.runner import check_resources, run_steps, step_dir
from rbft_ray.runtime.blocks import REJECTS_TABLE, read_rows
from rbft_ray.runtime.progress import console
from rbft_ray.runtime.session import ray_session
from rbft_ray.stages import preflight


def run_preflight(config: RunConfig) -> bool:
    """Examines the base, prints the findings and writes runs/NAME/preflight.json. True where the base is good enough.

    Raises:
        RbftError: something that the user can mend.
    """
    root = storage_root(config)
    planned = preflight_plan(config)
    check_machine(root)
    check_base(planned)
    if planned.dataset is not None:
        print_data(planned.dataset)
    for line in length_warnings(planned):
        console.print(f"[yellow]![/yellow] {line}")
    with ray_session(config.ray) as cluster:
        check_resources(planned.steps, cluster)
        run_steps(root, planned.steps, cluster)
    out = step_dir(root, planned.step(preflight.STAGE))
    refused = read_rows(out, REJECTS_TABLE, REJECTS)
    clips = preflight.examined(out)
    if not clips:
        raise DataError(f"the engine took none of the {len(refused)} clips; the first: {refused[0]['detail']}")
    figures, findings = readiness(
        clips,
        planned.task.labels,
        max_tokens=config.rationalize.max_tokens,
        context_tokens=config.rationalize.max_model_len,
        refused=[(row["reason"], row["detail"]) for row in refused],
    )
    good = all(finding.ok for finding in findings)
    uri = storage.join(root, config.name, "preflight.json")
    storage.write_json(uri, {"good": good, "figures": figures, "findings": [one._asdict() for one in findings]})
    _print(figures, findings, good, uri, undefined=sorted(set(planned.task.labels) - set(planned.task.definitions)))
    return good


def _print(figures: dict[str, Any], findings: list[Finding], good: bool, uri: str, *, undefined: list[str]) -> None:
    console.print(
        f"{figures['clips']} training clips, {figures['samples_per_clip']} rationales each; "
        f"the bare label is right for {figures['label_accuracy']:.0%}"
    )
    for finding in findings:
        console.print(f"  {'[green]ok[/green]  ' if finding.ok else '[red]poor[/red]'} {finding.text}", soft_wrap=True)
    if undefined:
        console.print(f"  [dim]without a definition: {', '.join(undefined)}[/dim]", soft_wrap=True)
    verdict = "good enough to bootstrap from" if good else "not good enough to bootstrap from as it is"
    console.print(f"The base is {verdict} (figures: {uri})", soft_wrap=True)
