"""The tables of docs/phantom.md, from the code and measured anew: `python examples/phantom_tables.py`."""

import sys
from collections.abc import Sequence

from driftbound.config import DomainConfig
from driftbound.domains.phantom.claims import claims, is_refusal
from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, HEALTHY, PREVALENCE, SIDED, SIGNS
from driftbound.domains.phantom.planted import CHANGED, PLANTED
from driftbound.domains.phantom.population import Phantom, population
from driftbound.domains.phantom.reliability import TEACHERS, pair, target, unreached
from driftbound.domains.phantom.teachers import answer
from driftbound.progress import bar

CASES, SEED = 4000, 5


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def findings_table() -> str:
    """Each finding: share of the images, whether it has a side, its signs."""
    rows = []
    for finding in FINDINGS:
        name = f"**{finding}**" if finding in HEADLINE else finding
        share = PREVALENCE.get(finding, HEALTHY)
        signs = ", ".join(SIGNS.get(finding, ("none",)))
        rows.append([name, f"{share:.2f}", "yes" if finding in SIDED else "no", signs])
    return table(["finding", "share", "side", "signs"], rows)


def cases() -> list[Phantom]:
    """The population on which the delivered accuracies are measured."""
    return population(DomainConfig(train=CASES - 1, validation=0, test=1, test_scanner=0), SEED)


def delivered(teacher: str, phantoms: Sequence[Phantom]) -> list[float]:
    """Accuracy per headline finding, read back from the teacher's texts.

    Omitted and uncertain count as absent, a refusal as wrong.
    """
    right = dict.fromkeys(HEADLINE, 0)
    for position, phantom in enumerate(phantoms):
        text = answer(teacher, phantom, position, len(phantoms), SEED).text
        if is_refusal(text):
            continue
        said = {c.finding for c in claims(text) if c.attribute == "presence" and c.value == "present"}
        for finding in HEADLINE:
            right[finding] += (finding in said) == (phantom.findings[finding] != "absent")
    return [right[finding] / len(phantoms) for finding in HEADLINE]


def accuracy_row(teacher: str, phantoms: Sequence[Phantom]) -> list[str]:
    """The paper's accuracy and, behind the stroke, the delivered one; ``*`` marks what no pair gives."""
    missed = unreached()
    cells = []
    for finding, found in zip(HEADLINE, delivered(teacher, phantoms), strict=True):
        star = "*" if (teacher, finding) in missed else ""
        cells.append(f"{target(teacher, finding):.2f}{star} / {found:.3f}")
    return [teacher, *cells]


def pairs_table() -> str:
    """Sensitivity and specificity per teacher and headline finding."""
    rows = []
    for teacher in TEACHERS:
        pairs = [pair(teacher, finding) for finding in HEADLINE]
        rows.append(
            [teacher, *(f"{sensitivity:.2f}, {specificity:.2f}" for sensitivity, specificity in pairs)]
        )
    return table(["teacher", *HEADLINE], rows)


def planted_table() -> str:
    """What is planted in each teacher; the second version of a teacher has a row of its own."""
    rows = []
    for plan in (*PLANTED.values(), *CHANGED.values()):
        drift = "none" if plan.change == 1 else f"from {plan.change:.1f}, odds x {plan.late_odds:g}"
        shares = (plan.contagion, plan.wrong_side, plan.follow_side, plan.omission, plan.uncertainty)
        rows.append(
            [
                plan.version.replace("-phantom-", " v"),
                drift,
                *(f"{each:.2f}" for each in (*shares, plan.refusal)),
                f"{plan.lean:+.2f}",
                f"{plan.words[0]} to {plan.words[1]}",
            ]
        )
    head = "teacher,drift,contagion,wrong side,follows it,omits,hedges,refuses,lean,words"
    return table(head.split(","), rows)


def main() -> None:
    """Print all tables."""
    phantoms = cases()
    rows = []
    with bar("asking the teachers", len(TEACHERS)) as advance:
        for teacher in TEACHERS:
            rows.append(accuracy_row(teacher, phantoms))
            advance()
    accuracy = table(["teacher", *HEADLINE], rows)
    parts = (findings_table(), accuracy, pairs_table(), planted_table())
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
