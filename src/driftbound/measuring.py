"""Measuring: the measure of a file of answers, by itself, without a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftbound.config import DomainConfig
from driftbound.domain_config import ClaimsConfig
from driftbound.domains.generic.domain import generic_domain
from driftbound.domains.registry import load_domain
from driftbound.endpoints.gate import AuditLog, Gate
from driftbound.errors import ConfigError, MeasureError
from driftbound.measure.panel import Settings
from driftbound.measure.reading import Read, read_all
from driftbound.progress import bar, say
from driftbound.protocols import Domain
from driftbound.records import Case, Status, Trajectory
from driftbound.stages.instrument import Corpus, measure
from driftbound.stages.measure import FITTED_ON
from driftbound.stages.reader import CACHE, read_with
from driftbound.store.disk import disk_errors
from driftbound.store.manifest import NAME, Manifest, sha256_file
from driftbound.store.stream_file import StreamFile, read_stream_file
from driftbound.store.tables import claims_written
from driftbound.strict_yaml import load_table, refuse_unknown
from driftbound.teacher_config import ReaderConfig

GENERIC = "generic"


def measure_file(
    file: Path,
    out: Path,
    *,
    domain: str = GENERIC,
    claims: str = "auto",
    columns: Mapping[str, str] | None = None,
    gold: Path | None = None,
    reader: Path | None = None,
    seed: int = 0,
) -> None:
    """Measure the answers of a file, and write what the measure stage writes into ``out``.

    ``domain`` is a field that reads texts; of the generic one ``claims`` is a kind of text, or a YAML file
    with the table that a recipe has under ``domain.claims``; ``reader`` is a YAML file with the table that a
    recipe has under ``measure.reader``, a model that reads the texts instead. Where the file tells of
    splits, everything is estimated on the training split; else on all cases. A manifest beside the
    results says what they are of, and carries on what the one beside the file says of its sensitivity.

    Raises ``ConfigError`` for an unknown field or kind, ``StoreError`` for a file that cannot be read,
    ``MeasureError`` where there is nothing to measure or the gold does not fit.
    """
    if gold is not None and not gold.is_file():
        raise MeasureError(f"{gold}: no such file of gold claims. Name a CSV, or leave out --gold.")
    given = read_stream_file(file, columns)
    texts = [each.text for each in given.trajectories if each.status.usable]
    field = _field(domain, claims, texts, read=reader is not None)
    answers = _judged(given, field)
    if reader is not None:
        out.mkdir(parents=True, exist_ok=True)
        field = _read_with(field, reader, claims, texts, given.sensitivity, out)
    cases = _cases(given)
    fitted = [case.split == FITTED_ON for case in cases]
    split_up = bool(given.splits) and any(fitted)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / NAME).unlink(missing_ok=True)  # cut short from here on, what lies there is of no one file
        read = Read()
        with (
            bar("measure: reading claims", len(answers)) as advance,
            claims_written(out / "claims.parquet") as write,
        ):
            for rows in read_all(field.claims, cases, answers, spans=given.step_spans, into=read):
                write(rows)
                advance()
        corpus = Corpus(
            cases=cases,
            fitted=fitted if split_up else [True] * len(cases),
            teachers=list(dict.fromkeys(each.teacher for each in given.trajectories)),
            read=read,
            findings=field.findings,
            sided=field.sided,
            fitted_on=(FITTED_ON,) if split_up else (),
            gold=gold,
            timed=_timed(given),
            ordered=False,
            notes=_notes(given, split_up),
        )
        facts = measure(corpus, Settings(seed=seed), out)
        _manifest(file, gold, domain, claims, seed, given, facts).write(out)


def _field(domain: str, claims: str, texts: Sequence[str], *, read: bool) -> Domain:
    if domain != GENERIC:
        if claims != "auto":
            raise ConfigError(f"--claims belongs to the field {GENERIC}; {domain} reads its texts by itself.")
        return load_domain(DomainConfig(name=domain), 0)
    if read and claims == "auto":  # a model reads: the form of the texts does not matter
        return generic_domain(ClaimsConfig(kind="json"), ())
    return generic_domain(_claims_config(claims), texts)


def _read_with(
    field: Domain, reader: Path, claims: str, texts: Sequence[str], sensitivity: str, out: Path
) -> Domain:
    """The field, its texts read by the model of a YAML file; what may not leave does not."""
    where = f"--reader {reader}"
    table = load_table(reader, "table of a reader")
    refuse_unknown(ReaderConfig, table, where, "")
    try:
        config = ReaderConfig.model_validate(table)
    except ValidationError as error:
        said = error.errors()[0]
        raise ConfigError(f"{where}: {'.'.join(map(str, said['loc']))}: {said['msg']}. Correct it.") from None
    declared = _claims_config(claims).findings if claims != "auto" else {}
    return read_with(
        field,
        config,
        dict.fromkeys(texts),
        gate=Gate(log=AuditLog(out / "audit.jsonl")),
        cache=out / CACHE,
        sensitivity=sensitivity,
        findings=declared or dict.fromkeys(field.findings, ()),
    )


def _claims_config(claims: str) -> ClaimsConfig:
    table: dict[str, Any] = {"kind": claims}
    where = f"--claims {claims}"
    if claims.endswith((".yaml", ".yml")):
        table = load_table(Path(claims), "table of claims")
        refuse_unknown(ClaimsConfig, table, where, "")
    try:
        return ClaimsConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {said}. Give a kind, or a YAML file (docs/measure.md).") from None


def _judged(given: StreamFile, field: Domain) -> list[Trajectory]:
    """The answers; where the file does not say itself who declined, the field reads it from the text."""
    if given.judged:
        return given.trajectories
    return [
        replace(each, status=Status.REFUSED) if each.status.usable and field.is_refusal(each.text) else each
        for each in given.trajectories
    ]


def _cases(given: StreamFile) -> list[Case]:
    """The cases that are answered, in the order of the file; without clusters each is one of its own."""
    ids = dict.fromkeys(each.case_id for each in given.trajectories)
    return [
        Case(
            case_id=case_id,
            cluster=given.clusters.get(case_id, case_id),
            split=given.splits.get(case_id, FITTED_ON),
            prompt="",
            images=(),
        )
        for case_id in ids
    ]


def _timed(given: StreamFile) -> bool:
    """Whether the times put the answers in an order: all ISO 8601, with one time zone or all without."""
    try:
        read = [datetime.fromisoformat(each.created_at) for each in given.trajectories if each.created_at]
    except ValueError:
        return False
    return bool(read) and len({each.tzinfo for each in read}) == 1


def _notes(given: StreamFile, split_up: bool) -> list[str]:
    notes = []
    if not given.clusters:
        notes.append("The file names no cluster: every case counts as a patient of its own.")
    if given.splits and not split_up:
        notes.append(f"No case of the file is of split {FITTED_ON}: all cases were taken.")
    if any(each.created_at for each in given.trajectories) and not _timed(given):
        notes.append(
            "Times that are no ISO 8601 of one time zone were left out: the order of the file counts."
        )
    if given.duplicates:
        notes.append("Rows that only repeat another one were left out; the terminal said how many.")
        say(f"measure: {given.duplicates} rows that repeat another one left out")
    return notes


def _manifest(
    file: Path,
    gold: Path | None,
    domain: str,
    claims: str,
    seed: int,
    given: StreamFile,
    facts: Mapping[str, Any],
) -> Manifest:
    inputs = {"streams": sha256_file(file)} | ({"gold": sha256_file(gold)} if gold else {})
    return Manifest.of(
        "measure",
        config={"domain": domain, "claims": claims},
        inputs=inputs,
        seed=seed,
        facts=facts,
        sensitivity=given.sensitivity,
    )
