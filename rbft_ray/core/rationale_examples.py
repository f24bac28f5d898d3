"""What a sentence says, by its likeness to sentences of `examples/` that were sorted by hand.

Logistic regression on the features of `rationale_concepts`. A new way to say a thing is learned by adding a line to a bank, and
`python -m rbft_ray.core.rationale_examples`, which fits the banks again and stores the weights beside them: so a verdict is
the same wherever it is asked for, and no job waits for a fit.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from rbft_ray.core.rationale_concepts import CLASS_WORD, OTHER_WORD, features

CLASS_PLACE, OTHER_PLACE = "$label", "$other"  # of the class that an example is about, and of others
Bank = Literal["writer", "stance"]  # `examples/BANK.jsonl`: rows of `text`, and under the bank's name what it is
MOST_FEATURES = 60_000  # of a bank, the most frequent ones
INVERSE_PENALTY = 60.0  # of the logistic regression


class Fitted(NamedTuple):
    """A bank's classifier. places: {feature: its place}; idf (F,), weights (F, K), bias (K,) of K kinds: float32, float16
    as fitted and stored.

    digest: of what it was fitted on.
    """

    kinds: tuple[str, ...]
    places: dict[str, int]
    idf: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    digest: str


@lru_cache(maxsize=65536)  # conclusions come again and again
def resemblance(bank: Bank, sentence: str) -> dict[str, float]:
    """How likely a sentence is to be of each kind that the bank has, each by itself.

    writer: leak (its writer knew the label), refusal (will not or cannot answer), sound; stance (towards the class at
    CLASS_PLACE): concludes, rejects or neither.

    Args:
        sentence: with CLASS_PLACE and OTHER_PLACE where classes are named.
    """
    return likeness(stored(bank), sentence)


def likeness(fitted: Fitted, sentence: str) -> dict[str, float]:
    """`resemblance` by any classifier."""
    counts = Counter(fitted.places[name] for name in features(plain(sentence)) if name in fitted.places)
    places = np.fromiter(counts, dtype=np.int64, count=len(counts))
    values = (1 + np.log(np.fromiter(counts.values(), dtype=np.float64, count=len(counts)))) * fitted.idf[places]
    length = np.linalg.norm(values) or 1.0
    scores = values @ fitted.weights[places] / length + fitted.bias
    return dict(zip(fitted.kinds, (1 / (1 + np.exp(-scores))).tolist(), strict=True))


def plain(sentence: str) -> str:
    """A sentence as a classifier takes it: a class is any class, a number any number."""
    named = sentence.replace(CLASS_PLACE, f" {CLASS_WORD} ").replace(OTHER_PLACE, f" {OTHER_WORD} ")
    return re.sub(r"\d+", "0", named)


def read_examples(bank: Bank) -> list[tuple[str, str]]:
    """(sentence, its kind) of every example. Those of `stance` are sound ones of `writer`, too."""
    rows = map(json.loads, _file(f"{bank}.jsonl").read_text("utf-8").splitlines())
    found = [(row["text"], row[bank]) for row in rows]
    if bank == "writer":
        there = {sentence.lower() for sentence, _ in found}
        found += [(sentence, "sound") for sentence, _ in read_examples("stance") if sentence.lower() not in there]
    return found


def _file(name: str) -> Any:
    return resources.files("rbft_ray.core").joinpath("examples", name)


def digest(bank: Bank) -> str:
    """SHA-256 of what a bank's classifier is made from: its examples and the concepts."""
    text = json.dumps(read_examples(bank)).encode() + _file("concepts.yaml").read_bytes()
    return hashlib.sha256(text).hexdigest()


@cache
def stored(bank: Bank) -> Fitted:
    """The classifier that comes with the package."""
    with _file(f"{bank}.npz").open("rb") as file, np.load(file) as found:
        names = found["features"].tobytes().decode().split("\n")
        places = {name: place for place, name in enumerate(names)}
        kinds, source = json.loads(found["about"].tobytes())
        idf, weights, bias = (found[name].astype(np.float32) for name in ("idf", "weights", "bias"))
        return Fitted(tuple(kinds), places, idf, weights, bias, source)


def most_frequent(sentences: Sequence[str]) -> list[str]:
    """The MOST_FEATURES most frequent features of sentences of `plain`, and those as frequent as the last; each in two at least.

    scikit-learn's own `max_features` cuts among equally frequent ones, where the processor's sort puts them.
    """
    counts, within = Counter[str](), Counter[str]()
    for sentence in sentences:
        found = list(features(sentence))
        counts.update(found)
        within.update(set(found))
    several = sorted((name for name in counts if within[name] >= 2), key=lambda name: (-counts[name], name))
    least = counts[several[:MOST_FEATURES][-1]] if several else 0
    return [name for name in several if counts[name] >= least]


def pipeline(vocabulary: Sequence[str]) -> Any:
    """The scikit-learn pipeline that is fitted: sentences of `plain` -> scores of its `classes_`, each against the others."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        TfidfVectorizer(analyzer=features, sublinear_tf=True, lowercase=False, vocabulary=vocabulary),
        OneVsRestClassifier(LogisticRegression(C=INVERSE_PENALTY, solver="liblinear", random_state=0)),
    )


def fit(examples: Sequence[tuple[str, str]], source: str = "") -> Fitted:
    """Fits a classifier on (sentence, its kind); source: their digest."""
    sentences, kinds = [plain(sentence) for sentence, _ in examples], [kind for _, kind in examples]
    vocabulary = most_frequent(sentences)
    counter, classifier = pipeline(vocabulary).fit(sentences, kinds)
    weights = np.stack([each.coef_[0] for each in classifier.estimators_], axis=1)
    bias = np.array([each.intercept_[0] for each in classifier.estimators_])
    idf, weights, bias = (values.astype(np.float16) for values in (counter.idf_, weights, bias))
    places = {name: place for place, name in enumerate(vocabulary)}
    return Fitted(tuple(classifier.classes_.tolist()), places, idf, weights, bias, source)


def store(bank: Bank, fitted: Fitted) -> None:
    """Writes `examples/BANK.npz`, which comes with the package."""
    names = "\n".join(sorted(fitted.places, key=lambda name: fitted.places[name])).encode()
    about = json.dumps([fitted.kinds, fitted.digest]).encode()
    np.savez_compressed(
        Path(str(_file(f"{bank}.npz"))),
        features=np.frombuffer(names, np.uint8),
        about=np.frombuffer(about, np.uint8),
        idf=fitted.idf,
        weights=fitted.weights,
        bias=fitted.bias,
    )


if __name__ == "__main__":
    for each in get_args(Bank):
        store(each, fit(read_examples(each), digest(each)))
