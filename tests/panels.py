"""Panels of votes from words, for tests that count by hand."""

import numpy as np

from driftbound.measure.votes import NO_VOTE, OMITTED, REFUSED, UNCERTAIN, Votes

CODES = {"-": NO_VOTE, "uncertain": UNCERTAIN, "omitted": OMITTED, "refused": REFUSED}
VALUES = {"presence": ("absent", "present"), "side": ("both", "left", "right")}


def panel(*cases, parts=None, slots=None):
    """Votes from rows of words, one list of lists per case: teachers x slots; ``-`` is no vote.

    Without ``slots`` a column in which a side is named is a side.
    """
    T, A = len(cases[0]), len(cases[0][0])
    if slots is None:
        sided = [any(row[a] in VALUES["side"] for case in cases for row in case) for a in range(A)]
        slots = [(f"F{a}", "side" if sided[a] else "presence") for a in range(A)]
    values = tuple(VALUES[attribute] for _, attribute in slots)
    codes = [
        [[CODES[v] if v in CODES else values[a].index(v) for a, v in enumerate(row)] for row in case]
        for case in cases
    ]
    codes = np.array(codes, dtype=np.int16)
    return Votes(
        case_ids=tuple(f"c{i}" for i in range(len(cases))),
        teachers=tuple(f"t{i}" for i in range(T)),
        slots=tuple(slots),
        values=values,
        codes=codes,
        parts=np.zeros(codes.shape, np.int16) if parts is None else np.array(parts, np.int16),
    )
