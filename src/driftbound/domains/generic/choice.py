"""Multiple choice: which option a text takes, and whether it does so without a hedge."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from driftbound.domain_config import LETTERS
from driftbound.domains.generic.steps import lowered, repeats_prompt, steps
from driftbound.domains.generic.words import HEDGE
from driftbound.records import Claim, Polarity

ANSWER = "answer"
"""The finding of a text that answers one question."""

_DECORATION = (
    r"[\s*_`\"'“”‘(\[{$<]{0,8}(?:\\(?:text|textbf|mathrm|mathbf|boxed|fbox)\s?\{[\s*_(\"']{0,4}){0,3}"
)
_OF = r"(?:\s+(?:to|for|of)\s+(?:the|this)\s+(?:question|case|image|problem)|\s+here)?"
_IS = (
    r"(?:is|are|was|would\s+be|should\s+be|must\s+be|will\s+be|may\s+be|might\s+be|could\s+be|has\s+to\s+be"
    r"|seems\s+to\s+be|appears\s+to\s+be|seems|remains)\b"
)
_FILLER = (
    r"(?:(?:therefore|thus|hence|then|clearly|definitely|indeed|most|probably|possibly|likely|perhaps|maybe"
    r"|presumably|either|between|the|letter|option|choice|answer)\b[\s,]{1,3}){0,4}"
)
_ASIDE = r"[\s*_`\"'”)]{0,6}"
_JOIN = r"[\s*_`\"'”)\]}]{0,6}(?:,\s*(?:or|and)\b|,|/|\bor\b|\band\b|&)\s*(?:option\s+|choice\s+)?"
_NOUN = r"\b(?:answer|choice|option|selection|response|solution|alternative|letter|pick|guess)"
_MARKERS = (
    rf"{_NOUN}{_OF}{_ASIDE}(?:{_IS}|->|[:：=>—–→⇒-])[\s*_`\"':：]{{0,6}}{_FILLER}",
    rf"\banswers{_ASIDE}(?:are\b|[:：])[\s*_`\"':：]{{0,6}}{_FILLER}",
    r"\banswer\s+(?:option\s+|choice\s+)?",
    r"(?:^|(?<=[\n\r]))[\s*_]{0,4}a[*_]{0,2}:[\s*_]{1,4}",
    r"\b(?:i|we)(?:['’](?:d|ll|m)|\s+(?:would|will|am))?\s+(?:(?:probably|likely|perhaps|tentatively"
    r"|therefore)\s+)?"
    r"(?:choose|chose|take|pick|select|go(?:ing)?\s+with|went\s+with|opt\s+for|answer|say|guess"
    r"|lean(?:ing)?\s+towards?"
    rf"|settle\s+on|vote\s+for)\s+(?:for\s+|with\s+)?{_FILLER}",
    r"\\(?:boxed|fbox)\s?(?=\{)",
    r"\b(?:choose|decide|decision|torn|toss-up)\s+between\s+",
)
"""What stands before an option that is taken."""
_CLOSING = (
    r"(?:therefore|thus|hence|so|consequently|conclusion|i\s+think|i\s+believe|it['’]s|it\s+is|that['’]s"
    r"|this\s+is"
    r"|it\s+must\s+be|must\s+be|either|between|my\s+guess|i\s+guess|not\s+sure|but|probably|possibly"
    r"|likely|most"
    r"|perhaps|maybe|presumably|option|choice|the|answer)"
)
_ALONE = rf"[\s>#*_\-•]*(?:{_CLOSING}\b[\s,:*_]{{1,4}}){{0,6}}"
"""What may stand before an option that ends its sentence."""
_SO = rf"\b(?:therefore|thus|hence|so|consequently)\b[\s,:*_]{{1,4}}(?:{_CLOSING}\b[\s,:*_]{{1,4}}){{0,5}}"
_TAKEN_AFTER = re.compile(
    r"[*_`\"'”)\]}.]{0,4}\s+(?:is|would\s+be|must\s+be|seems|appears|looks|remains|should\s+be)\s+"
    r"(?:(?:clearly|therefore|thus|to\s+be|the|most|more|probably|likely|possibly|perhaps|single"
    r"|only)\s+){0,4}"
    r"(?:correct|right|best|true|likely|probable|appropriate|accurate|suitable|plausible|answer|choice"
    r"|option)\b"
)
_DENIED_AFTER = re.compile(
    r"[*_`\"'”)\]}.]{0,4}\s+(?:(?:is|was|would\s+be|seems|looks|appears)\s+(?:not|wrong|incorrect|false"
    r"|less|un\w+"
    r"|definitely\s+not|ruled\s+out|excluded)\b|(?:isn|wasn|can|does|doesn)['’]?n?['’]?t\b|cannot\b)"
)
_END = re.compile(r"[\s*_`\"'”’)\]}>$.!]*+(?:</\w+>)?[\s*_`.]*+\Z")
_TITLE = re.compile(r"[*_`]{0,3}[).:\]][*_`]{0,3}(?:\s|\Z)")
_ARTICLE = re.compile(
    r"\s*(?:\Z|[.,;:)\]}>*\"'`”’—–/<\n]|\\|-\s|(?:because|since|as|due|given|for|based|although|though"
    r"|but|and|or"
    r"|is|was|would|must|seems|remains|while|whereas|over|rather|instead|not)\b)"
)
"""What may follow an option that looks like an article: "A mass is seen" takes no option."""
_HEDGES = re.compile(
    rf"(?<!most )(?<!more ){HEDGE}"
    r"|\b(?:either|between|guess\w*|tentatively|lean\w*|not\s+(?:\w+\s+)?(?:sure|certain))\b"
)
_DOUBT = re.compile(
    r"\b(?:not\s+(?:\w+\s+)?(?:sure|certain)|unsure|uncertain|guess\w*|if\s+i\s+(?:had|must|have))\b"
)
_HEDGED_AFTER = re.compile(
    r"[\s*_`\"'”)\]},.—–(-]{0,6}(?:(?:probably|perhaps|maybe|possibly|likely|presumably)\b(?!\s+\w+\s)"
    r"|i\s+guess\b"
    r"|(?:(?:but|though|although)\s+)?i(?:['’]m|\s+am)\s+(?:not|un)|\?)"
)
_CLAUSE = re.compile(r"[,;:()]|\b(?:but|so|therefore|thus|hence|because|since|and|however|which)\b")
_IF = re.compile(r"\b(?:if|unless)\b(?!\s+(?:i\s+(?:had|have|must)|forced|pressed))")
_ASKS = re.compile(r"[\s*_>#\d.)]*(?:is|are|was|which|what|could|would|should|does|do|did|can|how|why)\b")


@dataclass(frozen=True, slots=True)
class _Taken:
    """An option as it stands in the text."""

    option: str
    start: int
    """Where its marker begins."""
    label: int
    """Where itself begins."""
    end: int


def choice(options: Sequence[str] = LETTERS) -> Callable[[str], list[Claim]]:
    """An extractor of the option that a text takes: finding ``answer``, attribute ``value``.

    Every option that is taken is a claim, in order of the text; several at once ("A or B") and those
    with a hedge are uncertain. Options that are only discussed or denied claim nothing, nor does the
    article "A".

    >>> read = choice()
    >>> [(c.value, str(c.polarity)) for c in read("A mass is seen. Answer: **B**")]
    [('B', 'present')]
    >>> [(c.value, str(c.polarity)) for c in read("Either A or C, I am not sure.")]
    [('A', 'uncertain'), ('C', 'uncertain')]
    """
    reader = _Reader(options)
    return reader.claims


class _Reader:
    def __init__(self, options: Sequence[str]) -> None:
        self._option = {lowered(each): each for each in options}
        longest = sorted(self._option, key=len)[::-1]
        label = r"(?P<label>" + "|".join(map(re.escape, longest)) + r")(?!\w|[-'’]\w|\.\s?coli\b)"
        self._label = re.compile(_DECORATION + label)
        self._joined = re.compile(_JOIN + _DECORATION + label)
        but = (
            rf"(?:not\s+{_DECORATION}(?:{label.replace('?P<label>', '?:')})\W{{0,3}}\s*but\s+(?:rather\s+)?)?"
        )
        self._marked = re.compile(rf"(?:{'|'.join(_MARKERS)}){but}(?={_DECORATION}{label})")
        self._alone = re.compile(rf"{_ALONE}(?={_DECORATION}{label})")
        self._concluded = re.compile(rf"{_SO}(?={_DECORATION}{label})")
        self._plain = re.compile(rf"(?<!\w){label}")

    def claims(self, text: str) -> list[Claim]:
        low = lowered(text)
        spans = steps(text)
        titles = [n for n, (start, end) in enumerate(spans) if self._title(low, start, end) is not None]
        found: dict[int, Claim] = {}
        for number, (start, end) in enumerate(spans):
            whole = low[start:end]
            if (whole.endswith("?") and _ASKS.match(whole)) or not self._label.search(whole):
                continue
            groups = list(self._taken(text, low, start, end))
            if titles == [number] and number in (0, len(spans) - 1):
                title = self._title(low, start, end)
                groups += [[title]] if title is not None else []
            for group in groups:
                for at, claim in self._claims_of(group, low, (start, end), number):
                    found.setdefault(at, claim)  # two markers of one option are one claim
        return [found[at] for at in sorted(found)]

    def _taken(self, text: str, low: str, start: int, end: int) -> Iterator[list[_Taken]]:
        """Groups of options that a step takes together."""
        for marker in self._marked.finditer(low, start, end):
            group = self._group(text, low, marker.start(), marker.end(), end)
            if group:
                yield group
        for pattern in (self._alone, self._concluded):
            closing = (
                pattern.match(low, start, end) if pattern is self._alone else pattern.search(low, start, end)
            )
            group = self._group(text, low, closing.start(), closing.end(), end) if closing else []
            if group and (
                _END.match(low[group[-1].end : end]) or _HEDGED_AFTER.match(low[group[-1].end : end])
            ):
                yield group
        for plain in self._plain.finditer(low, start, end):
            if _TAKEN_AFTER.match(low, plain.end(), end):
                yield [_Taken(self._option[plain["label"]], plain.start(), plain.start(), plain.end())]

    def _group(self, text: str, low: str, start: int, at: int, end: int) -> list[_Taken]:
        """The option behind a marker that ends at ``at``, and those joined to it by "or" and the like."""
        group: list[_Taken] = []
        match = self._label.match(low, at, end)
        while match:
            first, last = match.span("label")
            if not self._stands(text, first, last, end):
                break
            group.append(_Taken(self._option[match["label"]], start, first, last))
            start = first = last
            match = self._joined.match(low, last, end)
            start = match.start("label") if match else start
        return group

    @staticmethod
    def _stands(text: str, first: int, last: int, end: int) -> bool:
        """Whether what looks like an option is none of the words "a" and "I"."""
        if text[first:last] not in ("A", "a", "I", "i"):
            return True
        after = _ARTICLE.match(text, last, end)
        return after is not None and (text[first].isupper() or not after.group()[-1:].isalpha())

    def _title(self, low: str, start: int, end: int) -> _Taken | None:
        """The option with which a step begins as a list of options does: "B. Effusion"."""
        match = self._label.match(low, start, end)
        if match is None or low[match.end() - 1].isdigit() or not _TITLE.match(low, match.end(), end):
            return None
        if match["label"] == "a" and low.startswith(":", match.end()):
            return None
        return _Taken(self._option[match["label"]], start, match.start("label"), match.end("label"))

    def _claims_of(
        self, group: list[_Taken], low: str, step: tuple[int, int], number: int
    ) -> Iterator[tuple[int, Claim]]:
        """The claims of options that are taken together, each with where its option begins."""
        distinct = {each.option for each in group}
        after, first = low[group[-1].end : step[1]], group[0]
        said_of = _TAKEN_AFTER.match(after)
        before = low[step[0] : first.start]
        clause = before[max((cut.end() for cut in _CLAUSE.finditer(before)), default=0) :]
        if _DENIED_AFTER.match(after) or _IF.search(clause):
            return
        if len(distinct) > 2 and len(distinct) >= len(self._option) - 1:
            return  # all of them: the task is told, not solved
        hedged = (
            len(distinct) > 1
            or _HEDGES.search(clause + low[first.start : first.label])
            or _DOUBT.search(before)
            or _HEDGED_AFTER.match(after)
            or (said_of and _HEDGES.search(said_of.group()))
        )
        for each in group:
            claim = Claim(
                finding=ANSWER,
                attribute="value",
                value=each.option,
                polarity=Polarity.UNCERTAIN if hedged else Polarity.PRESENT,
                start=each.start,
                end=each.end,
                step=number,
                echo=repeats_prompt(low[step[0] : step[1]]),
            )
            yield each.label, claim
