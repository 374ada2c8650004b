"""Benchmark: films of MS-CXR-T as cases of two protocols: presence on one film, progression on two."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from driftbound.data_config import PRESENCE, PROGRESSION, DataConfig
from driftbound.domains.chest_xray import progression
from driftbound.domains.chest_xray.cases import Planned
from driftbound.domains.chest_xray.findings import FINDINGS, HEADLINE
from driftbound.domains.chest_xray.labels import decide
from driftbound.domains.chest_xray.mimic import SUFFIX, read_labels
from driftbound.domains.chest_xray.ms_cxr_t import Pair
from driftbound.records import UNKNOWN

QUALITY = "{} label_quality"
"""What the truth calls the quality of a finding's label; no model is scored on it."""
NO_LABELS, NO_FILM, NO_COURSE = "no labels", "no two films in the table", "no finding judged"


def plans(pairs: Sequence[Pair], data: DataConfig) -> list[Planned]:
    """The cases of both protocols. Raises ``CaseError`` where MIMIC-CXR's labels cannot be read."""
    return [*_presence(pairs, data), *_progression(pairs, data)]


def _presence(pairs: Sequence[Pair], data: DataConfig) -> Iterator[Planned]:
    """Every later film once: whether each of the five findings is there, by CheXpert's labels of its study.

    MS-CXR-T itself judges no presence: what is improving may be there still, or gone.
    """
    assert data.uncertain_as
    assert data.blank_as
    root = Path(data.root)
    labels = read_labels(root, "chexpert")
    for pair in {pair.film: pair for pair in pairs if pair.film}.values():
        _, raw = labels.get(pair.study, ("", None))
        told = decide(raw or {}, uncertain_as=data.uncertain_as, blank_as=data.blank_as)
        yield Planned(
            case_id=f"{PRESENCE}:{pair.study}:{Path(pair.film).name}",
            cluster=pair.subject,
            split=PRESENCE,
            films=(pair.path(root, suffix=SUFFIX[data.images]),),
            truth={name: told[name] if name in HEADLINE else UNKNOWN for name in FINDINGS},
            hindered=NO_LABELS if raw is None else "",
        )


def _progression(pairs: Sequence[Pair], data: DataConfig) -> Iterator[Planned]:
    """Every pair of films: what has become of the findings that somebody has judged."""
    root, suffix = Path(data.root), SUFFIX[data.images]
    seen: dict[str, int] = {}
    for pair in pairs:
        name = f"{PROGRESSION}:{pair.study}:{pair.previous_study}"
        seen[name] = seen.get(name, 0) + 1
        both = bool(pair.film and pair.previous_film)
        truth = {finding: pair.courses.get(finding, UNKNOWN) for finding in HEADLINE}
        quality = {QUALITY.format(finding): pair.quality.get(finding, "") for finding in pair.courses}
        yield Planned(
            case_id=name if seen[name] == 1 else f"{name}:{seen[name]}",
            cluster=pair.subject,
            split=PROGRESSION,
            films=(pair.path(root, previous=True, suffix=suffix), pair.path(root, suffix=suffix)),
            truth=truth | quality,
            prompt=progression.question(),
            hindered=NO_FILM if not both else "" if pair.courses else NO_COURSE,
        )
