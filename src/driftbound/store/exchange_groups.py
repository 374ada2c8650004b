"""Exchange of groups: rows as our trainer and those of others read them, and groups out of them."""

import json
import math
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
WHOLE = ("nemo-rl", "rows")
"""Formats whose rows hold a whole group."""
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
    """Rows of groups for a trainer: one per negative that counts, for ``nemo-rl`` and ``rows`` one per group.

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
        said: Row = {"case_id": group.case_id, "split": group.split, "sensitivity": asked.case.sensitivity}
        support = None if math.isnan(group.support) else group.support  # JSON knows no nan
        said |= {"spans": group.spans, "support": support}
        parts = [_without_text(k, group.negatives[k]) for k in kept]
        others = [
            _without_text(k, each) | {"text": each.text}
            for k, each in enumerate(group.negatives)
            if k not in kept
        ]
        if to in WHOLE:
            row = (_ranked if to == "nemo-rl" else _weighed)(asked, group, [group.negatives[k] for k in kept])
            yield row | _ours(said | {"negatives": parts, "others": others})
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
            if to in WHOLE:
                chosen, *texts = _all_texts(to, row)
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
    if negative.text.strip() == group.consensus.strip():
        return "the consensus itself"
    if not negative.valid:
        return "no opinion"
    if not negative.weight > 0:
        return "no weight"
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


def _all_texts(to: str, row: Mapping[str, Any]) -> list[str]:
    """The texts of a row that ``_ranked`` or ``_weighed`` has made, the consensus first."""
    if to == "nemo-rl":
        return [each["completion"][0]["content"] for each in row["completions"]]
    return [row["chosen"], *row["rejected"]]


def _weighed(asked: Asked, group: Group, negatives: list[Negative]) -> Row:
    """All of a group's constraints, as ``MultiStreamTrainer`` takes them (docs/trainer.md).

    A text that was cut has no end token, which is what one of weight 0 comes to.
    """
    return {
        "prompt": asked.question,
        "chosen": group.consensus,
        "chosen_spans": group.spans,
        "rejected": [each.text for each in negatives],
        "rejected_weights": [each.weight for each in negatives],
        "rejected_spans": [each.spans for each in negatives],
        "rejected_end_weights": [
            0.0 if each.status is Status.TRUNCATED else each.end_weight for each in negatives
        ],
    } | _images(asked)


def _ranked(asked: Asked, group: Group, negatives: list[Negative]) -> Row:
    """The consensus first, all others equal behind it."""
    texts = [group.consensus, *(each.text for each in negatives)]
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
                spans=_spans(each),
                end_weight=each["end_weight"],
            )
            for each, text in ordered
        ),
        spans=_spans(said),
        support=math.nan if said["support"] is None else said["support"],
    )


def _spans(said: Row) -> tuple[tuple[int, int, float], ...]:
    return tuple((start, end, weight) for start, end, weight in said["spans"])
