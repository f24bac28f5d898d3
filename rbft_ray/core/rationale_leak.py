"""A rationale that shows that its writer knew the label before it looked: what is said of labels as given, told or known.

Rules are composed of word classes (what a label is called, who may give it, words of giving and of knowing) within a sentence, with
function words between them; they are no list of sentences. Labels and tags of things in the picture are taken out first. Where
no rule holds, the sentence is compared with examples (`rationale_examples`).
"""

import re
from functools import lru_cache

from rbft_ray.core.rationale_examples import CLASS_PLACE, resemblance
from rbft_ray.core.rationale_leak_words import (
    ADJECTIVE,
    AHEAD,
    BEST,
    CLIP,
    CONFIRMING,
    DEFEND,
    FILED,
    FITTING,
    FN,
    GAP,
    GIVEN,
    INNOCENT,
    JUSTIFY,
    KNOWING,
    LABEL,
    LOOSE,
    MARKED,
    META,
    NOW,
    SAYS,
    SOURCE,
    TOLD,
    TRIGGER,
)
from rbft_ray.core.rationale_words import label_pattern, sentences, spoken_label, unquoted

LIKELY = 0.7  # of sentences left out of the fit 0.75 of the leaks lie above, and 0.02 of the sound ones

_ALWAYS = (
    r"\bground[- ]truths?\b|\bannotat(?:or|ion|er|ed)s?\b|\bmeta ?-?data\b|\bdata ?sets?\b|\blabell?ers?\b|"
    rf"\bgold(?:en)? (?:standard|{META})|\b(?:answer|solution) (?:key|sheet)\b|\bmodel answer\b|\bspoilers?\b|\bpre-?(?:labell?|"
    rf"classifi)ed\b",
    rf"\b{ADJECTIVE} (?!(?:the|an?|this|that|of|to|as|is|his|her|by|in|with|for) )(?:\w+ )?{META}\b"
    r"(?! (?:to|of (?:the|a|this|these) (?!video|clip|foot|scene|rec)|on (?:the|a)))",
    rf"\b{ADJECTIVE} (?:\w+ )?{LOOSE} {GAP}{{0,4}}{LABEL}\b",
    rf"\b{LABEL} {GAP}{{0,4}}{ADJECTIVE} (?:\w+ )?{LOOSE}\b",
    rf"\b{META} (?:(?!(?:is|are) ){FN},? ){{0,7}}{GIVEN}\b(?! (?:as|by) (?:the|its) (?!task|prompt|quest|user|"
    rf"label))",
    rf"\b{META} {GAP}{{0,4}}(?:is|are|being) (?:\w+ )??{NOW}\b",
    rf"\b(?:was|were|been|is|being) (?:\w+ )?{NOW} {GAP}{{0,3}}(?:as|for|by way of) {GAP}{{0,3}}{META}\b",
    rf"\b{META}\b[^;]{{0,60}}\b{AHEAD}\b|\b{AHEAD}\b[^;]{{0,60}}\b{META}\b",
    rf"^(?=.*\b{AHEAD}\b)(?=.*{LABEL})(?=.*\b(?:{GIVEN}|{KNOWING}|clear|certain)\b)",
    rf"\b{KNOWING} {GAP}{{0,3}}(?:already |{AHEAD} ){GAP}{{0,3}}{LOOSE}\b|"
    rf"\b{KNOWING} {GAP}{{0,3}}{LOOSE} {AHEAD}\b",
    rf"\bback(?:wards?)? {GAP}{{0,2}}(?:from|to) {GAP}{{0,3}}(?:{LABEL}|{LOOSE})\b|"
    rf"\b(?:start|begin|proceed|set out)\w* (?:out )?from {GAP}{{0,3}}(?:{LABEL}|{META})\b",
    r"\b(?:foreknowledge|(?:prior|previous|inside|advance) knowledge|cheat sheet|crib sheet|the raters?|"
    r"the coders?)\b|"
    r"\b(?:was|is|were) to be (?:shown|explained|justified|proved|proven|demonstrated|argued|defended)\b",
    rf"\b(?:\w*knowledge|known|aware(?:ness)?) {GAP}{{0,4}}{META}\b",
    rf"\b{META} {GAP}{{0,4}}(?:at hand|in hand|in mind|to hand|before me|at my disposal|in front of me|"
    rf"on the table|no secret|"
    r"on (?:record|file)|in my (?:notes|hands|possession)|not mine)\b",
)
_WRITER = (
    rf"\b(?:i|we|us)(?:'ve|'m|'re| have| had| am| are| was| were| having)? ?(?:already |just |\w+ly )?(?:am|are|was|"
    rf"were|been|"
    rf"being|got|get|'m|'re) (?:already |just |\w+ly |not )?{TOLD}\b",
    rf"\b(?:having|after) (?:already |just )?been {TOLD}\b(?=.*(?:{LABEL}|{META}|{CLIP}))",
    r"\b(?:told|given|handed|known|revealed|disclosed|passed|supplied|provided|communicated|dictated|stated|"
    r"mentioned|announced|"
    r"entrusted|shown|sent) (?:on )?to (?:me|us)\b|\b(?:told|informed|instructed|handed|gave|sent|assured|asked|"
    r"briefed|"
    r"warned) (?:me|us)\b",
    r"\byou (?:have |had |already |yourself |also |just |\w+ly )*(?:said|told|gave|give|specif\w+|ask\w*|want\w*|"
    r"provid\w+|stat\w+|"
    r"suppl\w+|mention\w*|indicat\w+|wrote|named|label\w+|requir\w*|expect\w*|call\w*|declar\w+|inform\w+|"
    r"disclos\w+|announc\w+|"
    r"note[ds]?|hint\w*|tell|say|set|entered|assigned|marked|put|let|reveal\w*|confirm\w*|quoted|request\w*)\b",
    rf"\byour (?:\w+ )?(?:{META}|{SOURCE}|hints?|remarks?|words?|information|clues?|tip|indication|"
    rf"specification)\b",
    rf"\b(?:i|we) (?:already |do |now |\w+ly |can |had |have )*(?:know|knew|known|learn(?:ed|t)|heard|gather)\b"
    rf"(?! of no| no )(?=.*(?:{LABEL}|{META}|\b{CLIP}|\bthis is\b))|\b(?:i|we) already (?:know|knew)\b|\b(?:since|"
    rf"because|"
    rf"as) (?:i|we) know\b",
    rf"\b(?:i|we) (?:have|had|hold|held|got|possess|received|take|accept|adopt|follow|"
    rf"trust) {GAP}{{0,2}}(?:{LOOSE}|{LABEL}) "
    rf"{GAP}{{0,3}}(?:{GIVEN}|{SOURCE})\b",
    rf"\b(?:i|we) (?:take|accept|adopt|follow|trust|believe|rely on) (?:the|this|that|my) (?:\w+ )?(?:label|"
    rf"{SOURCE}|"
    r"classification|tag|annotation)\b",
    rf"\b(?:i|we) (?:am|was|were|have|had|need|must|should|are|'m|"
    rf"ought) (?:\w+ )?(?:to )?{JUSTIFY} {GAP}{{0,3}}(?:why|{META})\b",
    r"\b(?:i|we)(?: am|'m| have| had| was| need| must| should| ought| only| just| merely)+ (?:bound |obliged |"
    r"forced |meant |\w+ly )?(?:to )?"
    rf"{DEFEND} {GAP}{{0,4}}{LABEL}\b",
    rf"\b(?:had (?:i|we) not|if (?:i|we) (?:had not|hadn't)|(?:i|we) (?:had not|hadn't)) (?:already |"
    rf"just )?(?:been {TOLD}|known|heard|"
    r"read|learn\w+)\b",
    rf"\b(?:they|someone|somebody|others|people|humans?|experts?|person|viewers?|colleagues?|whoever \w+) (?:has |"
    rf"have |had |already |"
    rf"who |\w+ly )*(?:{SAYS}|{MARKED}|decided|judged|agreed) {GAP}{{0,6}}{LABEL}\b",
    rf"\b(?:my|our|the) (?:task|job|aim|goal|duty|role|assignment|work|mission) (?:here |now |thus )?(?:is|was|"
    rf"being|remains) "
    rf"(?:\w+ )?(?:to )?{JUSTIFY}\b",
)
_KNOWN = (
    rf"\b{KNOWING} (?:that |of |about |the |it |this |for |in |which |what |full |well |its |to |be |how )+(?:\w+ )?"
    rf"(?:{META}|{CLIP}|is|was|{LABEL})\b(?!.*\bnot to\b)",
    rf"\b{KNOWING} {GAP}{{0,6}}{LABEL}\b",
    rf"\b(?:is|was|being|are|been) (?:already )?known {GAP}{{0,4}}{LABEL}\b",
    rf"\bit (?:is|was|has been|had been|being) (?:\w+ )?(?:{NOW}|settled|given|determined|decided|established|"
    rf"understood|a given)"
    rf" {GAP}{{0,3}}that (?=.*(?:{LABEL}|{META}|\b{CLIP}\b))",
    rf"\b(?:{LABEL}|{META}) (?:is|was|being|stands|has been) (?:\w+ )?(?:a given|given|a fact|a premise|a foregone|"
    rf"a fixed|a known|"
    r"taken for granted|undisputed from the|on (?:record|file)|settled before|the premise|the starting point)\b",
    rf"\b(?:as|for) (?:a )?given\b(?=[,.;]|$| that)|\b(?:premise|presupposition|starting point|assumption|foregone)\b"
    rf"(?=.*(?:{LABEL}|{META}))",
    rf"\b(?:given|granted|provided|seeing|considering|assum\w+|suppos(?:ing|e)|presum\w+|presuppos\w+|accepting|"
    rf"since|because|as) "
    rf"(?:the fact )?(?:that )?(?:it|this|{GAP}{CLIP}|{GAP}{META}) (?:is|was|belongs|has|counts|shows|"
    rf"has been) {GAP}{{0,4}}"
    rf"(?:{MARKED}|meant|supposed|known) {GAP}{{0,4}}{LABEL}\b",
    rf"\b(?:given|granted|assuming|presuming|presupposing|accepting|knowing) (?:the fact )?(?:that )?(?:it|this|"
    rf"{GAP}{{1,2}}(?:{CLIP}|"
    rf"{META})) (?:is|was|belongs|has|counts|shows) {GAP}{{0,4}}{LABEL}\b",
    rf"\b(?:supposed|meant|expected|required|intended|bound|known|said|stated|reported|declared|certified|understood|"
    rf"wanted|confirmed) (?:to|as|for) {GAP}{{0,6}}{LABEL}\b",
    r"\b(?:has|have|had|have) (?:already |previously |\w+ly )?been (?:confirmed|established|verified|determined|"
    r"decided|settled|"
    r"given|stated|announced|disclosed|specified|fixed|agreed) (?:\w+ )?that\b",
)
_PLACED = (
    rf"(?<!\bi )(?<!\bwe )(?<!\bbe )(?<!\bget )\b{FILED} {GAP}{{0,5}}{LABEL}\b",
    rf"\b(?:has|have|had|having|was|were|been|already|previously|officially|got|came|comes|come|formerly|originally|"
    rf"initially) "
    rf"(?:\w+ )?(?:\w+ )?{MARKED},? {GAP}{{0,6}}{LABEL}\b",
    rf"(?<!\ba )(?<!\ban )(?<!\bthe )(?<!\bthis )\b{LABEL} (?:which |that |it |what |as |here )*(?:was|were|"
    rf"has been|had been|having been|"
    rf"being|got|is what (?:\w+ )?(?:was|were|is)) (?:\w+ )?(?:\w+ )?(?:{FILED}|{NOW}|assigned|chosen|named|"
    rf"decided|expected)\b",
    rf"\b(?:with|having) {GAP}{{0,4}}{LABEL} {GAP}{{0,3}}(?:{GIVEN}|in mind|at hand|in hand)\b",
    rf"\b(?:reasons?|grounds?|why|explains|accounts for|explanation|explaining|rationale) {GAP}{{0,5}}(?:{LABEL}|"
    rf"{META}|{CLIP}|it|"
    rf"this|they|its) {GAP}{{0,4}}(?:{MARKED}|carr(?:y|ies|ied)|bears?|bore|received|wears|gets|got)\b",
    rf"\b(?:carries|carry|bears?|bore|wears|received|holds|sports|got|runs under|"
    rf"goes by) {GAP}{{0,3}}(?:{META} {GAP}{{0,2}}"
    rf"{LABEL}|label|tag|designation)\b",
    rf"\bto {JUSTIFY} {GAP}{{0,2}}(?:how and )?why {GAP}{{0,5}}(?:{META}|{LABEL}|{CLIP})\b",
    rf"\bto (?:justify|support|defend|explain|confirm|back up|reach|arrive at|match|motivate|substantiate|"
    rf"account for|vindicate|"
    rf"corroborate|rationali[sz]e|argue for|argue) (?:for )?(?:the|this|that|its|my) (?:\w+ )?{META}\b",
    rf"\b{ADJECTIVE} (?:\w+ )?(?:marking|identification|naming)\b",
    rf"\b(?:wants?|insists? on|demands?|expects?|looking for|hear|asks? for|asked for) {GAP}{{0,4}}{LABEL}\b(?= *$|"
    rf"[,.])",
    rf"\b(?:ask(?:s|ed|ing)|asks|request(?:ed|s)|told|instruct\w+|requir\w+) (?:me |us |one )?(?:why|for reasons|"
    rf"for the reasons|"
    rf"to {JUSTIFY}) {GAP}{{0,6}}(?:{LABEL}|{META}|{CLIP})\b",
)
_SOURCED = (
    rf"\b(?:the|this|my|our|that) (?:\w+ )?{SOURCE} (?:(?:of|for|to|on|about|with|"
    rf"behind) {GAP}{{1,3}}(?:\w+ )?)?(?:itself |already |"
    rf"has |had |have |\w+ly |also |which |that |being |here )*{SAYS}\b(?=.*(?:{LABEL}|{META}))",
    rf"{LABEL}.*\b(?:the|this|my) (?:\w+ )?{SOURCE} (?:{SAYS}|refers? to|means|has in mind|alludes? to|is about|"
    rf"speaks? of|is after|"
    r"has|had|insists)\b",
    rf"{LABEL} {GAP}{{0,3}}(?:in the (?:question|task|prompt|request)|mentioned|referred to|asked (?:about|for|"
    rf"after)|spoken of)\b|"
    rf"\b(?:mentioned|announced|promised|aforementioned|stated|specified|advertised|requested|alleged) {LABEL}\b",
    rf"\b(?:information|word|news|message|statement|remark|claim|notice|indication|announcement|assurance|knowledge|"
    rf"declaration|"
    rf"instruction|tip) that (?:\w+ )?{GAP}{{0,5}}{LABEL}\b",
    rf"\b(?:written|stated|noted|printed|stands?|said|says|given|reads?|entered) (?:\w+ )?(?:above|beneath|below|"
    rf"beside|next to|alongside|under|"
    rf"over|with|at the top of) (?:the |this )?{CLIP}\b|\b(?:officially|reportedly|allegedly|on paper|by decree|"
    rf"formally)\b(?=.*{LABEL})",
    rf"{LABEL} {GAP}{{0,3}}(?:has to|must|should|is to|needs to|had to) (?:come out|result|be (?:justified|"
    rf"explained|shown|reached|argued))",
    rf"\b(?:in|by|from|per|under|following|with|to|via|through) (?:the|my|our|this) (?:\w+ )?(?:prompt|"
    rf"instructions?|question|task|"
    rf"request|brief|briefing|user|input|assignment|specification|file ?name|caption|title|message|query|"
    rf"task description)\b"
    rf"(?! of)(?=.*(?:{LABEL}|{META}|,)|$)",
    rf"\b(?:{GIVEN}|{KNOWING}|follows|taken|clear|read|stands|written) {GAP}{{0,3}}(?:in|by|from|per|with|to|via|"
    rf"through) (?:the|my|"
    rf"our|this) (?:\w+ )?{SOURCE}\b(?=.*(?:{LABEL}|{META}))",
    rf"(?:{LABEL}|\b{META}\b).*\b{GIVEN} {GAP}{{0,3}}(?:in|by|from|per|with|to|via) (?:the|my|our|"
    rf"this) (?:\w+ )?{SOURCE}\b",
    r"\bthe prompt\b|\bmy (?:instructions?|prompt|briefing|brief|orders)\b",
    r"\b(?:the|this|that|a|our|my|any|one) (?:\w+ )?(?:hints?|tip-off|pointer)\b(?! (?:of|at)\b)|\b(?:as|was|were|"
    r"been) hinted\b(?! at)|"
    r"\bhints? (?:given|provided|says?|said|tells?|indicat\w+|states?|suggests?|was|above|in the)\b",
    r"\b(?:information|info|notes?|remarks?|details?|text|comments?|captions?|descriptions?|clues?|tips?|pointers?|"
    r"statements?|"
    r"indications?|particulars|words?) (?:that |which |was |were |has |have |been |had )*(?:accompan\w+|came with|"
    r"comes? with|supplied|"
    r"provided|given|received|sent along|attached to (?:the|this) (?:clip|video|file)|enclosed|along with|i (?:was|"
    r"have|got|had)|"
    r"about the (?:clip|video)|stated above|we (?:was|were|have|got|had)|at hand|on file)\b",
    r"\b(?:accompanying|enclosed|supplied|attached|preliminary|advance|inside|additional|background|provided|"
    r"prior) (?:\w+ )?"
    r"(?:information|info|notes?|remarks?|text|comments?|captions?|descriptions?|statements?|indications?|knowledge|"
    r"hints?)\b",
    r"\bwhat (?:i|we) (?:was|were|have been|had been|am|are) (?:\w+ )?(?:told|given|asked|instructed|supplied)\b",
    r"\bas (?:i |we |it |was |is |were |had been |has been |has |been |already |\w+ly |you )*(?:given|stated|"
    r"specified|told|informed|"
    r"instructed|indicated|provided|labell?ed|annotated|disclosed|revealed|communicated|mentioned above|noted above|"
    r"supplied|"
    r"(?:\w+ )?beforehand|(?:\w+ )?in advance)(?= *$|[,.])",
    rf"\bas (?:i |we |it |was |is |were |had been |has been |has |been |already |\w+ly )*(?:{GIVEN}) (?:as |with |"
    rf"under |by the |in the |"
    rf"for |to be |being )*{LABEL}\b",
)
_FITS = (
    rf"\b{FITTING} (?:the|this|its|my|that|our) (?:\w+ )??(?:label|classification|designation|tag|verdict|solution|"
    rf"answer|labell?ing|"
    rf"prompt|hint|instructions?|specification|file ?name|title|caption|question|task)s?\b",
    rf"\b{CONFIRMING} (?:the|its) (?:class )?(?:label|tag|designation|labell?ing)\b",
    r"\b(?:its|the (?:video|clip|recording|footage)'s|this (?:video|clip)'s) (?:\w+ )?(?:label|annotation|tag|"
    r"designation|"
    r"classification|category|class)\b|\b(?:label|tag|classification|category|class|"
    r"designation) (?:\w+ ){0,3}?(?:of|to|for|on|with) "
    r"(?:the|this) (?:video|clip|recording|footage|file)\b(?! (?:is|can|must|should|could|would))",
    rf"\b(?:the|this|that|a|its) (?!{BEST} )(?:\w+ )?(?:label|tag)(?: of| is| was|,| reads|"
    rf" says)? (?:\w+ )?{LABEL}\b(?! (?:describes|fits|applies|suits|captures|covers|names)\b)",
    rf"\b(?:the|this|its) (?:class )?(?:label|tag|designation) (?!{LABEL} (?:describes|names)\b)(?:\w+ )?(?:{SAYS})\b",
    r"\b(?:gives?|gave|giving|reveal\w*|disclos\w+|betray\w*|leak\w*|divulg\w+) (?:away )?(?:us |me )?(?:the|"
    r"its) (?:\w+ )?(?:answer|label|"
    r"class|category|solution)\b",
)

_BESIDE = (  # words of giving and of knowing anywhere beside a class name
    rf"^(?=.*{LABEL})(?=.*\b(?:as (?:demanded|requested|instructed|told)|handed down|announced|supplied|provided|"
    rf"stated|specified|disclosed|"
    r"revealed|for granted|taken as read|prescribed|dictated|communicated|predetermined|preordained|"
    r"undisputed|experts?|"
    r"i happen to know|i (?:had |have )?heard|(?:having|have|had|i) read|arrived with|(?:came|comes) with|passed on|"
    r"in advance|beforehand|ahead of time|"
    r"(?:it|they) (?:says?|said|reads?)|the (?:key|solution|answer|file|folder|title|name|caption|task|question|"
    r"sheet|list|note|entry|heading|"
    r"header|record|tag) (?:\w+ )?(?:says?|said|reads?|gives?|gave|names?|states?|has|had|is called|goes)|(?:top|"
    r"head|bottom|end) of the (?:task|page|"
    r"prompt|question|message|text|sheet|form)|(?:file|folder|directory|clip|video)(?:'s)? (?:name|title|caption|"
    r"heading)|with the note|"
    r"all that (?:is left|remains|i have to do)|assignment of|looking for what makes|i would not question|"
    r"cannot be questioned|"
    r"not (?:for me )?to (?:question|doubt|dispute))\b)(?!.*\b(?:definition|rule|criteri\w+|description)\b)",
    rf"^(?=.*\b(?:{META})\b)(?=.*\b(?:handed down|handed over|handed to|was announced|were announced|arrived with|"
    rf"came with|comes with|taken as read|"
    r"for granted|came from (?:an|the|some)|comes from (?:an|the|some)|i happen to know|i was)\b)",
    r"\bwhat (?:was|were|is|had been|has been) (?:announced|given|stated|specified|told|supplied|indicated|"
    r"communicated|disclosed|said above)\b(?! by)",
    r"\b(?:were it not|if not|if it were not|but) for the (?:label|tag|hint|note|classification|annotation)\b|"
    r"\bthe (?:label|classification|annotation|designation) (?:cannot|can't|must|will|is not|can hardly|leaves?|"
    r"settles|forces|makes|obliges|tempts) "
    r"(?:\w+ )?(?:be (?:wrong|right|trusted|doubted|correct)|wrong|no|it|me|one|us|to)\b",
)


@lru_cache(maxsize=1)
def _rules() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(rule) for rule in (*_ALWAYS, *_WRITER, *_KNOWN, *_PLACED, *_SOURCED, *_FITS, *_BESIDE))


@lru_cache(maxsize=64)
def _names(labels: tuple[str, ...]) -> re.Pattern[str]:
    one = label_pattern(tuple(filter(spoken_label, labels))) or "(?!)"
    return re.compile(rf"[\"'“‘*]?\b(?:{one})\b[\"'”’*]?(?!'?\w)", re.IGNORECASE)


def _plain(sentence: str, labels: tuple[str, ...]) -> str:
    """A sentence as the rules read it: lower case, class names as LABEL, signs but commas as spaces, no labels of things."""
    named = _names(labels).sub(f" {LABEL} ", sentence).lower().replace("’", "'")
    spaced = re.sub(r"\s+", " ", re.sub(r"[^\w',;.-]|(?<=\W)'|'(?=\W)", " ", named))
    return INNOCENT.sub(" thing ", re.sub(r" ,", ",", spaced)).replace("  ", " ").rstrip(" .;,")


def leak(reasoning: str, labels: tuple[str, ...]) -> str | None:
    """The sentence that shows that the writer was given the label: by a hint, the prompt, an annotation, or known before.

    Words in quotation marks do not count, unless they are a class name.
    """
    text = unquoted(re.sub(rf"[\"“«]({label_pattern(labels) or '(?!)'})[\"”»]", r"\1", reasoning, flags=re.IGNORECASE))
    doubtful = []
    for sentence in sentences(text):
        plain = _plain(sentence, labels)
        if TRIGGER.search(plain):
            if any(rule.search(plain) for rule in _rules()):
                return sentence
            doubtful.append((sentence, _names(labels).sub(CLASS_PLACE, sentence)))
    probability, sentence = max(((resemblance("leak", read)[True], said) for said, read in doubtful), default=(0.0, ""))
    return sentence if probability > LIKELY else None
