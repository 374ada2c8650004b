"""Spelling: the word that a misspelt one was meant to be, for the long words by which findings are named."""

from functools import cache

from driftbound.domains.chest_xray.phrases import expand, lexicon

_SHORT, _LONG = 5, 8
"""From so many letters on a word may have one wrong letter, or two."""
_KEPT = 50_000
"""So many different words are remembered."""
_seen: dict[str, str] = {}


def spelt(word: str) -> str:
    """The word of the lexicon that ``word``, in lower case, misspells; itself where there is none.

    >>> spelt("pnuemothorax"), spelt("plural"), spelt("xylophone")
    ('pneumothorax', 'plural', 'xylophone')
    """
    found = _seen.get(word)
    if found is None:
        found = _corrected(word)
        if len(_seen) < _KEPT:
            _seen[word] = found
    return found


def _corrected(word: str) -> str:
    if len(word) < _SHORT or not word.isalpha() or word in _known():
        return word
    for meant in lexicon("spelling")["words"]:
        allowed = 2 if len(meant) >= _LONG else 1
        near = meant[0] == word[0] and abs(len(meant) - len(word)) <= allowed
        if near and _distance(word, meant) <= allowed:
            return str(meant)
    return word


@cache
def _known() -> frozenset[str]:
    """Words that are right as they are: all of the lexicon, and near neighbours of its long words."""
    found: set[str] = set(lexicon("spelling")["other_words"])
    for name in ("findings", "anatomy", "modifiers", "cues"):
        _gather(lexicon(name), found)
    return frozenset(found)


def _gather(table: object, found: set[str]) -> None:
    if isinstance(table, dict):
        for inner in table.values():
            _gather(inner, found)
    elif isinstance(table, list):
        for inner in table:
            _gather(inner, found)
    else:
        for words in expand(str(table)):
            found.update(words)


def _distance(one: str, other: str) -> int:
    """Letters to change, add, drop or swap with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, above, row = row, before, [i, *[0] * len(other)]
        for j, wanted in enumerate(other, start=1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                row[j] = min(row[j], above[j - 2] + 1)
    return row[-1]
