"""Which classes a rationale concludes, and which it rejects, by name: "so this is normal", "it cannot be a collision".

Rules say so, and where none holds the sentence is compared with examples (`rationale_examples`).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from rbft_ray.core.rationale_examples import CLASS_PLACE, OTHER_PLACE, resemblance
from rbft_ray.core.rationale_form import other_language
from rbft_ray.core.rationale_words import label_pattern, sentences, spoken_label, words

LIKELY = 0.7  # of sentences left out of the fit 0.61 of either stance lie above, and 0.08 of others
SHORT = 4  # words before a bare class name ("put briefly, pouring")
_FILLER = (
    r"(?:an?|the|class|label|category|clearly|definitely|simply|therefore|thus|hence|just|purely|entirely|best|"
    r"called|"
    r"considered|"
    r"classified|described|labelled|labeled|being|really|quite|be|been|as|for|a case of|an example of|"
    r"an instance of|certainly|"
    r"obviously|indeed|evidently|likely|of|to|it|this|that|any|really|truly|plainly)"
)
_REJECT_BEFORE = re.compile(
    r"(?:\bnot|n't|\bnever|\bcannot|\bneither|\bnor|\bno|\brather than|\binstead of|\bmore than|\bless than|"
    r"\brul(?:e|"
    r"es|ed|ing) out|"
    r"\bexclud\w+|\breject\w*|\bdismiss\w*|\bunlike|\bfar from|\bdiffer\w* from|\bother than|\bcontradict\w*|"
    r"\bagainst|\bdisprov\w+|"
    rf"\bhardly|\bdiscard\w*|\beliminat\w+|\b(?:in|not )(?:compatible|consistent|reconcilable) with|\bwithout|"
    rf"\banything but|"
    r"\bopposite of|\bat odds with|\b(?:conflict|clash)\w* with|\bcontrary to|\bdisqualif\w+|\brefut\w+|\bbeyond|"
    r"\bbeli\w+|\bdefies|"
    r"\bstrays? from|\bdepart\w* from|\bdeviat\w+ from|\bfalls? short of|\btoo \w+ (?:for|to be)|"
    r"\bset(?:ting)? aside|\b(?:were|had|was) "
    r"(?:it|this|that|the \w+)(?: \w+ly)?(?: been| stayed| remained| counted as)?|\bif (?:it|this|that|"
    r"the \w+) (?:was|were|had been|had "
    r"stayed|had remained)|\b(?:nobody|no one|no \w+|none|nothing|few|hardly anyone|never) (?:\w+ )?(?:would|could|"
    r"can|will|should|speaks?|points?|"
    r"suggests?|indicates?|supports?|calls?|looks?|makes?) (?:\w+ )?(?:\w+ )?(?:(?:it|this|that|the \w+|for|to|"
    r"towards?|of) )?|"
    r"\b(?:no|not|nor|little|nothing|never|n't)\b(?: \w+){0,2}? (?:place|room|part|business|sign|trace|hint|talk|"
    r"question|mention|evidence|reason|"
    r"proof|support|case|ground|grounds|instance|example|matter) (?:in|for|of|to (?:say|call it|choose|assume|"
    r"speak of)))\s*"
    rf"(?:\s(?:fit |match |meet |suit |belong to )?(?:{_FILLER}\s+)*)?[\"'“]?$",
    re.IGNORECASE,
)
_REJECT_AFTER = re.compile(
    r"^[\"'”]?,?\s*(?:as (?:a|the) (?:class|answer|label)\s*)?(?:(?:can|could|must|may|has to|is|was) (?:also |"
    r"therefore |thus |clearly |"
    r"safely |to )?(?:be )?(?:ruled out|excluded|dismissed|rejected|discarded|eliminated|out of the question|"
    r"struck off|crossed (?:out|off)|set aside|left out|put aside|forgotten|"
    r"refuted|discounted|"
    r"impossible|wrong|avoided|"
    r"not\b)|(?:cannot|can't|can not) (?:be|apply|fit|hold)|(?:does|do|did|is|would|could|should|will)(?: not|n't) |"
    r"(?:(?:event|visit|case|clip|scene|situation|recording|day|activity|behaviour|behavior|one|video) )?(?:would|"
    r"should) (?!be (?:the |a |my )?"
    r"(?:\w+ )?(?:right|correct|best|fitting|answer|choice|word|term)|fit\b|apply\b|describe\b|call\b.*\bit\b|"
    r"suit\b|match\b)\w+|drops? out\b|falls? (?:away|through|short|out)\b|it (?:is|was) not\b|it isn't\b|"
    r"fails\b|is (?:\w+ly |thus |also |then |the |a )?(?:wrong|impossible|unlikely|off the table|out\b|excluded|refuted|"
    r"untenable|unthinkable|inapplicable|"
    r"inconceivable|something (?:else|different)|another|different|too|a different|no (?:option|match|fit|candidate|"
    r"choice|possibility|longer))|"
    r"(?:has|have|needs?|requires?|involves?|calls? for|asks? for|demands?|looks?|means?|takes?|"
    r"presupposes?) (?:\w+ )?(?:another|different|differently|"
    r"more than|something (?:else|different|more)|other)\b|aside\b|(?:lacks|misses|contradicts|goes against|clashes|"
    r"conflicts|falls flat|leaves out|"
    r"does nothing|is at odds)\b)",
    re.IGNORECASE,
)
_AFFIRM_BEFORE = re.compile(
    r"(?:'s|\bdealing with|\bfaced with|\blooking at|\b(?:has to|must|can|may) speak of|\bonly|\bnothing but|\bwords|"
    r"\b(?:is|are|was|as|makes? (?:it|this|that|the \w+|them)|call(?:ed)? (?:it|this|that|the \w+)|choose|chose|"
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
_NAMED_AFTER = re.compile(  # "washing is the word for it"
    r"^[\"'”]?\s*(?:(?:is|remains|was|makes|seems) (?:\w+ly )?(?:the |my |our |what |a )?(?:\w+ )?(?:word|term|name|"
    r"answer|class|description|label|category|"
    r"choice|conclusion|verdict|option|reading|call|match|fit|this is|it is|happens|we see|i see|is shown|"
    r"applies)\b|(?:describes|captures|covers|sums up|"
    r"names|suits|matches|fits|explains) (?:it|this|what|the (?:clip|video|scene|recording|event|whole)|all|"
    r"everything|best)\b|(?:it is|it must be|wins|applies|holds)\b(?! not)|"
    r"is (?:\w+ly )?(?:right|correct|apt|appropriate|fulfilled|met|the case)\b)",
    re.IGNORECASE,
)
_DENIED = re.compile(  # a negator, and up to the name only words of calling and being
    r"(?:\b(?:not|never|cannot|no|nobody|nothing|none|neither|nor|hardly|scarcely|wrong|absurd|misleading|mistake|"
    r"fails?|refuses?|impossible|"
    r"no longer)|n't)\s(?:(?:an?|the|class|label|category|be|been|is|was|are|has|have|had|to|do|does|did|with|about|"
    r"it|this|that|what|which|one|i|we|"
    r"would|could|can|should|must|call|called|calling|speak|speaks|speaking|count|counts|counted|deserve|deserves|"
    r"anything|everything|something|possibly|really|longer|mean|means|meant|"
    r"meet|meets|take|taken|name|named|of|for|as|in|into|any|here|here's|at|all|even|remotely|\w+ly|fit|fits|fall|"
    r"falls|belong|belongs|under|"
    r"qualify|qualifies|amount|amounts|considered|described|classified|classed|say|think|consider|describe|"
    r"describes|itself|make|makes|"
    r"suggest|suggests|support|supports|point|points|indicate|indicates|like|look|looks|sort|kind)\s){0,7}[\"'“]?$|"
    r"\beverything but (?:an? )?$",
    re.IGNORECASE,
)
_NOTHING_BUT = re.compile(
    r"\b(?:nothing (?:but|other than|else than|that is not)|none other than|not (?:only|just|merely)|no (?:other|"
    r"less) than|other than|no doubt|no qualms|(?:can|could) (?:hardly|scarcely|not) be (?:any )?more)\b",
    re.I,
)
_MISSED = re.compile(  # "for a near miss, I would expect a gap"
    r"^\W*(?:for|to (?:be|count as|qualify as)|as) (?:an? |the |class )*[\"'“]?$", re.IGNORECASE
)
_WANTING = re.compile(
    r"\b(?:would|should have|expect|lack\w*|miss(?:es|ing)?|absent)\b(?! (?:call|say|"
    r"choose))",
    re.IGNORECASE,
)
_CLIP_SUBJECT = re.compile(
    r"\b(?:it|this|that|these|clip|video|footage|recording|scene|class|category|situation|event|answer|label|which|i|"
    r"sequence|so|"
    r"therefore|hence|thus|consequently|overall|conclusion|definition|everything|action|activity|all|choice|we|"
    r"evidence)\b",
    re.IGNORECASE,
)
_UNREAL = re.compile(
    r"(?<!\bi )(?<!\bone )(?<!\bwe )(?<!\bany )(?<!anyone )(?<!everyone )(?<!everybody )(?<!people )\b(?:would|"
    r"could|might)\b|\b(?:if|seems?|looks?|appears?|at first|almost|nearly|unless|whether|though|although|"
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
            label = _class_of(mention, spoken)
            if label is None:  # letters that agree without case but not in lower case ("İ" and "i")
                continue
            kind = _by_rule(sentence[: mention.start()], sentence[mention.end() :])
            kind = kind or _by_examples(sentence, _marked(sentence, label, pattern, spoken))
            if kind != "neither":
                into = found.rejected if kind == "rejects" else found.affirmed
                into.setdefault(label, sentence)
    return found


def _class_of(mention: re.Match[str], spoken: Mapping[str, str]) -> str | None:
    return spoken.get(" ".join(words(mention.group(0).replace("_", " "))))


def _marked(sentence: str, label: str, pattern: re.Pattern[str], spoken: Mapping[str, str]) -> str:
    """The sentence with CLASS_PLACE for `label` and OTHER_PLACE for other classes."""
    return pattern.sub(lambda found: CLASS_PLACE if _class_of(found, spoken) == label else OTHER_PLACE, sentence)


def _by_rule(before: str, after: str) -> str | None:
    clause = re.split(r"[,;]\s", before)[-1]
    if _rejects(before, after):
        return "rejects"
    if _affirms(before, clause, after) or (_NAMED_AFTER.match(after) and not _UNREAL.search(clause)):
        return "concludes"
    return "neither" if _NOTHING_BUT.search(before) else None


def _by_examples(sentence: str, marked: str) -> str:
    if other_language(sentence):
        return "neither"
    likely = resemblance("stance", marked)
    return next((kind for kind in ("rejects", "concludes") if likely[kind] > LIKELY), "neither")


def _affirms(before: str, clause: str, after: str) -> bool:
    if not _AFFIRM_BEFORE.search(clause) or not _AFFIRM_AFTER.match(after) or _UNREAL.search(clause):
        return False
    briefly = len(before.split()) <= SHORT and before.rstrip().endswith((",", ":"))
    return bool(_CLIP_SUBJECT.search(before)) or not before.strip() or briefly


def _rejects(before: str, after: str) -> bool:
    if _REJECT_AFTER.search(after) or (_MISSED.search(before) and _WANTING.search(after)):
        return True
    denied = _REJECT_BEFORE.search(before) or _DENIED.search(before)
    return bool(denied and not _NOTHING_BUT.search(before))
