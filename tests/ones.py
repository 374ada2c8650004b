"""The paper's constraints, none at all: what a test of single weights starts from."""

from driftbound.consensus_config import ConstraintsConfig

NONE = {
    "trajectory": False,
    **dict.fromkeys(("conflicting", "agreed", "undecided", "silent", "end"), 1.0),
    "confidence": False,
    "confidence_against": False,
}


def ones(**changes) -> ConstraintsConfig:
    """All weights one and no confidence, but for ``changes``."""
    return ConstraintsConfig(**NONE | changes)
