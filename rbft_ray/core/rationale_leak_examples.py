"""Leaks that no rule names: how a sentence resembles those of `examples/leaks.jsonl`, which were sorted by hand.

Logistic regression on n-grams, fitted when it is first asked. A new way to give the label away is learned by adding a line.
"""

import json
import re
from functools import lru_cache
from importlib import resources
from typing import Any

CLASS_PLACE = "$label"  # of a class name in the examples
THRESHOLD = 0.6  # of sentences left out of the fit 0.75 of the leaks lie above, and 0.02 of the sound ones


@lru_cache(maxsize=65536)  # conclusions come again and again
def leak_probability(sentence: str) -> float:
    """How likely a sentence is to show that its writer knew the label.

    Args:
        sentence: with CLASS_PLACE where a class is named.
    """
    return float(classifier().predict_proba([plain(sentence)])[0, 1])


def read_examples() -> list[tuple[str, bool]]:
    """(sentence, whether it leaks the label) of every example."""
    text = resources.files("rbft_ray.core").joinpath("examples", "leaks.jsonl").read_text(encoding="utf-8")
    return [(row["text"], row["leak"]) for row in map(json.loads, text.splitlines())]


def plain(sentence: str) -> str:
    """A sentence as the classifier takes it: a class is any class, a number any number."""
    return re.sub(r"\d+", "0", sentence.replace(CLASS_PLACE, " classname "))


@lru_cache(maxsize=1)
def classifier() -> Any:
    """The fitted scikit-learn pipeline: sentences of `plain` -> probabilities (no leak, leak)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    by_words = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, min_df=2, token_pattern=r"[\w']+")
    by_letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, min_df=2)
    fitted = make_pipeline(make_union(by_words, by_letters), LogisticRegression(C=10, solver="liblinear"))
    examples = read_examples()
    return fitted.fit([plain(sentence) for sentence, _ in examples], [leak for _, leak in examples])
