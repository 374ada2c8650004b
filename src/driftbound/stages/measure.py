"""Stage 2, measure: reads every answer's claims, and says where the teachers agree, conflict and drift.

Works from the streams alone; no truth is read. Claims and slots are told for all splits, every
estimator is fitted on the training split only.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from driftbound.errors import ConfigError
from driftbound.measure.panel import Settings
from driftbound.measure.reading import Read, read_all
from driftbound.phantom_base import resolve_base
from driftbound.progress import bar
from driftbound.protocols import Domain, Scorer
from driftbound.records import Case
from driftbound.stages.context import Context
from driftbound.stages.gather import image_paths, sensitivity_of
from driftbound.stages.instrument import Corpus, measure
from driftbound.stages.reader import CACHE, read_with
from driftbound.stages.roster import gate_of
from driftbound.store.manifest import sha256_file, sha256_tree
from driftbound.store.streams import Streams
from driftbound.store.tables import claims_written, read_cases

FITTED_ON = "train"
"""The only split that anything is estimated on."""


TOKEN_CASES = 200
"""Cases whose stored log-probabilities are read, where no other number is asked for."""


def _load(model: str, threads: int) -> Scorer:
    """A teacher's model, in process."""
    from driftbound.learning.policy import LocalPolicy

    return LocalPolicy.load(model, threads=threads)


def inputs(context: Context) -> dict[str, str]:
    """Content of the cases and of the streams with all their waves; of the gold and of live teachers' models,
    where there are some."""
    with Streams.open_readonly(context.folder.streams) as streams:
        found = {"cases": sha256_file(context.folder.cases), "streams": streams.digest()}
        found |= {f"wave {wave}": streams.digest(wave) for wave in streams.waves() if wave}
    config = context.recipe.measure
    if config.gold:
        found["gold"] = sha256_file(Path(config.gold))
    if config.live_cases:
        models = {name: resolve_base(model) for name, model in _local_teachers(context).items()}
        found |= {
            f"teacher {name}": sha256_tree(Path(at)) for name, at in models.items() if Path(at).is_dir()
        }
    return found


def run(context: Context, load: Callable[[str, int], Scorer] = _load) -> dict[str, Any]:
    """Write ``claims.parquet``, ``slots.parquet``, ``cases.parquet``, ``reliability.parquet``,
    ``drift.parquet`` and ``summary.json``; returns counts.

    Raises ``CaseError`` or ``StoreError`` where cases or streams cannot be read, ``MeasureError`` where
    there is nothing to measure or the gold does not fit.
    """
    folder = context.folder.stage("measure")
    folder.mkdir(parents=True, exist_ok=True)
    cases = read_cases(context.folder.cases)
    config = context.recipe.measure
    looked_at = _looked_at(context, cases)
    domain = _domain(context, cases)
    read = Read()
    with Streams.open_readonly(context.folder.streams) as streams:
        waves = streams.waves()
        total = sum(sum(sum(each.values()) for each in streams.counts(wave).values()) for wave in waves)
        answers = (answer for wave in waves for answer in streams.current(wave))
        with (
            bar("measure: reading claims", total) as advance,
            claims_written(folder / "claims.parquet") as write,
        ):
            for rows in read_all(domain.claims, cases, answers, spans={}, into=read, keep=looked_at):
                write(rows)
                advance()
    scorers = _scorers(context, load) if config.live_cases else {}
    corpus = Corpus(
        cases=cases,
        fitted=[case.split == FITTED_ON for case in cases],
        teachers=[teacher.name for teacher in context.recipe.teachers],
        read=read,
        findings=context.domain.findings,
        sided=context.domain.sided,
        fitted_on=(FITTED_ON,),
        asked=_asked(context, looked_at) if scorers else {},
        scorers=scorers,
        gold=Path(config.gold) if config.gold else None,
        notes=_told(read),
    )
    settings = Settings(
        steps=config.steps,
        decisive=config.decisive,
        alpha=config.alpha,
        draws=config.draws,
        margin=config.margin,
        fdr=config.fdr,
        adwin=config.adwin,
        seed=context.recipe.seed,
    )
    return measure(corpus, settings, folder)


def _told(read: Read) -> list[str]:
    """Whose answers have no stand on the findings that their prompts gave away."""
    counts = Counter(key[1] for key, each in read.readings.items() if each.told)
    named = ", ".join(f"{n} answers of {teacher}" for teacher, n in sorted(counts.items()))
    return [f"No vote on what a prompt gave away: {named}."] if counts else []


def _domain(context: Context, cases: Sequence[Case]) -> Domain:
    """The field; where the recipe names a model that reads, with its claims."""
    config = context.recipe.measure.reader
    if config is None:
        return context.domain
    known = {case.case_id for case in cases}
    with Streams.open_readonly(context.folder.streams) as streams:
        texts = list(
            dict.fromkeys(
                answer.text
                for wave in streams.waves()
                for answer in streams.current(wave)
                if answer.status.usable and answer.case_id in known
            )
        )
    return read_with(
        context.domain,
        config,
        texts,
        gate=gate_of(context),
        cache=context.folder.root / CACHE,
        sensitivity=sensitivity_of(context, "measure"),
    )


def _looked_at(context: Context, cases: Sequence[Case]) -> dict[str, Case]:
    """Training cases that are looked at token by token, drawn by the seed, in the cases' order."""
    fitted = [case for case in cases if case.split == FITTED_ON]
    wanted = context.recipe.measure.live_cases or TOKEN_CASES
    rng = np.random.default_rng([context.recipe.seed, 3])
    chosen = set(rng.permutation(len(fitted))[:wanted].tolist())
    return {case.case_id: case for c, case in enumerate(fitted) if c in chosen}


def _asked(context: Context, cases: Mapping[str, Case]) -> dict[str, tuple[str, Sequence[Path]]]:
    """Question and images of each case, as the teachers got them."""
    return {
        case_id: (context.domain.question(case), image_paths(context, case))
        for case_id, case in cases.items()
    }


def _local_teachers(context: Context) -> dict[str, str]:
    """Teachers whose models are at hand, asked as everybody: name -> checkpoint. Who was told something had
    another question, so that the others' answers are none to it."""
    chosen = [each for each in context.recipe.teachers if each.kind == "local" and each.prompt == "usual"]
    return {each.name: each.model for each in chosen}


def _scorers(context: Context, load: Callable[[str, int], Scorer]) -> dict[str, Scorer]:
    models = _local_teachers(context)
    if len(models) < 2:
        raise ConfigError(
            f"measure.live_cases: {len(models)} teachers are of kind local, two are the least that can score "
            "each other. Name more of them, or set live_cases: 0."
        )
    return {name: load(resolve_base(model), context.recipe.threads) for name, model in models.items()}
