"""Study: one examination as a data set tells it; what every reader of this field returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

POSITIVE, NEGATIVE, UNCERTAIN = 1.0, 0.0, -1.0
"""Values of a raw label, as CheXpert writes them; a finding that is not mentioned has none (blank)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One image of a study."""

    image_id: str
    path: Path
    """Where it should lie; nobody has looked."""
    view: str = ""
    """As the data set says (``PA``, ``LATERAL``); empty where it does not."""
    frontal: bool | None = None
    """``None``: the data set does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One examination of one patient."""

    study_id: str
    patient: str
    """The cluster that is resampled and split by."""
    films: tuple[Film, ...]
    split: str = ""
    """``train``, ``validation`` or ``test`` by the data set's own split; empty where it has none."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """Finding -> ``POSITIVE``, ``NEGATIVE`` or ``UNCERTAIN``, raw; no key: blank."""
    sides: Mapping[str, str] = field(default_factory=dict)
    """Finding -> ``left``, ``right`` or ``both``, where the data set tells."""
    sections: Mapping[str, str] = field(default_factory=dict)
    """Section of the report (``findings``, ``impression``, ``last_paragraph``) -> its text."""
    report: Path | None = None
    """The report's file, where one belongs to the study; read when it is needed."""
    taken: tuple[int, float] | None = None
    """(YYYYMMDD, hhmmss.fff), shifted within a patient or not: what orders a patient's studies."""
    sensitivity: str = "credentialed"
    """``public`` only where the terms of the data set allow anybody to see it."""
    notes: tuple[str, ...] = ()
    """What is wrong with this study, a few words each; it is kept, counted and shown."""

    @property
    def frontal(self) -> Film | None:
        """The first frontal film; ``None`` where there is none."""
        return next((film for film in self.films if film.frontal), None)
