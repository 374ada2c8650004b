"""Constraints: how much each teacher's trajectory, and each stretch of its text, counts against a consensus.

The one formula. A case has a consensus y_0 and negatives y_u, u = 1 .. K; t runs over a text's tokens:

    r_u = beta * sum_t omega_ut * [log pi(y_ut) - log pi_ref(y_ut)],   r_0 likewise with omega_0t
    L   = -log( exp r_0 / (exp r_0 + sum_u w_u * exp r_u) )

``omega_ut`` says how far a stretch departs from the consensus: one of five settable values, by its standing
(``Standing``: conflicting, agreed, undecided, silent, end). It knows nothing of reliability.
``w_u = K * e_u / sum_v e_v`` says how unreliable a teacher is on this case: e_u is the mean, over the claims
that it makes, of the chance that they are wrong by the votes of the other lineages (``Belief.wrong``). So a
teacher's unreliability counts once, in w, and a trajectory's departure once, in omega. ``omega_0t`` is one,
or with ``confidence`` the certainty of the consensus's own claims, (V p - 1) / (V - 1) with p the posterior
among a slot's V values. With ``confidence_against`` the omega of a conflicting claim is multiplied by the
certainty of the claim that it contradicts: no teacher is held against what the votes hardly decide. The mean
of w is one, so that the loss starts at ln(K + 1) whatever the weights; w and omega of one are the loss of
arXiv 2510.04142.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from driftbound.consensus_config import ConstraintsConfig
from driftbound.records import Belief, Case, Claim, Group, Negative, Polarity, Standing, Status, Trajectory
from driftbound.stances import OF_ITSELF, Slot, counted
from driftbound.store.measures import Beliefs

T = TypeVar("T")
Spans = tuple[tuple[int, int, float], ...]
"""``(start, end, weight)`` in code points: sorted, disjoint, only where the weight is not 1."""


def group_of(
    case: Case,
    consensus: str,
    support: float,
    given: Mapping[str, Trajectory],
    teachers: Sequence[str],
    read: Callable[[str], list[Claim]],
    beliefs: Beliefs,
    config: ConstraintsConfig,
) -> Group:
    """A case's group: its consensus, and one negative per teacher, in their order, with its constraints.

    ``given`` are the trajectories by teacher; a teacher without one is there as ``failed`` and not valid.
    Not valid is also what is no opinion, and a text that says what the consensus says, white space at its
    ends aside: nothing can be preferred over itself. ``read`` gives the claims of a text; ``beliefs`` may be
    empty, and then every teacher and every claim of the consensus counts as much as any other.
    """
    said = _tight(read(consensus), consensus)
    open_slots = frozenset(slot for slot, belief in beliefs.items() if belief.values and not belief.decided)
    negatives = [
        _negative(name, given.get(name), consensus, said, open_slots, read, config, beliefs)
        for name in teachers
    ]
    if config.trajectory:
        valid = [each.teacher for each in negatives if each.valid]
        weights = trajectory_weights(valid, beliefs)
        negatives = [replace(each, weight=weights.get(each.teacher, 1.0)) for each in negatives]
    return Group(
        case_id=case.case_id,
        split=case.split,
        consensus=consensus,
        negatives=tuple(negatives),
        spans=_confidence(said, len(consensus), beliefs) if config.confidence else (),
        support=support,
    )


def standings(
    text_claims: Sequence[Claim],
    consensus_claims: Sequence[Claim],
    length: int,
    open_slots: Set[Slot] = frozenset(),
) -> list[tuple[int, int, Standing]]:
    """How every stretch of a text of ``length`` code points stands to the consensus: ``(start, end,
    standing)``, in order, each beginning where the one before ends.

    Every claim of the text stands by its own value, one that a later claim overrules too; an echo of the
    prompt claims nothing. Of the consensus the claims that count are looked at (``stances.counted``). What is
    said of ``open_slots``, which the votes leave open, is undecided whatever the consensus says there: it may
    be the likelier value, and is no ground to hold a teacher against. Where claims share a stretch,
    conflicting goes before undecided, and undecided before agreed.
    """
    said = counted(consensus_claims)
    found = [(claim, _standing(claim, said, open_slots)) for claim in text_claims]
    each = [Standing.SILENT] * length
    for standing in (Standing.AGREED, Standing.UNDECIDED, Standing.CONFLICTING):
        for claim, own in found:
            if own is standing:
                end = min(claim.end, length)
                each[claim.start : end] = [standing] * (end - claim.start)
    return _runs(each)


def trajectory_weights(teachers: Iterable[str], beliefs: Beliefs) -> dict[str, float]:
    """w of each of a case's valid negatives, mean one.

    e_u is the mean of ``Belief.wrong`` over the claims of u; where it is ``nan`` the claim is left out.
    Those teachers of whom no e is known weigh 1; the others' are their e over the mean of these e, which
    has mean one too. Where all that are known are 0, nothing tells them apart: all weigh 1.
    """
    weights = dict.fromkeys(teachers, 1.0)
    known = {}
    for name in weights:
        wrong = [belief.wrong[name] for belief in beliefs.values() if name in belief.wrong]
        wrong = [chance for chance in wrong if not math.isnan(chance)]
        if wrong:
            known[name] = math.fsum(wrong) / len(wrong)
    total = math.fsum(known.values())
    if total > 0:
        weights |= {name: len(known) * e / total for name, e in known.items()}
    return weights


def _negative(
    teacher: str,
    answer: Trajectory | None,
    consensus: str,
    said: Sequence[Claim],
    open_slots: Set[Slot],
    read: Callable[[str], list[Claim]],
    config: ConstraintsConfig,
    beliefs: Beliefs,
) -> Negative:
    if answer is None:
        return Negative(teacher=teacher, text="", status=Status.FAILED, valid=False)
    text = answer.text
    weights = {
        Standing.CONFLICTING: config.conflicting,
        Standing.AGREED: config.agreed,
        Standing.UNDECIDED: config.undecided,
        Standing.SILENT: config.silent,
    }
    each = list[float]()
    if set(weights.values()) != {1.0} or config.confidence_against:
        own = _tight(read(text), text) if answer.status.usable else []  # a refusal claims nothing
        stretches = standings(own, said, len(text), open_slots)
        each = [weights[standing] for start, end, standing in stretches for _ in range(start, end)]
        if config.confidence_against:
            certain = _certainty_against(own, said, len(text), open_slots, beliefs)
            each = [weight * factor for weight, factor in zip(each, certain, strict=True)]
    return Negative(
        teacher=teacher,
        text=text,
        status=answer.status,
        valid=answer.status.usable and text.strip() != consensus.strip(),
        spans=_spans(each),
        end_weight=config.end,
    )


def _standing(claim: Claim, said: Mapping[Slot, Claim], open_slots: Set[Slot]) -> Standing:
    """How one claim stands to what the consensus says."""
    if claim.echo:
        return Standing.SILENT
    if claim.polarity is Polarity.UNCERTAIN or (claim.finding, claim.attribute) in open_slots:
        return Standing.UNDECIDED
    denies = claim.attribute != "presence" and claim.polarity is Polarity.ABSENT  # "not B", of several values
    own = _opposite(claim, said)
    if own is None or (own.finding, own.attribute) in open_slots:
        return Standing.UNDECIDED
    if own.attribute != claim.attribute:  # a side of what the consensus says is absent
        return Standing.AGREED if denies else Standing.CONFLICTING
    if own.polarity is Polarity.UNCERTAIN:
        return Standing.UNDECIDED
    return Standing.AGREED if (claim.value == own.value) is not denies else Standing.CONFLICTING


def _opposite(claim: Claim, said: Mapping[Slot, Claim]) -> Claim | None:
    """The claim of the consensus that one of a teacher stands to: of the same slot; for a side (zone,
    severity) that it does not name, that the finding is absent; ``None`` where it says neither."""
    own = said.get((claim.finding, claim.attribute))
    if own is not None or claim.attribute in OF_ITSELF:
        return own
    presence = said.get((claim.finding, "presence"))
    return presence if presence is not None and presence.value == "absent" else None


def _certainty_against(
    own: Sequence[Claim],
    consensus_claims: Sequence[Claim],
    length: int,
    open_slots: Set[Slot],
    beliefs: Beliefs,
) -> list[float]:
    """Per code point of a teacher's text the certainty of what its conflicting claims contradict, else 1.

    Where several share a stretch, the greatest: one certain contradiction is enough.
    """
    said = counted(consensus_claims)
    found: list[float | None] = [None] * length
    for claim in own:
        opposite = _opposite(claim, said)
        if opposite is None or _standing(claim, said, open_slots) is not Standing.CONFLICTING:
            continue
        certainty = _certainty(opposite, beliefs.get((opposite.finding, opposite.attribute)))
        for at in range(claim.start, min(claim.end, length)):
            found[at] = max(found[at] or 0.0, certainty)
    return [1.0 if certainty is None else certainty for certainty in found]


def _confidence(said: Sequence[Claim], length: int, beliefs: Beliefs) -> Spans:
    """Weights of the consensus's own claims; the least one where claims share a stretch."""
    each = [1.0] * length
    for claim in said:
        weight = _certainty(claim, beliefs.get((claim.finding, claim.attribute)))
        for at in range(claim.start, min(claim.end, length)):
            each[at] = min(each[at], weight)
    return _spans(each)


def _certainty(claim: Claim, belief: Belief | None) -> float:
    """(V p - 1) / (V - 1), at least 0, with p the posterior of the claim's value among the slot's V values.

    With two values that is 2 p - 1. Where nothing can be said, 1: no belief, a single value, a hedge, a
    denial of one of several values, an echo.
    """
    plain = claim.attribute == "presence" or claim.polarity is Polarity.PRESENT
    count = 0 if belief is None else len(belief.values)
    if belief is None or count < 2 or claim.echo or claim.polarity is Polarity.UNCERTAIN or not plain:
        return 1.0
    return min(1.0, max(0.0, (count * belief.values.get(claim.value, 0.0) - 1) / (count - 1)))


def _tight(claims: Sequence[Claim], text: str) -> list[Claim]:
    """The claims, without white space at the ends of their spans."""
    found = []
    for claim in claims:
        inside = text[claim.start : claim.end]
        start = claim.start + len(inside) - len(inside.lstrip())
        found.append(replace(claim, start=start, end=max(start, claim.start + len(inside.rstrip()))))
    return found


def _spans(each: Sequence[float]) -> Spans:
    """Of a weight per code point."""
    return tuple((start, end, weight) for start, end, weight in _runs(each) if weight != 1)


def _runs(each: Sequence[T]) -> list[tuple[int, int, T]]:
    """Stretches of equal values."""
    found, start = [], 0
    for value, run in groupby(each):
        end = start + sum(1 for _ in run)
        found.append((start, end, value))
        start = end
    return found
