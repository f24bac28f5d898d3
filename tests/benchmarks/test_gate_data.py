"""The data that gates are measured on: determinism, counts, halves that share no sentences, faults that are faults."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from functools import cache
from importlib import import_module
from itertools import combinations, pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from rbft_ray.core.prompts import ANSWER_PREFIX
from rbft_ray.core.rationale_checks import parse_answer

GATE = Path(__file__).parents[2] / "benchmarks" / "gate"
HALVES = ("dev", "dev2", "dev3", "dev4", "dev5", "dev6", "dev7", "frozen")
FAULTS = {
    *("no_answer", "malformed_answer", "truncated", "too_short", "refusal", "other_language"),
    *("repetition", "leak", "contradiction", "wrong_class", "generic"),
}
MAX_SHORT_WORDS = 6

Row = dict[str, Any]


def write(out: Path, *arguments: str, hash_seed: str = "0") -> Path:
    command = [sys.executable, str(GATE / "faults.py"), "--out", str(out), *arguments]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}, stdout=subprocess.DEVNULL)
    return out


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def rows(out: Path) -> list[Row]:
    return [row for half in HALVES for row in read(out / f"{half}.jsonl")]


@pytest.fixture(scope="module")
def wording() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(GATE)
        yield import_module("wording")


@cache
def pool(half: str, name: str) -> Any:
    return yaml.safe_load((GATE / "pools" / half / f"{name}.yaml").read_text(encoding="utf-8"))


def pools(row: Row, name: str | None = None) -> Any:
    return pool(row["half"], name or ("demo" if is_demo(row) else row["domain"]))


def is_demo(row: Row) -> bool:
    return row["domain"].startswith("demo_")


def reasoning(row: Row) -> str:
    return parse_answer(row["text"], row["labels"])[0]


@cache
def pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\$\w+", ".+?", re.escape(template.strip(". ").lower())))


@cache
def longest_literal(template: str) -> str:
    return max(re.split(r"\$\w+", template.strip(". ").lower()), key=len)


def told(row: Row, templates: list[str], slots: Mapping[str, str] | None = None) -> list[str]:
    """The templates that the row's text was filled from. Slots without a value may hold anything."""
    found, text = [], row["text"].lower()
    for template in templates:
        for name, value in (slots or {}).items():
            template = template.replace(f"${name}", value)
        if longest_literal(template) in text and pattern(template).search(text):
            found.append(template)
    return found


def of_fault(rows: list[Row], fault: str | None) -> list[Row]:
    return [row for row in rows if row["fault"] == fault]


def test_the_same_seed_gives_the_same_bytes(out: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again", "--seed", "0", hash_seed="7")
    other = write(tmp_path / "other", "--seed", "1")
    for half in HALVES:
        name = f"{half}.jsonl"
        assert (again / name).read_bytes() == (out / name).read_bytes() != (other / name).read_bytes()


@pytest.mark.parametrize("half", HALVES)
def test_counts(rows: list[Row], half: str) -> None:
    own = [row for row in rows if row["half"] == half]
    sound = [row for row in own if row["fault"] is None]
    faults = Counter(row["fault"] for row in own if row["fault"])
    assert set(faults) == FAULTS and min(faults.values()) >= 60
    assert len(sound) == pytest.approx(faults.total(), rel=0.05)
    assert sum(row["variant"] is not None for row in sound) == pytest.approx(len(sound) / 3, rel=0.05)
    assert {(row["domain"], row["fault"]) for row in own} == {
        (domain, fault) for domain in {row["domain"] for row in own} for fault in [None, *FAULTS]
    }
    assert len({(row["domain"], row["text"]) for row in own}) == len(own)


def test_rows_state_their_task(rows: list[Row]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert row["label"] in row["labels"] and list(row["definitions"]) == row["labels"]
        assert set(row["cues"]) == (set() if is_demo(row) else set(row["labels"]))


@pytest.mark.parametrize(("one", "other"), combinations(HALVES, 2))
def test_halves_share_no_sentences_and_no_demo_domains(
    rows: list[Row], wording: ModuleType, one: str, other: str
) -> None:
    told = [
        [text for row in rows if row["half"] == half and not is_demo(row) for text in wording.sentences(row["text"])]
        for half in (one, other)
    ]
    for own, theirs in (told, told[::-1]):
        there = set(theirs)
        assert sum(text in there for text in own) / len(own) < 0.02
    demo = [{row["domain"] for row in rows if row["half"] == half and is_demo(row)} for half in (one, other)]
    assert not demo[0] & demo[1] and all(demo)


def test_halves_share_no_languages() -> None:
    languages = [set(pool(half, "faults")["foreign_openers"]) for half in HALVES]
    assert [len(own) for own in languages] == [4] * len(HALVES)
    assert len(set.union(*languages)) == 4 * len(HALVES)


def templates(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from (text for name, value in node.items() if name not in ("slots", "words") for text in templates(value))
    else:
        yield from (text for value in node for text in templates(value))


@pytest.mark.parametrize(("one", "other"), combinations(HALVES, 2))
def test_halves_share_no_templates(one: str, other: str) -> None:
    names = [path.stem for path in (GATE / "pools" / "dev").glob("*.yaml")]
    assert len(names) == 6
    for name in names:
        shared = set(templates(pool(one, name))) & set(templates(pool(other, name)))
        assert {text for text in shared if not re.match("Answer:|ANSWER:|Classification:", text)} == set()


def test_sound_rows_end_with_the_exact_answer(rows: list[Row]) -> None:
    for row in of_fault(rows, None):
        assert row["text"].endswith(f"\n{ANSWER_PREFIX} {row['label']}")
        assert row["text"].count(ANSWER_PREFIX) == 1
        assert len(reasoning(row).split()) > MAX_SHORT_WORDS
        assert "$" not in row["text"]


def test_sound_rows_show_their_class_and_no_other(rows: list[Row]) -> None:
    for row in of_fault(rows, None):
        if not is_demo(row):
            assert shown(row) == {row["label"]}
        else:
            assert compared(row) == outcome(row)


def test_faults_of_form(rows: list[Row]) -> None:
    for row in of_fault(rows, "no_answer"):
        assert not re.search(rf"^{ANSWER_PREFIX} \w", row["text"], re.MULTILINE)
    for row in of_fault(rows, "malformed_answer"):
        lines = [line for line in row["text"].splitlines() if line.startswith(ANSWER_PREFIX)]
        assert parse_answer(row["text"], row["labels"])[1] is None or len(lines) == 2
    for row in of_fault(rows, "truncated"):
        assert not row["text"].endswith((".", "!", "?", '"')) and parse_answer(row["text"], row["labels"])[1] is None
    for row in of_fault(rows, "too_short"):
        assert row["text"].endswith(f"{ANSWER_PREFIX} {row['label']}")
        assert len(row["text"].rpartition(ANSWER_PREFIX)[0].split()) <= MAX_SHORT_WORDS
    for row in of_fault(rows, "refusal"):
        assert told(row, pools(row, "faults")["refusal"])


def test_other_languages_and_leaks_are_there(rows: list[Row]) -> None:
    for row in of_fault(rows, "other_language"):
        language = row["variant"].rpartition("_")[2]
        own = pools(row)
        known = (
            [own["words"][language]["left"]] if is_demo(row) else [own["classes"][row["label"]]["foreign"][language]]
        )
        assert told(row, known)
    for row in of_fault(rows, "leak"):
        phrases = [phrase.replace("...", "") for phrase in pools(row, "faults")["leak"][row["variant"]]]
        assert told(row, phrases, {"label": row["label"]})


def test_no_sound_row_has_a_leak_or_a_refusal(rows: list[Row]) -> None:
    for row in of_fault(rows, None):
        own = pools(row, "faults")
        phrases = [phrase.replace("...", "") for phrase in templates(own["leak"])]
        assert not told(row, [*phrases, *own["refusal"]], {"label": row["label"]})


def test_repetitions_repeat(rows: list[Row], wording: ModuleType) -> None:
    for row in of_fault(rows, "repetition"):
        parts = wording.sentences(row["text"])
        words = reasoning(row).split()
        if row["variant"] == "looped_ngram":
            grams = (Counter(zip(*(words[i:] for i in range(size)), strict=False)) for size in (2, 3, 4, 5))
            assert any(gram.most_common(1)[0][1] >= 5 for gram in grams)
        elif row["variant"] == "near_identical":
            assert sum(SequenceMatcher(None, *pair).ratio() > 0.7 for pair in combinations(parts, 2)) >= 3
        else:
            assert Counter(parts).most_common(1)[0][1] >= 3


def shown(row: Row) -> set[str]:
    """The classes of an English domain whose events the text tells."""
    classes = pools(row)["classes"]
    return {
        label
        for label, own in classes.items()
        if told(row, [text for kind in ("evidence", "short", "despite") for text in own[kind]])
    }


def compared(row: Row) -> tuple[bool, ...]:
    """What the comparisons of a demo rationale come to, by the values that they state."""
    return tuple(one == other for one, other in re.findall(r"The [a-z ]+, ([a-z ]+) and ([a-z ]+), \w+\.", row["text"]))


def outcome(row: Row) -> tuple[bool, ...]:
    """What they come to in the gold class, by its definition."""
    return tuple(word == "match" for word in re.findall(r"match|differ", row["definitions"][row["label"]]))


def test_contradictions_contradict(rows: list[Row]) -> None:
    for row in of_fault(rows, "contradiction"):
        gold, variant, own = row["label"], row["variant"], pools(row)
        others = [label for label in row["labels"] if label != gold]
        if is_demo(row):
            stated = re.findall(r"The [a-z ]+, ([a-z ]+) and ([a-z ]+), (\w+)\.", row["text"])
            flipped = sum((one == other) != (verdict == "match") for one, other, verdict in stated)
            assert flipped == (variant == "flipped_comparison")
            assert compared(row) == outcome(row)
            if variant == "concludes_other":
                assert any(row["definitions"][label] in row["text"] for label in others)
            elif variant == "rejects_gold":
                assert told(row, own["rejects"], {"label": gold})
        elif variant == "denied":
            assert len(told(row, own["classes"][gold]["denial"])) >= 2 and gold not in shown(row)
        elif variant == "rejects_gold":
            assert told(row, [text for label in others for text in own["classes"][label]["exclude"][gold]])
            assert gold not in shown(row)
        else:
            assert told(row, [text for label in others for text in own["classes"][label]["verdict"]])
            assert shown(row) == {gold}


def test_wrong_classes_and_generic_texts_tell_nothing_of_the_gold_class(rows: list[Row]) -> None:
    for row in of_fault(rows, "wrong_class"):
        if is_demo(row):
            assert compared(row) != outcome(row)
        else:
            assert shown(row) and row["label"] not in shown(row)
    for row in of_fault(rows, "generic"):
        definition = row["definitions"][row["label"]]
        if is_demo(row):
            assert not compared(row)
            assert definition in row["text"] or told(row, pools(row)["generic"], {"label": row["label"]})
        else:
            assert not shown(row)
            assert definition in row["text"] or told(row, pools(row)["classes"][row["label"]]["generic"])


WRITTEN = {"home_security.jsonl": 10, "home_security_2.jsonl": 10, "home_security_3.jsonl": 0}  # marked hard negatives


@pytest.mark.parametrize(("name", "hard"), WRITTEN.items())
def test_the_written_sets(name: str, hard: int) -> None:
    written = read(GATE / name)
    config = yaml.safe_load((GATE / "home_security.yaml").read_text())
    kinds = Counter((row["fault"], row["variant"]) for row in written)
    expected = {("contradiction", None): 30, (None, None): 30 - hard, (None, "hard negative"): hard}
    assert kinds == Counter(expected)
    assert len({row["text"] for row in written}) == len({row["id"] for row in written}) == len(written)
    for row in written:
        assert parse_answer(row["text"], row["labels"])[1] == row["label"]
        assert set(config["definitions"]) == set(config["cues"]) == set(row["labels"])


@pytest.mark.parametrize(("earlier", "later"), pairwise(WRITTEN))
def test_a_later_written_set_is_balanced_and_new(wording: ModuleType, earlier: str, later: str) -> None:
    one, other = (read(GATE / name) for name in (earlier, later))
    kinds = Counter((row["fault"], row["label"]) for row in other)
    sound = {(None, "normal"): 15, (None, "abnormal"): 15}
    assert kinds == {**sound, ("contradiction", "abnormal"): 20, ("contradiction", "normal"): 10}
    assert not {row["id"] for row in one} & {row["id"] for row in other}
    told = [{text for row in rows for text in wording.sentences(row["text"])} for rows in (one, other)]
    assert not told[0] & told[1]


def test_the_set_in_the_manner_of_models_is_whole() -> None:
    written = read(GATE / "vlm_style.jsonl")
    assert Counter(row["fault"] for row in written) == {
        None: 120,
        **dict.fromkeys(("leak", "refusal", "wrong_class", "repetition", "generic"), 12),
    }
    assert len({row["text"] for row in written}) == len({row["id"] for row in written}) == len(written)
    for row in written:
        assert set(row["definitions"]) == set(row["labels"])
        assert row["text"].endswith(f"\nAnswer: {row['label']}") and row["label"] in row["labels"]
