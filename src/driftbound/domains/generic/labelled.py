"""Labelled sentences: which of the declared findings a free text asserts, denies or leaves open."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from driftbound.domains.generic import cues
from driftbound.domains.generic.clauses import Mention, judge
from driftbound.domains.generic.steps import Span, lowered, repeats_prompt, steps
from driftbound.domains.generic.words import OMITTED, SIDES, bare, polarity_of
from driftbound.domains.generic.yes_no import leading_answer
from driftbound.records import Claim, Polarity

_HEAD = re.compile(
    r"[\s>#*_`\-•+|(]{0,20}+(?:\d{1,3}[.)|]?\s{0,3})?[\s*_`|]{0,6}+"
    r"(?P<box>\[[ x]\]\s{0,3}|[✓✔✅☑✗✘❌]\s{0,3})?[*_`\[]{0,4}"
)
"""What may stand before a label: marks of lists and tables, a number, a box that is ticked or not."""
_SEPARATOR = re.compile(
    r"[*_`\s\]]{0,9}(?:\([^)]*\)\s{0,3})?[*_`]{0,4}(?::|=|->|→|⇒|—|–|\||\s-\s|\s--\s)[*_`\s:|]{0,9}"
)
_BETWEEN = re.compile(r"[\s*_`,/&+]{0,9}(?:(?:and|or)[\s*_`]{0,9})?\Z")
_VALUE = re.compile(r"[^,;.|(\[—–]*")
_BULLET = re.compile(r"\s*(?:[-*•+|]|\(?\d{1,3}[.)]|\[[ x]\])\s*")
_LISTED = re.compile(r"[^:]*:[\s*_]*\Z")
_BARE = re.compile(r"[\s>#*_`\-•+|.:\d)\[\]]*")
_SHORT = 4
"""Words of a value that is no sentence."""
_NUMBERS = {"1": Polarity.PRESENT, "0": Polarity.ABSENT}
_TICKED = frozenset("x✓✔✅☑")


def labelled(
    findings: Mapping[str, Sequence[str]], *, sided: Sequence[str] = ()
) -> Callable[[str], list[Claim]]:
    """An extractor of what a text says of each of the ``findings`` (name -> synonyms).

    Attributes ``presence`` and, of findings in ``sided`` that are present, ``side`` (``left``, ``right``,
    ``both``). Read are labels with a value ("Effusion: absent", tables, boxes, a value on the next line)
    and sentences: a denial or hedge holds within its clause and along an enumeration. Questions,
    conditions, and sentences on findings in general claim nothing; a question that is answered at once does.

    >>> read = labelled({"Effusion": ["fluid"], "Edema": []}, sided=["Effusion"])
    >>> [(c.finding, c.value) for c in read("No edema, but fluid on the left. - **Edema** — absent")]
    [('Edema', 'absent'), ('Effusion', 'present'), ('Effusion', 'left'), ('Edema', 'absent')]
    """
    forms = {
        form: name for name, words in findings.items() for word in (name, *words) for form in _forms(word)
    }
    by_length = sorted(forms, key=len)[::-1]
    pattern = "|".join(re.sub(r"(?:\\?[\s_-])+", r"[\\s_-]+", re.escape(form)) for form in by_length)
    reader = _Reader(re.compile(rf"(?<!\w)(?:{pattern})(?!\w)"), forms, frozenset(sided))
    return reader.claims


def _forms(word: str) -> Iterator[str]:
    """A word as it may stand in a text: in lower case, and its plurals."""
    one = _key(lowered(word))
    yield one
    for ending, plural in (("y", "ies"), ("thorax", "thoraces"), ("sis", "ses"), ("x", "xes"), ("s", "s")):
        if one.endswith(ending):
            yield one.removesuffix(ending) + plural
            return
    yield f"{one}s"


def _key(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip()


@dataclass(slots=True)
class _Pending:
    """A mention that the next sentence may say something of."""

    mention: Mention
    asked: bool
    """As a question."""
    heading: bool
    """As a heading: alone it says nothing."""


@dataclass(slots=True)
class _Reader:
    pattern: re.Pattern[str]
    forms: Mapping[str, str]
    sided: frozenset[str]

    def claims(self, text: str) -> list[Claim]:
        """What a text says, in its order."""
        low = lowered(text)
        masked = cues.ASIDE.sub(lambda aside: "_" * len(aside.group()), low)
        found: list[Claim] = []
        lead: Polarity | None = None
        pending: _Pending | None = None
        for number, (start, end) in enumerate(steps(text)):
            step = masked[start:end]
            mentions = [
                Mention(self.forms[_key(match.group())], match.start(), match.end())
                for match in self.pattern.finditer(masked, start, end)
            ]
            lead = lead if _BULLET.match(step) else None
            if pending is not None:
                answered = None if mentions else self._answered(masked, (start, end), pending)
                if answered is None and not pending.asked and not pending.heading:
                    answered = pending.mention
                if answered is not None:
                    at = number if answered.end > start else number - 1
                    found += self._claims_of(answered, at, echo=False)
            pending = None
            if not mentions:
                lead = _lead(step) if _LISTED.match(step) else lead
            elif not (asked := step.endswith("?")) and not cues.SILENT.search(step):
                said, pending = self._said(masked, (start, end), mentions, lead)
                echo = repeats_prompt(step)
                for mention in said:
                    found += self._claims_of(mention, number, echo=echo)
            elif asked and len({mention.finding for mention in mentions}) == 1 and not repeats_prompt(step):
                pending = _Pending(mentions[0], asked=True, heading=False)
        if pending is not None and not pending.asked and not pending.heading:
            found += self._claims_of(pending.mention, number, echo=False)
        return found

    def _said(
        self, text: str, step: Span, mentions: list[Mention], lead: Polarity | None
    ) -> tuple[list[Mention], _Pending | None]:
        """The judged mentions of a step; or the one that is all of it, which the next step may judge."""
        start, end = step
        if len(mentions) == 1 and _is_bare(text, step, mentions[0]):
            only = mentions[0]
            only.start, only.end, only.polarity = only.first, only.last, _box(text, start, only) or lead
            if only.polarity is None:
                heading = text[start] == "#" or ":" in text[only.last : end]
                return [], _Pending(only, asked=False, heading=heading)
            return [only], None
        labels, at = self._labels(text, step, mentions)
        judge(text, at, end, mentions[len(labels) :])
        rest = mentions[len(labels) :]
        colon = text.find(":", at, rest[0].first) if rest else -1
        inner = _lead(text[at:colon]) if colon >= 0 else lead
        for mention in rest:
            if not mention.own and mention.polarity is None:
                mention.polarity = _box(text, start, mention) or inner
        judged = [each for each in labels if each.polarity is not None]
        return judged + [mention for mention in rest if not mention.skipped], None

    def _labels(self, text: str, step: Span, mentions: list[Mention]) -> tuple[list[Mention], int]:
        """The mentions that are labels of what follows them, judged by it, and where that begins.

        A label that nothing can be said of has no polarity.
        """
        start, end = step
        head = _HEAD.match(text, start, end)
        if head is None or head.end() != mentions[0].first:
            return [], start
        labels = [mentions[0]]
        for mention in mentions[1:]:
            if not _BETWEEN.match(text[labels[-1].last : mention.first]):
                break
            labels.append(mention)
        separator = _SEPARATOR.match(text, labels[-1].last, end)
        if separator is None:
            return [], start
        told = any(mention.first >= separator.end() for mention in mentions[len(labels) :])
        polarity, value_end = _value(text, separator.end(), end, told=told)
        for label in labels:
            label.start, label.end, label.polarity = label.first, value_end, polarity
            self._find_sides(text, label, separator.end(), value_end if told else end)
        return labels, value_end if polarity is not None else separator.end()

    def _answered(self, text: str, step: Span, pending: _Pending) -> Mention | None:
        """A mention of the step before, judged by this one; ``None`` where this one does not."""
        start, end = step
        mention = pending.mention
        if pending.asked:
            answer = leading_answer(text, start, end)
            polarity, last = answer if answer is not None else (None, end)
        elif pending.heading:
            polarity, last = _value(text, start, end, told=False)
        else:
            polarity, last = polarity_of(text[start:end]), end
        if polarity is None:
            return None
        mention.start, mention.end, mention.polarity = mention.first, last, polarity
        self._find_sides(text, mention, start, end)
        return mention

    @staticmethod
    def _find_sides(text: str, mention: Mention, start: int, end: int) -> None:
        """The sides in what is said of a mention elsewhere: behind its label, or in the next sentence."""
        found = list(cues.SIDE.finditer(text, mention.last, end))
        spans = [(side.start(), side.end()) for side in found]
        mention.sides = [side.group() for side in found]
        phrase = _VALUE.match(text, start, end)
        if not found and phrase and bare(phrase.group()) in SIDES:
            mention.sides = [bare(phrase.group())]
            spans = [(start, start + len(phrase.group().rstrip()))]
        mention.side_span = (spans[0][0], spans[-1][1]) if spans else (0, 0)

    def _claims_of(self, mention: Mention, number: int, *, echo: bool) -> Iterator[Claim]:
        polarity = mention.polarity or Polarity.PRESENT
        yield Claim(
            finding=mention.finding,
            attribute="presence",
            value=str(polarity),
            polarity=polarity,
            start=mention.start,
            end=mention.end,
            step=number,
            echo=echo,
        )
        if polarity is Polarity.PRESENT and mention.sides and mention.finding in self.sided:
            yield Claim(
                finding=mention.finding,
                attribute="side",
                value=cues.side_of(set(mention.sides)),
                polarity=Polarity.PRESENT,
                start=mention.side_span[0],
                end=mention.side_span[1],
                step=number,
                echo=echo,
            )


def _is_bare(text: str, step: Span, mention: Mention) -> bool:
    """Whether a step is nothing but a mention."""
    head = _HEAD.match(text, step[0], step[1])
    return (
        head is not None
        and head.end() == mention.first
        and not text[mention.last : step[1]].strip(" *_`:.|#")
    )


def _box(text: str, start: int, mention: Mention) -> Polarity | None:
    """What a box before a mention says."""
    head = _HEAD.match(text, start, mention.first)
    if head is None or head.end() != mention.first or not head["box"]:
        return None
    return Polarity.PRESENT if _TICKED & set(head["box"]) else Polarity.ABSENT


def _lead(text: str) -> Polarity | None:
    """What words before a colon say of all that follows; ``None`` where they do not."""
    if cues.OPEN.search(text):
        return Polarity.UNCERTAIN
    return Polarity.ABSENT if cues.LEAD.search(text) else None


def _value(text: str, start: int, end: int, *, told: bool) -> tuple[Polarity | None, int]:
    """What the words behind a label say of it, and where they end; ``None`` where they do not.

    ``told`` means that they name findings themselves: then a word of its own counts, and no sentence.
    """
    match = _VALUE.match(text, start, end)
    phrase = match.group() if match else ""
    value_end = start + len(phrase.rstrip(" *_`\"'"))
    said = bare(phrase)
    polarity = polarity_of(phrase) or _NUMBERS.get(said)
    if polarity is None and said in cues.NORMAL:
        polarity = Polarity.ABSENT
    if polarity is not None or told or said in OMITTED:
        return polarity, value_end
    if cues.OPEN.search(phrase):
        return Polarity.UNCERTAIN, value_end
    if cues.DENIED_BEFORE.search(phrase) or cues.DENIED_AFTER.search(phrase):
        return Polarity.ABSENT, value_end
    if len(said.split()) <= _SHORT or cues.ASSERTED.search(phrase):
        return Polarity.PRESENT, value_end
    return None, value_end
