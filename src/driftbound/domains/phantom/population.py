"""Who is examined: patients, their findings with side, the signs that show them, splits and scanners."""

from dataclasses import dataclass

import numpy as np

from driftbound.config import DomainConfig
from driftbound.domains.phantom.findings import (
    FINDINGS,
    HEALTHY,
    PREVALENCE,
    SIDED,
    SIDED_SIGNS,
    SIGN_NAMES,
    SIGNS,
)
from driftbound.domains.phantom.language import QUESTION
from driftbound.records import Case

SAME_PATIENT = 0.7
"""Chance that an image repeats its patient's stance on a finding instead of drawing a new one."""
BOTH_SIDES = 0.2
"""Chance that a sided finding lies on both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """One synthetic radiograph before it is drawn."""

    case: Case
    findings: dict[str, str]
    """Each of the 14 to ``absent``, ``present`` or, where it has a side, ``left``, ``right``, ``both``."""
    signs: dict[str, str]
    """Each sign likewise; what is drawn."""
    scanner: str
    """``first`` or ``other``."""
    seed: int
    """Of the drawing: anatomy, noise, placement."""


def population(config: DomainConfig, seed: int) -> list[Phantom]:
    """All cases of a run, in the order in which they are asked: shuffled over splits and patients.

    A split is filled patient by patient, one to three images each, so that no patient is in two
    splits. The same ``config`` and ``seed`` give the same list.
    """
    sizes = {
        "train": config.train,
        "validation": config.validation,
        "test": config.test,
        "test_scanner": config.test_scanner,
    }
    drawn: list[tuple[str, str, dict[str, str], int]] = []
    patient = 0
    for number, (split, size) in enumerate(sizes.items()):
        rng = np.random.default_rng([seed, 1, number])
        left = size
        while left > 0:
            images = min(int(rng.integers(1, 4)), left)
            patient += 1
            usual = _draw_findings(rng)
            for _ in range(images):
                findings = _draw_findings(rng, usual)
                drawn.append((split, f"p{patient:05d}", findings, int(rng.integers(2**31))))
            left -= images
    order = np.random.default_rng([seed, 2]).permutation(len(drawn))
    return [_phantom(position, *drawn[index], tag=int(seed)) for position, index in enumerate(order.tolist())]


def signs_of(findings: dict[str, str]) -> dict[str, str]:
    """The signs that show ``findings``; a sign of several findings lies on all their sides.

    >>> signs_of({"Edema": "present"} | {f: "absent" for f in FINDINGS if f != "Edema"})["haze"]
    'both'
    """
    sides: dict[str, set[str]] = {sign: set() for sign in SIGN_NAMES}
    for finding, value in findings.items():
        if value == "absent" or finding == "No Finding":
            continue
        where = {"left", "right"} if value in ("both", "present") else {value}
        for sign in SIGNS[finding]:
            sides[sign] |= where
    return {sign: _value(where, sign) for sign, where in sides.items()}


def _value(where: set[str], sign: str) -> str:
    if not where:
        return "absent"
    if sign not in SIDED_SIGNS:
        return "present"
    return "both" if len(where) == 2 else next(iter(where))


def _draw_findings(rng: np.random.Generator, usual: dict[str, str] | None = None) -> dict[str, str]:
    """Findings of one image; with ``usual`` (the patient's), each is kept with ``SAME_PATIENT``.

    Whether the image is healthy is drawn with the patient, so that every marginal share is kept. An
    image that happens to have no finding (one in some thousands) is "No Finding" too.
    """
    healthy = rng.random() < HEALTHY if usual is None else usual["No Finding"] == "present"
    findings: dict[str, str] = {}
    for name, share in PREVALENCE.items():
        chance = share / (1 - HEALTHY) * (not healthy)
        if name == "Support Devices":
            chance = share
        value = _side(rng, name) if rng.random() < chance else "absent"
        if usual is not None and rng.random() < SAME_PATIENT:
            value = usual[name]
        findings[name] = value
    abnormal = any(value != "absent" for name, value in findings.items() if name != "Support Devices")
    findings["No Finding"] = "absent" if abnormal else "present"
    return {name: findings[name] for name in FINDINGS}


def _side(rng: np.random.Generator, name: str) -> str:
    if name not in SIDED:
        return "present"
    if rng.random() < BOTH_SIDES:
        return "both"
    return "left" if rng.random() < 0.5 else "right"


def _phantom(
    position: int, split: str, patient: str, findings: dict[str, str], seed: int, *, tag: int
) -> Phantom:
    case_id = f"c{tag}-{position:05d}"
    case = Case(
        case_id=case_id,
        cluster=patient,
        split=split,
        prompt=QUESTION,
        images=(f"images/{case_id}.png",),
    )
    return Phantom(
        case=case,
        findings=findings,
        signs=signs_of(findings),
        scanner="other" if split == "test_scanner" else "first",
        seed=seed,
    )
