"""Tries of token sequences hold every sequence once, within their size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbft_ray.core.trie import tries

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=40, unique=True
)


@given(sequences=SEQUENCES, max_nodes=st.integers(1, 12))
def test_every_path_spells_its_sequence_without_the_last_token(sequences, max_nodes):
    found = tries(sequences, max_nodes)
    assert sorted(label for trie in found for label in trie.labels) == list(range(len(sequences)))
    for trie in found:
        for label, path in zip(trie.labels, trie.paths, strict=True):
            assert [trie.tokens[node] for node in path[1:]] == list(sequences[label][:-1])
            assert trie.prefix(path[-1]) == list(sequences[label][:-1])
            assert path[0] == 0
        assert len(trie.tokens) - 1 <= max_nodes or len(trie.labels) == 1
        assert all(parent < node for node, parent in enumerate(trie.parents))


@given(sequences=SEQUENCES)
def test_one_trie_has_a_node_per_distinct_prefix(sequences):
    prefixes = {sequence[:end] for sequence in sequences for end in range(len(sequence))}
    assert [len(trie.tokens) for trie in tries(sequences, 10_000)] == [len(prefixes)]


def test_equal_and_empty_sequences_are_refused():
    with pytest.raises(ValueError, match="labels 0 and 2 have the same tokens"):
        tries([[1, 2], [1], [1, 2]], 10)
    with pytest.raises(ValueError, match="no tokens"):
        tries([[1], []], 10)
