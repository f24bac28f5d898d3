"""What a step needs and whether a cluster has it: pure arithmetic on CPUs and GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """Up to `workers` processes, each with so many logical CPUs and GPUs, and at least `min_workers` at once.

    threads: of computation in each, where it has no GPU.
    """

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    min_workers: int = 1
    threads: int = 1

    @property
    def device(self) -> str:
        """What each computes on: 'cuda' or 'cpu'."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def total_cpus(self) -> float:
        return self.workers * self.cpus

    @property
    def total_gpus(self) -> float:
        return self.workers * self.gpus

    def describe(self) -> str:
        """Such as '2 x (1 CPU)' or '8 x (4 CPU, 1 GPU)'."""
        each = f"{self.cpus:g} CPU" + (f", {self.gpus:g} GPU" if self.gpus else "")
        return f"{self.workers} x ({each})"


def missing(needs: Needs, cluster: Mapping[str, float]) -> str | None:
    """None where the cluster has what is needed, else a phrase such as '8 GPUs needed, 0 there'.

    Too few CPUs or GPUs only make the step slower, as long as `min_workers` fit.
    """
    lacks = []
    for kind, each in (("GPU", needs.gpus), ("CPU", needs.cpus)):
        there = cluster.get(kind, 0.0)
        if needs.min_workers * each > there + 1e-9:
            lacks.append(f"{needs.min_workers * each:g} {kind}s needed, {there:g} there")
    return "; ".join(lacks) or None


def places(needs: Needs, cluster: Mapping[str, float]) -> int:
    """How many of the processes fit into the cluster, as far as its totals tell."""
    asked = {"CPU": needs.cpus, "GPU": needs.gpus}
    return min(int((cluster.get(kind, 0.0) + 1e-9) // each) for kind, each in asked.items() if each > 0)


def fit_together(one: Needs, other: Needs, cluster: Mapping[str, float]) -> bool:
    """True where all processes of both have a place at the same time. Those that need several GPUs or CPUs each do not
    count on one: what is free may lie on several nodes."""
    if max(one.cpus, one.gpus, other.cpus, other.gpus) > 1:
        return False
    together = {"CPU": one.total_cpus + other.total_cpus, "GPU": one.total_gpus + other.total_gpus}
    return all(wanted <= cluster.get(kind, 0.0) + 1e-9 for kind, wanted in together.items())
