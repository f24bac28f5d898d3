"""The estimate on the terminal: tables of stages and of memory by ZeRO stage, and what was assumed."""

from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from rbft_ray.runtime.progress import console


def print_estimate(found: dict[str, Any]) -> None:
    """What `estimate` found; memory in GiB."""
    parts, gpu = found["parameters"], found["gpu"]
    every = sum(part["weights"] for part in parts.values())
    trained = sum(part["trained"] + part["adapter"] for part in parts.values())
    sizes = ", ".join(f"{name} {_count(part['weights'])}" for name, part in parts.items())
    console.print(escape(f"{found['name']}: base {found['base']}"))
    console.print(f"{_count(every)} parameters ({sizes}), {_count(trained)} trained (train.method {found['method']})")
    _print_stages(found)
    _print_memory(found)
    _print_elsewhere(found)
    for line in found["warnings"]:
        console.print(f"[yellow]![/yellow] {escape(line)}")
    peak = gpu["peak_flops"] / 1e12
    console.print(
        f"time of computing alone, assumed: {gpu['name']} at {found['mfu']:.0%} of {peak:g} TFLOP/s in {found['precision']} "
        "(--gpu, --mfu)"
    )
    for line in found["sources"]:
        console.print(escape(line), style="dim")


def _print_stages(found: dict[str, Any]) -> None:
    table = Table(
        title=f"At most, with {found['training_clips']:,} training clips", box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("stage", no_wrap=True)
    for column in ("epochs", "steps", "tokens a clip", "tokens", "PFLOP", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, one in found["stages"].items():
        table.add_row(
            name,
            f"{one['epochs']:g}",
            f"{one['steps']:,}",
            f"{one['tokens_per_clip']['all']:,}",
            _count(one["tokens"]),
            _petaflop(one["flops"]),
            _time(one["hours"]),
        )
    console.print(table)
    for name, one in found["stages"].items():
        own = one["tokens_per_clip"]
        console.print(f"{name}: {own['video']:,} tokens of video, {own['text']:,} of text, {own['answer']:,} of answer")

    if features := found["vision_features"]:
        costs = f"{_petaflop(features['flops'])} PFLOP, {_time(features['hours'])}"
        console.print(f"vision_features: of frozen parts, once for all stages (train.vision_cache): {costs}")


def _print_memory(found: dict[str, Any]) -> None:
    gpu, checkpointing = found["gpu"], "with" if found["gradient_checkpointing"] else "without"
    title = f"GiB on each of {found['gpus']} GPUs, {found['precision']}, {checkpointing} gradient checkpointing"
    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    for column in ("ZeRO", "weights", "gradients", "optimizer", "activations", "buffers", "at most"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(f"{gpu['memory_bytes'] / 1e9:g} GB", no_wrap=True)
    for row in found["memory"]:
        here = row["zero_stage"] == found["zero_stage"]
        keys = ("weights", "gradients", "optimizer_states", "activations", "buffers", "all")
        table.add_row(
            f"> {row['zero_stage']}" if here else str(row["zero_stage"]),
            *(_gib(row[key]) for key in keys),
            "fits" if row["fits"] else "no",
            style="bold" if here else None,
        )
    console.print(table)
    console.print(
        "> as configured. At most: weights, gradients and optimizer states, with activations and buffers in the backward pass or "
        "temporary tensors in the step. Without the CUDA context (about 1 GiB) and fragmentation."
    )


def _print_elsewhere(found: dict[str, Any]) -> None:
    host, disk = found["host"], found["disk"]
    offloaded = f"; offloaded {_gib(host['offloaded_bytes'])} GiB, in a step {_gib(host['step_bytes'])} GiB more"
    console.print(
        f"main memory of each worker: {_gib(host['start_bytes'])} GiB while the model is loaded"
        + (offloaded if host["offloaded_bytes"] else "")
    )
    console.print(
        f"disk: a checkpoint {_gib(disk['checkpoint_bytes'])} GiB (up to three in storage, two in TMPDIR), "
        f"a trained model {_gib(disk['model_bytes'])} GiB ({len(found['stages'])} of them)"
    )


def _petaflop(flops: float) -> str:
    return f"{flops / 1e15:,.3g}" if flops < 1e18 else f"{flops / 1e15:,.0f}"


def _gib(size: float) -> str:
    gib = size / 2**30
    return f"{gib:,.1f}" if gib >= 0.95 else f"{gib:.2g}"


def _count(number: float) -> str:
    """Such as '8.29 B' or '51.8 M'."""
    for unit, name in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:g}"


def _time(hours: float) -> str:
    """In hours, or minutes or seconds where that is more readable."""
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.1g} s"
