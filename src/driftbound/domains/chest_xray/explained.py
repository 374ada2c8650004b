"""Explained: what explains an opacity lies where the opacity lies, and so takes its side and its zone."""

from collections.abc import Mapping, Sequence

from driftbound.domains.chest_xray.mentions import NOT, SIGN, Mention
from driftbound.domains.chest_xray.modifiers import Modifier
from driftbound.domains.chest_xray.scopes import Ruling

_SOURCES = frozenset({"Lung Opacity", "Consolidation", "Lung Lesion", "Atelectasis", "Pleural Other"})
"""Findings of which others are the explanation."""
_PLACELESS = frozenset(
    {"Cardiomegaly", "Enlarged Cardiomediastinum", "Support Devices", "Fracture", "No Finding"}
)
_ENDS = frozenset(
    {"with", "but", "which", ":", "though", "although", "while", "whereas", "however", "yet", "because"}
)
_FAR = 8
"""So many words before a mention may stand what links it to what it explains."""
_SAME_PLACE = frozenset({"adjacent", "underlying", "overlying", "subjacent", "accompanying"})
_IT = frozenset({"it", "this", "them", "these"})
_PLACED = frozenset(
    {"in", "at", "of", "over", "the", "a", "an", "left", "right", "both", "upper", "lower", "middle", "mid",
     "zone", "zones", "lobe", "lobes", "lung", "lungs", "base", "bases", "apex", "field", "region"}
)  # fmt: skip
"""What may say the place of a shadow before what explains it: "density at the base, atelectasis likely"."""
_PLACE = ("side", "zone")


def explained(
    words: Sequence[str],
    mentions: Sequence[Mention],
    ruled: Sequence[Ruling],
    own: list[list[Modifier]],
) -> None:
    """Add the place of what a mention explains to its modifiers in ``own``, where it has none itself."""
    sources: dict[int, int] = {}
    for n, mention in enumerate(mentions):
        zoned = any(each.attribute == "zone" for each in own[n])
        if mention.finding in _PLACELESS or (zoned and _sided(own[n])):
            continue
        source = _source(words, mentions, ruled, n, sources)
        if source is not None:
            sources[n] = source
            wanted = ("side",) if zoned else _PLACE
            placed = [each for each in own[source] if each.attribute in wanted and each not in own[n]]
            sides = {each.value for each in [*own[n], *placed] if each.attribute == "side"}
            own[n] += placed if len(sides) < 2 or not _sided(own[n]) else []


def _sided(modifiers: Sequence[Modifier]) -> bool:
    return any(each.attribute == "side" for each in modifiers)


def _source(
    words: Sequence[str],
    mentions: Sequence[Mention],
    ruled: Sequence[Ruling],
    n: int,
    sources: Mapping[int, int],
) -> int | None:
    """The mention that this one explains, or belongs to."""
    mention, ruling = mentions[n], ruled[n]
    link = ruling.explains if 0 <= ruling.explains < mention.start else _link(words, mentions, n)
    start = link if link >= 0 else mention.start
    before = [m for m in range(n) if mentions[m].end <= start and mentions[m].finding not in _PLACELESS]
    if not before:
        return None
    last = before[-1]
    between = set(words[mentions[last].end : mention.start])
    behind = words[mention.end : mention.end + 3]
    if behind[:1] and behind[0] in ("next", "adjacent") and behind[1:] and behind[-1] in _IT:
        return last
    if _SAME_PLACE & between and {"with", "and"} & between:
        return last
    if last in sources and (ruling.explains >= 0 or (ruling.value == "uncertain" and "or" in between)):
        return sources[last]
    source = mentions[last]
    if mention.kind == SIGN and "with" in between:
        return last
    if source.finding not in _SOURCES and source.kind not in (SIGN, NOT):
        return None
    if 0 <= link < mention.start and "with" in words[max(mentions[last].end, link - 2) : link]:
        return None  # what is with it explains nothing: "consolidation with a possible effusion"
    if link >= 0:
        return last
    apposed = ruling.value == "uncertain" and between - _PLACED <= {",", "(", "dash", "either", ":"}
    return last if apposed and between - _PLACED and source.kind != NOT else None


def _link(words: Sequence[str], mentions: Sequence[Mention], n: int) -> int:
    """Where a verb stands that says what something is, not far before the mention; -1: nowhere."""
    for at in range(mentions[n].start - 1, max(mentions[n].start - _FAR, 0), -1):
        word = words[at]
        if word in ("represents", "represent", "indicates", "indicating", "representing", "implies", "imply"):
            return at
        if word in ("due", "secondary", "caused"):
            return at
        if word in ("is", "are"):
            says_what = words[at + 1] in ("a", "an") and words[at - 1] != "there"
            return at if says_what else -1
        if word in _ENDS:
            return -1
    return -1
