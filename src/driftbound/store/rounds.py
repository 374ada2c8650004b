"""Rounds of a run, as they were recorded: one line each, for a person to read."""

import json
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.store.folder import ROUNDS, RunFolder


def read_rounds(run: Path) -> list[str]:
    """A line for each round of a run, 0 being the bootstrapped student; none where it has a single one.

    Raises ``StoreError`` for a record that cannot be read.
    """
    path = RunFolder(run).stage("align") / ROUNDS
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        return [_line(row, whole["kept"]) for row in whole["rounds"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Redo it with --from align.") from None


def _line(row: dict[str, Any], kept: int) -> str:
    """
    >>> seen = {"support": 0.5, "unparsable": 0.25, "repeated": 0.0, "words": 12.0}
    >>> _line({"round": 1, **seen, "verdict": "refused", "reason": "lost support"}, kept=0)
    'round 1: support 0.500, 0.25 unparsable, 0.00 repeated, 12.0 words; refused (lost support)'
    """
    said = f"round {row['round']}"
    if "words" in row:
        support = "unknown" if row["support"] is None else f"{row['support']:.3f}"
        said += (
            f": support {support}, {row['unparsable']:.2f} unparsable, {row['repeated']:.2f} repeated, "
            f"{row['words']:.1f} words"
        )
    if "verdict" in row:
        said += f"; {row['verdict']} ({row['reason']})"
    return said + (" <- kept" if row["round"] == kept else "")
