"""Packed rows: prompt and image once, then all answers of a case, each blind to the others."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

PREFIX = 0
"""Branch of the prompt and image tokens; answers have 1, 2, ... within their segment."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens of one answer, what each weighs, and the slot of its (group, column) in the batch."""

    ids: list[int]
    weights: list[float]
    slot: int


@dataclass(slots=True)
class Segment:
    """One prompt and the answers that share it in a row."""

    prefix: list[int]
    picture: int
    """Which of the batch's prompts this is: its image goes in once per segment."""
    answers: list[Answer] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prefix) + sum(len(answer.ids) for answer in self.answers)


def segments_of(prefix: list[int], picture: int, answers: Sequence[Answer], budget: int) -> list[Segment]:
    """The answers of one case on as few prompts as a budget in tokens allows; 0: one prompt per answer.

    An answer that does not fit with others has a prompt of its own, whole, however long it is.
    """
    segments: list[Segment] = []
    for answer in answers:
        if not segments or len(segments[-1]) + len(answer.ids) > budget:
            segments.append(Segment(prefix, picture))
        segments[-1].answers.append(answer)
    return segments


def rows_of(segments: Sequence[Segment], budget: int) -> list[list[Segment]]:
    """Segments in their order, as many to a row as the budget allows, at least one."""
    rows: list[list[Segment]] = []
    for segment in segments:
        if not rows or sum(map(len, rows[-1])) + len(segment) > budget:
            rows.append([])
        rows[-1].append(segment)
    return rows


def lay_out(
    rows: Sequence[Sequence[Segment]], pad: int, positions: Sequence[Tensor] = ()
) -> dict[str, Tensor]:
    """Token tensors of R rows of at most T tokens, and the S tokens that are scored.

    ``input_ids``, ``position_ids``, ``segment`` and ``branch`` (R, T), with segment -1 on padding; ``at``
    (S, 2) row and position of the token that foretells, ``target``, ``token_weights`` and ``slot`` (S,).
    The last prompt token foretells the first token of every answer.

    Every answer starts behind the furthest position of its prompt. Prompts count from 0 unless
    ``positions`` has their own, (P,) by picture; with (3, P), ``position_ids`` are (3, R, T).
    """
    ids, segment_of, branch_of = _lists(rows), _lists(rows), _lists(rows)
    at: list[tuple[int, int]] = []
    target: list[int] = []
    weights: list[float] = []
    slots: list[int] = []
    for r, row in enumerate(rows):
        for s, segment in enumerate(row):
            ids[r] += segment.prefix
            branch_of[r] += [PREFIX] * len(segment.prefix)
            last = len(ids[r]) - 1
            for b, answer in enumerate(segment.answers, start=1):
                start, count = len(ids[r]), len(answer.ids)
                at += [(r, last), *((r, start + i) for i in range(count - 1))]
                target += answer.ids
                weights += answer.weights
                slots += [answer.slot] * count
                ids[r] += answer.ids
                branch_of[r] += [b] * count
            segment_of[r] += [s] * len(segment)
    longest = max(map(len, ids), default=0)
    return {
        "input_ids": _padded(ids, longest, pad),
        "position_ids": _positions(rows, longest, positions),
        "segment": _padded(segment_of, longest, -1),
        "branch": _padded(branch_of, longest, PREFIX),
        "at": torch.tensor(at, dtype=torch.long).view(-1, 2),
        "target": torch.tensor(target, dtype=torch.long),
        "token_weights": torch.tensor(weights),
        "slot": torch.tensor(slots, dtype=torch.long),
    }


def branch_mask(segment: Tensor, branch: Tensor) -> Tensor:
    """Who sees whom, (R, 1, T, T) bool, row of the query first.

    A token sees what stands before it, and itself, in its own segment: the prompt and its own answer.
    Padding sees padding, so that no row of the mask is empty.
    """
    same = segment[:, :, None] == segment[:, None, :]
    open_to = (branch[:, None, :] == PREFIX) | (branch[:, :, None] == branch[:, None, :])
    before = torch.ones(segment.shape[1], segment.shape[1], dtype=torch.bool, device=segment.device).tril()
    return (same & open_to & before)[:, None]


def _positions(rows: Sequence[Sequence[Segment]], longest: int, positions: Sequence[Tensor]) -> Tensor:
    """(R, T), or (3, R, T) where prompts have three rows of positions; 0 on padding."""
    laid = []
    for row in rows:
        pieces = []
        for segment in row:
            own = positions[segment.picture] if positions else torch.arange(len(segment.prefix))
            start = int(own.max()) + 1
            pieces.append(own)
            for answer in segment.answers:
                pieces.append(torch.arange(start, start + len(answer.ids)).expand(*own.shape[:-1], -1))
        joined = torch.cat(pieces, dim=-1)
        laid.append(torch.nn.functional.pad(joined, (0, longest - joined.shape[-1])))
    return torch.stack(laid, dim=-2) if laid else torch.zeros(0, longest, dtype=torch.long)


def _lists(rows: Sequence[object]) -> list[list[int]]:
    return [[] for _ in rows]


def _padded(rows: list[list[int]], longest: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows], dtype=torch.long)
