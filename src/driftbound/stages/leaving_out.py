"""Leaving out: rows that teach a student to read teachers; all but one are shown, that one is the target."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from driftbound.progress import say
from driftbound.records import Case, Status, Trajectory
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths

if TYPE_CHECKING:
    from driftbound.learning.collator import Candidate, Example, MultiStreamCollator

FEWEST = 3
"""Usable answers that a case must have: the one held out, and two to be read."""


def leave_one_out_rows(
    context: Context,
    cases: Sequence[Case],
    answers: Mapping[tuple[str, str], Trajectory],
    collate: "MultiStreamCollator",
) -> tuple[list["Example"], int]:
    """One row for each drawn case, as an example in the order of ``cases``; and how many were too long.

    Of the cases with at least three usable answers a share of ``bootstrap.leave_one_out`` is drawn, of each
    the teacher that is held out, and the order of the others: by the seed and the case's id. No other case
    changes the latter two; which cases are drawn depends on how many there are. The question is that for a
    consensus of the others; only the held-out teacher's column is filled. What does not fit into
    ``max_length`` is left out and said: a question cannot be cut.
    """
    config, seed = context.recipe.bootstrap, context.recipe.seed
    usable = {
        case.case_id: found
        for case in cases
        if len(found := _usable(context, case, answers)) >= FEWEST and config.leave_one_out
    }
    by_lot = sorted(usable, key=lambda name: hashlib.sha256(f"{seed}:left out:{name}".encode()).digest())
    drawn = set(by_lot[: round(config.leave_one_out * len(by_lot))])
    made = [_row(context, case, usable[case.case_id]) for case in cases if case.case_id in drawn]
    kept = [example for example in made if _fits(collate, example)]
    if len(kept) < len(made):
        say(
            f"bootstrap: {len(made) - len(kept)} of {len(made)} leave-one-out rows exceed max_length "
            f"{config.max_length} and are left out"
        )
    return kept, len(made) - len(kept)


def candidate_of(answer: Trajectory | None) -> "Candidate | None":
    """What is learned of an answer: nothing where it is no opinion, no end where it was cut."""
    from driftbound.learning.collator import Candidate

    if answer is None or not answer.status.usable:
        return None
    return Candidate(text=answer.text, ended=answer.status is not Status.TRUNCATED)


def _usable(
    context: Context, case: Case, answers: Mapping[tuple[str, str], Trajectory]
) -> list[tuple[int, Trajectory]]:
    """Columns with an opinion on a case."""
    given = (
        (column, answers.get((case.case_id, t.name))) for column, t in enumerate(context.recipe.teachers)
    )
    return [(column, answer) for column, answer in given if answer is not None and answer.status.usable]


def _row(context: Context, case: Case, usable: Sequence[tuple[int, Trajectory]]) -> "Example":
    from driftbound.learning.collator import Example

    drawn = hashlib.sha256(f"{context.recipe.seed}:leave one out:{case.case_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(drawn[:8], "big"))
    held = int(rng.integers(len(usable)))
    others = [answer.text for place, (_, answer) in enumerate(usable) if place != held]
    shuffled = [others[place] for place in rng.permutation(len(others))]
    column, target = usable[held]
    columns = [None] * len(context.recipe.teachers)
    return Example(
        case_id=case.case_id,
        question=context.domain.merge_question(case, shuffled),
        images=image_paths(context, case),
        candidates=(*columns[:column], candidate_of(target), *columns[column + 1 :]),
    )


def _fits(collate: "MultiStreamCollator", example: "Example") -> bool:
    prompt = int(collate.encode_prompt(example)["input_ids"].shape[1])
    return prompt + max(collate.answer_tokens(example)) <= collate.max_length
