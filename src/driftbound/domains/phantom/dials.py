"""Dials of the scripted teachers: what a recipe sets of their findings, dependence and drift."""

from dataclasses import replace
from math import ceil

from driftbound.config import DomainConfig
from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, SIDED
from driftbound.domains.phantom.planted import Planted, planted
from driftbound.domains.phantom.population import Phantom
from driftbound.domains.phantom.reliability import TEACHERS
from driftbound.domains.phantom.teachers import opinions, seeded, side


def in_question(config: DomainConfig) -> tuple[str, ...]:
    """The findings that teachers, students and scoring speak of, in the order of all tables."""
    return tuple(name for name in FINDINGS if config.findings == "all" or name in HEADLINE)


def dialled(plan: Planted, config: DomainConfig) -> Planted:
    """The plan of a teacher as the recipe's dials have it; as it was where they are at their defaults.

    With fewer findings answers have fewer words, in proportion.
    """
    findings = in_question(config)
    share = len(findings) / len(FINDINGS)
    low, high = plan.words
    return replace(
        plan,
        findings=findings,
        words=(ceil(low * share), ceil(high * share)),
        late_odds=plan.late_odds**config.drift,
        shared_error=config.shared_error,
    )


def settled(
    teacher: str, phantom: Phantom, position: int, n: int, seed: int, sample: int, config: DomainConfig
) -> dict[str, str]:
    """Findings on which a teacher's opinion of a case is not its own, with that opinion.

    They are the mistakes that all teachers share and, of a teacher that copies, what it copies. The
    source is the last of the ``teachers_copy`` first teachers. A copy is made of what the source holds,
    finding by finding, whether or not the source leaves it unsaid, hedges it or refuses to answer.
    """
    mistakes = _mistakes(phantom, seed, config)
    copying = TEACHERS[: config.teachers_copy]
    if teacher not in copying[:-1]:
        return mistakes
    source = copying[-1]
    rng = seeded(seed, source, phantom.case.case_id, sample)
    rng.random()  # whether it refuses
    plan = dialled(planted(source, position, n), config)
    held = {s.finding: s.value for s in opinions(phantom.findings, plan, rng, mistakes)}
    rng = seeded(seed, teacher, phantom.case.case_id, sample, "copies")
    copied = {name for name in plan.findings if rng.random() < config.copy_rate}
    return mistakes | {name: held[name] for name in plan.findings if name in copied and name != "No Finding"}


def _mistakes(phantom: Phantom, seed: int, config: DomainConfig) -> dict[str, str]:
    """What all teachers get wrong of a case: a finding that is there is absent to all, one that is not
    there is seen by all on one side. The same in every sample."""
    if not config.shared_error:
        return {}
    rng = seeded(seed, phantom.case.case_id, "shared")
    wrong: dict[str, str] = {}
    for name in in_question(config):
        chance, *moods = rng.random(4).tolist()
        if name == "No Finding" or chance >= config.shared_error:
            continue
        if phantom.findings[name] != "absent":
            wrong[name] = "absent"
        else:
            wrong[name] = (
                side("absent", planted(TEACHERS[0], 0, 1), "", moods) if name in SIDED else "present"
            )
    return wrong
