"""Rounds: synthesize and align take turns, and the last round that held is what the run goes on with."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from driftbound.config import Recipe
from driftbound.consensus.rounds import ACCEPTED, REFUSED, Look, Verdict, judge
from driftbound.errors import ConfigError, HarmError, StoreError
from driftbound.progress import say
from driftbound.publishing import leave
from driftbound.removing import drop, remove
from driftbound.stages import judging
from driftbound.stages.context import Context
from driftbound.statistics.intervals import plain
from driftbound.store.folder import ROUNDED, ROUNDS, VERBS, RunFolder
from driftbound.store.manifest import NAME, atomic_write_text
from driftbound.store.plan import FILE, Plan, check_same, made_of

SYNTHESIZE, ALIGN = ROUNDED


class Step(Protocol):
    """Skips, runs or resumes one stage."""

    def __call__(self, context: Context, verb: str, *, only: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Result:
    """What the rounds came to."""

    kept: int
    """The round whose student is the run's; 0: the bootstrapped one."""
    ran: int
    reason: str
    """Why no further round was made."""


def run(
    context: Context,
    step: Step,
    part: Callable[[Recipe, str], dict[str, Any]],
    *,
    start: str,
    only: str,
    force: bool,
) -> None:
    """Run or resume all rounds, then leave the result where a single round would.

    ``part`` gives what of the recipe a stage reads. ``start: align`` (and ``only: align`` with ``force``)
    keeps the texts of round 1 and redoes what follows from them; ``only: synthesize`` writes the texts of
    round 1 alone; ``only: align`` needs them and does all the rest. Raises what ``step`` raises, and
    ``StoreError`` for a folder of a run with a single round.
    """
    folder, config = context.folder, {"rounds": context.recipe.rounds}
    config |= part(context.recipe, SYNTHESIZE) | part(context.recipe, ALIGN)
    plans = {verb: Plan(verb, config, {}, context.recipe.seed) for verb in ROUNDED}
    if only not in ("", *ROUNDED):
        _need(folder, plans, only)
        return
    redo = start if start in ROUNDED else only if force else ""
    doomed = VERBS[VERBS.index(redo) :] if start and redo else (redo,)
    for verb in ROUNDED:
        made = made_of(folder.stage(verb))
        if made is not None and verb not in doomed:
            refuse_other_kind(folder.stage(verb), made.plan, plans[verb])
    if redo == SYNTHESIZE:
        remove(folder, doomed)
    first = replace(context, folder=RunFolder(folder.root, 1))
    with _forgetting(folder):
        _begin(folder, plans[SYNTHESIZE])
        step(first, SYNTHESIZE, only=only)
        if only == SYNTHESIZE:
            return
        if redo == ALIGN:
            _keep_first_texts(folder, plans[SYNTHESIZE])
            remove(folder, doomed)
        _begin(folder, plans[ALIGN])
        result = _take_turns(context, step)
    say(f"rounds: the student of round {result.kept} is kept ({result.reason})")
    for verb in ROUNDED:
        leave(context, plans[verb], kept=result.kept, ran=result.ran, reason=result.reason)


def _take_turns(context: Context, step: Step) -> Result:
    """Synthesize and align in turn, until a round brings no more or all are made; writes ``rounds.json``.

    A round after the first that cannot be made, as nothing was left to train on or the training did harm,
    is refused, and the one before is kept.
    """
    wanted, cases = context.recipe.rounds, judging.held_out(context)
    looks: list[Look] = []
    verdicts: list[Verdict] = []
    kept, reason, ran = wanted, "no rule: fewer than two held-out patients to judge by", 0
    failed: list[dict[str, Any]] = []
    for number in range(1, wanted + 1):
        turn = replace(context, folder=RunFolder(context.folder.root, number))
        try:
            if number > 1:
                step(turn, SYNTHESIZE, only="")
            step(turn, ALIGN, only="")
        except HarmError as error:
            if number == 1:
                raise
            failed = [{"round": number, "verdict": REFUSED, "kept": False, "reason": str(error)}]
            kept, reason = number - 1, f"round {number}: {REFUSED} ({error})"
            say(reason)
            break
        ran = number
        if not cases:
            continue
        if number == 1:
            looks.append(judging.look(context, cases, 0))
        looks.append(judging.look(context, cases, number))
        verdicts.append(_verdict(context, looks, [case.cluster for case in cases]))
        say(f"round {number}: {verdicts[-1].word} ({verdicts[-1].reason})")
        kept = number if verdicts[-1].kept else number - 1
        reason = f"round {number}: {verdicts[-1].word}"
        if verdicts[-1].word != ACCEPTED:
            break
    table = _table(looks, verdicts) if cases else [{"round": number} for number in range(ran + 1)]
    whole = {"cases": len(cases), "kept": kept, "reason": reason, "rounds": [*table, *failed]}
    text = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n"
    atomic_write_text(context.folder.stage(ALIGN) / ROUNDS, text)
    return Result(kept=kept, ran=ran, reason=reason)


def _verdict(context: Context, looks: Sequence[Look], clusters: Sequence[str]) -> Verdict:
    """On the latest round; the first one from a bare base has no student before it to fall back on."""
    if len(looks) == 2 and context.recipe.align.start == "base":
        return Verdict(word=ACCEPTED, kept=True, reason="the first round from the base is not judged")
    return judge(looks[-2], looks[-1], looks[0], clusters, context.recipe.align.watch)


def _table(looks: Sequence[Look], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """A row per round; 0 is the bootstrapped student."""
    rows: list[dict[str, Any]] = []
    for number, seen in enumerate(looks):
        quality = {name: plain(value) for name, value in asdict(seen.quality).items()}
        rows.append({"round": number, "support": plain(seen.mean), **quality})
        if number:
            verdict = verdicts[number - 1]
            rows[-1] |= {"verdict": verdict.word, "kept": verdict.kept, "reason": verdict.reason}
            rows[-1] |= {"gain": plain(verdict.gain), "standard_error": plain(verdict.standard_error)}
    return rows


def _need(folder: RunFolder, plans: dict[str, Plan], only: str) -> None:
    """Raise ``StoreError`` unless all rounds of this recipe have finished."""
    for verb, plan in plans.items():
        made = made_of(folder.stage(verb))
        if made is None or not made.finished:
            raise StoreError(
                f"{folder.stage(verb)}: {only} needs {verb}, which has not finished. "
                f"Run `driftbound {verb}` first, or `driftbound run` without --only."
            )
        refuse_other_kind(folder.stage(verb), made.plan, plan)
        check_same(folder.stage(verb), replace(made.plan, inputs={}), plan, redo=f"--from {verb} or --force")


def refuse_other_kind(stage: Path, there: Plan, here: Plan) -> None:
    """Raise ``StoreError`` where a run of several rounds would go on as one of a single round, or such a one
    as one of several: their folders lie differently."""
    if ("rounds" in there.config) != ("rounds" in here.config):
        one, other = (plan.config.get("rounds", 1) for plan in (there, here))
        raise StoreError(
            f"{stage}: this run directory was made by another recipe (rounds: {one} there, {other} here). "
            f"Choose another --name, or redo with --from {SYNTHESIZE} or --force."
        )


def _begin(folder: RunFolder, plan: Plan) -> None:
    """The plan of all rounds: what lies beside their folders while they are at work."""
    made = made_of(folder.stage(plan.stage))
    if made is None or not made.finished:
        plan.write(folder.stage(plan.stage), seconds=0.0)


@contextmanager
def _forgetting(folder: RunFolder) -> Iterator[None]:
    """Where a recipe was refused before anything was done, the corrected one is no other one."""
    try:
        yield
    except ConfigError:
        for verb in ROUNDED:
            stage = folder.stage(verb)
            if not any(path.is_file() and path != stage / FILE for path in stage.rglob("*")):
                drop(stage)
        raise


def _keep_first_texts(folder: RunFolder, plan: Plan) -> None:
    """Of what synthesize left only round 1, as if no student had been aligned yet."""
    stage = folder.stage(SYNTHESIZE)
    plan.write(stage, seconds=0.0)
    (stage / NAME).unlink(missing_ok=True)
    for path in stage.iterdir():
        if path.name not in (FILE, "round-1"):
            drop(path)
