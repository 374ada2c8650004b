"""A summary of the measure by hand, small: what the tests of the report are written against."""

from collections.abc import Sequence

COUNTED = "a count has no interval"
CHANGED = "is contradicted more after 50% of its answers"


def told(value: float | None, half: float | None = None, n: int = 40, **more: object) -> dict:
    """A measured number with an interval of ``half`` on either side."""
    known = value is not None and half is not None
    found = {
        "value": value,
        "low": round(value - half, 6) if known else None,
        "high": round(value + half, 6) if known else None,
        "n": n,
        "estimator": "an estimator, cluster bootstrap",
    }
    return found | ({} if known else {"reason": "too few to say"}) | more


def count(n: int) -> dict:
    return told(n, n=n, estimator="count", reason=COUNTED)


def summary(teachers: Sequence[str], findings: Sequence[str], steps: int = 4) -> dict:
    """The first teacher drifts from the third of four parts on; the second changed its version."""
    first, second = teachers[:2]
    return {
        "about": {
            "fitted_on": ["train"],
            "gold": "none",
            "counts": {"cases": count(40), "clusters": count(20), "teachers": count(len(teachers))},
            "notes": ["A note for the reader."],
            "settings": {
                "steps": steps, "decisive": 0.75, "alpha": 0.05, "alpha_of_each_family": 0.0125,
                "draws": 999, "margin": 0.05, "fdr": 0.1, "seed": 0,
            },
            "families": ["along the reasoning", "over the collection", "between versions", "refusals"],
        },
        "alarms": [
            alarm("refusals", second, "refuses more often than the others do", 0.051, 0.002),
            alarm("along the reasoning", first, CHANGED, 0.123, 0.001),
        ],
        "agreement": _agreement(teachers, findings, steps),
        "refusals": {
            name: {
                "answers": {"ok": count(37), "refused": count(3)},
                "refusal_rate": told(0.075, 0.02),
                "above_others": told(0.051 if name == second else -0.02, 0.01, p=0.002),
            }
            for name in teachers
        },
        "along": _along(teachers),
        "collection": {
            name: {
                "words": {
                    "evidence": told(1.5, p=0.22),
                    "at": told(None, reason="no change was found"),
                    "shift": told(None, reason="no change was found"),
                },
                "omits": {
                    "evidence": told(9.1, p=0.0001),
                    "at": told(19, 2) if name == second else told(None, reason="no change was found"),
                    "shift": told(0.21, 0.05) if name == second else told(None, reason="no change was found"),
                },
            }
            for name in teachers
        },
        "versions": _versions(teachers),
        "cases": {"flagged": count(2), "judged": count(40)},
        "reliability": _reliability(teachers, findings),
    }  # fmt: skip


def alarm(family: str, teacher: str, what: str, effect: float, p: float) -> dict:
    return {
        "family": family,
        "teacher": teacher,
        "what": what,
        "effect": told(effect, 0.01, p=p / 2, p_adjusted=p),
    }


def _agreement(teachers: Sequence[str], findings: Sequence[str], steps: int) -> dict:
    shares = {
        "agreed": told(0.25, 0.05),
        "conflicting": told(0.7, 0.05),
        "undecided": told(0.05, 0.02),
        "alpha": told(None, reason="all name the same everywhere"),
        "ac1": told(-0.031, 0.01),
        "raw_agreement": told(0.52, 0.01),
    }
    pairs = {
        one: {
            other: told(0.5 + 0.125 * (place + after), 0.01, n=321)
            for after, other in enumerate(teachers[place + 1 :])
        }
        for place, one in enumerate(teachers[:-1])
    }
    return {
        "claims": {"agreed": count(4), "conflicting": count(1008), "undecided": count(0)},
        "presence": {"alpha": told(0.127, 0.01), "ac1": told(0.134, 0.01), "raw_agreement": told(0.56, 0.01)},
        "conflict_per_case": told(0.5, 0.01),
        "findings": {
            name: shares | ({} if place else {"side": shares}) for place, name in enumerate(findings)
        },
        "teachers": {name: told(0.61, 0.02) for name in teachers},
        "steps": {
            name: [told(0.6 - 0.05 * part, 0.02, n=80) for part in range(steps - 1)] + [told(None)]
            for name in teachers
        },
        "pairs": pairs,
    }  # fmt: skip


def _along(teachers: Sequence[str]) -> dict:
    first = teachers[0]
    return {
        "phi": "contradicted",
        "panel": told(0.022, 0.004, p=0.0002),
        "panel_split": told(0.5),
        "laws": told(0.021, 0.006, p=0.0002),
        "alpha": {
            "early": told(0.2, 0.01), "late": told(0.15, 0.01), "change": told(-0.05, 0.02, p=0.004)
        },
        "peeled_off": [first],
        "teachers": {
            name: {
                "change": told(0.123, 0.011, p=0.0002) if name == first else told(0.004, 0.012, p=0.7),
                "split": told(0.5),
                "change_measured_apart": told(0.117, 0.02, p=0.01),
                "no_meaningful_drift": told(0.05, 0.01, p=0.9 if name == first else 0.01),
                "drifts": name == first,
            }
            for name in teachers
        },
        "noise_floor": {
            "between_teachers": told(0.436, 0.005, n=30),
            "within_teachers": told(0.371, 0.007, n=30),
            "excess": told(0.065, 0.007, n=30),
            "teachers": {name: told(0.3, 0.02, n=30) for name in teachers},
            "excess_change": told(-0.017, 0.018, n=30, p=0.212),
        },
    }  # fmt: skip


def _versions(teachers: Sequence[str]) -> dict:
    second = teachers[1]
    change = {
        "from": f"{second}-1",
        "to": f"{second}-2",
        "habits": {"omits": told(0.096, 0.011, p=1e-9), "words": told(-3.76, 0.8, p=1e-6)},
        "contradicted_split": {
            "total": told(-0.002, 0.011),
            "history": told(0.013, 0.003),
            "instant": told(-0.015, 0.011),
            "claims_left_out": count(7),
        },
        "laws": told(0.12, 0.02, p=0.002),
    }
    table = {name: {"versions": {f"{name}-1": count(40)}, "changes": []} for name in teachers}
    table[second]["changes"] = [change]
    waves = {
        name: told(None, n=3, reason="3 cases were asked in both rounds, 10 are needed") for name in teachers
    }
    return {"teachers": table, "waves": {"1": waves}}  # fmt: skip


def _reliability(teachers: Sequence[str], findings: Sequence[str]) -> dict:
    entry = {
        "method": "dawid_skene",
        "why": "independence is not rejected",
        "teachers": {name: {"absent": told(0.9, 0.02), "present": told(0.71, 0.03)} for name in teachers},
        "lineages": [list(teachers[:2]), *[[name] for name in teachers[2:]]],
        "dependence": {
            "p": told(0.21, p=0.21), "largest_excess": told(0.04, 0.01), "copying": told(0.1, 0.05)
        },
        "effective_teachers": told(2.5, 0.2),
        "risks": {"dawid_skene": told(0.08, 0.01), "majority": told(0.15, 0.01)},
        "undecided": count(17),
        "calibration": told(None, n=0, reason="no gold was given"),
        "prevalence": {"absent": told(0.4, 0.05), "present": told(0.6, 0.05)},
    }  # fmt: skip
    sides = {name: {"left": told(0.8, 0.02), "right": told(0.77, 0.02)} for name in teachers}
    found: dict = {name: {"presence": entry} for name in findings}
    found[findings[0]]["side"] = entry | {"teachers": sides}
    return found | {"difficulty": {"spread": told(0.4, 0.1)}, "notes": ["Errors of all are invisible."]}
