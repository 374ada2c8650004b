"""Clinical F1: whether a text asserts the findings that its reference asserts, both read alike."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from driftbound.evaluation.classification import ASSERTING
from driftbound.statistics.intervals import Resamples, Sampled, mean_of, ratios

METRICS = (
    *("clinical_micro_f1", "clinical_macro_f1"),
    *("clinical_micro_f1_all", "clinical_macro_f1_all"),
)

Stances = Mapping[str, str]


def clinical_f1(
    said: Sequence[Stances | None],
    known: Sequence[Stances | None],
    findings: Sequence[str],
    headline: Sequence[str],
    resamples: Resamples,
    *,
    disclosed: Sequence[Collection[str]] = (),
) -> dict[str, Sampled]:
    """F1 of the findings that n texts assert against those that their references assert; one column each.

        2 TP / (2 TP + FP + FN),  present is the positive class

    ``clinical_micro_f1`` counts the headline findings together, ``clinical_macro_f1`` is the mean of their
    F1; ``_all`` is over all findings. ``said`` and ``known`` are ``stances.stances`` of text and reference.
    A text that is ``None`` (refused, missing) asserts nothing, and so does what is omitted or hedged; what
    the reference hedges, what a prompt discloses and a case without reference (``None``) do not count. A
    finding that neither any text nor any reference asserts has no F1 and no part in the mean.
    """
    asserted, wanted, scored = (np.zeros((len(known), len(findings)), dtype=bool) for _ in range(3))
    given = disclosed or [()] * len(known)
    for n, (text, reference, shown) in enumerate(zip(said, known, given, strict=True)):
        for f, name in enumerate(findings):
            asserted[n, f] = text is not None and text.get(name) in ASSERTING
            wanted[n, f] = reference is not None and reference.get(name) in ASSERTING
            hedged = reference is None or reference.get(name) == "uncertain"
            scored[n, f] = not hedged and name not in shown
    hits = 2 * (asserted & wanted & scored).astype(np.float64)
    both = (asserted & scored).astype(np.float64) + (wanted & scored).astype(np.float64)
    single = ratios(hits, both, resamples)
    found = {}
    lead = [findings.index(name) for name in headline]
    for ending, columns in (("", lead), ("_all", [*range(len(findings))])):
        top, bottom = (each[:, columns].sum(axis=1, keepdims=True) for each in (hits, both))
        found[f"clinical_micro_f1{ending}"] = ratios(top, bottom, resamples)
        found[f"clinical_macro_f1{ending}"] = mean_of(single, columns)
    return {name: found[name] for name in METRICS}
