"""Sentences, clauses, words and stems of a rationale: what its checks count. English; other scripts fall into single words."""

import re
from functools import lru_cache

_LIST_MARK = re.compile(  # "- ", "+ ", "(1) ", "[1] ", "1: ", "#1 ", "a) ", "Step 1: "
    r"^\s*(?:[^\w\s\"'“‘«(\[$]+|(?:(?:step|point|item) )?[(\[#]*\d{1,3}\s?[.)\]:/–—-]+|#\d{1,3}|\(?[a-z]\))\s+",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"'”’)]*\s+|(?<=[。！？])")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»")


def word_set(text: str) -> frozenset[str]:
    """The words of a list, parted by spaces or line breaks."""
    return frozenset(text.split())


# Function words of English (articles, pronouns, auxiliaries, prepositions, conjunctions, adverbs of degree).
FUNCTION_WORDS = word_set(
    """a about above across after again against all along already also although always am an and another any anybody
    anyone anything are around as at away back be because been before behind being below beside between both but by can
    cannot could did do does doing done down during each either else enough even ever every everybody everyone everything
    few first for from further goes had has have having he her here hers herself him himself his how however i if in
    inside into is it its itself just last later least less like may me might more most much must my near neither never
    next no nobody none nor not nothing now of off often on once one only onto or other others our out outside over own
    per quite rather same she should since so some somebody someone something soon still such than that the their them
    themselves then there these they this those though through throughout thus till to together too toward towards two
    under until up upon us very was we well were what when where whether which while who whole whom whose why will with
    within without would yet you your"""
)
_IRREGULAR = {  # form: base, of verbs of what is seen in videos
    form: base
    for base, forms in {
        "take": "took taken",
        "steal": "stole stolen",
        "break": "broke broken",
        "run": "ran",
        "fall": "fell fallen",
        "come": "came",
        "go": "went gone goes",
        "throw": "threw thrown",
        "strike": "struck stricken",
        "leave": "left",
        "give": "gave given",
        "hide": "hid hidden",
        "drive": "drove driven",
        "stand": "stood",
        "keep": "kept",
        "rise": "rose risen",
        "get": "got gotten",
        "hold": "held",
        "cut": "cutting",
        "see": "saw seen",
        "begin": "began begun",
        "catch": "caught",
        "fight": "fought",
        "fly": "flew flown",
        "grow": "grew grown",
        "shake": "shook shaken",
        "shrink": "shrank shrunk",
        "swim": "swam swum",
        "sit": "sat",
        "lie": "lay lain lying",
        "put": "putting",
        "slide": "slid",
        "man": "men",
        "woman": "women",
        "child": "children",
        "person": "people persons",
        "knife": "knives",
    }.items()
    for form in forms.split()
}


def unquoted(text: str) -> str:
    """`text` without what stands in double quotation marks: words that were read in the picture, not the writer's own."""
    return _QUOTED.sub(" ", text)


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order; a line break ends one, and signs of a list before a line are dropped."""
    lines = (_LIST_MARK.sub("", line) for line in text.splitlines())
    return [part.strip() for line in lines for part in _SENTENCE_END.split(line) if part and part.strip()]


def words(text: str) -> list[str]:
    """The words of `text` in lower case, apostrophes straight; a hyphen parts two words."""
    return [word.lower().replace("’", "'") for word in _WORD.findall(text)]


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A word without its inflection, so that 'takes', 'taking' and 'took' agree. For comparison only: not always a word."""
    word = word.removesuffix("'s")
    word = _IRREGULAR.get(word, word)
    if len(word) > 6 and word.endswith("ly"):
        word = word[:-2]
    if len(word) > 4 and word.endswith(("ies", "ied")):
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = _undoubled(word.removesuffix(ending))
            return word.removesuffix("e")
    if len(word) > 4 and word.endswith(("ses", "xes", "zes", "ches", "shes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def _undoubled(word: str) -> str:
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeioulsz"
    return word[:-1] if doubled else word


def content_stems(text: str) -> list[str]:
    """The stems of the words of `text` that are no function words, in order."""
    return [stem(word) for word in words(text) if word not in FUNCTION_WORDS]


def spoken_label(label: str) -> str:
    """A label as it appears in prose: `train_passes` as `train passes`."""
    return " ".join(re.split(r"[\W_]+", label.strip())).strip()


def label_pattern(labels: tuple[str, ...]) -> str:
    """A regular expression of any of `labels` in prose, longest first, so that 'cat jump' is not found as 'cat'."""
    spoken = {spoken_label(label): label for label in labels if spoken_label(label)}
    return "|".join(re.escape(text).replace(r"\ ", r"[\s_-]+") for text in sorted(spoken, key=len, reverse=True))
