"""Token sequences of a label set as tries: what labels share is computed once."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple


class Trie(NamedTuple):
    """Prefixes of some labels. Node 0 is the empty prefix; every other node is a token after its parent.

    tokens, parents, depths: one entry per node (of node 0: -1, -1, 0). Parents come before their children.
    labels: which labels the trie holds, as places in the label set.
    paths: for each of them the nodes of its prefixes, from node 0 to the whole sequence without its last token.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    labels: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]

    def prefix(self, node: int) -> list[int]:
        """The tokens from the beginning to the node."""
        return [self.tokens[ancestor] for ancestor in self.ancestors(node)][::-1]

    def ancestors(self, node: int) -> Iterator[int]:
        """The node and all nodes on its way up, without node 0."""
        while node > 0:
            yield node
            node = self.parents[node]


def tries(sequences: Sequence[Sequence[int]], max_nodes: int) -> list[Trie]:
    """Covers all the sequences with tries of at most `max_nodes` nodes beside node 0 (a longer sequence has its own).

    The last token of a sequence is predicted, never read: it is no node. Labels that share prefixes come together.

    Raises:
        ValueError: an empty sequence, or two equal ones (their labels could not be told apart).
    """
    order = sorted(range(len(sequences)), key=lambda label: tuple(sequences[label]))
    for label, following in pairwise(order):
        if list(sequences[label]) == list(sequences[following]):
            raise ValueError(f"labels {label} and {following} have the same tokens")
    if any(len(sequence) == 0 for sequence in sequences):
        raise ValueError("a label has no tokens")
    found: list[Trie] = []
    members: list[int] = []
    size = 0
    previous: Sequence[int] = ()
    for label in order:
        inner = sequences[label][:-1]
        new = len(inner) - _shared(inner, previous)
        if members and size + new > max_nodes:
            found.append(_trie(sequences, members))
            members, size, new = [], 0, len(inner)
        members.append(label)
        size += new
        previous = inner
    return [*found, _trie(sequences, members)] if members else found


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _trie(sequences: Sequence[Sequence[int]], members: Sequence[int]) -> Trie:
    nodes: dict[tuple[int, ...], int] = {(): 0}
    parents, depths = [-1], [0]
    paths = []
    for label in members:
        inner = tuple(sequences[label][:-1])
        path = [0]
        for depth in range(1, len(inner) + 1):
            if inner[:depth] not in nodes:
                nodes[inner[:depth]] = len(nodes)
                parents.append(path[-1])
                depths.append(depth)
            path.append(nodes[inner[:depth]])
        paths.append(tuple(path))
    tokens = [-1, *(prefix[-1] for prefix in list(nodes)[1:])]
    return Trie(tuple(tokens), tuple(parents), tuple(depths), tuple(members), tuple(paths))
