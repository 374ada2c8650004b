"""Writing the consensus: by the student with all teachers in its context, or by vote."""

import hashlib
from collections.abc import Sequence

import numpy as np

from driftbound.protocols import Domain
from driftbound.records import Case, Trajectory


def usable_answers(trajectories: Sequence[Trajectory]) -> list[str]:
    """Texts of the trajectories that are opinions."""
    return [t.text for t in trajectories if t.status.usable]


def student_prompt(domain: Domain, case: Case, trajectories: Sequence[Trajectory], seed: int) -> str:
    """The request for a consensus: all usable answers, anonymous, in an order drawn per case.

    arXiv 2510.04142, consensus synthesis: the context is the set of all trajectories. Wording, order
    and anonymity are ours: the paper does not say.
    """
    answers = usable_answers(trajectories)
    digest = hashlib.sha256(f"{seed}:{case.case_id}".encode()).digest()
    order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(answers))
    return domain.merge_question(case, [answers[i] for i in order])
