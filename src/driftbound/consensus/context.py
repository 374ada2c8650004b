"""Context: trajectories that fit into the writer's context, verbatim where possible, else as digests."""

from collections.abc import Callable, Sequence

from driftbound.protocols import Domain
from driftbound.records import Claim
from driftbound.stances import told

DOES_NOT_FIT = "context does not fit"
"""The note of a case that nothing can be written for."""


def fit(
    domain: Domain,
    question: Callable[[Sequence[str]], str],
    answers: Sequence[str],
    claims_of: Callable[[str], Sequence[Claim]],
    count_tokens: Callable[[str], int],
    room: int,
) -> tuple[list[str], str]:
    """The texts that a ``question`` made of them may show, in the order given, and a note.

    ``room`` is in tokens and for the whole question, counted by ``count_tokens``. All answers verbatim and
    an empty note where they fit. Else the longest answer becomes a digest of its claims, then the next, until
    they fit: what it asserts and denies, in the student's format; a digest that is no shorter is not taken.
    Else answers are left out from the end, as one is that has to be digested and claims nothing. The note
    counts both, ``digest of 3 of 7, 2 of 7 left out``; with nothing left it is ``context does not fit``.
    """
    texts: list[str] = list(answers)

    def fits() -> bool:
        return count_tokens(question([text for text in texts if text])) <= room

    if fits():
        return texts, ""
    digests: set[int] = set()
    sizes = [count_tokens(answer) for answer in answers]
    for place in sorted(range(len(answers)), key=lambda place: -sizes[place]):
        short = digest(domain, claims_of(answers[place]))
        if short and count_tokens(short) >= sizes[place]:
            continue
        texts[place] = short
        digests.add(place)
        if fits():
            break
    else:
        for place in reversed(range(len(answers))):
            texts[place] = ""
            if fits():
                break
    kept = [place for place, text in enumerate(texts) if text]
    if not kept:
        return [], DOES_NOT_FIT
    digested, out, n = len(digests.intersection(kept)), len(answers) - len(kept), len(answers)
    note = [f"digest of {digested} of {n}"] * bool(digested) + [f"{out} of {n} left out"] * bool(out)
    return [texts[place] for place in kept], ", ".join(note)


def digest(domain: Domain, claims: Sequence[Claim]) -> str:
    """What a text asserts, denies and chooses, in the student's format; without hedges and omissions."""
    read = {name: said for name, said in told(claims, domain.findings).items() if said != "uncertain"}
    return domain.render(read) if read else ""
