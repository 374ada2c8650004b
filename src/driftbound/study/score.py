"""Score: sets what was said of the held-out cases beside the truth, claim by claim.

With ``stages/evaluate.py`` the only place that opens the truth: after all training of an arm is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from driftbound.errors import CaseError
from driftbound.evaluation.answers import Answer, Text
from driftbound.evaluation.classification import make_key, more_frequent
from driftbound.records import UNKNOWN, Case, Status
from driftbound.stages.answering import answer_of
from driftbound.stages.context import Context
from driftbound.stages.gather import training_trajectories
from driftbound.stances import stances
from driftbound.store.tables import read_cases, read_groups, read_truth
from driftbound.study.results import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The cases of one split, and what is true of them."""

    name: str
    cases: tuple[Case, ...]
    known: tuple[Mapping[str, str], ...]

    def present(self, findings: Sequence[str]) -> list[list[bool]]:
        """Whether each finding is there, (n, F)."""
        return [[values[name] not in ("absent", UNKNOWN) for name in findings] for values in self.known]


def held_out(context: Context, splits: Sequence[str]) -> list[HeldOut]:
    """The splits with their truth, in the order of the cases. Raises ``CaseError`` where one is empty."""
    truth = read_truth(context.folder.truth)
    cases = read_cases(context.folder.cases)
    found = []
    for name in splits:
        own = tuple(case for case in cases if case.split == name)
        if not own:
            raise CaseError(f"{context.folder.cases}: no case in {name}. Let the study's base make some.")
        found.append(HeldOut(name=name, cases=own, known=tuple(truth[case.case_id] for case in own)))
    return found


def rows_of(context: Context, split: HeldOut, answers: Sequence[Answer], name: str = "") -> list[Row]:
    """One row per case and finding of a split (under another ``name``), but for what a prompt discloses
    and what nobody knows."""
    domain = context.domain
    rows: list[Row] = []
    for case, known, answer in zip(split.cases, split.known, answers, strict=True):
        usable = answer.status.usable
        said = stances(domain.claims(answer.text) if usable else [], domain.findings)
        rows += [
            {
                "case_id": case.case_id,
                "cluster": case.cluster,
                "split": name or split.name,
                "finding": finding,
                "truth": known[finding],
                "said": said[finding] if usable else "refused",
            }
            for finding in domain.findings
            if finding not in case.prompt_discloses and known[finding] != UNKNOWN
        ]
    return rows


def teachers_answers(context: Context, split: HeldOut) -> dict[str, list[Answer]]:
    """What every teacher of the recipe said; one that is missing failed."""
    stored = training_trajectories(context)
    found: dict[str, list[Answer]] = {}
    for teacher in context.recipe.teachers:
        own = [(case, stored.get((case.case_id, teacher.name))) for case in split.cases]
        found[teacher.name] = [
            Answer(case_id=case.case_id, text="", status=Status.FAILED)
            if given is None
            else Answer(case_id=case.case_id, text=given.text, status=given.status)
            for case, given in own
        ]
    return found


def consensus_answers(context: Context, split: HeldOut) -> list[Answer]:
    """What the synthesizer said, with all teachers before it; empty where it was rejected."""
    made = {group.case_id: group.consensus for group in read_groups(context.folder.groups)}
    texts = [Text(made.get(case.case_id, ""), False) for case in split.cases]
    return [answer_of(context, case, text) for case, text in zip(split.cases, texts, strict=True)]


def prior_answers(context: Context, split: HeldOut) -> list[Answer]:
    """The answer that is more frequent on these very cases, whatever the image."""
    domain = context.domain
    disclosed = [case.prompt_discloses for case in split.cases]
    key = make_key(list(split.known), domain.findings, domain.sided, disclosed)
    text = Text(domain.render(more_frequent(key)), False)
    return [answer_of(context, case, text) for case in split.cases]
