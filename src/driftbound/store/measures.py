"""Measures: the tables that the measure stage leaves for the later stages and for anybody's own analysis."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from driftbound.errors import StoreError
from driftbound.records import Belief
from driftbound.stances import Slot
from driftbound.store.manifest import one_line, replacing

Beliefs = Mapping[Slot, Belief]
"""Of one case, by slot."""

SLOTS = pa.schema(
    [
        ("case_id", pa.string()),
        ("split", pa.string()),
        ("finding", pa.string()),
        ("attribute", pa.string()),
        ("votes", pa.string()),  # teacher -> vote, as JSON; who gave none is left out
        ("status", pa.string()),  # agreed, conflicting, undecided
        ("leading", pa.string()),
        ("share", pa.float64()),
        ("explicit", pa.int64()),
        ("decided", pa.string()),  # the value that the votes together decide; empty: undecided
        ("posterior", pa.string()),  # value -> probability, as JSON; empty where there is none
    ]
)
CASES = pa.schema(
    [
        ("case_id", pa.string()),
        ("split", pa.string()),
        ("cluster", pa.string()),
        ("conflict", pa.float64()),  # share of its claims on which the teachers conflict
        ("change", pa.float64()),  # contradiction in the later half of the answers less that in the earlier
        ("p_conflict", pa.float64()),  # conformal: how unusual against the corpus
        ("p_change", pa.float64()),
        ("flagged", pa.bool_()),
        ("difficulty", pa.float64()),  # GLAD, log scale: 0 is the mean case, larger is harder
    ]
)
DRIFT = pa.schema(
    [
        ("phi", pa.string()),
        ("kind", pa.string()),
        ("teacher", pa.string()),
        ("other", pa.string()),
        ("finding", pa.string()),
        ("step", pa.int64()),
        ("p_adjusted", pa.float64()),
        ("estimator", pa.string()),
        ("n", pa.int64()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p", pa.float64()),
        ("reason", pa.string()),
    ]
)
RELIABILITY = pa.schema(
    [
        ("case_id", pa.string()),
        ("split", pa.string()),
        ("finding", pa.string()),
        ("attribute", pa.string()),
        ("teacher", pa.string()),
        ("vote", pa.string()),
        ("wrong", pa.float64()),  # chance that it is wrong, by the votes of the other lineages
    ]
)


TOGETHER = 10_000
"""Rows of a row group: who looks at one case need not decode all."""


def write_table(path: Path, columns: Mapping[str, Sequence[Any] | pa.Array], schema: pa.Schema) -> None:
    """Write columns under a schema, whole or not at all."""
    with replacing(path) as partial:
        pq.write_table(pa.table(dict(columns), schema=schema), partial, row_group_size=TOGETHER)


def read_beliefs(slots: Path, reliability: Path) -> dict[str, dict[Slot, Belief]]:
    """What ``measure`` believes of every case, by case id; raises ``StoreError``."""
    wrong: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in _rows(reliability, RELIABILITY):
        of = wrong.setdefault((row["case_id"], row["finding"], row["attribute"]), {})
        of[row["teacher"]] = row["wrong"]
    beliefs: dict[str, dict[Slot, Belief]] = {}
    for row in _rows(slots, SLOTS):
        case_id, slot = row["case_id"], (row["finding"], row["attribute"])
        beliefs.setdefault(case_id, {})[slot] = Belief(
            values=json.loads(row["posterior"]) if row["posterior"] else {},
            decided=row["decided"],
            votes=json.loads(row["votes"]),
            wrong=wrong.get((case_id, *slot), {}),
        )
    return beliefs


def _rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    then = "Run 'driftbound measure' with this recipe first."
    if not path.is_file():
        raise StoreError(f"{path}: no such file. {then}")
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, schema=schema).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path}: not a table of measures ({one_line(error)}). {then}") from error
    return rows
