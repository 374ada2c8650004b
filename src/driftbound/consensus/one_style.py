"""One style: consensus and negatives rewritten into the student's format, so that no style can win."""

from dataclasses import replace

from driftbound.protocols import Domain
from driftbound.records import Status, Trajectory
from driftbound.stances import told


def restyled(domain: Domain, text: str) -> str:
    """What a text says of each finding, in the student's format; what it omits is left out.

    Empty where it claims nothing.
    """
    said = told(domain.claims(text), domain.findings)
    return domain.render(said) if said else ""


def restyled_answer(domain: Domain, answer: Trajectory) -> Trajectory:
    """A trajectory rewritten likewise; one that is no opinion stays as it is.

    What is rewritten is whole: a truncated answer becomes ``ok``, as its missing end would be a style, too.
    One that claims nothing becomes ``empty``: there is nothing to prefer the consensus over.
    """
    if not answer.status.usable:
        return answer
    text = restyled(domain, answer.text)
    return replace(answer, text=text, status=Status.OK if text else Status.EMPTY)
