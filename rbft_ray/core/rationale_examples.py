"""What a sentence says where no rule names it: how it resembles those of `examples/`, which were sorted by hand.

Logistic regression on n-grams of words and letters, fitted when it is first asked. A new way to say a thing is learned by adding
a line.
"""

import json
import re
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal, get_args

CLASS_PLACE, OTHER_PLACE = "$label", "$other"  # of the class that an example is about, and of others
_CLAUSE = re.compile(r"[,;:—–]\s|\b(?:but|because|since|although|whereas|while|as|so)\b", re.IGNORECASE)
Bank = Literal["leak", "stance"]  # `examples/BANK.jsonl`: rows of `text`, and under the bank's name what it is


@lru_cache(maxsize=65536)  # conclusions come again and again
def resemblance(bank: Bank, sentence: str) -> dict[Any, float]:
    """How likely a sentence is to be of each kind that the bank has: leak: True (its writer knew the label) or False;
    stance (towards the class at CLASS_PLACE): concludes, rejects or neither.

    Args:
        sentence: with CLASS_PLACE and OTHER_PLACE where classes are named.
    """
    fitted = classifier(bank)
    chances = fitted.predict_proba([plain(sentence)])[0].tolist()
    return dict(zip(fitted.classes_.tolist(), chances, strict=True))


def read_examples(bank: Bank) -> list[tuple[str, Any]]:
    """(sentence, its kind) of every example."""
    text = resources.files("rbft_ray.core").joinpath("examples", f"{bank}.jsonl").read_text(encoding="utf-8")
    return [(row["text"], row[bank]) for row in map(json.loads, text.splitlines())]


def plain(sentence: str) -> str:
    """A sentence as a classifier takes it: a class is any class, a number any number."""
    named = sentence.replace(CLASS_PLACE, " classname ").replace(OTHER_PLACE, " anotherclass ")
    return re.sub(r"\d+", "0", named)


def _own_clause(sentence: str) -> str:
    """The clauses of a sentence of `plain` in which its class is named; all of it, where it names none."""
    own = [part for part in _CLAUSE.split(sentence.lower()) if "classname" in part.split()]
    return " ".join(own) or sentence.lower()


@cache
def classifier(bank: Bank) -> Any:
    """The fitted scikit-learn pipeline: sentences of `plain` -> probabilities of its `classes_`."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline, make_union

    words = {"ngram_range": (1, 3), "sublinear_tf": True, "min_df": 2, "token_pattern": r"[\w']+"}
    letters = {"analyzer": "char_wb", "ngram_range": (3, 4), "sublinear_tf": True, "min_df": 2}
    features = make_union(
        TfidfVectorizer(**words), TfidfVectorizer(preprocessor=_own_clause, **words), TfidfVectorizer(**letters)
    )
    each = LogisticRegression(C=10, solver="liblinear")  # fits sooner than all kinds at once do
    fitted = make_pipeline(features, OneVsRestClassifier(each))
    sentences, kinds = zip(*read_examples(bank), strict=True)
    return fitted.fit([plain(sentence) for sentence in sentences], list(kinds))


def fit_all() -> None:
    """Fits the classifiers of all banks, which else the first sentences wait for."""
    for bank in get_args(Bank):
        classifier(bank)
