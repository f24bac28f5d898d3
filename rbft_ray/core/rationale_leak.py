"""A rationale that refuses the task, and one that shows that its writer knew the label before: patterns of such sentences."""

import re
from functools import lru_cache

from rbft_ray.core.rationale_words import label_pattern, sentences, unquoted

_MEDIUM = r"(?:videos?|clips?|frames?|footage|images?|recordings?|pictures?|film|scene|attachment|content|input)"
_UNABLE = (
    r"(?:can(?:no|')t|can not|could(?: not|n't)|(?:am|was|are|were|'m) (?:not able|unable|not in a position)(?: to)?"
    r"|(?:do|did)(?: not|n't) (?:know|have|feel|think (?:that )?i can)|will not|won't|would rather not|must decline"
    r"|decline|have to (?:decline|pass|refuse)|must (?:refuse|pass)|refuse)"
)
_SAYING = (
    r"(?:determin\w+|tell(?:ing)?|say(?:ing)?|identif\w+|answer|help|assist|analy[sz]e|describ(?:e|ing)|watch(?:ing)?|"
    r"view(?:ing)?|access(?:ing)?|classify(?:ing)?|process|make|making|"
    r"provide|providing|comment\w*|judg\w+|decid\w+|giv(?:e|ing)|know|open|play|assign\w*|choos\w+|conclude|infer|"
    r"assess|evaluate|offer|comply|fulfil+|"
    r"continue|complete|work|discuss|respond|explain|interpret|recogni[sz]e|verify|confirm|perform|see (?:any |the )?"
    rf"{_MEDIUM}|feel|have (?:access|any|the ability|enough|sufficient)|to)"
)
_WHAT = (
    r"(?:what|whether|which (?:of|class|category|label|one|answer|it|activity|event)|who|the (?:\w+ )?(?:class|"
    r"category|label|activity|"
    r"event|action|answer|content)|anything|something|how to (?:classify|label)|with (?:any )?certainty|for (?:sure|certain)|"
    rf"(?:this|the) {_MEDIUM})"
)
_CLASS = (
    r"(?:what (?:happens|is happening|takes place|is taking place|is going on|goes on|occurs|is shown|is done|the|it)|which|"
    r"the (?:\w+ )?(?:class|category|label|activity|event|answer)|(?:this|the) (?:video|clip|footage))"
)
_POOR = r"(?:dark|blurr?(?:y|ed)|grainy|unclear|short|noisy|poor|small|bad|low|distant|pixelated|bright|vague|corrupt(?:ed)?)"
REFUSALS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:i|we)\s*{_UNABLE}(?: \w+)?? {_SAYING}\b",
        r"\b(?:i'm|i am|we are|we're)? ?(?:very |so |really )?sorry\b|\bapolog(?:y|ies|i[sz]e)\b|\bi regret\b",
        r"\b(?:as|being|i am|i'm) (?:just |only )?an? (?:ai|artificial|(?:large )?language|machine|text)\b|"
        r"\blanguage model\b",
        r"\b(?:my|our) (?:own )?(?:abilit(?:y|ies)|capabilit(?:y|ies)|competence|powers|knowledge|guidelines|"
        r"polic(?:y|ies))\b",
        rf"\bno (?:\w+ )?{_MEDIUM} (?:\w+ )?(?:was|were|is|are|has|have|could|can|came)\b[^.]*"
        r"\b(?:attached|provided|given|included|uploaded|available|supplied|shared|loaded|received|sent|opened|there|"
        r"arrived?|through)\b",
        rf"\bthere (?:is|are|was|were) no (?:\w+ )?{_MEDIUM}"
        r"(?: (?:\w+ )?(?:that|which|to|for|i|attached|provided|available|here|included)|$|[.,])",
        rf"\b{_MEDIUM} (?:\w+ )*?(?:is|are|was|were|did|does|do|has|have|could|can|seems?)(?: not|n't|not)(?: \w+)?? "
        r"(?:attached|load(?:ed)?|available|accessible|provided|open(?:ed)?|included|received|viewable|displayed)\b",
        rf"\b(?:im|not )possible (?:for me )?to (?:\w+ )?(?:tell|say|determine|decide|know|identify|judge|classify|"
        rf"answer|name)"
        rf"(?: \w+)?? {_WHAT}",
        rf"\b(?:hard|difficult) (?:for me )?to (?:tell|say|determine|decide|know|judge|classify) {_CLASS}",
        r"\b(?:not enough|insufficient|too little|lacks?(?: of)?(?: sufficient| enough| the)?|not (?:have )?sufficient) "
        r"(?:\w+ )?(?:information|context|details?|data|visual|evidence to)\b",
        r"\b(?:need|require|lack|without)s? (?:more|further|additional|clearer|better|the necessary)? ?"
        rf"(?:context|information|details|{_MEDIUM} (?:to|before|in order)|clarification)\b",
        rf"\btoo (?:\w+ )?(?:dark|blurr?(?:y|ed)|grainy|unclear|short|noisy|poor|small|bad|low|distant|pixelated|"
        rf"bright|vague|"
        rf"corrupt(?:ed)?)(?: \w+)?? (?:to|for (?:me|us|anyone) to) (?:\w+ )?"
        rf"(?:say|tell|see|determine|decide|identify|make out|recogni[sz]e|judge|know|describe|classify|"
        rf"be \w+) ?(?:{_WHAT}|$|[.,])",
        r"\b(?:question|class|category|label|answer|activity|video|clip|event|task|request|classification|this|it|action|"
        r"content) (?:\w+ )?(?:can ?no|can'|could(?: no|n'))t be (?:\w+ )?(?:answered|determined|decided|classified|"
        r"identified|"
        r"established|told|judged|analy[sz]ed|assigned|processed|fulfilled|completed|inferred|chosen|derived)\b",
        rf"\b(?:unclear|not clear|unknown|uncertain|not certain|not sure|unsure|no idea)(?: to me| for me)?(?: of|"
        rf" as to)? {_CLASS}",
        r"\bi(?: am|'m) (?:\w+ )?(?:not sure|unsure|uncertain|not comfortable|uncomfortable|not allowed|not permitted|"
        r"only guessing)\b",
        r"\bi (?:have|had|see|find|received|was given|got) (?:no|nothing|neither)\b",
        r"\b(?:please|kindly|could you|can you|would you) (?:\w+ )?(?:provide|upload|share|attach|send|give|supply|"
        r"try|clarify|"
        r"describe|submit|check|tell me)\b",
        r"\b(?:any|my|this|every|an|the) answer (?:\w+ )?(?:would|will|is|can|could|may) (?:only |just |merely |then )?be "
        r"(?:\w+ )?(?:a |an )?(?:\w+ )?(?:guess|speculation|arbitrary|random)|\b(?:pure|mere|wild|random|blind|"
        r"just a|only a) "
        r"(?:guess|speculation)(?:ing|es|work)?\b|\b(?:at random|randomly)\b[^.]*\b(?:class|label|answer|pick|choose|"
        r"choice|guess)|"
        r"\b(?:pick|choose|select|guess|answer|take)\b[^.]*\bat random\b|\bwithout any (?:evidence|basis|grounds)\b",
        r"\b(?:my )?(?:best |only )?guess (?:is|would|without)\b|\bi(?: am|'m|'ll| will| can only| would| have to| must) "
        r"(?:just |only |simply )?(?:guess|speculat\w+|guessing)\b",
        r"(?:\bnot|n't|\bnor) (?:(?:have|provide|contain|offer|give|show|hold) )?(?:enough|sufficient) (?:\w+ )?"
        r"(?:information|context|details?|data|evidence|clues?|material)\b",
        rf"\btoo (?:\w+ )?{_POOR} for (?:an?|any|me|the) (?:\w+ )?(?:decision|judge?ment|classification|answer|statement|"
        r"description|conclusion|identification|assessment|analysis)\b",
        rf"\b(?:{_MEDIUM}|quality|resolution|lighting|light|material)\b[^.]*(?:\bnot|n't) (?:\w+ )?"
        r"(?:clear|sharp|good|long|bright|detailed|visible|high) enough\b",
        r"\bi (?:(?:do not|don't|cannot|can't) (?:really |actually )?know|(?:will not|won't|refuse|decline|(?:would |'d )?"
        r"(?:prefer|rather) not)|(?:have|see) no (?:way|means|idea|clue|possibility|basis|access))\b|"
        r"\bi'd (?:prefer|rather) not\b",
        r"\b(?:nothing|little|no more) (?:\w+ )?(?:can|could|may) be (?:said|stated|concluded|told|determined|inferred)\b|"
        r"\bno (?:\w+ )?(?:description|statement|answer|judge?ment|decision|classification|conclusion|assessment|analysis|"
        r"determination|verdict) (?:\w+ )?(?:is|can|could|was|will|would)\b",
        r"^(?:unable|cannot|can't|can not|not able|impossible|not possible|no way) (?:\w+ )?(?:\w+)?",
        rf"\b(?:{_MEDIUM}|quality|resolution|lighting|light|darkness|training|programming|rules|polic(?:y|ies)|"
        rf"guidelines|design|angle)\b"
        r"[^.]*(?:\b(?:does|do|did) not|(?:does|do|did)n't) (?:\w+ )?(?:allow|permit|let|enable|suffice|support|"
        r"make it possible)\b|"
        r"\b(?:prevents?|keeps?|hinders?|stops?) (?:me|us) from\b|\bmakes? it impossible (?:for me )?to (?:say|tell|"
        r"determine|decide|judge)\b",
        r"\b(?:you|the user|it) (?:have|has|did|had)(?: not|n't) (?:\w+ )?(?:sent|send|attach(?:ed)?|provided?|"
        r"uploaded?|shared?|given?|"
        r"includ(?:ed?))\b",
        rf"\b(?:more|further|additional|better|clearer|sharper) (?:\w+ )?(?:{_MEDIUM}|information|context|details|"
        rf"resolution|views?) "
        r"(?:\w+ )?(?:be|is|are|were|was) (?:\w+ )?(?:needed|required|necessary|helpful)\b",
        r"\b(?:cannot|can't|can not|could not|couldn't) be (?:\w+ )?(?:said|told|determined|decided|"
        r"established) (?:with|what|which|whether|for)\b",
        r"\b(?:against|violates?|not in line with) (?:\w+ )?(?:polic(?:y|ies)|guidelines)\b|\bfor privacy reasons\b",
    )
)

_K = (
    r"(?:labels?|class(?:es)?|categor(?:y|ies)|annotations?|answer|classification|ground[- ]truth|tags?|designation|verdict|"
    r"solution|labell?ing|assignment|result|outcome|decision)"
)
_SOURCE = (
    r"(?:prompt|task(?: description| statement)?|instructions?|question|annotations?|annotators?|ground[- ]truth|metadata|"
    r"data ?set|gold standard|user|questioner|assignment|labell?ers?|input text|text above|brief(?:ing)?|hints?)"
)
_SAYS = (
    r"(?:says?|said|states?|stated|gives?|gave|indicates?|indicated|tells?|told|specif(?:y|ies|ied)|mentions?|mentioned|"
    r"calls?|labels?|lists?|names?|names?|requires?|suggests?|suggested|implies|implied|confirms?|declares?|"
    r"reveals?|revealed|"
    r"shows?|provides?|provided|marks?|wants?|reads|claims?|notes?|classifies|demands?|has it|points? to)"
)
_GIVEN = (
    r"(?:given|provided|supplied|stated|specified|assigned|pre-?set|pre-?defined|pre-?determined|pre-?assigned|expected|gold|"
    r"correct|indicated|aforementioned|existing|reference|target|desired|required|intended|official|already known|"
    r"attached|associated|aforesaid|prescribed|recorded|annotated|above-mentioned|suggested|true)"
)
_TOLD = r"(?:told|informed|instructed|advised|notified|assured|made aware|hinted|tipped off|let know)"
_AHEAD = (
    r"(?:beforehand|in advance|a priori|ahead of time|from the (?:start|outset|beginning)|up front|earlier|previously|"
    r"(?:stated |given |mentioned |named )?above|to (?:me|us)|"
    r"(?:in|by|with|from) (?:the|this|my|our|your) (?:prompt|tasks?|instructions?|question|input|hint|request|user|"
    r"annotations?|data ?set))"
)
_MARKED = (
    r"(?:identified|labell?ed|classified|marked|categori[sz]ed|annotated|tagged|designated|assigned|confirmed|flagged|listed|"
    r"declared|deemed|specified|described|recorded|registered|stated|given|called|reported|named|filed|rated|put down)"
)
_SUBJECT = rf"(?:{_MEDIUM}|it|this|that|sequence|event|activity|they|sample|example|case)"
_PHYSICAL = re.compile(
    r"\b(?:an?|one|each|every|no|white|paper|another) (?:\w+ )?label\b|\blabels? (?:on|of a|at the)\b", re.IGNORECASE
)
_BARE_LABEL = (
    r"\b(?:according to|as per|per|based on|consistent with|in line with|in keeping with|in accordance with|"
    r"in agreement with|"
    r"agree(?:s|ing)? with|match(?:es|ing)?|confirm(?:s|ing)?|support(?:s|ing)?|justif(?:y|ies|ying)|as|by|following|from|"
    r"given|since|because|trust(?:ing)?|knowing|in view of|in (?:the )?light of|due to|fits?|explains?|with) the "
    r"(?:class )?label\b|\bthe (?:class )?label (?:already )?(?:says|suggests|indicates|states|tells|implies|confirms|"
    r"requires)\b(?!\s*(?:[.,;:]\s*)?$)"
)


def refusal(text: str) -> str | None:
    """The phrase with which the writer says that it cannot or will not answer, has no video, or guesses."""
    for sentence in sentences(unquoted(text)):
        sentence = sentence.replace("’", "'")
        for pattern in REFUSALS:
            if found := pattern.search(sentence):
                return found.group(0)
    return None


def _more_leaks(named: str) -> tuple[str, ...]:
    return (
        r"\b(?:labels?|classification|annotation|ground truth|category|tag) (?:\w+ )?(?:given|provided|supplied|"
        r"stated|assigned|"
        r"specified|indicated)\b|\banswer (?:given|provided|supplied|stated)\b",
        rf"\b(?:the|this|a|its|that) (?:\w+ )?(?:label|tag)(?: of| is| was|,)? [\"']?(?:{named})",
        rf"\b{_K} (?:has|had) (?:already |previously |\w+ly )?been (?:given|provided|stated|supplied|specified|"
        rf"fixed|set|named|mentioned|"
        r"assigned|made|chosen|disclosed|revealed|established|confirmed|indicated|announced|settled|decided)\b",
        r"\bannotat(?:ors?|ions?)\b|\b(?:answer|solution) (?:key|sheet)\b",
        r"\b(?:the|a|this|my|our) (?:clue|tip|pointer|information|info|specification|remark|note) (?:supplied|given|"
        r"provided|received|above|"
        r"(?:that )?(?:i|we) (?:received|got|have|had|was|were))\b|\bwhat (?:i|we) (?:was|were|have been|"
        r"had been) (?:told|given)\b",
        r"\b(?:my|our|the) (?:task|job|aim|goal) (?:here )?is to (?:explain|justify|support|argue|show|find reasons|"
        r"say why|describe why)\b",
        r"\b(?:with|from|having|in) (?:the |my |our )?(?:prior |previous )?knowledge (?:that|of the (?:label|class|"
        r"answer))\b",
        rf"\b{_K} (?:to|of|as) (?:{named}) (?:was|is|has been) (?:\w+ )?(?:made|given|fixed|known|done|set|decided)\b",
        r"\bit (?:is|was|has been|had been) (?:\w+ )?(?:stated|given|specified|said|confirmed|indicated|settled|"
        r"reported|declared|established|"
        rf"told|mentioned|disclosed) (?:\w+ )?that (?:the|this|it)\b|\b(?:is|was) known that (?:the|this) {_MEDIUM}\b",
        r"\b(?:in|by|from|to|per) the (?:prompt|instructions?|question|task description|input text|"
        r"request)\b(?! of)|\bthe prompt\b(?=[,.;]|$)",
        r"\bas (?:was |is |were |i was |we were )?(?:indicated|stated|given|specified|provided|instructed|told|"
        r"informed|required|labell?ed|"
        r"annotated|prescribed|requested|announced|disclosed)(?=[,.;]|$)",
        rf"\b(?:already|previously|beforehand|officially) (?:been )?{_MARKED} (?:\w+ )?(?:{named})",
        r"\b(?:start(?:s|ing)?|begin|work(?:ing)?|go(?:ing)?) from the (?:fact|premise|assumption)\b|\b(?:as|"
        r"for) (?:a )?given\b(?=[,.;]| that)",
        rf"\b(?:given|granted|provided) (?:the fact )?that (?:it|this|the {_MEDIUM}|the {_K}) (?:is|was|belongs|has) ",
        rf"\b(?:since|because|as) the (?:\w+ )?{_K} (?:is|was|reads|says) [\"']?(?:{named})",
    )


@lru_cache(maxsize=64)
def _leaks(labels: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    one = label_pattern(labels) or "(?!)"
    named = rf"(?:(?:as|to be|to|with|under|of|being) )?(?:class |an? |the |the class |the label |\W)*(?:{one})\b"
    patterns = (
        rf"\b{_GIVEN} (?:class )?{_K}\b(?! (?:to|of (?:the|a|this|these) (?!video|clip|foot|scene|rec)|on (?:the|a)))",
        r"\b(?:the|this|that|a|your|our|my|any) (?:\w+ )?hints?\b(?! (?:of|at)\b)|\b(?:as|was|were|been) hinted\b(?! at)|"
        r"\bhints? (?:given|provided|says?|said|tells?|indicat\w+|states?|suggests?|was|above)\b",
        rf"\b(?:we|i|us)(?: are| am| were| was| have been| had been|'ve been|'re|'m)? (?:already |just |"
        rf"explicitly )?{_TOLD}\b",
        rf"\b(?:we|i) (?:are|am|were|was|have been|had been) (?:already )?given (?:the|a|this|its) (?:\w+ )?{_K}\b",
        r"\b(?:was|were|am|are|been) asked to (?:explain|justify|support|argue|find reasons|show|describe) (?:why|"
        r"that|the|how|for)\b",
        rf"\b(?:the|this|our|my|your) {_SOURCE} (?:itself |already |explicitly |clearly )?{_SAYS}\b",
        r"\b(?:according to|as per|per|based on|in line with|consistent with|agree(?:s|ing)? with|in accordance with|"
        r"match(?:es|ing)?|"
        r"confirm(?:s|ing)?|support(?:s|ing)?|in agreement with|in keeping with|from|by|as) (?:the|this|its|my|our|"
        r"your) (?:\w+ )?"
        r"(?:annotations?|ground[- ]truth|prompt|hint|instructions?|annotators?|gold standard|metadata)\b",
        r"\bground[- ]truth\b",
        rf"\b{_K} (?:\w+ )?(?:is|was|are|were|has been|had been)? ?(?:\w+ )?(?:given|provided|stated|supplied|known|"
        rf"specified|fixed|"
        rf"set|named|mentioned|assigned|made|chosen|disclosed|revealed|established)(?: \w+)? {_AHEAD}\b",
        rf"\b{_K}\b[^.;]{{0,40}}\b(?:beforehand|in advance|a priori|ahead of time|stated above|given above|"
        rf"mentioned above|named above)\b",
        rf"\b{_K} (?:i|we) (?:was|were|am|are|have been|had been) (?:given|told|shown|provided|assigned)",
        rf"\bas (?:already |was |is |has been )*(?:mentioned|stated|indicated|noted|given|specified|provided|known|"
        rf"named|announced|required|"
        rf"requested|disclosed) (?:above|beforehand|in advance|{_AHEAD})\b",
        rf"\b(?:knowing|aware) (?:that )?(?:the|this|it|of the) (?:\w+ )?(?:{_K}|{_MEDIUM}|is|to be)\b|"
        rf"\bknowing (?:the|its) (?:\w+ )?{_K}\b",
        r"\b(?:we|i) (?:already|do|now) know\b|\b(?:as|since|because|given that) (?:we|i) (?:already )?kn[eo]w\b|"
        r"\bit (?:is|was) (?:already|previously) (?:known|established|clear|given|settled|decided|determined)\b",
        rf"\b(?:is|was|being|are) (?:already )?known {named}",
        rf"\b{_SUBJECT}(?: itself)? (?:has|have|had|was|were)(?: been)?(?: \w+ly| already|"
        rf" beforehand)? {_MARKED} (?:\w+ly )?(?:{named})",
        r"\bhas (?:already |previously )?been (?:confirmed|established|verified|determined|decided|settled|given) that\b",
        rf"\bwhy (?:it|this|that|the \w+|they)(?: \w+)? (?:is|was|has been|had been|were|are|got|carries|bears|"
        rf"received)(?: \w+ly| already)? "
        rf"(?:{_MARKED}|the (?:label|tag|class))\b",
        rf"\b(?:supposed|said|known|stated|reported|declared|required|expected|confirmed|certified) (?:to be|as) (?:{named})",
        rf"\bto (?:justify|support|defend|explain|confirm|back up|reach|arrive at|match) (?:the|this|that|its|"
        rf"my) (?:\w+ )?{_K}\b",
        rf"\bassum(?:e|ed|ing) (?:that )?(?:the|this) (?:\w+ )?(?:label|answer|annotation|tag|{_MEDIUM} (?:is|"
        rf"to be) (?:{named}))",
        rf"\b(?:existing|prior|earlier|previous|original|initial|assigned|official|given|provided) (?:\w+ )?(?:{_K}|"
        rf"marking|identification)\b",
        rf"\b{_K} (?:of (?:this|the) \w+ )?as (?:{named}),? (?:which was |was |is )?(?:made|given|assigned|known|"
        rf"provided|stated|set|fixed)\b",
        *_more_leaks(named),
        r"\b(?:its|the video's|the clip's|this video's) (?:\w+ )?(?:label|annotation|tag|designation)\b",
        rf"\b(?:labell?ed|annotated|tagged|pre-?classified) (?:{named})",
        r"\b(?:gives?|gave|giving|reveals?|revealed|disclos\w+) (?:away )?(?:us |me )?the (?:\w+ )?(?:answer|label|class)\b",
    )
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


def leak(reasoning: str, labels: tuple[str, ...]) -> str | None:
    """The phrase that shows that the writer was given the label: a hint, the prompt, an annotation, a fact known before.

    "label" alone counts only where no label of the scene (on a jar, a box) is spoken of; words in quotation marks never do.
    """
    text = unquoted(reasoning).replace("’", "'")
    bare = () if _PHYSICAL.search(text) else (re.compile(_BARE_LABEL, re.IGNORECASE),)
    for sentence in sentences(text):
        for pattern in (*_leaks(labels), *bare):
            if found := pattern.search(sentence):
                return found.group(0)
    return None
