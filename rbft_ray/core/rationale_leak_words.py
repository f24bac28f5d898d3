"""Word classes of which the rules for leaks are composed: what a label is called, who gives it, words of giving and of knowing."""

import re

LABEL = "zlabelz"  # stands for a class name in the rules
CLIP = (
    r"(?:videos?|clips?|footage|recordings?|films?|scenes?|sequences?|samples?|examples?|segments?|shots?|files?|"
    r"events?|"
    r"material|entry|entries|case)"
)
META = (
    r"(?:labels?|labell?ings?|class|categor(?:y|ies)|classifications?|annotations?|answers?|solutions?|"
    r"designations?|verdicts?|"
    r"tags?|conclusions?|categori[sz]ations?|rubric|class name)"
)
LOOSE = (
    rf"(?:{META}|results?|outcomes?|decisions?|findings?|readings?|interpretations?|repl(?:y|ies)|responses?|"
    rf"names?|types?)"
)
AHEAD = (
    r"(?:beforehand|in advance|a priori|ahead of time|up ?front|aforehand|"
    r"(?:before|prior to|ahead of|without) (?:even )?(?:i |we )?(?:saw|see\w*|view\w*|watch\w*|look\w*|any frame|"
    r"a single "
    r"frame|the (?:first frame|video|clip|footage|analysis)))"
)
# Between the parts of a rule: function words, words for the clip, the label; no word that would begin another thought.
FN = (
    rf"(?:{LABEL}|{META}|{CLIP}|\w+ly|the|this|that|these|those|an?|its|it|my|our|your|their|is|are|was|were|be|"
    rf"been|being|has|"
    r"have|had|having|as|to|of|for|with|under|in|on|by|at|from|which|what|already|now|here|indeed|itself|i|we|me|us|"
    r"they|one|"
    r"there|also|and|or|so|then|just|right|correct|true|proper|whole|very|does|do|did|can|show|shows|depict|depicts|"
    r"contain|"
    r"contains|belong|belongs|count|counts|fall|falls|come|comes|represent|term|word|single|exactly|s|into|among|"
    r"upon|class)"
)
GAP = rf"(?:{FN},? )"
GIVEN = (
    r"(?:given|provided|supplied|stated|specified|assigned|pre-?\w+ed|pre-?set|pregiven|indicated|mentioned|named|"
    r"disclosed|revealed|announced|communicated|shared|handed|received|attached|enclosed|entered|recorded|listed|"
    r"registered|"
    r"filed|logged|catalogu?ed|archived|stored|booked|fixed|prescribed|dictated|demanded|requested|imposed|"
    r"submitted|delivered|furnished|quoted|known|declared|reported|appended|issued|imparted|conveyed|told|laid down|"
    r"put down|set down|written down|noted down|noted|passed on|foreseen|agreed|chosen|picked|selected|decided|"
    r"determined|"
    r"settled|established|confirmed|required|expected|desired|wanted|hinted|suggested|set|pinned|tagged|annotated|"
    r"labell?ed|"
    r"marked|ordered|desired|read out|spelled out|spelt out|leaked|betrayed|divulged|sent|posted|public|made|"
    r"accepted)"
)
NOW = (  # of these also the present tense tells of a giver ("the class is stated"); of others it may tell of evidence
    r"(?:given(?! by)|provided|supplied|known|stated|specified|told|disclosed|revealed(?! by)|announced|mentioned|"
    r"recorded|listed|"
    r"entered|registered|filed|noted|fixed|pre-?\w+ed|prescribed|predetermined|communicated|handed|enclosed|attached|"
    r"on (?:file|record)|no secret|public|agreed|dictated|imposed|laid down|passed on|required|desired|wanted)"
)
ADJECTIVE = (
    r"(?:given|provided|supplied|stated|specified|assigned|pre-?\w+ed|pre-?set|expected|gold(?:en)?|correct|"
    r"indicated|"
    r"afore\w+|existing|reference|target|desired|required|requested|wanted|intended|official|known|attached|"
    r"associated|prescribed|recorded|annotated|above-mentioned|suggested|true|actual|prior|previous|earlier|"
    r"original|initial|"
    r"disclosed|announced|accompanying|enclosed|registered|demanded|wished-for|sought|foregone|mandated|mandatory|"
    r"hoped-for|"
    r"underlying|foreseen|communicated|confirmed|established|agreed|fixed|listed|received|revealed|quoted|submitted)"
)
FILED = (
    r"(?:filed|tagged|labell?ed|annotated|registered|catalogu?ed|entered|listed|stored|archived|booked|logged|"
    r"indexed|"
    r"stamped|earmarked|flagged|recorded|marked|sorted|pigeonholed|ticketed|inscribed|titled|entitled|headed|"
    r"headlined|"
    r"captioned|saved|kept|deposited|delivered|submitted|handed over|supplied|provided|noted)"
)
MARKED = (
    rf"(?:{FILED}|identified|classified|categori[sz]ed|designated|assigned|confirmed|declared|deemed|specified|"
    rf"described|stated|"
    r"given|called|reported|named|rated|put|set|fixed|determined|established|announced|introduced|presented|judged|"
    r"graded|"
    r"classed|attributed|allocated|ascribed|chosen|settled|decided|agreed|written|sent|shown|disclosed|revealed|"
    r"billed)"
)
SOURCE = (
    r"(?:prompt|tasks?|instructions?|question|users?|questioner|request|message|brief|briefing|inputs?|quer(?:y|"
    r"ies)|assignment|"
    r"specifications?|captions?|title|file ?names?|heading|headline|records?|entry|register|catalogue|archive|list|"
    r"sheet|log|"
    r"database|protocol|documentation|exercise|system|client|customer|evaluators?|examiners?|assessors?|reviewers?|"
    r"experts?|operator|organi[sz]ers?|creators?|authors?|curators?|graders?|wording|context|preamble|introduction|"
    r"setter|"
    r"statement|cover note|note|form|template|order|header|field|file|data|source|supplier|provider|"
    r"owner of the data)"
)
SAYS = (
    r"(?:says?|said|states?|stated|gives?|gave|given|indicat\w+|tells?|told|specif\w+|mention\w*|calls?|called|"
    r"labels?|labell?ed|"
    r"lists?|listed|names?|named|requir\w+|suggest\w*|impl(?:y|ies|ied)|confirm\w*|declar\w+|reveal\w*|shows?|"
    r"provid\w+|marks?|"
    r"marked|wants?|reads?|claims?|notes?|noted|classif\w+|demand\w*|has it|have it|points? to|disclos\w+|"
    r"announc\w+|puts?|"
    r"enters?|entered|records?|recorded|speaks? of|spoke of|presuppos\w+|dictat\w+|prescrib\w+|sets?|fix\w*|"
    r"let (?:me|us)|lets|"
    r"betray\w*|asserts?|asserted|describ\w+|identif\w+|assign\w*|expects?|asks? (?:for|me|us|why)|insists?|quot\w+|"
    r"suppl\w+|contains?|cites?|hands?|leaves? no|makes? (?:it )?(?:known|clear|plain))"
)
TOLD = (
    r"(?:told|informed|instructed|advised|notified|assured|made aware|hinted|tipped off|let know|asked|required|"
    r"ordered|tasked|"
    r"directed|handed|supposed|obliged|briefed|commissioned|requested|given|provided with|supplied with|sent|"
    r"charged with)"
)
KNOWING = (
    r"(?:knowing|aware|knowledge|foreknowledge|knew|know|learn(?:ed|t|ing)|forewarned|informed|certain in advance|"
    r"in the know)"
)
JUSTIFY = (
    r"(?:explain|justify|account for|argue|defend|substantiate|motivate|back up|support|reach|arrive at|confirm|"
    r"corroborate|"
    r"bear out|vindicate|rationali[sz]e|find (?:reasons|evidence|arguments|grounds|support)|give reasons|"
    r"make a case|work towards?|"
    r"show|demonstrate|prove|lead up|end up|get|spell out|derive|say|tell|describe|match|write|reason)"
)
DEFEND = (
    r"(?:explain|justify|account for|argue(?: for)?|defend|substantiate|motivate|back up|support|reach|arrive at|"
    r"corroborate|vindicate|"
    r"rationali[sz]e|find \w+ (?:for|of)|get to|end up (?:at|with)|land (?:at|on)|work towards?|make it fit|show)"
)
FITTING = (
    r"(?:according to|as per|per|based on|(?:in )?(?:line|keeping|accordance|agreement|accord|harmony|tune|"
    r"conformity|concord) with|"
    r"in (?:the )?(?:view|light|face) of|agree\w* with|match\w*|following|tall(?:y|ies|ied) with|squares? with|"
    r"correspond\w* (?:to|"
    r"with)|compatible with|consistent with|conform\w* (?:to|with)|compl(?:y|ies|ying) with|coincid\w+ with|"
    r"borne out by|"
    r"thanks to|owing to|trust\w*|rely\w* on|considering|true to|faithful to|as expected from|knowing|going by|"
    r"judging by|taking)"
)
CONFIRMING = (
    r"(?:confirm\w*|support\w*|justif\w+|bears? out|fits?|explain\w*|reflect\w*|suits?|vindicat\w+|corroborat\w+|"
    r"underlin\w+|"
    r"given|since|because|due to|with|from|by|as|account\w* for|back\w* up|warrant\w*|earn\w*|deserv\w*)"
)
INNOCENT = re.compile(
    r"\b(?:labels?|tags?|stickers?) (?:\w+ ){0,2}?(?:on|of|to|from|at|in|around|under) "
    rf"(?:the|an?|his|her|its|their|each|one|every) (?!(?:\w+ )?{CLIP}\b|data)\w+"
    r"|\b(?:an?|one|each|every|no|white|red|paper|price|name|another|two|dog|luggage|ear|gift|yellow|blue|green|"
    r"torn|small|shipping|"
    r"address|bag|brand|food|return|parcel|key|bottle|care|warning) (?:\w+ )?(?:labels?|tags?)\b(?! (?:of )?zlabelz)"
    r"|\bclass of (?!(?:this|the|that) (?:clip|video|foot|record|scene|event|film))\w+"
    r"|\b(?:out of the|in|beyond) question\b|\b(?:asks?|answers?|asked|answered) (?:an?|the|his|her|their) \w+"
    r"|\b(?:definition|description|rule|criterion|criteria|meaning|features|conditions?) (?:\w+ )?(?:of|for|given|"
    r"that|in|stated)\b"
    r"|\bhints? (?:of|at)\b|\b(?:a|no|any|the) (?:slight|faint|small|first)? ?hint of\b"
    r"|\b(?:as|was) (?:stated|given|specified|described|said|required|named|set out|noted) (?:in|by) (?:the|"
    r"its) (?:\w+ )?"
    rf"(?:definition|description|rules?|criteri\w+)"
)
BEST = r"(?:best|right|fitting|appropriate|proper|only|suitable|final|apt|matching|obvious|natural|logical|resulting|clear)"

# A sentence that leaks the label has a class name or one of these.
TRIGGER = re.compile(
    rf"{LABEL}|\bwhat (?:was|were|is|had|has)\b|\b(?:i|we|us|me|you|my|our|your|{META}|{LOOSE}|label\w*|classif\w+|"
    rf"annot\w+|ground|meta\w*|data\w*|"
    r"gold\w*|known|knowing|aware|knowledge|foreknowledge|forewarned|informed|told|prompt|instruct\w*|question|tasks?|request|hint\w*|"
    r"tip\w*|pointer|information|"
    r"info|notes?|remarks?|details?|text|comments?|captions?|clues?|statements?|indications?|particulars|given|"
    r"stated|specified|"
    r"disclosed|confirmed|established|determined|decided|settled|premise|presupposition|assum\w+|presum\w+|files?|"
    r"input|brief\w*|user|beforehand|in advance|a priori|spoilers?|raters?|coders?|sheet|to be|written|stands|"
    r"preclassified)\b"
)
