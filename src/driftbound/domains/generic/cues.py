"""Cues: the words around a mention that deny it, keep it open, give it a side or end its clause."""

import re

from driftbound.domains.generic.words import SIDES
from driftbound.records import Polarity

_CANNOT = (
    r"(?:cannot|can['’]t|can not|could not|couldn['’]t|not|unable to|hard to|difficult to|impossible to)"
)
OPEN = re.compile(
    r"\b(?:possibl[ey]|probabl[ey]|questionabl[ey]|questioned|unclear|uncertain|unsure|might|maybe|perhaps"
    r"|may(?!\s+\d)|could(?! not (?:see|find|identify|detect))|equivocal|indeterminate|inconclusive"
    r"|borderline"
    r"|suspect(?:ed|s)?|suspicious for|suspicion (?:of|for)|presum(?:ed|ably|ptive)|likely|unlikely|versus|vs"
    r"|(?:concerning|worrisome|concern|query|differential) (?:for|of|includes?)|favou?r(?:ed|s|ing)?"
    r"|if any|doubtful|either(?! (?:side|lung|base|eye|of|hemithorax))"
    rf"|{_CANNOT}(?: be)?(?: \w+ly)? (?:exclud\w+|rul\w+ out|determin\w+|tell|say|assess\w*|confirm\w*"
    r"|differentiate"
    r"|distinguish)|not (?:\w+ )?(?:sure|certain|clear)|cannot be (?:seen|judged) (?:clearly|well))\b"
    r"|(?<!\w)\?\s*\Z|^-like\b"
)
"""Leaves a finding open."""
_NOT = r"(?:not|never|cannot|\w+n['’]t)"
DENIED_BEFORE = re.compile(
    rf"\b(?:no|{_NOT}|without|neither|nor|none|(?:free|clear|devoid|absence|lack) of|lacks|lacking"
    r"|negative for"
    r"|denies|denied|excludes|excluded|rules out|ruled out|rather than|instead of|resolved|resolution of"
    r"|nothing to suggest"
    r"|fails? to)\b"
    r"|\bnon[- ]\Z"
)
"""Denies a finding that stands behind it."""
DENIED_AFTER = re.compile(
    rf"^\W*(?:no|none|negative|absent)\b|^[^,]*\b(?:{_NOT}|absent|ruled out|excluded|negative|resolved"
    r"|cleared|gone"
    r"|no longer|disappeared|nowhere)\b|^-free\b|^\W*[✗✘❌×]"
)
"""Denies a finding that stands before it."""
ASSERTED_AFTER = re.compile(
    r"^\W*(?:is|was|has been|remains)\s+(?:\w+ly\s+|also\s+)?(?:present|seen|noted|visible|evident"
    r"|identified|there"
    r"|observed|detected|found|again|stable|unchanged)\b"
)
ASSERTED = re.compile(r"\b(?:present|seen|noted|visible|evident|identified|observed|detected|found)\b")
SKIPPED = re.compile(
    r"\b(?:evaluat\w+|assess\w*|look\w*|check\w*|screen\w*|monitor\w*|history|risk|signs? and symptoms"
    r"|work-?up"
    r"|criteria) (?:for|of)\b|\b(?:to|please|further) (?:exclude|rule out|evaluate|assess)\b"
    r"|^\W*(?:rule out|r/o)\b"
    r"|\br/o\b|\b(?:if|unless|whether|in case of|prior|previous)\b"
)
"""Before a finding: it is spoken of, but not as a finding of this case."""
ASIDE = re.compile(
    r"\b(?:no|without|beyond)(?: a| any)? (?:doubt|question)\b|\bnot (?:only|just|merely)\b"
    r"|\bno (?:\w+ )?(?:change|increase|decrease|improvement|progression|growth|difference) (?:in|of)\b"
    r"|\bnot (?:\w+ly |very |too )?(?:large|small|massive|severe|extensive|tense|new|changed|increased"
    r"|decreased|worse"
    r"|better|acute|calcified|loculated|spiculated|significant|prominent|progressed|improved)\b"
    r"|(?:(?<=, )|(?<=\band )|(?<=\bbut ))not (?:on|in) the (?:left|right)\b"
)
"""Looks like a denial, or a side, and is none."""
SILENT = re.compile(
    r"\b(?:in general|generally|typically|usually|classically|as a rule|by definition|(?:is|are) defined as"
    r"|refers? to|(?:is|are) characteri[sz]ed by|can be caused by|for example|would (?:show|appear"
    r"|present))\b"
)
"""In a sentence that speaks of findings as such."""
LEAD = re.compile(r"\b(?:no|not|absent|absence|negative|without|none|denied|excluded|ruled out)\b")
"""In words before a colon: what follows is denied."""
BREAK = re.compile(
    r":|\b(?:but|without|except|while|whereas|however|although|though|yet|because|since|which|despite"
    r"|(?:apart|aside) from|other than|rather than|instead of)\b"
    r"|(?<!consistent )(?<!compatible )(?<!keeping )(?<!line )(?<!associated )\bwith\b"
    r"|(?:,|\band\b)(?=\s*there\s+(?:is|are|was|were)\b)"
    r"|\b(?:likely|probably|possibly|may|might|could)\s+(?:be\s+)?(?:due|secondary|represent\w*"
    r"|reflect\w*|relat\w*"
    r"|from|caused|attributable)\b"
)
"""Ends a clause."""
AS = re.compile(
    r"\b(?:consistent|compatible|associated|in keeping|in line) with\b|\b(?:suggest\w*|representing)\b"
)
"""Hangs one finding on another."""
LINK = re.compile(r",|/|&|\+|\b(?:and|or|nor|vs|versus)\b")
TURN = re.compile(
    r"\s*(?:no|not|without|neither|nor|possibl[ey]|probabl[ey]|questionable|perhaps|maybe|likely"
    r"|suspected|unlikely"
    r"|free of|negative for|cannot)\b"
)
"""What begins something of its own behind a comma."""
FRESH = re.compile(
    r"\s*(?:a|an|the|some|small|large|mild|moderate|severe|trace|tiny|minimal|extensive|subtle|stable"
    r"|persistent)\b"
)
"""What ends an enumeration of denials, unless it goes on with "or"."""
SIDE = re.compile(
    r"\b(?:left|right|bilateral(?:ly)?|both(?=\s+(?:sides|lungs|bases|apices|hemithoraces|eyes|kidneys"
    r"|hands)))\b"
)
NORMAL = frozenset({"normal", "unremarkable", "clear", "within normal limits", "intact", "unaffected"})
"""What a value denies that would be abnormal."""


def polarity_before(text: str) -> Polarity | None:
    """What the words before a mention make of it: those of its own part of an enumeration go first.

    >>> str(polarity_before("possible mass, no ")), str(polarity_before("probably no "))
    ('absent', 'uncertain')
    """
    cuts = [0, *(link.end() for link in LINK.finditer(text)), len(text)]
    for start, end in zip(cuts[-2::-1], cuts[:0:-1], strict=True):
        part = text[start:end]
        if OPEN.search(part):
            return Polarity.UNCERTAIN
        if DENIED_BEFORE.search(part):
            return Polarity.ABSENT
    return None


def polarity_after(text: str) -> Polarity | None:
    """What the words behind a mention make of it.

    >>> str(polarity_after(" is not seen")), str(polarity_after(", possibly")), polarity_after(", it may be")
    ('absent', 'uncertain', None)
    """
    near = text.partition(",")[0]
    hedged = OPEN.match(text.lstrip(" ,(—–-*_"))
    if OPEN.search(near) or hedged:
        return Polarity.UNCERTAIN
    return Polarity.ABSENT if DENIED_AFTER.search(text) else None


def side_of(words: set[str]) -> str:
    """One side for all words of sides together.

    >>> side_of({"left"}), side_of({"left", "right"}), side_of({"bilaterally"})
    ('left', 'both', 'both')
    """
    sides = {SIDES[word] for word in words}
    return sides.pop() if len(sides) == 1 else "both"
