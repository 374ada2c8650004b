"""Mentions: where a sentence names a finding, or calls a part of the chest normal or abnormal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.phrases import Phrases, lexicon

DEVICES = "Support Devices"
NAME, SIGN, DENIED, NOT = "name", "sign", "denied", "not"
DOUBTFUL, GONE = "doubtful", "gone"
_HALF = 0.5
_NEAR = 9
"""So many words behind a part of the chest may stand before what it is called."""
_FILLERS = frozenset(
    {"and", ",", "that", "is", "are", "was", "were", "remains", "remain", "appears", "appear", "in",
     "size", "the", "there", "has", "have", "been", "mildly", "moderately", "markedly", "severely",
     "slightly", "grossly", "borderline", "within", "otherwise", "also", "now", "again", "mild",
     "moderate", "contour", "contours", "configuration", "caliber", "overall", "both", "left", "right",
     "lateral", "bilaterally", "visualized", "to", "be", "may", "might", "could", "can", "probably",
     "possibly", "not", "no", "longer", "minimally", "stable", "unchanged", "hilar", "hila", "silhouette",
     "silhouettes", "well", "expanded", "inflated", "aerated", ":", "sharp", "clear", "as", "seen", "for",
     "age", "somewhat", "at", "an", "a", "of", "on", "look", "looks", "seem", "seems", "clearly", "it",
     "they", "which", "shape", "hyperinflated", "hyperexpanded", "hypoinflated", "low", "relatively",
     "completely", "entirely", "bilateral", "all", "likely", "perhaps", "suspected", "upper", "does", "do",
     "dash", "definitely", "appearance", "position", "midline", "shows", "show", "demonstrates",
     "demonstrate", "reveals", "any", "significant", "acute", "evidence", "sign", "signs", "portable",
     "ap", "technique", "given", "allowing", "symmetric", "aorta", "aortic", "hilum", "least", "great",
     "vessels", "measures", "cm", "approximately", "trachea", "diaphragm", "normally", "symmetrically",
     "fully", "adequately", "free", "however"}
)  # fmt: skip
"""What may stand between a part of the chest and what it is called."""
_NO = frozenset({"not", "no", "isn't", "aren't", "wasn't", "without", "nor", "neither", "never"})
_STOP = frozenset({"(", "but"})
_SIDES = frozenset({"left", "right"})
_COMPARED = frozenset({"larger", "smaller", "bigger"})
_AFTER_CHANGE = frozenset({",", "and", "but", "in", "since", "from", "than", "now", ")"})
_ON = frozenset({"on", "at", "in", "to", "of"})
_CHANGES = frozenset(
    {"increased", "decreased", "improved", "worsened", "resolved", "enlarged", "grown", "smaller", "larger",
     "small", "moderate", "large", "unchanged", "stable", "new", "worse"}
)  # fmt: skip
_STAND_INS = frozenset({"one", "ones", "that", "those"})
_MAY_STAND = _STAND_INS | _SIDES


@dataclass(frozen=True, slots=True)
class Mention:
    """A finding named by the words ``start`` to ``end`` of a sentence."""

    finding: str
    start: int
    end: int
    kind: str
    """``name``; ``sign``: only suggested; ``denied``: counts only where it is denied;
    ``not``: none of the 14."""
    device: str = ""
    value: str = ""
    """What is said of it, where its own words say so (a normal heart); empty: the cues say."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the chest in the lexicon."""

    number: int


@cache
def names_lexicon() -> Phrases[tuple[str, str, str]]:
    """(finding, kind, device) by phrase."""
    made = Phrases[tuple[str, str, str]]()
    for finding, table in lexicon("findings").items():
        if finding not in FINDINGS:
            raise KeyError(finding)
        for key, phrases in table.items():
            if finding == DEVICES:
                kind, device = (key, "") if key in (NOT, GONE) else (NAME, "" if key == "any" else key)
            else:
                kind, device = {"names": NAME, "signs": SIGN}.get(key, key), ""
            made.add_all(phrases, (finding, kind, device))
    return made


@cache
def _parts() -> tuple[Phrases[_Part], list[Phrases[tuple[str, str]]]]:
    """Parts of the chest by phrase, and for each what it may be called: (finding or empty, kind)."""
    names, called = Phrases[_Part](), []
    for number, part in enumerate(lexicon("anatomy")):
        names.add_all(part["names"], _Part(number))
        words = Phrases[tuple[str, str]]()
        words.add_all(part["is_normal"], ("", "normal"))
        words.add_all(part.get("doubtful", ()), ("", DOUBTFUL))
        for key, kind in (("abnormal", NAME), ("signs", SIGN)):
            for finding, phrases in part.get(key, {}).items():
                words.add_all(phrases, (finding, kind))
        called.append(words)
    return names, called


def mentions_of(words: Sequence[str]) -> list[Mention]:
    """The mentions of a sentence, in order; none, or some and what is none of the findings (``not``)."""
    named: list[Mention] = []
    blocked: list[tuple[int, int]] = []
    taken = [False] * len(words)
    for start, end, meanings in names_lexicon().all(words):
        taken[start:end] = [True] * (end - start)
        if any(kind == NOT for _, kind, _ in meanings):
            blocked.append((start, end))
        else:
            named += [
                Mention(finding, start, end, kind, device, "absent" if kind == GONE else "")
                for finding, kind, device in meanings
            ]
    found = [*named, *_called(words, taken), *ratios(words)]
    if found:
        if not _MAY_STAND.isdisjoint(words):
            found += [*_stand_ins(words, found)]
        inside = {n for each in found for n in range(each.start, each.end)}
        others = (
            (start, end) for start, end, _ in _others().all(words) if inside.isdisjoint(range(start, end))
        )
        found += [Mention("", start, end, NOT) for start, end in [*others, *blocked]]
    return sorted(found, key=lambda mention: (mention.start, mention.end))


def _stand_ins(words: Sequence[str], found: Sequence[Mention]) -> Iterator[Mention]:
    """Words that stand for the finding before them, on another side: "that on the left", "the right one"."""
    for at, word in enumerate(words):
        pointed = word in _STAND_INS and _points(words, at)
        if not pointed and not ((word in _SIDES or word in _STAND_INS) and at > 2 and _sided(words, at)):
            continue
        before = [each for each in found if each.end <= at and each.kind == NAME and not each.value]
        if not before:
            continue
        if pointed or not _SIDES.isdisjoint(words[max(0, before[-1].start - 2) : before[-1].end + 3]):
            yield Mention(before[-1].finding, at, at + 1, NAME, before[-1].device)


def _points(words: Sequence[str], at: int) -> bool:
    """Whether a side follows, and it is not one of those that were named: "the larger one on the left"."""
    if words[at + 1 : at + 2] != ["on"] or words[at + 3 : at + 4] not in (["left"], ["right"]):
        return False
    return not (words[at - 1] in _COMPARED and words[at - 2] == "the")


def _sided(words: Sequence[str], at: int) -> bool:
    """Whether words say a side and mean the finding on it: "the left one", "the left has decreased"."""
    if words[at] in _STAND_INS:
        return words[at] in ("one", "ones") and words[at - 1] in _SIDES
    if words[at - 1] != "the" or not _changes(words, at + 1):
        return False
    return words[at - 2] not in _ON or words[at - 3] in (",", "and", "but")


def _changes(words: Sequence[str], at: int) -> bool:
    """Whether a predicate follows that only a finding has: "has decreased", "is smaller"."""
    if words[at : at + 1] in (["has"], ["have"]):
        return not _CHANGES.isdisjoint(words[at + 1 : at + 3])
    if words[at : at + 1] not in (["is"], ["remains"]) or _CHANGES.isdisjoint(words[at + 1 : at + 2]):
        return False
    return at + 2 >= len(words) or words[at + 2] in _AFTER_CHANGE


@cache
def _others() -> Phrases[str]:
    """What is none of the findings."""
    made = Phrases[str]()
    made.add_all(lexicon("others"), NOT)
    return made


def _called(words: Sequence[str], taken: Sequence[bool]) -> Iterator[Mention]:
    """What is said of parts of the chest."""
    names, called = _parts()
    table = lexicon("anatomy")
    for start, end, found in names.all(words):
        if any(taken[start:end]):
            continue
        for number in (each.number for each in found):
            place = _said(words, start, end, called[number], taken)
            if place is None:
                continue
            low, high, meanings, denied = place
            if high < len(words) and words[high] in table[number].get("unless", ()):
                continue
            for finding, kind in meanings:
                if kind in ("normal", DOUBTFUL):
                    value = "absent" if kind == "normal" else "uncertain"
                    for each in table[number]["normal"] if not denied else ():
                        yield Mention(each, low, high, NAME, value=value)
                else:
                    yield Mention(finding, low, high, kind, value="absent" if denied else "")


def _said(
    words: Sequence[str],
    start: int,
    end: int,
    phrases: Phrases[tuple[str, str]],
    taken: Sequence[bool],
) -> tuple[int, int, Sequence[tuple[str, str]], bool] | None:
    """The first word behind a part (or right before it) that it may be called: from, to, meanings, denied."""
    for back in (1, 2, 3):
        at = start - back
        if at < 0 or taken[at] or words[at] in (",", "is", "are", "and", "with"):
            break
        stop, meanings = phrases.at(words, at)
        if meanings and stop <= start:
            return at, end, meanings, at > 0 and words[at - 1] in ("not", "no")
    denied = start > 0 and words[start - 1] in ("no", "neither")
    at = end
    while at < min(len(words), end + _NEAR):
        if taken[at] or words[at] in _STOP:
            stop, meanings = phrases.at(words, at)
            return (start, stop, meanings, denied) if meanings and words[at] == "but" else None
        stop, meanings = phrases.at(words, at)
        if meanings:
            return start, stop, meanings, denied
        if words[at] in _NO:
            denied = True
        elif words[at] not in _FILLERS and not _is_part(words, at):
            return None
        at += 1
    return None


def _is_part(words: Sequence[str], at: int) -> bool:
    """Whether a word belongs to the name of another part ("heart and mediastinum are normal")."""
    return any(_parts()[0].at(words, n)[0] > at for n in range(max(0, at - 2), at + 1))


def ratios(words: Sequence[str]) -> Iterator[Mention]:
    """What a cardiothoracic ratio says: above a half is Cardiomegaly."""
    if "cardiothoracic" not in words and "ctr" not in words:
        return
    for at, word in enumerate(words):
        if word not in ("cardiothoracic", "ctr"):
            continue
        for n in range(at + 1, min(len(words), at + 9)):
            if words[n][0].isdigit():
                ratio = float(words[n]) / (100 if float(words[n]) > 1 else 1)
                between = words[at:n]
                less = not {"below", "less", "under", "not"}.isdisjoint(between)
                more = not {"above", "greater", "over", "exceeds", "more", "exceeding"}.isdisjoint(between)
                large = not less and (more or ratio > _HALF)
                yield Mention("Cardiomegaly", at, n + 1, NAME, value="" if large else "absent")
                break
            if words[n] in (",", "and", "but"):
                break
