"""Clauses: where in a sentence one statement ends and the next begins."""

from collections.abc import Sequence

from driftbound.domains.chest_xray.cues import ABSENT, Cue

VERBS = frozenset(
    {"is", "are", "was", "were", "has", "have", "had", "remains", "remain", "appears", "appear", "persists",
     "persist", "shows", "show", "demonstrates", "demonstrate", "reveals", "looks", "look", "seems", "seem",
     "lies", "lie", "projects", "project", "ends", "terminates", "may", "might", "could", "can", "cannot",
     "would", "should", "represents", "represent", "reflects", "reflect", "suggests", "suggest", "indicates",
     "raises", "measures", "extends", "obscures", "overlies", "isn't", "aren't", "wasn't", "weren't", "see",
     "sees", "noted", "lacks", "implies", "enters", "reaches", "passes", "does", "do", "did", "favors",
     "fits"}
)  # fmt: skip
"""Finite verbs, as far as sentences about films need them."""
BEING = frozenset(
    {"is", "are", "was", "were", "has", "have", "had", "remains", "remain", "appears", "appear", "persists",
     "persist", "looks", "seems", "isn't", "aren't", "wasn't", "weren't"}
)  # fmt: skip
"""Those of them that say what something is like."""
_DETERMINERS = frozenset(
    {"the", "a", "an", "this", "that", "there", "it", "its", "i", "we", "these", "they", "one", "both", "no"}
)
_SIDES = frozenset({"left", "right"})
_RELATIVE = frozenset({"that", "which", "who"})
_EITHER = frozenset({"or", "nor", "versus", "vs"})


def clauses(
    words: Sequence[str],
    mentions: Sequence[tuple[int, int]],
    cues: Sequence[Cue],
    phrases: Sequence[tuple[str, str, int, int]],
) -> list[int]:
    """The number of the clause of each word; ``phrases``, modifiers, are not cut in two."""
    inside = {n for _, _, start, end in phrases for n in range(start + 1, end)}
    breaks = {cue.start for cue in cues if "parts" in cue.values} - inside
    starts = {start for start, _ in mentions}
    taken = {n for start, end in mentions for n in range(start, end)}
    denials = {cue.start for cue in cues if cue.ahead == ABSENT}
    numbers, number, begin = [], 0, 0
    for at, word in enumerate(words):
        parted = at in breaks and at > begin
        if parted or (
            word in (",", "and")
            and at not in taken
            and begin < at < len(words) - 1
            and (
                any(n in starts for n in range(begin, at))
                or not VERBS.isdisjoint(words[begin:at])
                or begin in breaks
            )
            and _begins(words, at, begin, breaks, denials)
        ):
            number, begin = number + 1, at
        numbers.append(number)
    return numbers


def _begins(words: Sequence[str], at: int, begin: int, breaks: set[int], denials: set[int]) -> bool:
    """Whether a comma or an "and" begins a clause: one with a verb of its own, and a subject."""
    first = at + 1
    if words[at] == "," and words[first] in ("and", "so", "then"):
        first += 1
    limit = next((n for n in range(first, len(words)) if words[n] == "," or n in breaks), len(words))
    if first >= limit or words[first] in _EITHER or words[first] in VERBS:
        return False
    verb = next((n for n in range(first, limit) if words[n] in VERBS and words[n - 1] not in _RELATIVE), None)
    if verb is None:
        return False
    elsewhere = words[first] in ("on", "in", "at") and not _SIDES.isdisjoint(words[first : first + 3])
    if elsewhere and (words[at] == "," or words[verb - 1] == "there"):
        return True  # "a right effusion, and on the left there is edema"
    if not VERBS.isdisjoint(words[begin:at]) or (begin in breaks and words[at] == ","):
        return True
    bare = words[first] not in _DETERMINERS
    if not any(begin <= n < at for n in denials):
        return not bare and words[at] == ","
    if words[at] == "and":
        return not bare
    between = words[first:verb]
    return not bare or (_EITHER.isdisjoint(between) and "and" not in between)
