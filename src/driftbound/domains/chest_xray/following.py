"""Following: sentences that go on about the one before them ("It is on the left."), read with it."""

from collections.abc import Sequence
from functools import cache

from driftbound.domains.chest_xray.clauses import VERBS
from driftbound.domains.chest_xray.cues import ABSENT, UNCERTAIN, cues_of
from driftbound.domains.chest_xray.mentions import mentions_of
from driftbound.domains.chest_xray.modifiers import modifiers_lexicon, modifiers_of
from driftbound.domains.chest_xray.passages import Passage, passages
from driftbound.domains.chest_xray.words import Token

_PRONOUNS = frozenset({"it", "this", "these", "they", "which"})
_FILM = frozenset(
    {"study", "film", "image", "images", "exam", "examination", "radiograph", "view", "views", "patient",
     "x", "xray", "projection", "technique", "normal", "clear", "limited"}
)  # fmt: skip
"""Words of sentences about something else than the finding before them."""
_SAYS = frozenset(
    {"represents", "represent", "reflects", "reflect", "likely", "probably", "possibly", "most"}
)
_BARE = frozenset(
    {"in", "size", "and", "since", "than", "the", "on", "from", "prior", "previous", "very", "only"}
)
"""What may stand beside the modifiers of a sentence that holds nothing else: "Unchanged in size.\""""
_FRAGMENT, _SOON = 6, 4
"""So many words a sentence of modifiers alone has at most; so late their first may stand behind a pronoun."""
_ANSWERS = frozenset({"yes", "no"})
_POINTS = frozenset({"same", "that", "this"})


def joined(text: str) -> list[Passage]:
    """The passages of a text, each that goes on about the one before it made a part of that.

    >>> [[token.word for token in each.tokens] for each in joined("Effusion. It is left.")]
    [['effusion', ',', 'which', 'is', 'left']]
    """
    found: list[Passage] = []
    low = text.lower()
    points = any(f"{word} side" in low for word in _POINTS) or "ipsilateral" in low
    for passage in passages(text):
        before = found[-1] if found else None
        if points:
            passage.tokens = _placed(passage.tokens, before)
        first = passage.tokens[0].word
        if before is None:
            found.append(passage)
        elif before.asks and first in _ANSWERS and not passage.heading:
            found[-1] = Passage(passage.number, passage.tokens, before.tokens, passage.above)
        elif _goes_on(before, passage) and _alike(before, passage):
            comma = Token(",", passage.tokens[0].start, passage.tokens[0].start + 1)
            head = [passage.tokens[0]._replace(word="which")] if first in _PRONOUNS else [passage.tokens[0]]
            before.tokens = [*before.tokens, comma, *head, *passage.tokens[1:]]
        else:
            found.append(passage)
    return found


def _alike(before: Passage, passage: Passage) -> bool:
    """Whether two passages are sentences of one paragraph or bullet."""
    same = before.heading is passage.heading or not (before.heading or passage.heading)
    return same and before.above is passage.above and not before.asks and not passage.asks


def _goes_on(before: Passage, passage: Passage) -> bool:
    """Whether a sentence speaks of the finding of the one before, and names none that it says more of."""
    first, short = passage.tokens[0].word, len(passage.tokens) <= _FRAGMENT
    if first not in _PRONOUNS and not (short and first in _first_words()):
        return False
    words = [token.word for token in passage.tokens]
    if first in _PRONOUNS:
        if len(words) < 3 or not (words[1] in VERBS or words[1] in _SAYS):
            return False
        mentions = mentions_of(words)
        if mentions:
            cues = cues_of(words)
            explains = words[1] in _SAYS or any(
                c.start <= 2 and c.ahead == UNCERTAIN and c.explains for c in cues
            )
            if not explains or any(each.attribute in ("side", "zone") for each in modifiers_of(words)):
                return False
        elif not _FILM.isdisjoint(words) or not _is_near(words):
            return False
    elif not _is_bare(words):
        return False
    for cue in cues_of(words):
        unseen = ABSENT in (cue.ahead, cue.back) and "not" in words[cue.start : cue.end]  # on another view
        if unseen or not {"sentence", "echo", "from"}.isdisjoint(cue.values):
            return False
    return bool(mentions_of([token.word for token in before.tokens]))


@cache
def _first_words() -> frozenset[str]:
    """Words with which a side, a size or a course begins."""
    return frozenset().union(*(phrases.heads() for phrases in modifiers_lexicon()))


def _is_near(words: Sequence[str]) -> bool:
    """Whether what a sentence says of the finding comes soon: not "it is important to check the left"."""
    placed = modifiers_of(words)
    return not placed or placed[0].start <= _SOON


def _is_bare(words: Sequence[str]) -> bool:
    """Whether a sentence holds sides, sizes and courses alone."""
    said = {n for each in modifiers_of(words) for n in range(each.start, each.end)}
    return bool(said) and all(n in said or word in _BARE for n, word in enumerate(words))


def _placed(tokens: list[Token], before: Passage | None) -> list[Token]:
    """The words with the side itself for "the same side" and "ipsilateral", where one was told before."""
    for at, token in enumerate(tokens):
        side = token.word in _POINTS and [each.word for each in tokens[at + 1 : at + 2]] == ["side"]
        if token.word != "ipsilateral" and not side:
            continue
        earlier = [*(before.tokens if before else []), *tokens[:at]]
        told = [e.value for e in modifiers_of([t.word for t in earlier]) if e.attribute == "side"]
        if told and told[-1] != "both":
            return [*tokens[:at], token._replace(word=told[-1]), *tokens[at + 1 :]]
    return tokens
