"""What a step needs and whether a cluster has it: pure arithmetic on CPUs and GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Cluster(NamedTuple):
    """The resources of each node, such as {"CPU": 16.0, "GPU": 8.0, "memory": 6.4e10}."""

    nodes: tuple[Mapping[str, float], ...]

    def total(self, kind: str) -> float:
        """Of all nodes, in units of the kind: "CPU", "GPU"."""
        return sum(node.get(kind, 0.0) for node in self.nodes)


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


def missing(needs: Needs, cluster: Cluster) -> str | None:
    """None where the cluster has what is needed, else a phrase such as '8 GPUs needed, 0 there'.

    Too few CPUs or GPUs only make the step slower, as long as `min_workers` fit.
    """
    if (there := places(needs, cluster)) >= needs.min_workers:
        return None
    lacks = [
        f"{needs.min_workers * each:g} {kind}s needed, {cluster.total(kind):g} there"
        for kind, each in (("GPU", needs.gpus), ("CPU", needs.cpus))
        if needs.min_workers * each > cluster.total(kind) + 1e-9
    ]
    place = needs.describe().partition(" x ")[2]
    return (
        "; ".join(lacks) or f"{needs.min_workers} x {place} needed, each on one node; the nodes have places for {there}"
    )


def places(needs: Needs, cluster: Cluster) -> int:
    """How many of the processes the nodes have room for, each process on one node."""
    asked = {kind: each for kind, each in (("CPU", needs.cpus), ("GPU", needs.gpus)) if each > 0}
    return sum(min(int((node.get(kind, 0.0) + 1e-9) // each) for kind, each in asked.items()) for node in cluster.nodes)


def fit_together(one: Needs, other: Needs, cluster: Cluster) -> bool:
    """True where all processes of both have a place at the same time. Those that need several GPUs or CPUs each do not
    count on one: what is free may lie on several nodes."""
    if max(one.cpus, one.gpus, other.cpus, other.gpus) > 1:
        return False
    together = {"CPU": one.total_cpus + other.total_cpus, "GPU": one.total_gpus + other.total_gpus}
    return all(wanted <= cluster.total(kind) + 1e-9 for kind, wanted in together.items())
