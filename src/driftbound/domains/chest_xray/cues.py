"""Cues: words that deny, doubt, or set aside, as a sentence holds them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from driftbound.domains.chest_xray.phrases import Phrases, lexicon

ABSENT, UNCERTAIN, PRESENT = "absent", "uncertain", "present"
_GOVERNS = (ABSENT, UNCERTAIN, PRESENT)

_UNSURE = frozenset({"uncertain", "unclear", "doubtful", "questionable"})
"""Words by which a sentence that begins with "whether" says that it is not known."""


@dataclass(frozen=True, slots=True)
class Role:
    """What a cue does."""

    value: str
    """``absent``, ``uncertain``, ``present``, ``stable``, ``ends``, ``parts``, ``sentence``, ``from``,
    ``aside``, ``echo``."""
    behind: bool = False
    """Whether it stands behind what it governs."""
    lists: bool = False
    """Whether what it governs is a list, whatever joins it: "the differential includes A, B and C"."""
    explains: bool = True
    """Whether what it governs explains what stands before it, and so lies where that lies."""


class Cue:
    """A cue in a sentence, from word ``start`` to ``end``."""

    __slots__ = ("ahead", "back", "end", "explains", "lists", "start", "values")

    def __init__(self, start: int, end: int, roles: Sequence[Role]) -> None:
        self.start, self.end = start, end
        self.ahead = next((r.value for r in roles if not r.behind and r.value in _GOVERNS), "")
        """What it says of what follows; empty: nothing."""
        self.back = next((r.value for r in roles if r.behind), "")
        """What it says of what comes before it; empty: nothing."""
        self.values = frozenset(r.value for r in roles if r.value not in _GOVERNS)
        """Its other roles."""
        self.lists = any(r.lists for r in roles)
        self.explains = all(r.explains for r in roles)


@cache
def cues_lexicon() -> Phrases[Role]:
    """The cues by their phrases."""
    table, made = lexicon("cues"), Phrases[Role]()
    for value in _GOVERNS:
        for place in ("before", "after"):
            made.add_all(table[value].get(place, ()), Role(value, place == "after"))
    made.add_all(table[UNCERTAIN]["lists"], Role(UNCERTAIN, lists=True))
    made.add_all(table[UNCERTAIN]["compared"], Role(UNCERTAIN, explains=False))
    made.add_all(table["stable"], Role("stable"))
    made.add_all(table["ends"], Role("ends"))
    made.add_all(table["parts"], Role("parts"))
    for cue in table["affirmed"]:
        made.add(cue, Role(PRESENT, behind=True))
        made.add(cue, Role("affirmed"))
    for value in ("sentence", "from", "aside", "echo"):
        made.add_all(table["nothing"][value], Role(value))
    return made


@cache
def headings_lexicon() -> Phrases[str]:
    """Headings under which nothing is claimed (``nothing``), or only what is possible (``uncertain``)."""
    made = Phrases[str]()
    made.add_all(lexicon("cues")["nothing"]["headings"], "nothing")
    made.add_all(lexicon("cues")[UNCERTAIN]["headings"], UNCERTAIN)
    return made


def cues_of(words: Sequence[str]) -> list[Cue]:
    """The cues of a sentence, from left to right."""
    return [Cue(start, end, roles) for start, end, roles in cues_lexicon().all(words)]


def silenced(words: Sequence[str], cues: Sequence[Cue]) -> list[bool]:
    """Which words speak of something else than what is seen."""
    quiet = [False] * len(words)
    for cue in cues:
        if not cue.values:
            continue
        if "sentence" in cue.values:
            return [True] * len(words)
        asks = cue.start == 0 and words[0] == "whether" and not _UNSURE.isdisjoint(words)
        if "from" in cue.values and not cue.ahead and not asks:
            quiet[cue.end :] = [True] * (len(words) - cue.end)
        elif "aside" in cue.values:
            end = next((n for n in range(cue.end, len(words)) if words[n] in (",", ")")), len(words))
            quiet[cue.end : end] = [True] * (end - cue.end)
    return quiet
