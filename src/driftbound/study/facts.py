"""Facts: what a study keeps of answers besides right and wrong, by the measures of ``evaluation``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftbound.evaluation import facts
from driftbound.evaluation.answers import Answer
from driftbound.evaluation.dispersion import dispersion
from driftbound.evaluation.probe import probe
from driftbound.protocols import Domain, Featured, Policy
from driftbound.records import Group, Status
from driftbound.store.measures import Beliefs

Features = NDArray[np.floating[Any]]
PROBED = 200
"""Groups whose texts the probe of writers sees."""


def facts_of(answers: Sequence[Answer], domain: Domain, beliefs: Mapping[str, Beliefs]) -> dict[str, Any]:
    """Parsable share, words, repetition, contradictions and unsupported claims of one split's answers.

    ``None``: nothing to say it of.
    """
    return facts.facts_of(
        [answer.text for answer in answers],
        [answer.status is Status.TRUNCATED for answer in answers],
        domain.claims,
        [answer.case_id for answer in answers],
        beliefs,
    )


def dispersion_of(
    features: Features | None, present: Sequence[Sequence[bool]], findings: Sequence[str]
) -> float | None:
    """Mean class-wise dispersion of hidden features (n, D); ``present`` (n, F)."""
    if features is None:
        return None
    mean: float | None = dispersion(features, np.asarray(present, dtype=bool), findings)["mean"]
    return mean


def probe_of(groups: Sequence[Group], clusters: Mapping[str, str], seed: int) -> dict[str, Any]:
    """How well a consensus is told from the trajectories that it is preferred over, by words alone.

    Of each of the first training groups the consensus and one usable trajectory, drawn by ``seed``.
    """
    rng = np.random.default_rng([seed, 11])
    texts, writers, patients = list[str](), list[str](), list[str]()
    for group in _probed(groups):
        usable = [negative for negative in group.negatives if negative.valid]
        texts += [group.consensus, usable[int(rng.integers(len(usable)))].text]
        writers += ["consensus", "teacher"]
        patients += [clusters[group.case_id]] * 2
    return probe(texts, writers, patients, rng=rng).plain() if texts else {}


def probe_teachers_of(groups: Sequence[Group], clusters: Mapping[str, str], seed: int) -> dict[str, Any]:
    """How well a trajectory tells by words alone which teacher it is of; of the same groups."""
    told = [
        (negative.text, negative.teacher, clusters[group.case_id])
        for group in _probed(groups)
        for negative in group.negatives
        if negative.valid
    ]
    if not told:
        return {}
    texts, writers, patients = zip(*told, strict=True)
    return probe(texts, writers, patients, rng=np.random.default_rng([seed, 12])).plain()


def _probed(groups: Sequence[Group]) -> list[Group]:
    return [each for each in groups if each.split == "train" and each.usable][:PROBED]


def features_of(
    policy: Policy, questions: Sequence[str], images: Sequence[Sequence[Path]], batch_size: int
) -> Features | None:
    """Hidden features (n, D) of questions, of a policy that shows them; else ``None``."""
    if not isinstance(policy, Featured):
        return None
    return policy.features(questions, images, batch_size=batch_size)
