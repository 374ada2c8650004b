"""The seven scripted teachers at work: what each of them answers about a phantom."""

from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

import numpy as np

from driftbound.domains.phantom.findings import SIDED
from driftbound.domains.phantom.language import REFUSALS, SIDES, Stance, write
from driftbound.domains.phantom.planted import Planted, early_positions, error_rate, planted
from driftbound.domains.phantom.population import BOTH_SIDES, Phantom


class Answer(NamedTuple):
    """What an endpoint would send back."""

    text: str
    version: str
    finish_reason: str


def answer(
    teacher: str,
    phantom: Phantom,
    position_in_collection: int,
    n: int,
    seed: int,
    sample: int = 0,
    plan: Planted | None = None,
    settled: Mapping[str, str] | None = None,
) -> Answer:
    """What ``teacher`` says of ``phantom``; the same arguments give the same answer, in any order of asking.

    ``position_in_collection`` counts from 0 in the order of ``population``, ``n`` is its length.
    Something else than ``planted`` is planted with ``plan``; ``settled`` are findings whose value is given
    (see ``dials``). Raises ``KeyError`` for an unknown teacher.
    """
    plan = plan or planted(teacher, position_in_collection, n)
    rng = seeded(seed, teacher, phantom.case.case_id, sample)
    if rng.random() < plan.refusal:
        return Answer(REFUSALS[int(rng.integers(len(REFUSALS)))], plan.version, "stop")
    held = opinions(phantom.findings, plan, rng, settled or {})
    return Answer(tell(held, plan, rng), plan.version, "stop")


def seeded(*key: object) -> np.random.Generator:
    """Random numbers of a key: the same for the same key, in any order of asking."""
    digest = sha256("/".join(map(str, key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def opinions(
    truth: Mapping[str, str],
    plan: Planted,
    rng: np.random.Generator,
    settled: Mapping[str, str] | None = None,
) -> list[Stance]:
    """A stance on each of ``plan.findings``, in the order in which the teacher goes through them.

    Values are ``absent``, ``present`` or a side. Given the truth, a finding's error rate is the
    teacher's, whatever the other findings are: contagion only ties errors together. ``settled``
    (finding -> value) is taken over as it is.
    """
    order = [plan.findings[index] for index in rng.permutation(len(plan.findings)).tolist()]
    settled = settled or {}
    luck = shared_uniforms(len(order), plan.contagion, rng)
    moods = rng.random((len(order), 3)).tolist()
    early = early_positions(plan)
    values: list[str] = []
    committed = ""
    for index, finding in enumerate(order):
        if finding == "No Finding":
            values.append("")
            continue
        if finding in settled:
            values.append(settled[finding])
            continue
        there = truth[finding] != "absent"
        said = there != (luck[index] < error_rate(plan, finding, there, late=index >= early))
        value = ("present" if said else "absent") if finding not in SIDED or not said else ""
        if not value:
            value = side(truth[finding], plan, committed, moods[index])
            if there and value != truth[finding] and value in ("left", "right") and not committed:
                committed = value
        values.append(value)
    asserted = {f for f, value in zip(order, values, strict=True) if value not in ("", "absent")}
    normal = "absent" if asserted - {"Support Devices"} else "present"
    return [Stance(f, value or normal) for f, value in zip(order, values, strict=True)]


def tell(stances: list[Stance], plan: Planted, rng: np.random.Generator) -> str:
    """The opinions as a text within ``plan.words``.

    What is held to be present is always said; what is held to be absent is denied, hedged or left
    out. A study that is called normal has no hedges.
    """
    normal = Stance("No Finding", "present") in stances
    moods = rng.random((len(stances), 2)).tolist()
    said: list[Stance] = []
    spoken: list[bool] = []
    for stance, (silence, doubt) in zip(stances, moods, strict=True):
        hedged = stance.value == "absent" and stance.finding != "No Finding" and doubt < plan.uncertainty
        said.append(Stance(stance.finding, "uncertain") if hedged and not normal else stance)
        spoken.append(stance.value != "absent" or silence >= plan.omission)
    spare = [i for i in rng.permutation(len(said)).tolist() if stances[i].value == "absent"]
    return _fit(said, spoken, spare, plan, rng)


def shared_uniforms(n: int, contagion: float, rng: np.random.Generator) -> list[float]:
    """``n`` uniform numbers, each with chance ``contagion`` a copy of a random earlier one.

    Which one is copied does not depend on its value: each number alone stays uniform.
    """
    fresh, copies, which = rng.random((3, n)).tolist()
    drawn: list[float] = []
    for index in range(n):
        copied = index > 0 and copies[index] < contagion
        drawn.append(drawn[int(which[index] * index)] if copied else fresh[index])
    return drawn


def side(truth: str, plan: Planted, committed: str, moods: list[float]) -> str:
    """The side that a teacher names of a finding, once it holds it to be there."""
    follow, wrong, which = moods
    if committed and follow < plan.follow_side:
        return committed
    if truth == "absent":
        if which < BOTH_SIDES:
            return "both"
        return "left" if which < (1 + BOTH_SIDES) / 2 else "right"
    if wrong >= plan.wrong_side:
        return truth
    others = [side for side in SIDES if side != truth]
    if truth == "both":
        return others[int(2 * which)]
    return others[0] if which >= BOTH_SIDES else "both"


def _fit(
    said: list[Stance], spoken: list[bool], spare: list[int], plan: Planted, rng: np.random.Generator
) -> str:
    """Write, and say more or less of ``spare`` until the length is right."""
    low, high = plan.words
    style = plan.style
    silent = [index for index in spare if not spoken[index]]
    aloud = [index for index in spare if spoken[index]]

    def text() -> str:
        return write([s for s, say in zip(said, spoken, strict=True) if say], style, rng)

    written = text()
    while len(written.split()) < low and silent:
        spoken[silent.pop()] = True
        written = text()
    while len(written.split()) > high:
        if len(aloud) > 3 or (aloud and style is plan.terse):
            spoken[aloud.pop()] = False
        elif style is not plan.terse:
            style = plan.terse
        else:
            break
        written = text()
    return written
