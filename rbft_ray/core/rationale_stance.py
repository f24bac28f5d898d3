"""Which classes a rationale concludes, and which it rejects, by name: "so this is normal", "it cannot be a collision"."""

import re
from functools import lru_cache
from typing import NamedTuple

from rbft_ray.core.rationale_words import label_pattern, sentences, spoken_label, words

_FILLER = (
    r"(?:an?|the|class|label|category|clearly|definitely|simply|therefore|thus|hence|just|purely|entirely|best|called|"
    r"considered|"
    r"classified|described|labelled|labeled|being|really|quite|be|been|as|for|a case of|an example of|an instance of|certainly|"
    r"obviously|indeed|evidently|likely|of|to|it|this|that|any|really|truly|plainly)"
)
_REJECT_BEFORE = re.compile(
    r"(?:\bnot|n't|\bnever|\bcannot|\bneither|\bnor|\bno|\brather than|\binstead of|\bmore than|\bless than|\brul(?:e|"
    r"es|ed|ing) out|"
    r"\bexclud\w+|\breject\w*|\bdismiss\w*|\bunlike|\bfar from|\bdiffer\w* from|\bother than|\bcontradict\w*|"
    r"\bagainst|\bdisprov\w+|"
    rf"\bhardly|\bdiscard\w*|\beliminat\w+|\bincompatible with|\bwithout)\s+(?:fit |match |meet |suit |"
    rf"belong to )?(?:{_FILLER}\s+)*[\"'“]?$",
    re.IGNORECASE,
)
_REJECT_AFTER = re.compile(
    r"^[\"'”]?\s*(?:as (?:a|the) (?:class|answer|label)\s*)?(?:(?:can|could|must|may|has to|is|was) (?:also |"
    r"therefore |thus |clearly |"
    r"safely |to )?(?:be )?(?:ruled out|excluded|dismissed|rejected|discarded|eliminated|out of the question|"
    r"impossible|wrong|avoided|"
    r"not\b)|(?:cannot|can't|can not) (?:be|apply|fit|hold)|(?:does|do|did|is|would|could|should|will)(?: not|n't) |"
    r"would (?:have|need|look|require|involve|be|mean|include|show|take|demand|end|call|imply|contain|presuppose)|drops? out\b|"
    r"fails\b|is (?:therefore |thus )?(?:wrong|impossible|unlikely|off the table))",
    re.IGNORECASE,
)
_AFFIRM_BEFORE = re.compile(
    r"(?:\b(?:is|are|was|as|makes? (?:it|this|that|the \w+|them)|call(?:ed)? (?:it|this|that|the \w+)|choose|chose|"
    r"pick|select|answer|say|"
    r"conclude|decide (?:on|for|in favou?r of)|settle (?:on|for)|opt for|go (?:with|for)|vote for|belongs? (?:to|in|"
    r"under|with)|fits?|"
    r"match(?:es)?|falls? (?:under|into)|fulfils?|satisfies|(?:definition|description|criteria|conditions|features|"
    r"picture|notion|idea) "
    r"(?:of|for)|(?:case|instance|example|form) of|class|label|category|points? to(?:ward|wards)?|speaks? for|"
    r"indicates?|means|suggests?|constitutes?|typical (?:of|for)|characteristic of|consistent with|counts? as|"
    r"qualif(?:y|ies) as|"
    r"deserves|meets|corresponds to|amounts? to|leads? to|results? in|in favou?r of|remains?|leaves?|be|becomes|"
    r"depicts|represents|"
    rf"justif(?:y|ies)|confirms?|supports?|assign(?:ed)?(?: it)?(?: to)?))\s*:?\s*(?:{_FILLER}\s+)*[\"'“]?$|"
    rf"^(?:{_FILLER}\s+)*[\"'“]?$",
    re.IGNORECASE,
)
_AFFIRM_AFTER = re.compile(
    r"^[\"'”]?\s*(?:$|[.,;:!)—–-]|(?:because|since|as|and|so|here|rather|instead|class|category|by|for|fits?|applies|"
    r"is (?:the )?"
    r"(?:right|correct|best|only|appropriate|met|fulfilled|clear|obvious|certain|confirmed|indicated|what|given)|"
    r"it is|remains?|overall|"
    r"in (?:the )?(?:end|total|sum|all)|without|with|due)\b)",
    re.IGNORECASE,
)
_CLIP_SUBJECT = re.compile(
    r"\b(?:it|this|that|these|clip|video|footage|recording|scene|class|category|situation|event|answer|label|which|i|"
    r"sequence|so|"
    r"therefore|hence|thus|consequently|overall|conclusion|definition|everything|action|activity|all|choice|we|evidence)\b",
    re.IGNORECASE,
)
_UNREAL = re.compile(
    r"(?<!\bi )\b(?:would|could|might|if|seems?|looks?|appears?|at first|almost|nearly|unless|whether|though|although|"
    r"may|initially|"
    r"think of|resembles?|expected|usually|often|other|otherwise)\b",
    re.IGNORECASE,
)


class Stance(NamedTuple):
    """affirmed, rejected: {class: the sentence that does so}."""

    affirmed: dict[str, str]
    rejected: dict[str, str]


@lru_cache(maxsize=64)
def _mentions(labels: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    spoken = {spoken_label(label).lower(): label for label in labels}
    return re.compile(rf"\b(?:{label_pattern(labels) or '(?!)'})\b", re.IGNORECASE), spoken


def stance(reasoning: str, labels: tuple[str, ...]) -> Stance:
    """What a rationale says of the classes by their names.

    A mention counts as a conclusion where the clip is its subject and nothing follows that it would describe ("is normal,"
    but not "a normal visit"), and not under "would", "if" or "at first"; a name in another use is no stance.
    """
    pattern, spoken = _mentions(labels)
    found = Stance({}, {})
    for sentence in sentences(reasoning):
        for mention in pattern.finditer(sentence):
            label = spoken.get(" ".join(words(mention.group(0).replace("_", " "))))
            if label is None:  # letters that agree without case but not in lower case ("İ" and "i")
                continue
            before, after = sentence[: mention.start()], sentence[mention.end() :]
            clause = re.split(r"[,;]\s", before)[-1]
            if _REJECT_BEFORE.search(before) or _REJECT_AFTER.search(after):
                found.rejected.setdefault(label, sentence)
            elif _affirms(before, clause, after):
                found.affirmed.setdefault(label, sentence)
    return found


def _affirms(before: str, clause: str, after: str) -> bool:
    if not _AFFIRM_BEFORE.search(clause) or not _AFFIRM_AFTER.match(after) or _UNREAL.search(clause):
        return False
    return bool(_CLIP_SUBJECT.search(before)) or not before.strip()
