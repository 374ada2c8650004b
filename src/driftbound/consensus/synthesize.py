"""Writing the consensus: what its writer is shown, and the texts that need no writer."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from driftbound.consensus.believed import believed_stances
from driftbound.protocols import Domain
from driftbound.records import Case
from driftbound.stances import Slot, majority_of
from driftbound.store.measures import Beliefs


def shuffled(case: Case, answers: Sequence[str], seed: int) -> list[str]:
    """The answers that the request for a consensus shows, in an order drawn per case.

    arXiv 2510.04142, consensus synthesis: the context is the set of all trajectories. Wording, order
    and anonymity are ours: the paper does not say.
    """
    digest = hashlib.sha256(f"{seed}:{case.case_id}".encode()).digest()
    order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(answers))
    return [answers[i] for i in order]


def seed_of(seed: int, case: Case, number: int) -> int:
    """Seed of a case's candidate, 0 to 2 ** 31 - 1; its own for each run, case and number."""
    digest = hashlib.sha256(f"{seed}:{case.case_id}:{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def vote(domain: Domain, answers: Sequence[str], told: Sequence[frozenset[Slot]] = ()) -> str:
    """The majority of the answers, in the student's format; on what its prompt ``told`` none has a vote."""
    voted = majority_of([domain.claims(text) for text in answers], domain.findings, told)
    return domain.render(voted) if voted else ""


def by_reliability(domain: Domain, beliefs: Beliefs, undecided: str) -> str:
    """What is believed of a case, in the student's format; empty where nothing can be said.

    ``undecided`` is ``likelier`` or ``omit``: what becomes of the slots that are left open.
    """
    said: Mapping[str, str] = believed_stances(beliefs, domain.findings, omit=undecided == "omit")
    return domain.render(said) if said else ""
