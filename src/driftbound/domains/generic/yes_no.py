"""Yes or no: what a text answers to a question that asks for one of the two."""

import re
from collections.abc import Callable, Iterator

from driftbound.domains.generic.choice import ANSWER
from driftbound.domains.generic.steps import lowered, repeats_prompt, steps
from driftbound.domains.generic.words import HEDGE, polarity_of
from driftbound.records import Claim, Polarity

_WORD = (
    r"(?P<word>(?:not|can(?:no|['’])t\s+be|cannot)\s+(?:entirely\s+|completely\s+)?(?:sure|certain|clear"
    r"|known"
    r"|determined?|tell|say)|yes\s+and\s+no|yes|yep|yeah|no|nope|true|false|affirmative|present|absent"
    r"|positive"
    r"|negative|uncertain|unsure|unknown|unclear|undetermined|indeterminate|inconclusive|equivocal|maybe"
    r"|perhaps"
    r"|possibly|probably|likely|unlikely|it\s+depends)(?!\w|[-'’]\w)"
)
_BARE = r"(?P<word>[yn])(?!\w|[-'’./]\w)"
_HEDGES = rf"(?:(?:{HEDGE}|most|very|quite|rather|almost\s+certainly)[\s,]{{1,3}}){{0,2}}"
_MARKS = r"[\s*_`\"'“”‘(\[{$<>]{0,8}(?:\\(?:text|textbf|mathrm|mathbf|boxed)\s?\{\s?){0,2}"
_NOUN = r"\b(?:answer|response|conclusion|verdict|decision|prediction|assessment|label)"
_OF = r"(?:\s+(?:to|for|of)\s+(?:the|this|that|your)\s+(?:question|case|image))?"
_IS = r"(?:is|would\s+be|should\s+be|must\s+be|remains|seems\s+to\s+be|may\s+be|might\s+be|could\s+be)\b"
_MARKED = re.compile(
    rf"(?:{_NOUN}{_OF}[\s*_`\"'”)]{{0,6}}(?:{_IS}|->|[:：=>—–→⇒-])[\s:：]{{0,3}}"
    rf"|\\boxed\s?(?=\{{)|\b(?:i|we)(?:['’]d|\s+would|\s+have\s+to)?\s+(?:say|answer|think"
    rf"|believe)[\s:]{{1,3}}"
    rf"(?:that\s+)?(?:the\s+answer\s+is\s+)?){_MARKS}(?P<hedge>{_HEDGES})[*_\"']{{0,3}}"
    rf"(?:{_WORD}|{_BARE.replace('word', 'letter')})"
)
_SO = (
    r"(?:(?:based\s+on|to\s+answer|from|looking\s+at|given|according\s+to|in)\b[^,.;:]{1,80}[,:]\s{1,3})?"
    r"(?:(?:so|therefore|thus|hence|overall|in\s+(?:summary|conclusion|short)|to\s+(?:conclude|summari[sz]e)"
    r"|well|okay|ok|finally|hm+|um|definitely|clearly|certainly|absolutely)\b[\s,:.]{1,3})?"
)
_LEADING = re.compile(
    rf"[\s>#*_\-•(\[{{`\"'“<]{{0,10}}(?:\d{{1,3}}[.)]\s*)?(?:a\s*[:.]\s*)?{_SO}[*_`\"'“(]{{0,4}}"
    rf"(?P<hedge>{_HEDGES})[*_\"']{{0,3}}{_WORD}"
)
_ONLY = re.compile(rf"{_MARKS}(?P<hedge>{_HEDGES}){_BARE}")
_STOPS = re.compile(r"[\s*_`\"'”’)\]}>$]*(?:[.,;:!—–-]|\Z|</)|\s+[—–-]\s")
"""What must follow "no" at the head of a sentence: "No effusion" speaks of effusions."""
_GOES_ON = re.compile(
    r"[*_`\"'”]{0,3}\s+(?:there|it|this|that|the|i|we|he|she|they|is|are|not|definitely|because|but|as"
    r"|since)\b"
)
_FREELY = frozenset({"yes", "yep", "yeah", "nope", "affirmative"})
"""Words that answer at the head of a sentence whatever follows."""
_ALTERNATIVES = re.compile(
    r"[\s*_`\"'”)]{0,4}(?:/|\bor\b|\|)\s*[*_`\"'“(]{0,4}(?:no|yes|false|true|n|y|absent|present)\b"
)
_ADJACENT = re.compile(rf"[\s*_`\"'”)\]}},—–-]{{0,4}}{HEDGE}\s*(?:[.,;!]|\Z)")
_UNSURE = re.compile(
    r"\b(?:(?:i|we)(?:['’]m|['’]re|\s+am|\s+are)\s+(?:not\s+(?:\w+\s+)?(?:sure|certain)|unsure|uncertain"
    r"|unable\s+to"
    r"\s+(?:tell|say|determine|decide))|(?:i|we)\s+(?:do\s+not|don['’]t|cannot|can['’]t)\s+(?:know|tell"
    r"|say|determine"
    r"|decide)|(?:cannot|can['’]t|can\s+not|could\s+not|couldn['’]t)\s+(?:be\s+)?(?:\w+ly"
    r"\s+)?(?:determined?|answered?"
    r"|decided?|ascertain(?:ed)?|tell)|(?:(?:it|this|that)['’]s|(?:it|this|that|the\s+answer"
    r"|the\s+image)\s+is)\s+(?:\w+ly\s+)?(?:un(?:clear"
    r"|certain|known)|inconclusive|indeterminate|equivocal|(?:impossible|hard|difficult)\s+to\s+(?:tell|say"
    r"|determine|know))|(?:not\s+enough|insufficient)\s+(?:information|evidence|detail|data)"
    r"|no\s+way\s+(?:to|of)"
    r"\s+(?:tell|know)\w*|(?:not\s+possible|impossible|hard|difficult)\s+to\s+(?:tell|say)"
    r"|unable\s+to\s+determine)\b"
)
_SUMMARY = re.compile(r"(?:conclusion|assessment|decision|prediction|label)\b")
_PRESSED = re.compile(r"[\s*_>]*if\s+(?:pressed|forced|i\s+(?:had|have|must))\b")
_IF = re.compile(rf"(?!{_PRESSED.pattern})[\s*_>]*(?:if|when|whether|unless|answer\s+(?:with|either))\b")
_COUNTED = re.compile(r"\.?\s*\d")


def yes_no() -> Callable[[str], list[Claim]]:
    """An extractor of a text's yes or no: finding ``answer``, attribute ``presence``.

    Words that keep both open ("not sure", "cannot be determined", "probably yes") are uncertain; after a
    plain yes or no only those that speak of the answer itself count. "No effusion is seen" answers
    nothing here: whether it does hangs on the question.

    >>> [(c.value, c.step) for c in yes_no()("Yes, there is an effusion. Its size cannot be determined.")]
    [('present', 0)]
    >>> [c.value for c in yes_no()("It cannot be determined. Answer: probably no")]
    ['uncertain', 'uncertain']
    """
    return _claims


def _claims(text: str) -> list[Claim]:
    low = lowered(text)
    found: list[Claim] = []
    plain = False
    spans = steps(text)
    for number, (start, end) in enumerate(spans):
        step = low[start:end]
        if (step.endswith("?") and not _LEADING.match(step)) or _IF.match(step):
            continue
        echo = repeats_prompt(step)
        said = {word_at: (first, last, polarity) for first, word_at, last, polarity in _said(low, start, end)}
        if len(spans) == 1 and not said:
            said = {word_at: (first, last, kind) for first, word_at, last, kind in _only(low, start, end)}
        if not said and not plain:
            unsure = _UNSURE.search(step)
            if unsure:
                said[start] = (start + unsure.start(), start + unsure.end(), Polarity.UNCERTAIN)
        for at in sorted(said):
            first, last, polarity = said[at]
            polarity = Polarity.UNCERTAIN if _PRESSED.match(step) else polarity
            plain = plain or (polarity is not Polarity.UNCERTAIN and not echo)
            found.append(
                Claim(
                    finding=ANSWER,
                    attribute="presence",
                    value=str(polarity),
                    polarity=polarity,
                    start=first,
                    end=last,
                    step=number,
                    echo=echo,
                )
            )
    return found


def _said(low: str, start: int, end: int) -> Iterator[tuple[int, int, int, Polarity]]:
    """Answers in a step: begin of the claim, begin of its word, end, polarity."""
    for match in _MARKED.finditer(low, start, end):
        group = "word" if match["word"] else "letter"
        # "Conclusion: no effusion" sums up; "Answer: no effusion" answers.
        sums_up = match[group] == "no" and _SUMMARY.match(match.group())
        if _ALTERNATIVES.match(low, match.end(group), end) or (
            sums_up and not _STOPS.match(low, match.end(group), end)
        ):
            continue
        yield from _judged(low, match, group, end)
    leading = _LEADING.match(low, start, end)
    if leading is None or _ALTERNATIVES.match(low, leading.end("word"), end):
        return
    after = low[leading.end("word") : end]
    free = leading["word"] in _FREELY or leading["word"].startswith(("not", "can", "yes"))
    if leading["word"] == "no" and _COUNTED.match(after):
        return
    if free or _STOPS.match(after) or (leading["word"] == "no" and _GOES_ON.match(after)):
        yield from _judged(low, leading, "word", end)


def leading_answer(low: str, start: int, end: int) -> tuple[Polarity, int] | None:
    """The yes or no with which a step (lower case) begins, and where it ends; ``None`` without one.

    >>> leading_answer("no, it is not.", 0, 14)
    (<Polarity.ABSENT: 'absent'>, 2)
    """
    leading = _LEADING.match(low, start, end)
    return (
        next(((polarity, last) for _, _, last, polarity in _judged(low, leading, "word", end)), None)
        if (leading)
        else None
    )


def _only(low: str, start: int, end: int) -> Iterator[tuple[int, int, int, Polarity]]:
    """A text that is nothing but "Y" or "N"."""
    match = _ONLY.match(low, start, end)
    if match and not re.search(r"\w", low[match.end() : end]):
        yield from _judged(low, match, "word", end)


def _judged(low: str, match: re.Match[str], group: str, end: int) -> Iterator[tuple[int, int, int, Polarity]]:
    polarity = polarity_of(match[group]) or Polarity.UNCERTAIN
    if match["hedge"] or _ADJACENT.match(low, match.end(group), end):
        polarity = Polarity.UNCERTAIN
    first = match.start() + len(match.group()) - len(match.group().lstrip())
    yield first, match.start(group), match.end(group), polarity
