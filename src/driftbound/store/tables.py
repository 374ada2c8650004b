"""Tables: Parquet files with fixed schemas between the stages, written whole or not at all."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from driftbound.errors import CaseError, DriftboundError, StoreError
from driftbound.records import SPLITS, Case, Claim, Group, Negative, Polarity, Status
from driftbound.store.manifest import one_line, replacing

SENSITIVITIES = ("public", "credentialed")

_ROWS = 256
"""So many are read at a time where not all are held."""
_PART = 100_000
"""So many rows are written at a time where they come one by one."""
_STRINGS = pa.list_(pa.string())
CASES = pa.schema(
    [
        ("case_id", pa.string()),
        ("cluster", pa.string()),
        ("split", pa.string()),
        ("prompt", pa.string()),
        ("images", _STRINGS),
        ("sensitivity", pa.string()),
        ("prompt_discloses", _STRINGS),
        ("context", pa.list_(pa.struct([("finding", pa.string()), ("value", pa.string())]))),
    ]
)
_FURTHER = b"driftbound.splits"
"""Metadata of a table of cases: its held-out splits besides ``records.SPLITS``, as JSON."""
TRUTH = pa.schema([("case_id", pa.string()), ("finding", pa.string()), ("value", pa.string())])
CLAIMS = pa.schema(
    [
        ("case_id", pa.string()),
        ("teacher", pa.string()),
        ("sample", pa.int64()),
        ("wave", pa.int64()),
        ("n_steps", pa.int64()),
        ("finding", pa.string()),
        ("attribute", pa.string()),
        ("value", pa.string()),
        ("polarity", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("step", pa.int64()),
        ("echo", pa.bool_()),
    ]
)
_SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("weight", pa.float64())])
_NEGATIVE = pa.struct(
    [
        ("teacher", pa.string()),
        ("text", pa.string()),
        ("status", pa.string()),
        ("valid", pa.bool_()),
        ("weight", pa.float64()),
        ("spans", pa.list_(_SPAN)),
        ("end_weight", pa.float64()),
    ]
)
GROUPS = pa.schema(
    [
        ("case_id", pa.string()),
        ("split", pa.string()),
        ("consensus", pa.string()),
        ("negatives", pa.list_(_NEGATIVE)),
        ("spans", pa.list_(_SPAN)),
        ("support", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """A claim and whose it is."""

    case_id: str
    teacher: str
    sample: int
    wave: int
    n_steps: int
    """Number of steps of the text that the claim stands in."""
    claim: Claim


def write_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, *, together: int | None = None
) -> None:
    """Write rows under a schema, so many ``together`` in a row group; a file system that refuses raises
    ``StoreError``."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with replacing(path) as partial:
        pq.write_table(table, partial, row_group_size=together)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a table. Raises ``StoreError`` when it is missing or unreadable."""
    rows: list[dict[str, Any]] = _read(path, None, StoreError, "Run the stage that writes it.").to_pylist()
    return rows


def write_cases(path: Path, cases: Sequence[Case], *, further: Sequence[str] = ()) -> None:
    """Write cases in the given order, which is the order of asking.

    ``further`` are held-out splits besides ``records.SPLITS``; the file names them, so that a misspelt
    split is still told.
    """
    schema = CASES.with_metadata({_FURTHER: json.dumps(list(further))}) if further else CASES
    rows = [asdict(case) for case in cases]
    for row in rows:
        row["context"] = [{"finding": name, "value": value} for name, value in row["context"].items()]
    write_rows(path, rows, schema)


def read_cases(path: Path) -> list[Case]:
    """Cases in the order of asking.

    Raises ``CaseError`` when the file is missing, unreadable or empty, when an id is empty or
    there twice, or when a split or sensitivity is none that driftbound or the file knows.
    """
    cure = "Let the domain write it again: delete the file and run again."
    table = _read(path, None, CaseError, cure)
    if "context" not in table.column_names:  # cases of before there was any
        table = table.append_column("context", pa.array([[]] * len(table), CASES.field("context").type))
    rows = _checked(path, table, CASES, CaseError, cure).to_pylist()
    if not rows:
        raise CaseError(f"{path}: no case in it. {cure}")
    splits = (*SPLITS, *json.loads((pq.read_schema(path).metadata or {}).get(_FURTHER, "[]")))
    seen: set[str] = set()
    cases = []
    for row in rows:
        row |= {name: tuple(row[name]) for name in ("images", "prompt_discloses")}
        case = Case(**row | {"context": {told["finding"]: told["value"] for told in row["context"]}})
        if not case.case_id or case.case_id in seen:
            raise CaseError(
                f"{path}: case id {case.case_id!r} is empty or there twice. Give each case its own."
            )
        if case.split not in splits:
            raise CaseError(
                f"{path}: {case.case_id}: split {case.split!r} is none of {', '.join(splits)}. Correct it."
            )
        if case.sensitivity not in SENSITIVITIES:
            raise CaseError(
                f"{path}: {case.case_id}: sensitivity {case.sensitivity!r} is "
                "neither public nor credentialed. Correct it."
            )
        seen.add(case.case_id)
        cases.append(case)
    return cases


def write_truth(path: Path, truth: Mapping[str, Mapping[str, str]]) -> None:
    """Write ground truth: case -> finding -> value."""
    rows = [
        {"case_id": case_id, "finding": finding, "value": value}
        for case_id, values in truth.items()
        for finding, value in values.items()
    ]
    write_rows(path, rows, TRUTH)


def read_truth(path: Path) -> dict[str, dict[str, str]]:
    """Ground truth: case -> finding -> value. Raises ``CaseError``."""
    cure = "Put the truth file back beside the run folder; only evaluate needs it."
    truth: dict[str, dict[str, str]] = {}
    for row in _read(path, TRUTH, CaseError, cure).to_pylist():
        truth.setdefault(row["case_id"], {})[row["finding"]] = row["value"]
    if not truth:
        raise CaseError(f"{path}: no truth in it. {cure}")
    return truth


@contextmanager
def claims_written(path: Path) -> Iterator[Callable[[Sequence[ClaimRow]], None]]:
    """A file of claims that takes them in parts: nobody has to hold all of a large corpus at once."""
    own = tuple(each.name for each in fields(Claim))  # asdict copies deeply
    whose = tuple(each.name for each in fields(ClaimRow) if each.name != "claim")
    waiting: list[ClaimRow] = []

    def table() -> pa.Table:
        columns = {name: [getattr(row, name) for row in waiting] for name in whose}
        columns |= {name: [getattr(row.claim, name) for row in waiting] for name in own}
        return pa.table(columns, schema=CLAIMS)

    with replacing(path) as partial, pq.ParquetWriter(partial, CLAIMS) as writer:

        def write(rows: Sequence[ClaimRow]) -> None:
            waiting.extend(rows)
            if len(waiting) >= _PART:
                writer.write_table(table())
                waiting.clear()

        yield write
        writer.write_table(table())


def write_claims(path: Path, rows: Sequence[ClaimRow]) -> None:
    """Write claims in the given order."""
    with claims_written(path) as write:
        write(rows)


def read_claims(path: Path) -> list[ClaimRow]:
    """Claims in the order they were written. Raises ``StoreError``."""
    own = tuple(each.name for each in fields(Claim))
    rows = _read(path, CLAIMS, StoreError, "Run 'driftbound measure' with this recipe first.").to_pylist()
    return [
        ClaimRow(
            case_id=row["case_id"],
            teacher=row["teacher"],
            sample=row["sample"],
            wave=row["wave"],
            n_steps=row["n_steps"],
            claim=Claim(**{name: row[name] for name in own} | {"polarity": Polarity(row["polarity"])}),
        )
        for row in rows
    ]


def write_groups(path: Path, groups: Sequence[Group]) -> None:
    """Write groups in the given order; spans are ``start``, ``end`` (code points) and ``weight``."""
    names = ("start", "end", "weight")
    rows = []
    for group in groups:
        row = asdict(group)
        for weighed in (row, *row["negatives"]):
            weighed["spans"] = [dict(zip(names, span, strict=True)) for span in weighed["spans"]]
        rows.append(row)
    write_rows(path, rows, GROUPS, together=_ROWS)


def read_groups(path: Path) -> list[Group]:
    """Groups in the order they were written. Raises ``StoreError``."""
    return list(each_group(path))


def each_group(path: Path) -> Iterator[Group]:
    """As ``read_groups``, one by one in little memory."""
    cure = "Run 'driftbound synthesize' with this recipe first."
    for table in _parts(path, GROUPS, StoreError, cure):
        for row in table.to_pylist():
            yield Group(
                **row | {"negatives": tuple(map(_negative, row["negatives"])), "spans": _spans(row["spans"])}
            )


def _negative(row: dict[str, Any]) -> Negative:
    return Negative(**row | {"status": Status(row["status"]), "spans": _spans(row["spans"])})


def _spans(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int, float], ...]:
    return tuple((span["start"], span["end"], span["weight"]) for span in rows)


def _read(path: Path, schema: pa.Schema | None, kind: type[DriftboundError], cure: str) -> pa.Table:
    """A table, its columns checked against ``schema``; raises ``kind``."""
    with _opened(path, kind, cure) as file:
        table = file.read()
        return table if schema is None else _checked(path, table, schema, kind, cure)


def _parts(path: Path, schema: pa.Schema, kind: type[DriftboundError], cure: str) -> Iterator[pa.Table]:
    """As ``_read``, some rows at a time."""
    with _opened(path, kind, cure) as file:
        _checked(path, file.schema_arrow.empty_table(), schema, kind, cure)  # also where there is no row
        for batch in file.iter_batches(batch_size=_ROWS):
            yield _checked(path, pa.Table.from_batches([batch]), schema, kind, cure)


@contextmanager
def _opened(path: Path, kind: type[DriftboundError], cure: str) -> Iterator[pq.ParquetFile]:
    """One file, not a data set: a path with "key=value" in it must not add columns."""
    if not path.is_file():
        raise kind(f"{path}: no such file. {cure}")
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise kind(f"{path}: not a readable Parquet file ({one_line(error)}). {cure}") from error


def _checked(
    path: Path, table: pa.Table, schema: pa.Schema, kind: type[DriftboundError], cure: str
) -> pa.Table:
    """The table with the columns of ``schema`` and no empty cell."""
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise kind(f"{path}: column {missing[0]!r} is missing. {cure}")
    table = table.select(schema.names).cast(schema)
    for name in schema.names:
        if table.column(name).null_count:
            raise kind(f"{path}: column {name!r} has empty cells. {cure}")
    return table
