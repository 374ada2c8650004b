"""Claim scores: how well a labeler's claims agree with claims written by hand, over a set of texts."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.errors import CaseError
from driftbound.records import Claim

DETAILS = ("side", "zone", "severity", "course", "device")
"""What is said of a mention beside its presence."""
_ABSENT, _UNCERTAIN = "absent", "uncertain"


@dataclass(frozen=True, slots=True)
class Said:
    """One mention of a finding, by the labeler or by hand."""

    finding: str
    presence: str
    places: tuple[tuple[int, int], ...]
    """Where it stands, in code points; words that a text has twice may be meant at either place."""
    words: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wrong:
    """A disagreement."""

    text_id: str
    text: str
    what: str


@dataclass(slots=True)
class Score:
    """What was right and wrong; ``Counter``s by finding."""

    texts: int = 0
    expected: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    """Mentions of the labeler, without those that only say a thing again."""
    matched: Counter[str] = field(default_factory=Counter)
    presence: dict[str, list[int]] = field(
        default_factory=lambda: {_ABSENT: [0, 0, 0], _UNCERTAIN: [0, 0, 0]}
    )
    """Presence -> how many are expected, found, and both."""
    details: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0] for name in DETAILS})
    """Attribute -> how many are right, of how many."""
    wrong: list[Wrong] = field(default_factory=list)

    def mention_f1(self, finding: str = "") -> float:
        """F1 of mentions, of one finding or all; ``nan`` where there is none."""
        tables = (self.matched, self.found, self.expected)
        both, found, expected = ((t[finding] if finding else t.total()) for t in tables)
        return _f1(expected, found, both)

    def presence_f1(self, presence: str) -> float:
        """F1 of the mentions that are ``absent`` or ``uncertain``."""
        return _f1(*self.presence[presence])

    def accuracy(self, attribute: str) -> float:
        """Share of the matched mentions that are not absent, and of which either side says the attribute, on
        which both say the same; ``nan`` where there is none."""
        right, all_ = self.details[attribute]
        return right / all_ if all_ else float("nan")

    def summary(self) -> dict[str, float]:
        """The figures by name."""
        named = {"mention_f1": self.mention_f1()}
        named |= {"negation_f1": self.presence_f1(_ABSENT), "uncertainty_f1": self.presence_f1(_UNCERTAIN)}
        return named | {f"{name}_accuracy": self.accuracy(name) for name in DETAILS}


def read_set(path: Path) -> list[dict[str, Any]]:
    """The texts of a set (docs/chest-xray-claims.md). Raises ``CaseError`` for a line that is none."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            for one in row["claims"]:
                if one["finding"] not in FINDINGS or one["words"] not in row["text"]:
                    raise ValueError(f"claim {one['finding']!r}, {one['words']!r}")
            row["id"], row["text"]
        except (KeyError, TypeError, ValueError) as error:
            raise CaseError(
                f"{path}:{number}: is no text with claims ({error}). Correct the line."
            ) from error
        rows.append(row)
    return rows


def score(rows: Iterable[Mapping[str, Any]], labeler: Callable[[str], list[Claim]]) -> Score:
    """Compare what ``labeler`` claims with what ``rows`` expect.

    A mention found is right where it overlaps the words of an expected one of the same finding; pairs keep
    the order of the text. One that is no pair's but says again what a pair says is not counted.
    """
    total = Score()
    for row in rows:
        total.texts += 1
        expected = [_expected(row["text"], one) for one in row["claims"]]
        found = grouped(row["text"], labeler(row["text"]))
        for finding in FINDINGS:
            of_it = [[one for one in some if one.finding == finding] for some in (expected, found)]
            _count(total, row, finding, *of_it)
    return total


def grouped(text: str, claims: Iterable[Claim]) -> list[Said]:
    """The mentions of a list of claims: each presence with what follows it; echoes are left out."""
    mentions: list[tuple[Claim, dict[str, str]]] = []
    for claim in claims:
        if claim.echo:
            continue
        if claim.attribute == "presence":
            mentions.append((claim, {}))
        else:
            details = mentions[-1][1]
            before = details.get(claim.attribute)
            details[claim.attribute] = f"{before}, {claim.value}" if before else claim.value
    return [
        Said(claim.finding, claim.value, ((claim.start, claim.end),), text[claim.start : claim.end], details)
        for claim, details in mentions
    ]


def _expected(text: str, one: Mapping[str, str]) -> Said:
    words = re.escape(one["words"])
    places = [match.span() for match in re.finditer(rf"(?<!\w){words}(?!\w)", text)]
    places = places or [match.span() for match in re.finditer(words, text)]
    details = {name: one[name] for name in DETAILS if name in one}
    return Said(one["finding"], one["presence"], tuple(places), one["words"], details)


def _count(
    total: Score, row: Mapping[str, Any], finding: str, expected: Sequence[Said], found: Sequence[Said]
) -> None:
    pairs = _pairs(expected, found)
    taken = {f for _, f in pairs}
    repeated = {(expected[e].presence, found[f].presence) for e, f in pairs}
    extra = [
        f
        for f in range(len(found))
        if f not in taken and (found[f].presence, found[f].presence) not in repeated
    ]

    def wrong(what: str) -> None:
        total.wrong.append(Wrong(row["id"], row["text"], f"{finding}: {what}"))

    total.expected[finding] += len(expected)
    total.found[finding] += len(pairs) + len(extra)
    total.matched[finding] += len(pairs)
    for presence, counts in total.presence.items():
        counts[0] += sum(one.presence == presence for one in expected)
        counts[1] += sum(found[f].presence == presence for f in [*taken, *extra])
        counts[2] += sum(expected[e].presence == found[f].presence == presence for e, f in pairs)
    for e in sorted(set(range(len(expected))) - {e for e, _ in pairs}):
        wrong(f"{expected[e].presence} missed, {expected[e].words!r}")
    for f in extra:
        wrong(f"{found[f].presence} found, {found[f].words!r}")
    for e, f in pairs:
        one, other = expected[e], found[f]
        if one.presence != other.presence:
            wrong(f"{other.presence} instead of {one.presence}, {one.words!r}")
        for name, counts in total.details.items() if one.presence != _ABSENT else ():
            true, said = one.details.get(name, "none"), other.details.get(name, "none")
            if (true, said) != ("none", "none"):
                counts[0] += true == said
                counts[1] += 1
                if true != said:
                    wrong(f"{name} {said} instead of {true}, {one.words!r}")


def _pairs(expected: Sequence[Said], found: Sequence[Said]) -> list[tuple[int, int]]:
    """The most pairs that overlap, in order; of several ways, that with more equal presences and details.

    Claims on the same words may stand in any order: those of one place are sorted alike first.
    """
    left, right = _in_order(expected), _in_order(found)
    best: list[list[tuple[float, list[tuple[int, int]]]]] = [[(0.0, [])] * (len(right) + 1)]
    for n, e in enumerate(left):
        best.append([(0.0, [])])
        for m, f in enumerate(right):
            options = [best[n][m + 1], best[n + 1][m]]
            worth = _worth(expected[e], found[f])
            if worth:
                value, pairs = best[n][m]
                options.append((value + worth, [*pairs, (e, f)]))
            best[n + 1].append(max(options, key=lambda option: option[0]))
    return best[-1][-1][1]


def _in_order(said: Sequence[Said]) -> list[int]:
    """Numbers in order of the text; on the same words in order of what is said."""
    order = list(range(len(said)))
    for n in range(1, len(order)):
        at = n
        while (
            at
            and _same(said[order[at - 1]], said[order[at]])
            and (_key(said[order[at - 1]]) > _key(said[order[at]]))
        ):
            order[at - 1], order[at] = order[at], order[at - 1]
            at -= 1
    return order


def _same(one: Said, other: Said) -> bool:
    return one.places == other.places and len(one.places) == 1


def _key(said: Said) -> list[str]:
    return [said.presence, *(said.details.get(name, "") for name in DETAILS)]


def _worth(one: Said, other: Said) -> float:
    """What a pair is worth; 0: none."""
    (start, end) = other.places[0]
    if not any(low < end and start < high for low, high in one.places):
        return 0.0
    equal = sum(one.details.get(name) == other.details.get(name) for name in DETAILS)
    return 100.0 + 10.0 * (one.presence == other.presence) + equal


def _f1(expected: int, found: int, both: int) -> float:
    return 2 * both / (expected + found) if expected + found else float("nan")
