"""Needs against a cluster."""

import pytest

from rbft_ray.core.resources import Cluster, Needs, fit_together, missing, places


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        (Needs(workers=2), "2 x (1 CPU)"),
        (Needs(workers=8, cpus=4, gpus=1), "8 x (4 CPU, 1 GPU)"),
        (Needs(), "1 x (1 CPU)"),
    ],
)
def test_needs_are_described(needs: Needs, text: str) -> None:
    assert needs.describe() == text


def test_totals_count_every_worker() -> None:
    needs = Needs(workers=3, cpus=2, gpus=0.5)
    assert (needs.total_cpus, needs.total_gpus) == (6, 1.5)


@pytest.mark.parametrize(
    ("needs", "nodes", "expected"),
    [
        (Needs(workers=4, cpus=1, min_workers=4), ({"CPU": 4.0},), None),
        (Needs(workers=4, cpus=1, min_workers=4), ({"CPU": 3.0},), "4 CPUs needed, 3 there"),
        (Needs(workers=4, cpus=1), ({"CPU": 1.0},), None),
        (Needs(workers=4, cpus=2), ({"CPU": 1.0},), "2 CPUs needed, 1 there"),
        (Needs(workers=8, gpus=1, min_workers=8), ({"CPU": 8.0},), "8 GPUs needed, 0 there"),
        (Needs(gpus=1), (), "1 GPUs needed, 0 there; 1 CPUs needed, 0 there"),
        (Needs(gpus=2), ({"CPU": 8.0, "GPU": 2.0},), None),
        (
            Needs(gpus=2),
            ({"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}),
            "1 x (1 CPU, 2 GPU) needed, each on one node; the nodes have places for 0",
        ),
        (Needs(2, gpus=1, min_workers=2), ({"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}), None),
    ],
)
def test_what_is_missing(needs: Needs, nodes: tuple[dict[str, float], ...], expected: str | None) -> None:
    assert missing(needs, Cluster(nodes)) == expected


def test_fractions_that_fit_exactly_are_not_missing() -> None:
    assert missing(Needs(workers=3, cpus=0.1, min_workers=3), Cluster(({"CPU": 0.3},))) is None


@pytest.mark.parametrize(
    ("one", "other", "cluster", "expected"),
    [
        (Needs(1), Needs(1), {"CPU": 2.0}, True),
        (Needs(2), Needs(1), {"CPU": 2.0}, False),
        (Needs(1, gpus=1), Needs(1, gpus=1), {"CPU": 8.0, "GPU": 1.0}, False),
        (Needs(1, gpus=1), Needs(4), {"CPU": 8.0, "GPU": 1.0}, True),
        (Needs(1, gpus=1), Needs(1, gpus=2), {"CPU": 8.0, "GPU": 8.0}, False),  # no node may have two free ones
    ],
)
def test_two_fit_together_where_every_process_has_a_place(one, other, cluster, expected):
    assert fit_together(one, other, Cluster((cluster,))) is expected


def test_a_process_lies_on_one_node():
    three_each = Cluster(({"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 3.0}))
    assert places(Needs(gpus=2), three_each) == 2
    assert places(Needs(gpus=1), three_each) == 6
    assert places(Needs(cpus=3), three_each) == 4
