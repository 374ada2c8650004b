"""Exchange of groups: rows as TRL, ms-swift, LLaMA-Factory and NeMo-RL read them, and groups out of them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from driftbound.errors import StoreError
from driftbound.records import Case, Group, Negative, Status, Trajectory
from driftbound.store.rowfiles import Row, read_rows

OURS = "driftbound"
"""Column with all that the trainer has no column for: JSON text, since the trainers' loaders want every
column to be of one type throughout."""
MARKED = ("ms-swift", "llamafactory")
"""Trainers that look for the places of images in the text itself."""
MARK = "<image>"
_TAKEN = (MARK, "<video>", "<audio>")
_AGAIN = "Export the run again."

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


class Asked(NamedTuple):
    """A case as it is put to a model."""

    case: Case
    question: str
    images: tuple[str, ...] | None
    """Paths that hold wherever the trainer runs; ``None`` where no case of the file has an image."""


def trl_schema(*, pictured: bool) -> pa.Schema:
    """Columns of rows for TRL, which takes any set with ``images`` for one of images."""
    turns = [(name, _MESSAGES) for name in ("prompt", "chosen", "rejected")]
    return pa.schema(
        [*turns, *([("images", pa.list_(pa.string()))] if pictured else []), (OURS, pa.string())]
    )


def group_rows(to: str, groups: Iterable[tuple[Group, Asked]], left_out: Counter[str]) -> Iterator[Row]:
    """Rows of groups for a trainer: one per negative that counts, for ``nemo-rl`` one per group.

    A negative does not count where it is invalid, weighs nothing or says the same as the consensus.
    It is kept all the same, in the column ``driftbound`` of the group's first row. A group in which
    none counts makes no row. Both are counted in ``left_out``, by reason.
    """
    for group, asked in groups:
        why = _unfit(to, asked.question, group.consensus)
        kept = [] if why else [k for k, each in enumerate(group.negatives) if not _idle(to, group, each)]
        if not kept:
            left_out[f"groups ({why or 'no negative counts'})"] += 1
            continue
        left_out.update(
            f"negatives ({reason})" for each in group.negatives if (reason := _idle(to, group, each))
        )
        said = {"case_id": group.case_id, "split": group.split, "sensitivity": asked.case.sensitivity}
        parts = [_without_text(k, group.negatives[k]) for k in kept]
        others = [
            _without_text(k, each) | {"text": each.text}
            for k, each in enumerate(group.negatives)
            if k not in kept
        ]
        if to == "nemo-rl":
            texts = [group.consensus, *(group.negatives[k].text for k in kept)]
            yield _ranked(asked, texts) | _ours(said | {"negatives": parts, "others": others})
            continue
        for n, (k, part) in enumerate(zip(kept, parts, strict=True)):
            more = {"others": others} if n == 0 else {}
            row = _pair(to, asked, group.consensus, group.negatives[k].text)
            yield row | _ours(said | {"row": n, "rows": len(kept), "negative": part} | more)


def sft_row(asked: Asked, trajectory: Trajectory) -> Row:
    """One answer as ms-swift and LLaMA-Factory train on it."""
    turns = [_turn("user", _marked(asked)), _turn("assistant", trajectory.text)]
    names = ("case_id", "teacher", "sample", "wave", "status", "version", "request_hash")
    said = {name: getattr(trajectory, name) for name in names}
    whole = said | {"split": asked.case.split, "sensitivity": asked.case.sensitivity}
    return {"messages": turns} | _images(asked) | _ours(whole)


def why_no_sft_row(asked: Asked, trajectory: Trajectory) -> str:
    """Why an answer makes no row for supervised training; empty if it does."""
    if not trajectory.status.usable:
        return str(trajectory.status)
    return _unfit(MARKED[0], asked.question, trajectory.text)


def groups_of(to: str, path: Path) -> Iterator[Group]:
    """The groups that an export for a trainer was made of, one by one.

    Raises ``StoreError`` for rows that are none of such an export, or no longer all there and in order.
    """
    rows: list[tuple[Row, str, str]] = []
    for place, row in read_rows(path):
        where = f"{path}, {place}"
        said = _read_ours(row, where)
        try:
            if to == "nemo-rl":
                chosen, *texts = (each["completion"][0]["content"] for each in row["completions"])
                pairs = zip(said["negatives"], texts, strict=True)
                yield _group(said, chosen, [*pairs, *((each, each["text"]) for each in said["others"])])
                continue
            chosen, rejected = _texts(to, row)
            same = not rows or (rows[0][0]["case_id"], rows[0][1]) == (said["case_id"], chosen)
            if said["row"] != len(rows) or not same:
                raise StoreError(f"{where}: a group's rows are not together, or not all there. {_AGAIN}")
            rows.append((said, chosen, rejected))
            if len(rows) == said["rows"]:
                others = [(each, each["text"]) for each in rows[0][0]["others"]]
                yield _group(said, chosen, [*((each["negative"], text) for each, _, text in rows), *others])
                rows.clear()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreError(f"{where}: is no row of an export to {to} ({error!r}). {_AGAIN}") from error
    if rows:
        raise StoreError(f"{path}: ends within the rows of a group. {_AGAIN}")


def _idle(to: str, group: Group, negative: Negative) -> str:
    """Why nothing can be learnt from a negative; empty if it counts."""
    if not negative.valid:
        return "no opinion"
    if not negative.weight > 0:
        return "no weight"
    if negative.text == group.consensus:
        return "the consensus itself"
    return _unfit(to, negative.text)


def _unfit(to: str, *texts: str) -> str:
    """Why a trainer could not read texts as they are; empty if it can."""
    if not all(text.strip() for text in texts):
        return "empty text"
    if to in MARKED and any(mark in text for text in texts for mark in _TAKEN):
        return f"{' or '.join(_TAKEN)} in the text"
    return ""


def _pair(to: str, asked: Asked, chosen: str, rejected: str) -> Row:
    if to == "trl":
        return {
            "prompt": [_turn("user", asked.question)],
            "chosen": [_turn("assistant", chosen)],
            "rejected": [_turn("assistant", rejected)],
        } | _images(asked)
    if to == "ms-swift":
        turns = [_turn("user", _marked(asked)), _turn("assistant", chosen)]
        return {"messages": turns, "rejected_response": rejected} | _images(asked)
    return {
        "conversations": [{"from": "human", "value": _marked(asked)}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
    } | _images(asked)


def _texts(to: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """The chosen and the rejected text of a row that ``_pair`` has made."""
    if to == "trl":
        return row["chosen"][0]["content"], row["rejected"][0]["content"]
    if to == "ms-swift":
        return row["messages"][1]["content"], row["rejected_response"]
    return row["chosen"]["value"], row["rejected"]["value"]


def _ranked(asked: Asked, texts: list[str]) -> Row:
    """The consensus first, all others equal behind it."""
    completions = [
        {"rank": min(n, 1), "completion": [_turn("assistant", text)]} for n, text in enumerate(texts)
    ]
    return {"context": [_turn("user", asked.question)], "completions": completions} | _images(asked)


def _marked(asked: Asked) -> str:
    return MARK * len(asked.images or ()) + asked.question


def _images(asked: Asked) -> Row:
    return {} if asked.images is None else {"images": list(asked.images)}


def _turn(role: str, content: str) -> Row:
    return {"role": role, "content": content}


def _without_text(place: int, negative: Negative) -> Row:
    row = asdict(negative)
    del row["text"]
    return {"place": place} | row


def _ours(said: Row) -> Row:
    try:
        return {OURS: json.dumps(said, ensure_ascii=False, allow_nan=False)}
    except ValueError as error:
        raise StoreError(f"{said['case_id']}: a weight is no number ({error}). Redo synthesize.") from error


def _read_ours(row: Row, where: str) -> Row:
    try:
        said = json.loads(row[OURS])
        if isinstance(said, dict):
            return said
    except (KeyError, TypeError, ValueError):
        pass
    raise StoreError(f"{where}: column {OURS!r} of an export is missing or broken. {_AGAIN}")


def _group(said: Row, consensus: str, negatives: list[tuple[Row, str]]) -> Group:
    ordered = sorted(negatives, key=lambda each: each[0]["place"])
    if [each["place"] for each, _ in ordered] != list(range(len(ordered))):
        raise ValueError("the negatives are not all there")
    return Group(
        case_id=said["case_id"],
        split=said["split"],
        consensus=consensus,
        negatives=tuple(
            Negative(
                teacher=each["teacher"],
                text=text,
                status=Status(each["status"]),
                valid=each["valid"],
                weight=each["weight"],
                spans=tuple((start, end, weight) for start, end, weight in each["spans"]),
            )
            for each, text in ordered
        ),
    )
