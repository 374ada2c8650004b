"""Held-out cases: the cases of one split, as those who ask and those who score see them."""

from dataclasses import dataclass

from driftbound.records import Case


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out cases of one split."""

    name: str
    cases: list[Case]
    shown: list[int] | None
    """Whose images the image-shuffled controls are shown."""
