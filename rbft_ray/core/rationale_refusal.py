"""A rationale that refuses the task: its writer cannot or will not answer, has no video, or guesses.

Rules speak of the writer and of the task (the video as a whole, the class, the answer). What cannot be seen or done within the
scene ("the man cannot open the door", "his face cannot be seen") is no refusal.
"""

import re

from rbft_ray.core.rationale_words import sentences, unquoted

_MEDIUM = (
    r"(?:videos?|clips?|frames?|footage|images?|recordings?|pictures?|film|scene|attachments?|content|input|"
    r"material|file|link|stream|"
    r"upload|media)"
)
_CANNOT = (
    r"(?:can(?:no|')t|can not|can neither|can hardly|could(?: not|n't)|(?:am|was|are|were|'m|"
    r"feel) (?:\w+ )?(?:not able|unable|"
    r"not in a position|incapable|"
    r"powerless|at a loss)(?: to| of)?|(?:do|did)(?: not|n't) (?:\w+ )?(?:know|have|feel able to|feel|see how to|"
    r"think (?:that )?i can|"
    r"dare(?: to)?|manage to|wish to|want to)|"
    r"(?:am|'m|are)(?: not|n't) (?:\w+ )?(?:able|in a position|allowed|permitted|equipped|qualified|authori[sz]ed|"
    r"trained|designed|built|"
    r"made|willing|prepared|going|meant|supposed)(?: to)?|fail(?:ed)? to|struggle to|lack (?:\w+ ){1,3}to|may not|"
    r"must not|would not)"
)
_WILL_NOT = (
    r"(?:will not|won't|would rather not|(?:must |have to |will |shall |'ll |would )?(?:\w+ly )?(?:decline|refuse|"
    r"abstain|refrain|pass on|"
    r"give up|withhold|opt out|object to|desist|forgo|waive)|'d (?:prefer|rather) not|(?:would )?(?:prefer|"
    r"rather) not|have to pass|"
    r"must pass|leave (?:it|this|the question|the answer|that) (?:open|undecided|to (?:others|somebody|someone|"
    r"a human)))"
)
_SERVE = (  # what a writer does for the one who asks
    r"(?:answer\w*|help|assist|analy[sz]\w+|comply|fulfil+|continue|complete|respond|classify\w*|process\w*|"
    r"access\w*|watch(?:ing)?|"
    r"view(?:ing)?|comment\w*|judg\w+|decid\w+|assign\w*|conclude|infer|assess\w*|evaluat\w+|offer|perform|provide|"
    r"assess|open (?:the|this|"
    rf"your|any) {_MEDIUM}|play (?:the|this|your|any) {_MEDIUM}|load|choos\w+|commit|vouch|deduce|label|"
    rf"categori[sz]e|settle|pick|rate|"
    r"give (?:an?|any|the|you) (?:\w+ )?(?:answer|judge?ment|verdict|assessment|reply|description|opinion|class\w*|"
    r"statement|label)|"
    r"make (?:an?|any|the) (?:\w+ )?(?:judge?ment|decision|choice|statement|assessment|classification|call|guess)|"
    r"discuss)"
)
_LEARN = (
    r"(?:determin\w+|tell\w*|say\w*|identif\w+|describ\w+|know\w*|explain|interpret|recogni[sz]e|verify|confirm|"
    r"make out|see|be sure|"
    r"establish|name|state|decide|judge|find out|work out|figure out|perceive|discern|understand|read|guess|"
    r"make (?:any )?sense of|conclude)"
)
_TASK = (
    r"(?:what (?:happens|is happening|takes place|is taking place|is going on|goes on|occurs|is shown|is done|"
    r"is depicted|is displayed|"
    r"is in|is on|is to be seen|can be seen|was filmed|exactly happens|actually happens|the (?:\w+ )?"
    rf"(?:{_MEDIUM}|answer|class|label|category)|it (?:shows|is|depicts)|this (?:is|shows)|kind of|sort of|"
    rf"to (?:say|answer|choose|"
    r"write|conclude|make of))|which (?:of|class|category|label|one|answer|it is|activity|event|option|applies|term|"
    r"description|"
    r"alternative)|whether (?:it|this|the (?:\w+ )?(?:clip|video|one|event|scene|footage|class|label|answer)|"
    r"any of the|either)|the (?:\w+ )?"
    r"(?:class|category|label|activity|answer|content|classification|correct|right)\b|anything|"
    r"something (?:definite|certain)|how to (?:classify|"
    rf"label|answer|categori[sz]e)|with (?:any |full |enough )?(?:certainty|confidence)|for (?:sure|certain)|"
    rf"(?:this|the|your|any|such) {_MEDIUM}|"
    r"what it|what this)"
)
_POOR = (
    r"(?:dark|blurr?(?:y|ed)|grainy|unclear|short|noisy|poor|small|bad|low|distant|pixelated|bright|vague|"
    r"corrupt(?:ed)?|weak|coarse|hazy|"
    r"fuzzy|fleeting|little|faint|meagre|scant|far away|compressed|shaky|ambiguous|limited)"
)
_FINDING = (
    r"(?:decision|judge?ment|classification|answer|statement|description|conclusion|identification|assessment|"
    r"analysis|verdict|"
    r"determination|evaluation|opinion|choice|reply|diagnosis|categori[sz]ation|interpretation|inference)"
)
_GONE = (
    r"(?:attached|load(?:ed|ing)?|available|accessible|provided|open(?:ed|ing)?|included|received|viewable|"
    r"displayed|supplied|shared|sent|"
    r"uploaded|there|arrived?|through|play(?:ed|ing|s)?|reach(?:ed)?|transmitted|readable|delivered|enclosed|"
    r"decoded?|submitted|given|"
    r"processed|rendered|usable|work(?:ing|s|ed)?|visible to me|to hand)"
)
_DETAILS = (
    r"(?:information|context|details?|data|evidence|clues?|material|basis|grounds|footage|input|visual (?:\w+)|"
    r"content|knowledge|light|"
    r"to go on|to see|to work with|to tell|to decide|to judge|for an?)"
)
_RULES = (
    # inability and refusal of the writer
    rf"\b(?:i|we)\s*(?:\w+ly )?{_CANNOT}(?: \w+)?? (?:even )?{_SERVE}\b",
    rf"\b(?:i|we)\s*(?:\w+ly )?{_CANNOT}(?: \w+ly)?(?: (?:in good conscience|with any|"
    rf"at all))? {_LEARN}(?: \w+)?? (?:{_TASK}|$|[.])",
    rf"\b(?:i|we)\s*(?:\w+ly )?{_CANNOT} (?:{_TASK}|(?:any |the |enough |sufficient )?(?:access|ability|means|"
    rf"capability|necessary|"
    r"required|tools|way|permission|right to|expertise|eyes|idea|clue|information|evidence))",
    rf"\b(?:i|we) ?{_WILL_NOT}\b",
    r"\b(?:can(?:no|')t|cannot|can not|won't|will not) in good conscience\b|\bnot (?:my|for me) to (?:say|judge|"
    r"decide)\b",
    r"\b(?:beyond|exceeds?|outside(?: of)?) (?:me\b|(?:my|our) )|\bi(?: am|'m) (?:\w+ )?(?:at a loss|lost|stumped|"
    r"helpless|blind)\b|"
    r"\b(?:escapes?|eludes?|defeats?) (?:me|us)\b",
    r"^(?:unable|not able|impossible|not possible|no way) to\b|^(?:cannot|can't|can not) (?:be )?\w+",
    r"\bi(?: am|'m) (?:\w+ )?(?:not sure|unsure|uncertain|not comfortable|uncomfortable|uneasy|not allowed|"
    r"not permitted|only guessing|"
    r"not certain|in doubt|undecided|not willing|unwilling|reluctant|hesitant)\b",
    r"\b(?:i|we) (?:do not|don't|would not|wouldn't|cannot|can't) feel (?:\w+ )?(?:comfortable|at ease|right|"
    r"confident|able|sure|qualified)\b",
    r"\b(?:unknown|unclear|a mystery|a riddle|hidden|incomprehensible|inaccessible|not (?:clear|known|visible|"
    r"evident|accessible|available)) "
    r"(?:to|for) (?:me|us)\b",
    # the writer is a machine or has rules
    r"\b(?:as|being|i am|i'm|only|just|merely) (?:just |only |merely )?an? (?:\w+[ -])?(?:ai|artificial|"
    r"(?:large )?language|machine|text)\b|"
    r"\b(?:language|text|text-only|ai) (?:model|assistant|system)\b|\b(?:assistant|chatbot)\b",
    r"\b(?:my|our) (?:own |present |current )?(?:abilit(?:y|ies)|capabilit(?:y|ies)|competence|powers?|knowledge|"
    r"guidelines|polic(?:y|ies)|"
    r"training|programming|rules|principles|safety|makers|developers|instructions (?:forbid|do not)|skills?|limits|"
    r"limitations|remit|"
    r"capacity|conscience|eyes (?:are|see))\b",
    r"\b(?:against|violates?|violation of|not in line with|contravenes?|contrary to|"
    r"breach of) (?:\w+ )?(?:polic(?:y|ies)|guidelines|terms|"
    r"principles)\b|\b(?:for|out of) (?:\w+ )?(?:privacy|ethical|safety|legal|data protection)(?: \w+)? (?:reasons|"
    r"concerns|grounds)\b|"
    r"\b(?:polic(?:y|ies)|guidelines|rules|terms) (?:\w+ )?(?:forbids?|prohibits?|prevents?|(?:do|does)(?: not|"
    r"n't) (?:allow|permit|let)) "
    r"(?:me|us|such|it|this|any|an?|the)\b|\bethical\w* (?:concerns|reasons|problem)\b",
    r"\b(?:i'm|i am|we are|we're|so|very|really|sincerely|deeply|am) (?:\w+ )?sorry\b|^(?:\W*)sorry\b|"
    r"\bsorry,? but\b|"
    r"\b(?:i|we) (?:\w+ ){0,2}(?:apologi[sz]e|regret)\b|^(?:my |our |with |many |please accept )*apologies|"
    r"\bmy (?:\w+ )?apolog\w+|"
    r"^(?:i )?regret(?:tably)?,? (?:i|we|no|that)\b|\bask (?:for|your) (?:understanding|forgiveness|pardon)\b",
    # no video, or a broken one
    rf"\bno (?:\w+ )?{_MEDIUM} (?:\w+ )??(?:was|were|is|are|has|have|could|can|came|reached|arrived|seems?|appears?|"
    rf"to)\b[^.]*"
    rf"\b(?:{_GONE}|with|me|us)\b",
    rf"\bthere (?:is|are|was|were|seems? to be|appears? to be) (?:no|nothing|neither) (?:\w+ )?{_MEDIUM}"
    r"(?: (?:\w+ )?(?:that|which|to|for|i|attached|provided|available|here|included|with)\b|$|[.,])",
    rf"\b{_MEDIUM} (?:\w+ )*?(?:is|are|was|were|did|does|do|has|have|had|could|can|seems?|would|will|won)(?: not|"
    rf"n't|not|'t)(?: \w+)?? "
    rf"(?:been |be |seem to )?(?:\w+ )?{_GONE}(?! by\b)\b",
    rf"\b(?:the|your|this|any|entire|whole|all) {_MEDIUM}(?: itself| here)? (?:is|are|was|were|seems?|appears?|seem|"
    rf"remains?|stays?|turns? out|shows?|has|"
    r"consists? of|contains?|fails?|failed|refuses?|came|comes)(?: \w+)?? (?:to be |to have |"
    r"as )?(?:\w+ )?(?:missing|empty|blank|corrupt(?:ed)?|damaged|broken|"
    r"unavailable|inaccessible|unreadable|unplayable|undecodable|black(?! and)|defective|nothing|to (?:load|open|"
    r"play|decode|arrive)|lost|withheld)\b"
    r"(?! (?:happens|out of|else|un|but|more|special|of the kind|is taken|at))(?= *$|[.,;]| (?:so|and|to|for|from|"
    r"but|here))",
    r"\b(?:all|everything|the only thing) (?:that )?(?:i|we) (?:\w+ )?(?:receive|get|see|have|got|received|"
    r"was given|find|obtain)\w*(?: \w+)?? (?:is|was|are) "
    r"(?:\w+ ){0,3}(?:black|blank|empty|grey|gray|noise|static|nothing|error|text|dark|white|placeholder|snow)\b",
    rf"\b(?:i|we) (?:\w+ )?(?:have|had|see|saw|find|found|received?|get|got|was given|were given|was sent|possess|"
    rf"perceive) (?:\w+ )?(?:no|neither|"
    rf"nothing|none|only (?:text|words|a black)) (?:\w+ )?(?:{_MEDIUM}|access|way|means|idea|clue|possibility|basis|"
    rf"eyes|visual|vision|evidence|"
    r"information|ability|opinion|answer|data|knowledge|reason to (?:prefer|choose|decide)|to|at all|here|"
    r"but (?:text|words|black))\b",
    r"\b(?:i|we) (?:have|had|see|received|get|got) nothing\b(?= *$|[.,]| (?:to|that (?:i|would)|on which|but))",
    r"\b(?:you|the user|it|they|your message|the message) (?:have|has|did|had)(?: not|n't) (?:\w+ )?(?:sent|send|"
    r"attach(?:ed)?|provided?|uploaded?|"
    r"shared?|given?|includ(?:ed?)|supplied|supply|contain(?:ed)?)\b|\byour (?:\w+ )?(?:video|clip|file|upload|"
    r"attachment|footage|link) (?:\w+ )?"
    r"(?:seems?|is|was|appears|did|has|could)\b",
    rf"\bwithout (?:(?:any|the|an?|access to|seeing|watching|better|clearer|sharper|more|further|usable|actual|"
    rf"sufficient|the actual|enough|additional) )*"
    rf"(?:{_MEDIUM}|pictures?|information|context|data|details|evidence|basis)\b(?=.*\b(?:i|we|no|nothing|not|"
    rf"cannot|impossible|guess\w*|answer|random\w*|"
    r"arbitrary|choice)\b)",
    # too little to decide
    rf"\b(?:im|not |hardly |scarcely )possible (?:for (?:me|us|anyone) )?to (?:\w+ )?(?:{_LEARN}|"
    rf"{_SERVE})(?: \w+)?? (?:{_TASK}|$|[.])",
    rf"\b(?:hard|difficult|tough) (?:for (?:me|us) )?to (?:\w+ )?(?:{_LEARN}|{_SERVE}) (?:{_TASK})(?!.*\b(?:but|yet|"
    rf"though|however)\b)",
    r"\b(?:not enough|insufficient|too little|too few|inadequate|lacks?(?: of)?(?: sufficient| enough| the)?|"
    r"not (?:have )?sufficient|scarcely enough|"
    r"hardly enough|hardly any) (?:\w+ )?(?:information|context|details?|data|evidence|clues?|basis|visual \w+|"
    r"to (?:go on|see|work with|decide|judge|tell|base)|"
    r"to (?:make|reach|give|draw|allow|form) an?)\b",
    rf"(?:\bnot|n't|\bnor) (?:(?:have|provide|contain|offer|give|show|hold|yield|supply) )?(?:enough|sufficient|"
    rf"adequate|me enough|the necessary) (?:\w+ )?{_DETAILS}\b",
    rf"\b(?:need|require|lack)s? (?:\w+ )?(?:more|further|additional|clearer|better|the necessary|the)? ?(?:context|"
    rf"information|details|{_MEDIUM} "
    r"(?:to|before|in order|that)|clarification)\b",
    rf"\b(?:more|further|additional|better|clearer|sharper|longer) (?:\w+ )?(?:{_MEDIUM}|information|context|"
    rf"details|resolution|views?|shots?) (?:\w+ )?"
    r"(?:be|is|are|were|was) (?:\w+ )?(?:needed|required|necessary|helpful|indispensable)\b",
    rf"\b(?:too|so|far too) (?:\w+ )?{_POOR}(?: \w+)?? (?:to|that|for (?:me|us|anyone) to) (?:\w+ )?(?:{_LEARN}|"
    rf"{_SERVE}|be \w+)(?: \w+)?? ?(?:{_TASK}|anyone|"
    r"$|[.,])",
    rf"\btoo (?:\w+ )?{_POOR} for (?:an?|any|me|the|us) (?:\w+ )?{_FINDING}\b|\bto (?:make|give|reach|draw|offer|"
    rf"form|venture|allow) (?:an?|any) (?:\w+ )?"
    rf"{_FINDING} (?:about|on|of|as to|possible)\b(?=.*)",
    rf"\b{_MEDIUM}\b[^.]*(?:\bnot|n't|\bin)(?:\w+)? ?(?:sufficient|suffice|adequate|enough) for (?:an?|any|"
    rf"the) (?:\w+ )?{_FINDING}\b",
    rf"\b(?:{_MEDIUM}|quality|resolution|lighting|light|material|angle|darkness|compression)\b[^.]*(?:(?:\bdoes|"
    rf"\bdo|\bdid) not|(?:does|do|did)n't) (?:\w+ )?"
    rf"(?:allow|permit|let|enable|suffice|support|make it possible|admit)\b[^.]*\b(?:{_FINDING}|me|us|one|anyone|"
    rf"to (?:say|tell|determine|decide|judge|know))\b",
    rf"\b(?:{_MEDIUM}|quality|resolution|material)\b[^.]*(?:\bnot|n't) (?:\w+ )?(?:clear|sharp|good|long|bright|"
    rf"detailed|visible|high) enough\b",
    r"\b(?:prevents?|keeps?|hinders?|stops?) (?:me|us) from\b|\b(?:makes?|renders?) (?:it |"
    r"an? \w+ )?impossible(?: for me)?(?: to (?:say|tell|determine|decide|"
    r"judge)| *$|[.,])",
    rf"\bno (?:\w+ )?{_FINDING}\b(?! (?:of|by|from) the (?:referee|police))(?: \w+)*? (?:is|can|could|was|will|"
    rf"would|may) (?:\w+ )?(?:possible|be|given|made|drawn|reached|"
    r"ventured|offered|reliable|from me)\b",
    r"\b(?:question|class|category|label|answer|video|clip|task|request|classification|it|content|recording|footage|"
    r"images?|frames?) (?:\w+ )?(?:can ?no|"
    r"can'|could(?: no|n'))t (?:\w+ )?be (?:\w+ )?(?:answered|determined|decided|classified|identified|established|"
    r"told|judged|analy[sz]ed|assigned|"
    r"processed|fulfilled|completed|inferred|chosen|derived|assessed|evaluated|labell?ed|opened|played|loaded|"
    r"viewed|interpreted|deciphered|accessed|"
    r"categori[sz]ed|settled|named)\b",
    rf"\b(?:what|which|whether)\b[^.]*\b(?:{_MEDIUM}|class|label|answer|category|happens|happening|going on|"
    rf"takes place|applies|one|other|depicted|shown)\b[^.]*"
    r"\b(?:remains?|is|stays?|are) (?:\w+ )?(?:open|unclear|unknown|uncertain|undecided|unresolved|undetermined|"
    r"anyone's guess|beyond|a mystery|"
    r"impossible to|not (?:clear|discernible|determinable|evident|recogni[sz]able))\b",
    rf"\b(?:unclear|not clear|unknown|uncertain|not certain|not sure|unsure|no idea)(?: to me| for me)?(?: of|"
    rf" as to)? (?:{_TASK})(?!.*\b(?:but|yet|"
    r"though|however)\b)",
    rf"\b(?:nothing|little|no more) (?:\w+ )?(?:can|could|may) be (?:said|stated|concluded|told|determined|inferred|"
    rf"made out|recogni[sz]ed|seen|discerned|"
    rf"perceived|identified|derived|gathered)(?= *$|[.,]| (?:with|here|at all|about (?:this|the|its) (?:{_MEDIUM}|"
    rf"content|event|activity)|(?:in|on|from|of) "
    rf"(?:this|these|the) {_MEDIUM}))",
    r"\bcan(?:not|'t| not) be (?:\w+ )?(?:said|told|determined|decided|established) (?:with|which|whether (?:it|"
    r"this|the (?:clip|video|scene|one)))\b",
    # guesses
    r"\b(?:any|my|this|every|an|the) (?:\w+ )?(?:answer|choice|label|selection|pick|verdict|output)(?: below| above|"
    r" here| given)? (?:\w+ )?(?:would|will|is|can|could|may|was) "
    r"(?:\w+ )??(?:be )?(?:\w+ )?(?:a |an )?(?:\w+ )?(?:guess\w*|speculation|arbitrary|random|a coin|a formality|"
    r"placeholder|meaningless|unfounded|without)\b|"
    r"\b(?:pure|mere|wild|random|blind|just a|only a|an educated|a lucky|sheer) (?:guess|speculation|chance)(?:ing|"
    r"es|work)?\b|"
    r"\b(?:pick|choose|choosing|select|guess|answer|take|draw|label|class|choice)\w*\b[^.]*\b(?:at random|randomly|"
    r"arbitrar\w+|by chance|by lot|blindly)\b|"
    r"\b(?:at random|randomly|arbitrarily|blindly)\b[^.]*\b(?:class|label|answer|pick|choose|choice|guess)|"
    r"\b(?:toss|flip)\w* (?:of )?a coin\b|\bcoin (?:toss|flip)\b|"
    r"\bwithout any (?:evidence|basis|grounds)\b",
    r"\b(?:my )?(?:best |only )?guess (?:is|would|without)\b|\bi(?: am|'m|'ll| will| can| can only| would| have|"
    r" must| could| shall| only| just| merely| simply)+(?: to)? "
    r"(?:just |only |simply |merely )?(?:guess|speculat\w+|guessing)\b|\bi (?:guess|speculate)\b",
    r"\b(?:only|merely|solely|just|simply) because (?:an? |the |some |one )?(?:\w+ )?(?:output|answer|format|form|"
    r"line|label|reply|response|choice)\b[^.]*\b(?:required|"
    r"requires|demanded|demands|needed|expected|must|has to|asks|forces|asked)\b",
    # to the reader
    r"\b(?:please|kindly|could you|can you|would you|you (?:should|could|may|might) (?:want to )?|consider|"
    r"i (?:suggest|recommend|advise)|better to?) (?:\w+ )?(?:provid\w+|"
    r"upload\w*|shar(?:e|ing)|attach\w*|send\w*|supply\w*|try(?:ing)?|clarify|describ\w+|submit\w*|tell me|"
    r"contact\w*|consult\w*|ask\w*|re-?\w+|"
    r"check (?:the|your) (?:file|link|upload|video|clip)|give me|let (?:me|a|an)|refer|turn to|have (?:a|someone))\b",
    r"\ba (?:human|person|specialist|professional|trained \w+|qualified \w+|real \w+)(?: \w+)? (?:should|must|"
    r"needs? to|ought to|has to|would have to|could|might|will have to) "
    r"(?:\w+ )?(?:look|judge|decide|check|review|assess|see|watch|answer|take|be asked)\b",
    r"\b(?:i|we) (?:honestly |really |truly |actually |simply )*(?:do not|don't|cannot|can't) (?:really |actually |"
    r"honestly )?(?:know(?= *$|[.,;]| (?:what|which|whether|how|if|the (?:answer|class)))"
    r"|have (?:an?|any|the) (?:idea|clue|answer|opinion))",
)
REFUSALS = tuple(re.compile(rule, re.IGNORECASE) for rule in _RULES)


def refusal(text: str) -> str | None:
    """The phrase with which the writer says that it cannot or will not answer, has no video, or guesses."""
    for sentence in sentences(unquoted(text)):
        sentence = sentence.replace("’", "'")
        for pattern in REFUSALS:
            if found := pattern.search(sentence):
                return found.group(0)
    return None
