"""Versions on the page: which version of itself each teacher reported, when, and how often."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from markupsafe import Markup

from driftbound.records import Trajectory
from driftbound.report.drawing import LEFT, NO_FIGURE, RIGHT, Figure, across, figure, name_at
from driftbound.report.spans import displayable

UNNAMED = "not reported"
"""Instead of a version that the endpoint did not say."""
ROW = 30.0
"""Height of a bar's row."""
SHADES = 4
"""Versions of one teacher that are told apart by how dark they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One version of one teacher in one round of asking."""

    teacher: str
    wave: int
    version: str
    fingerprints: int
    """How many makes (``system_fingerprint``) it reported besides."""
    answers: int
    first: str
    last: str
    """UTC, ISO 8601; empty where the run does not know."""
    place: int
    """Of the teacher's versions, from 0."""


@dataclass(slots=True)
class Ledger:
    """Keeps, answer by answer, what versions were seen when."""

    _seen: dict[tuple[str, int, str], "_Seen"] = field(default_factory=dict)

    def note(self, each: Trajectory) -> None:
        """One answer; a failed one has no version."""
        if not each.status.final:
            return
        key = (each.teacher, each.wave, displayable(each.version) or UNNAMED)
        own = self._seen.setdefault(key, _Seen())
        own.answers += 1
        own.makes |= {each.fingerprint} if each.fingerprint else set()
        if each.created_at:
            own.first = min(own.first or each.created_at, each.created_at)
            own.last = max(own.last, each.created_at)

    def spans(self, teachers: Sequence[str]) -> tuple[Span, ...]:
        """By teacher, round and time of the first answer."""
        order = {name: place for place, name in enumerate(teachers)}
        keys = sorted(
            (key for key in self._seen if key[0] in order),
            key=lambda key: (order[key[0]], key[1], self._seen[key].first, key[2]),
        )
        places: dict[str, list[str]] = {}
        found = []
        for teacher, wave, version in keys:
            own, known = self._seen[teacher, wave, version], places.setdefault(teacher, [])
            if version not in known:
                known.append(version)
            found.append(
                Span(
                    teacher=teacher,
                    wave=wave,
                    version=version,
                    fingerprints=len(own.makes),
                    answers=own.answers,
                    first=own.first,
                    last=own.last,
                    place=known.index(version),
                )
            )
        return tuple(found)


@dataclass(slots=True)
class _Seen:
    answers: int = 0
    makes: set[str] = field(default_factory=set)
    first: str = ""
    last: str = ""


def summary_of(spans: Sequence[Span]) -> str:
    """Who changed its version, in a sentence; empty where nobody has answered."""
    versions: dict[str, list[str]] = {}
    for each in spans:
        own = versions.setdefault(each.teacher, [])
        if each.version not in own:
            own.append(each.version)
    if not versions:
        return ""
    changed = {name: own for name, own in versions.items() if len(own) > 1}
    if not changed:
        return f"As far as their endpoints say, each of {len(versions)} teachers answered as one version."
    told = "; ".join(f"{name} answered as {', then as '.join(own)}" for name, own in changed.items())
    return f"{len(changed)} of {len(versions)} teachers answered as more than one version: {told}."


def timeline(spans: Sequence[Span]) -> Figure:
    """A bar per version from its first answer to its last, teachers below each other, over all the time."""
    known = [each for each in spans if _moment(each.first) is not None]
    if not known:
        return NO_FIGURE
    starts = {id(each): _moment(each.first) or 0.0 for each in known}
    ends = {id(each): _moment(each.last) or starts[id(each)] for each in known}
    low, high = min(starts.values()), max(ends.values())
    high = high if high > low else low + 1.0
    rows: dict[tuple[str, str], float] = {}
    parts: list[Markup] = []
    for each in known:
        new = (each.teacher, each.version) not in rows
        y = rows.setdefault((each.teacher, each.version), 6.0 + ROW * len(rows))
        if new and each.place == 0:
            parts.append(name_at(each.teacher, y + 8))
        x = across(starts[id(each)], low, high)
        width = max(across(ends[id(each)], low, high) - x, 0.7)
        parts.append(_bar(each, min(x, RIGHT - width), width, y))
    for (teacher, version), y in rows.items():
        answers = sum(each.answers for each in spans if (each.teacher, each.version) == (teacher, version))
        count = Markup('<text class="tick" x="100%" y="{:.0f}" text-anchor="end">{}</text>')
        parts.append(count.format(y + 12, f"{answers:,}"))
    height = 6 + ROW * len(rows)
    for label, x, anchor in zip(_ends(low, high), (LEFT, RIGHT), ("start", "end"), strict=True):
        body = Markup('<text class="tick" x="{}%" y="{:.0f}" text-anchor="{}">{}</text>')
        parts.append(body.format(x, height + 14, anchor, label))
    return figure(
        "versions over time",
        "Versions that each teacher reported, over the time of asking",
        summary_of(spans),
        ("teacher", "round of asking", "version", "answers", "first answer", "last answer"),
        [(each.teacher, each.wave, each.version, each.answers, each.first, each.last) for each in spans],
        parts,
        f'class="fluid" height="{height + 20:.0f}"',
    )


def moment(stamp: str) -> str:
    """A time as the page prints it, to the second.

    >>> moment("2026-03-01T12:30:05.250+00:00"), moment(""), moment("soon")
    ('2026-03-01 12:30:05', '–', 'soon')
    """
    if _moment(stamp) is None:
        return displayable(stamp) or "–"
    return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M:%S")


def _moment(stamp: str) -> float | None:
    """Seconds since the epoch; ``None`` for what is no time."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def _ends(low: float, high: float) -> tuple[str, str]:
    """Both ends of the time as they fit below the figure: on one day the time of day, else the day.

    >>> _ends(0.0, 61.0), _ends(0.0, 86400.0)
    (('1970-01-01 00:00', '00:01:01'), ('1970-01-01', '1970-01-02'))
    """
    first, last = (datetime.fromtimestamp(moment, UTC) for moment in (low, high))
    if first.date() == last.date():
        return first.strftime("%Y-%m-%d %H:%M"), last.strftime("%H:%M:%S")
    return first.strftime("%Y-%m-%d"), last.strftime("%Y-%m-%d")


def _bar(each: Span, x: float, width: float, y: float) -> Markup:
    tip = f"{each.teacher}, {each.version}: {each.answers} answers, {each.first} to {each.last}"
    body = '<rect class="bar v{}" x="{:.2f}%" width="{:.2f}%" y="{:.0f}" height="16"><title>{}</title></rect>'
    return Markup(body).format(each.place % SHADES, x, width, y, tip)
