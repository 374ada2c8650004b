"""What evaluate found besides scores, in sentences: ranks, hidden features, who could be told by style."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from driftbound.report.tables import LABELS, STUDENTS, digits, estimate, number


def sentences(table: Mapping[str, Any], headline: Sequence[str]) -> list[str]:
    """Of one split's results; nothing is said of what is not there."""
    found = (_ranks(table, headline), _dispersion(table), _probe(table))
    return [sentence for sentence in found if sentence]


def _ranks(table: Mapping[str, Any], headline: Sequence[str]) -> str:
    own = (table.get("ranks") or {}).get("aligned") or {}
    told = [
        f"{name} {one['rank']} of {one['of']} (teachers {digits(number(one.get('spread')))} apart)"
        for name in headline
        if (one := own.get(name) or {}).get("rank")
    ]
    if not told:
        return ""
    return f"The aligned student's rank among its teachers, by balanced accuracy: {', '.join(told)}."


def _dispersion(table: Mapping[str, Any]) -> str:
    given = table.get("dispersion") or {}
    told = [f"{LABELS[name]} {digits(number(given[name].get('mean')))}" for name in STUDENTS if name in given]
    if not told:
        return ""
    return (
        "Share of the variance of hidden features that lies within the classes of a finding, mean over "
        f"findings (lower is tighter): {', '.join(told)}."
    )


def _probe(table: Mapping[str, Any]) -> str:
    given = (table.get("probe") or {}).get("consensus_or_teacher") or {}
    written, styled = (
        estimate((given.get(name) or {}).get("auroc")).mean for name in ("as_written", "one_style")
    )
    if not math.isfinite(written):
        return ""
    return (
        "By words and length alone a consensus is told from a teacher's text with an AUROC of "
        f"{digits(written)} (0.5 is chance), and of {digits(styled)} when all are rewritten into one style."
    )
