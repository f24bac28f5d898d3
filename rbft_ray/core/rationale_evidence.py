"""Evidence in a rationale for each class: cue phrases and words of the definitions, with negation; and what is left without them.

Only the text is read. A cue says of itself what it is evidence for; whether the video shows it is for a model to say.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from rbft_ray.core.rationale_cues import NEGATORS, Cue, clauses, cue_places, negations, parsed_cue
from rbft_ray.core.rationale_words import FUNCTION_WORDS, content_stems, sentences, spoken_label, stem, word_set, words

CUE_WEIGHT = 1.0
SINGLE_WEIGHT = (
    0.8  # a cue of one word that is not negated: it may stand for another thing, or for a thing that is only there
)
PART_WEIGHT = 0.7  # two or more content words of a longer cue in one clause, in any order
WORD_WEIGHT = 0.2  # a word that only one class has in its cues or definition, by itself
COUNTER_WEIGHT = 1.0  # of what is denied ("no damage") against its class
UNDENIED = (
    0.5  # of a cue that holds where it is denied ("without stopping") and stands there undenied ("the stop ends")
)
MARGIN = 0.9  # by which another class must lead; more than a single word; weights and margins: tuned on benchmarks/gate
RATIO = 2.0  # where the label has evidence too, another class must have so many times more
DENIED = 0.6  # of evidence against the label, with none for it
MIN_OWN_STEMS = 3  # different content words that are neither definition nor commonplace ...
MIN_OWN_WORDS = 4  # ... or so many where they repeat ("stays still and blinks; stays still and stays still")

_UNREAL = word_set("would could might should almost nearly if unless seems seem appears appear ")
_CONCEDING = re.compile(
    r"^(?:although|though|even though|despite|while|in spite)\b|\b(?:at first|initially|for the first|looks? (?:odd|"
    r"strange|suspicious)|"
    r"earlier|in the beginning|until)\b",
    re.IGNORECASE,
)
_TURNS_AT_START = re.compile(
    r"^(?:\W*)(?:but|yet|however|nevertheless|nonetheless|still|then|even so|despite|all the same|in spite)\b",
    re.IGNORECASE,
)
_TURNS_LATER = re.compile(
    r"[,;] (?:but|yet|and yet|however|all the same|nevertheless|still|in between)\b", re.IGNORECASE
)
_CONCEDED_PART = re.compile(
    r"^.*[,;] (?:but|yet|and yet|still|however)\b|^.*\b(?:at first|for the first|for a long time)\b.*$",
    re.IGNORECASE | re.DOTALL,
)
# _FAINT: what nearly every video has; no evidence by itself.
# COMMONPLACE: words of talk about a video, a class or anything at all; they show nothing of one clip.
_FAINT = frozenset(map(stem, word_set("camera walk run stand look turn hold move side day night")))
COMMONPLACE = frozenset(
    stem(word)
    for word in word_set("""video videos clip footage recording scene frame image picture sequence event activity action situation
    happen happens occur take place show shows shown see seen visible observe observed observation observable display depict
    present contain class classes category label definition define definitional describe description feature features
    characteristic characteristics criterion criteria condition conditions element elements aspect aspects detail details
    typical typically example instance case kind type sort match matches fit fits meet meets satisfy fulfil correspond
    correspond consistent consistency consist belong evidence proof support supports supporting clear clearly evident obvious
    obviously undoubtedly definitely certain certainly certainty doubt mean means following follow follows example thing
    things anything something everything person people somebody human individual object objects typical course respect
    whole entire overall complete completely full fully part parts main point way manner usual usually ordinary everyday
    normal regular general generally particular specific expected expect need needs require requires necessary reaction
    react respond act acts acting exactly exact precisely precise well say says said tell reason conclude conclusion
    therefore thus hence accord accordance according indicate indicates indication suggest visual visually content analysis
    analyse question answer decision decide choose make makes made give gives given set use uses used include includes
    involve involves involving relate relevant good perfect perfectly best right correct true appear appears become kind
    time second moment end ends begin start result consequence consequences state order context point view behave behaviour
    sign signs form level presence exist existence basis sense different similar come go get find word words way itself""")
)


class Balance(NamedTuple):
    """scores: evidence of each class; phrases: what it was found in; denied: phrases of the gold class that are negated."""

    scores: dict[str, float]
    phrases: dict[str, list[str]]
    denied: dict[str, list[str]]


class Lexicon(NamedTuple):
    """What speaks for each class.

    cues: {class: its cues}; signs: {class: {stem: +1, or -1 where the class is its absence}} of words that
    one class alone has.
    """

    cues: dict[str, tuple[Cue, ...]]
    signs: dict[str, dict[str, int]]


def _signed(text: str) -> dict[str, int]:
    signs: dict[str, int] = {}
    for clause in clauses(text):
        for token, negated in zip(clause, negations(clause), strict=True):
            if token not in FUNCTION_WORDS and token not in NEGATORS and stem(token) not in COMMONPLACE | _FAINT:
                signs.setdefault(stem(token), -1 if negated else 1)
    return signs


def lexicon(cues: Mapping[str, Sequence[str]], definitions: Mapping[str, str], labels: Sequence[str]) -> Lexicon:
    """What to look for: the cues, and single words of cues and definitions that speak for one class only."""
    return _lexicon(
        tuple((label, tuple(cues.get(label, ()))) for label in labels),
        tuple((label, definitions.get(label, "")) for label in labels),
    )


@lru_cache(maxsize=64)
def _lexicon(cues_of: tuple[tuple[str, tuple[str, ...]], ...], definitions_of: tuple[tuple[str, str], ...]) -> Lexicon:
    cues, definitions, labels = dict(cues_of), dict(definitions_of), [label for label, _ in cues_of]
    names = {part for label in labels for part in content_stems(spoken_label(label))}
    signs = {
        label: {
            **_signed(definitions.get(label, "")),
            **{key: sign for cue in cues.get(label, ()) for key, sign in _signed(cue).items()},
        }
        for label in labels
    }
    own = {
        label: {
            key: sign
            for key, sign in mine.items()
            if key not in names and not any(signs[other].get(key) == sign for other in labels if other != label)
        }
        for label, mine in signs.items()
    }
    return Lexicon({label: tuple(map(parsed_cue, cues.get(label, ()))) for label in labels}, own)


@lru_cache(maxsize=65536)
def _content(cue: Cue) -> frozenset[str]:
    """The content words of a cue; none where its place counts."""
    if cue.place:
        return frozenset()
    return frozenset(part for part in cue.stems if part not in FUNCTION_WORDS | NEGATORS | COMMONPLACE)


def _parts(cue: Cue, stems: Sequence[str]) -> list[int]:
    """The places of the content words of a cue in a clause, in any order; none where less than half of them are there."""
    content = _content(cue)
    places = [stems.index(part) for part in content if part in stems]
    return sorted(places) if 2 * len(places) > len(content) else []


def balance(reasoning: str, found: Lexicon, without: Sequence[str] = ()) -> Balance:
    """The evidence for each class in a rationale.

    A whole cue counts CUE_WEIGHT, most of a cue PART_WEIGHT, another word of one class's lexicon WORD_WEIGHT, each
    once. What is negated counts against its class, unless the sentence or the next one turns ("no alarm goes off, yet ...");
    "would" and "almost" are no evidence, nor is what a sentence concedes ("the platform is quiet, but ...").

    Args:
        without: sentences that do not count, such as quoted definitions.
    """
    result = Balance({label: 0.0 for label in found.cues}, {label: [] for label in found.cues}, {})
    seen: set[tuple[str, object]] = set()
    own = [sentence for sentence in sentences(reasoning) if sentence not in without]
    for number, sentence in enumerate(own):
        following = own[number + 1] if number + 1 < len(own) else ""
        conceded = bool(
            _CONCEDING.search(sentence)
            or _TURNS_AT_START.search(sentence)
            or _TURNS_LATER.search(sentence)
            or _TURNS_AT_START.search(following)
        )
        for clause in clauses(_CONCEDED_PART.sub("", sentence)):
            _count(clause, conceded, found, result, seen)
    return result


def _count(clause: list[str], conceded: bool, found: Lexicon, into: Balance, seen: set[tuple[str, object]]) -> None:
    stems = [stem(token) for token in clause]
    there = set(stems)
    negated = negations(clause)
    unreal = any(token in _UNREAL for token in clause)
    used: dict[str, set[int]] = {label: set() for label in found.cues}
    for label, cues in found.cues.items():
        for cue in cues:
            places = cue_places(cue, clause, stems) if cue.stems and cue.stems[0] in there else None
            if places is None or used[label] & set(places):
                continue
            used[label].update(places)
            inside = any(clause[place] in NEGATORS for place in places)
            against = negated[places[0]] != cue.denied and not inside
            if not (unreal and not against and len(cue.stems) == 1):
                weight = CUE_WEIGHT if len(cue.stems) > 1 or negated[places[0]] else SINGLE_WEIGHT
                weight *= UNDENIED if against and not negated[places[0]] else 1.0
                _add(into, seen, label, (cue, against), weight, against, conceded, " ".join(clause))
    taken = set().union(*used.values())
    for label, cues in found.cues.items():
        for cue in cues:
            places = _parts(cue, stems) if len(cue.stems) > 1 and len(there & _content(cue)) > 1 else []
            if len(places) > 1 and not unreal and not taken & set(places):
                against = negated[places[0]] != (cue.denied or any(part in NEGATORS for part in cue.stems))
                _add(into, seen, label, (cue, against), PART_WEIGHT, against, conceded, " ".join(clause))
    for label, signs in found.signs.items():
        for place, key in enumerate(stems):
            if key not in signs or place in taken or unreal:
                continue
            against = negated[place] != (signs[key] < 0)
            _add(into, seen, label, (key, against), WORD_WEIGHT, against, conceded, " ".join(clause))


def _add(
    into: Balance,
    seen: set[tuple[str, object]],
    label: str,
    what: object,
    weight: float,
    against: bool,
    conceded: bool,
    phrase: str,
) -> None:
    if (label, what) in seen or (against and conceded):
        return
    seen.add((label, what))
    if against:
        into.scores[label] -= weight * COUNTER_WEIGHT
        into.denied.setdefault(label, []).append(phrase)
    else:
        into.scores[label] += weight
        into.phrases[label].append(phrase)


def unsupported(found: Balance, gold: str) -> str | None:
    """Why the evidence is not for `gold`: the phrases of a class that leads, or what is denied with nothing for it."""
    rival = max((label for label in found.scores if label != gold), key=lambda label: found.scores[label], default=None)
    mine = found.scores[gold]
    if rival is not None and found.scores[rival] - mine >= max(MARGIN, (RATIO - 1) * mine) and found.phrases[rival]:
        return f"speaks for {rival}: {'; '.join(found.phrases[rival][:3])}"
    if found.denied.get(gold) and not found.phrases[gold] and mine <= -DENIED:
        return f"denies {gold}: {'; '.join(found.denied[gold][:3])}"
    return None


@lru_cache(maxsize=64)
def _definition_sentences(definitions: tuple[tuple[str, str], ...]) -> dict[tuple[str, ...], set[str]]:
    found: dict[tuple[str, ...], set[str]] = {}
    for label, definition in definitions:
        for sentence in sentences(definition):
            found.setdefault(tuple(words(sentence)), set()).add(label)
    return found


def quoted_definitions(reasoning: str, definitions: Mapping[str, str]) -> dict[str, list[str]]:
    """{class: sentences of the reasoning that are word by word a sentence of its definition and of no other}."""
    known = _definition_sentences(tuple(definitions.items()))
    found: dict[str, list[str]] = {}
    for sentence in sentences(reasoning):
        owners = next((own for text, own in known.items() if text and _ends_with(tuple(words(sentence)), text)), set())
        if len(owners) == 1:
            found.setdefault(min(owners), []).append(sentence)
    return found


def _ends_with(tokens: tuple[str, ...], text: tuple[str, ...]) -> bool:
    return len(tokens) <= len(text) + 5 and tokens[-len(text) :] == text


def own_stems(reasoning: str, labels: Sequence[str], definitions: Mapping[str, str]) -> list[str]:
    """The content words of a rationale that are in no definition or class name, nor commonplace: what it says of its clip.

    In order and as often as they are there.
    """
    known = {key for text in (*definitions.values(), *map(spoken_label, labels)) for key in content_stems(text)}
    return [key for key in content_stems(reasoning) if key not in known and key not in COMMONPLACE]
