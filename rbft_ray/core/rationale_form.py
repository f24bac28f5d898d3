"""Form of a rationale: its answer line, a refusal, its length, loops, its language. Each check returns a detail, or None."""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rbft_ray.core.prompts import ANSWER_PREFIX
from rbft_ray.core.rationale_words import FUNCTION_WORDS, content_stems, sentences, stem, unquoted, word_set, words
from rbft_ray.core.schema import Reason

MIN_REASONING_WORDS = 7  # who does what and where; the shortest of 778 released rationales has 39
MAX_REASONING_WORDS = 600  # the longest of 778 released rationales has 426
LOOP_REPEATS = 4  # of a word group in a row; prose stops at "round and round and round"
LOOP_SENTENCES = 3  # of one sentence, or of sentences with the same content words
LOOP_SIMILAR = 4  # of sentences that are nearly the same
SIMILAR = 0.8  # Jaccard index of content words
OPENER_WORDS = 4  # at most, before a sentence that is there again ("yet another time, the lane is full")
SAME_ENDING = 4  # words at least, from which on sentences that end alike are one
MAX_LOOP_WORDS = 40
MIN_COMPRESSION = 0.22  # compressed / raw bytes; prose of this length: 0.4 to 0.6, enumerations to 0.3
COMPRESSION_BYTES = 500  # below it the ratio says little
MAX_REPEATED_GRAMS = 0.6  # share of 5-word groups that were there before
GRAM = 5
CUT_WORDS = 4
FOREIGN_SHARE = 0.1  # of the words

_OTHER_PREFIX = re.compile(
    r"^\W*(?:the |my )?(?:final |correct )?(?:answer|classification|class|label|category|prediction|verdict|conclusion)\b"
    r"[\s*]*(?:is|[:=-])",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(rf"\b{ANSWER_PREFIX}", re.IGNORECASE)
_ANSWER_LINE = re.compile(rf"^[\s*#-]*{ANSWER_PREFIX}", re.IGNORECASE)
_OPENERS = word_set(
    "then again now still also once and next moreover furthermore additionally finally afterwards subsequently meanwhile "
    "indeed here so thus therefore further besides well yes actually basically simply really clearly just too"
)
_SAME = {
    "an": "a",
    **dict.fromkeys(word_set("this that thes thos"), "the"),
}  # stems of determiners: one is as good as the other
# Frequent function words of other languages in the Latin script, without those that are English words too.
_FOREIGN_WORDS = (
    word_set(
        """der das und ist nicht ein eine einer eines einem einen den dem mit auf für von zu zum zur im sich es er sie wird
        werden aus bei nach vor auch wie oder aber über sind durch dann noch keine kein zwei alles le la les un une et est
        dans du pour pas que qui sur avec au aux ce cette il elle sont par plus puis ne se son sa ses leur deux jusqu el los
        las una y en con por que para se su sus al del es está muy más pero como hacia hasta sin dos sobre entre lo si ci
        questo questa che il gli lo di da nel nella alla della dello delle dei che non è con per sono una uno sul sulla dal
        dalla ed anche pelo pela isso esta o os as um uma e em no na nos nas do da dos das ao aos à com não que se seu sua por
        para até está são mas depois dit deze geeft de het een en van dat niet zijn op aan er voor maar ook naar uit bij wordt
        zich nog geen als twee hij ze om te och att det som är på av till inte ett den med för han hon sig från eller men og
        ikke af til på det som har ved i w z na nie się jest to że do przez po dla ze od jak oraz ale są który która ve bir bu
        ile için da de ne çok olarak dan yang di ke dari ini itu dengan pada untuk tidak"""
    )
    - FUNCTION_WORDS
    - word_set("as i do no to an die do at men war man sin van her son per ten plus os e o z w em dos om na ve")
)


# English function words that are frequent in other languages too, and words of theirs that are no English ones.
_SHARED_WORDS = word_set("a an as do he i in is me no on over so to was we her per")
_FOREIGN_LETTERS = word_set("o e y w z em os na te om ve")

_MOMENT = re.compile(
    r"<?\b\d{1,2}:\d{2}(?::\d{2})?\b>?|<?\b\d+(?:\.\d+)?\s?(?:s|sec|seconds?)\b>?|"
    r"\b(?:frame|step|shot|image|moment)s?\s+\d+\b",
    re.IGNORECASE,
)


class Form(NamedTuple):
    """reasoning: the text before the answer line; answer: the label it gives, or None; reason, detail: what is wrong."""

    reasoning: str
    answer: str | None
    reason: Reason | None
    detail: str


def parse_answer(text: str, labels: Sequence[str]) -> tuple[str, str | None]:
    """(reasoning, answer). The answer is the last line, exactly `Answer: <label>`; anything else is None, never a guess."""
    head, _, last = text.strip().rpartition("\n")
    if not last.startswith(f"{ANSWER_PREFIX} "):
        return text.strip(), None
    answer = last.removeprefix(f"{ANSWER_PREFIX} ")
    return head.strip(), answer if answer in labels else None


def answer_form(text: str, labels: Sequence[str]) -> Form:
    """The parts of a rationale and what is wrong with its answer line: none, malformed, cut off, or more than one."""
    reasoning, answer = parse_answer(text, labels)
    last = text.strip().rpartition("\n")[2].strip()
    if answer is not None:
        reasoning = _without_heading(reasoning, answer)
        extra = [line for line in reasoning.splitlines() if _ANSWER_LINE.match(line)]
        return Form(reasoning, answer, Reason.MALFORMED_ANSWER if extra else None, f"also {extra[0]}" if extra else "")
    value = last.removeprefix(ANSWER_PREFIX).strip()
    if last.startswith(ANSWER_PREFIX):
        if not value:
            return Form(reasoning, None, Reason.NO_ANSWER, last)
        cut = value not in labels and any(label.startswith(value) for label in labels)
        return Form(reasoning, None, Reason.TRUNCATED if cut else Reason.MALFORMED_ANSWER, last[-80:])
    if other := _OTHER_PREFIX.match(last):
        return Form(reasoning, None, Reason.MALFORMED_ANSWER, f"other prefix: {other.group(0).strip()}")
    if _ANYWHERE.search(text):
        return Form(reasoning, None, Reason.MALFORMED_ANSWER, last[-80:])
    if (len(words(text)) >= CUT_WORDS and last[-1:].isalnum()) or last.endswith((",", ";", "-")):
        return Form(reasoning, None, Reason.TRUNCATED, last[-40:])
    return Form(reasoning, None, Reason.NO_ANSWER, last[-40:])


def _without_heading(reasoning: str, answer: str) -> str:
    """Without a last line that announces the answer line in other type: "**Answer:** near_miss", "### Answer:"."""
    before, _, last = reasoning.rpartition("\n")
    said = re.fullmatch(rf"[\s*_#>-]+{ANSWER_PREFIX}[\s*_]*(.*?)[\s*_.]*", last)
    return before if said and said.group(1) in ("", answer) else reasoning


def length_fault(reasoning: str) -> tuple[Reason, str] | None:
    """Too few words to show anything, or far more than a rationale needs. Counts as words what is written between spaces."""
    count = len(reasoning.split())
    if count < MIN_REASONING_WORDS:
        return Reason.EMPTY_REASONING, f"{count} words"
    if count > MAX_REASONING_WORDS:
        return Reason.TOO_LONG, f"{count} words"
    return None


def repetition(reasoning: str) -> str | None:
    """The looped sentence, word group or measure that shows degenerate repetition.

    Sentences count by their content words and by how they end, so that an opener ("Yet again ...") hides no loop, and sentences
    that differ in a content word ("The left lane is full", "The right lane is full") are none.
    """
    tokens = words(reasoning)
    return (
        _looped_sentence(reasoning) or _looped_moments(reasoning) or _looped_words(tokens) or _dense(reasoning, tokens)
    )


def _looped_moments(reasoning: str) -> str | None:
    """The sentence that is told of one moment after another ("At 0:01, the road is empty. At 0:02, the road is empty.")."""
    timed = [part for part in sentences(reasoning) if _MOMENT.search(part)]
    told = [frozenset(content_stems(_MOMENT.sub(" ", part))) for part in timed]
    counts = Counter(stems for stems in told if len(stems) > 1)
    return next((part for part, stems in zip(timed, told, strict=True) if counts[stems] >= LOOP_SIMILAR), None)


def _looped_sentence(reasoning: str) -> str | None:
    contents, endings = [], []
    for sentence in sentences(reasoning):
        own = [stem(word) for word in words(sentence) if word not in _OPENERS]
        kept = frozenset(word for word in own if word not in FUNCTION_WORDS)
        contents.append((kept or frozenset(own), sentence))
        endings.append([_SAME.get(word, word) for word in own])
    counts = Counter(kept for kept, _ in contents if kept)
    for (kept, sentence), ending in zip(contents, endings, strict=True):
        if counts[kept] >= LOOP_SENTENCES or _ends_alike(ending, endings) >= LOOP_SENTENCES:
            return sentence
        if len(kept) < 5:
            continue
        near = sum(len(kept & other) / len(kept | other) >= SIMILAR for other, _ in contents)
        if near >= LOOP_SIMILAR:
            return sentence
    return None


def _ends_alike(ending: Sequence[str], others: Sequence[Sequence[str]]) -> int:
    """How many of `others` are `ending`, with a few words before it."""
    size = len(ending)
    if size < SAME_ENDING:
        return 0
    return sum(size <= len(other) <= size + OPENER_WORDS and other[-size:] == ending for other in others)


def _looped_words(tokens: list[str]) -> str | None:
    for size in range(1, min(MAX_LOOP_WORDS, len(tokens) // 2) + 1):
        needed = LOOP_REPEATS if size < GRAM else LOOP_SENTENCES
        run = 0
        for at in range(size, len(tokens)):
            run = run + 1 if tokens[at] == tokens[at - size] else 0
            if run >= size * (needed - 1):
                return " ".join(tokens[at - size + 1 : at + 1])
    return None


def _dense(reasoning: str, tokens: list[str]) -> str | None:
    raw = reasoning.encode()
    ratio = len(zlib.compress(raw, 9)) / max(1, len(raw))
    if len(raw) >= COMPRESSION_BYTES and ratio < MIN_COMPRESSION:
        return f"compresses to {ratio:.2f}"
    grams = [tuple(tokens[at : at + GRAM]) for at in range(len(tokens) - GRAM + 1)]
    share = 1 - len(set(grams)) / len(grams) if grams else 0.0
    if len(grams) >= 4 * GRAM and share > MAX_REPEATED_GRAMS:
        return f"{share:.0%} of its {GRAM}-word groups were there before"
    return None


def other_language(reasoning: str) -> str | None:
    """The first sentence that is not English, where at least a tenth of the words stand in such sentences.

    A sentence counts by its script, or by its function words against those of other languages. What is quoted does not
    count, nor do sentences of less than four words.
    """
    foreign: list[str] = []
    total = 0
    for sentence in sentences(unquoted(reasoning)):
        letters = [char for char in sentence if char.isalpha()]
        latin = sum(char < "\u0250" for char in letters)
        own = words(sentence)
        size = max(len(own), len(letters) // 6)
        total += size
        if (letters and latin < 0.7 * len(letters)) or (len(own) >= 4 and _foreign_words(own)):
            foreign.extend([sentence] * size)
    return foreign[0] if foreign and len(foreign) >= FOREIGN_SHARE * total else None


def _foreign_words(own: list[str]) -> bool:
    parts = [part for word in own for part in word.split("'")]
    english = sum(word in FUNCTION_WORDS for word in own)
    foreign = sum(part in _FOREIGN_WORDS for part in parts)
    if (foreign >= 2 and foreign > english) or (english == 0 and foreign >= 1):
        return True
    if any(word in FUNCTION_WORDS and word not in _SHARED_WORDS for word in own):
        return False
    accents = any(not word.isascii() for word in own) and not {"a", "an"} & set(own)  # "a red coupé hits a van"
    return accents or foreign >= 1 or any(part in _FOREIGN_LETTERS for part in parts)


def is_english(text: str) -> bool:
    """Whether the words of a task (role, guidance, definitions) are English; without any words they are taken to be."""
    return other_language(text) is None
