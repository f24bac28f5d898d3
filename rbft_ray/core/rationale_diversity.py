"""How alike the rationales of a class are: a model that writes the same for every clip teaches nothing of the clips."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from rbft_ray.core.rationale_words import sentences, words

GRAM = 3  # words; shingles of 3 to 5 words are usual for near-duplicates (Broder 1997)
MAX_TEXTS = 200  # of a class that are compared pairwise, evenly spaced in the order given


def diversity(rationales: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """For each class: rationales, overlap (mean pairwise Jaccard index of 3-word groups, None of fewer than two),
    same_text (share of texts that are there more than once), common_sentence and common_share (the sentence that most
    rationales of the class have, and the share that has it; None of fewer than two).

    Args:
        rationales: {class: reasoning texts, without the answer line}.
    """
    return {label: _class_diversity(texts) for label, texts in rationales.items()}


def _class_diversity(texts: Sequence[str]) -> dict[str, Any]:
    step = max(1, -(-len(texts) // MAX_TEXTS))
    grams = [_grams(text) for text in texts[::step]]
    pairs = [len(a & b) / len(a | b) for a, b in combinations(grams, 2) if a | b]
    counts = Counter(" ".join(words(text)) for text in texts)
    shared = Counter(key for text in texts for key in {" ".join(words(part)) for part in sentences(text)})
    common, number = shared.most_common(1)[0] if shared and len(texts) > 1 else (None, 0)
    return {
        "rationales": len(texts),
        "overlap": sum(pairs) / len(pairs) if pairs else None,
        "same_text": sum(count for count in counts.values() if count > 1) / len(texts) if texts else None,
        "common_sentence": common,
        "common_share": number / len(texts) if common else None,
    }


def _grams(text: str) -> set[tuple[str, ...]]:
    return {
        tuple(own[at : at + GRAM])
        for part in sentences(text)
        if (own := words(part))
        for at in range(max(1, len(own) - GRAM + 1))
    }
