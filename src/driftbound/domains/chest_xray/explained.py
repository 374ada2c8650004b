"""Explained: what explains an opacity lies where the opacity lies, and so takes its side and its zone."""

from collections.abc import Mapping, Sequence

from driftbound.domains.chest_xray.mentions import SIGN, Mention
from driftbound.domains.chest_xray.modifiers import Modifier
from driftbound.domains.chest_xray.scopes import Ruling

_SOURCES = frozenset({"Lung Opacity", "Consolidation", "Lung Lesion", "Atelectasis", "Pleural Other"})
"""Findings of which others are the explanation."""
_PLACELESS = frozenset({"Cardiomegaly", "Enlarged Cardiomediastinum", "Support Devices", "Fracture", "No Finding"})
_BEING = frozenset({"is", "are", "represents", "represent", "indicates", "indicating", "representing"})
_SAME_PLACE = frozenset({"adjacent", "underlying", "overlying", "subjacent", "accompanying"})
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
        if mention.finding in _PLACELESS or any(each.attribute in _PLACE for each in own[n]):
            continue
        source = _source(words, mentions, ruled, n, sources)
        if source is not None:
            sources[n] = source
            own[n] += [each for each in own[source] if each.attribute in _PLACE]


def _source(
    words: Sequence[str],
    mentions: Sequence[Mention],
    ruled: Sequence[Ruling],
    n: int,
    sources: Mapping[int, int],
) -> int | None:
    """The mention that this one explains, or belongs to."""
    mention, ruling = mentions[n], ruled[n]
    start = ruling.explains if 0 <= ruling.explains < mention.start else mention.start
    before = [m for m in range(n) if mentions[m].end <= start and mentions[m].finding not in _PLACELESS]
    if not before:
        return None
    last = before[-1]
    between = set(words[mentions[last].end : mention.start])
    if _SAME_PLACE & between and "with" in between:
        return last
    if ruling.explains >= 0 and last in sources:
        return sources[last]
    if mentions[last].finding not in _SOURCES and mentions[last].kind != SIGN:
        return None
    if ruling.explains >= 0 or (mention.kind == SIGN and "with" in between):
        return last
    linked = _BEING & between and ("a" in between or "an" in between or not {"is", "are"} & between)
    apposed = ruling.value == "uncertain" and between <= {",", "(", "dash", "either", "a", "an", ":"}
    return last if linked or (apposed and between) else None
