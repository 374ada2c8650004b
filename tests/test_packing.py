"""Packed rows, laid out by hand."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftbound.learning.packing import Answer, Segment, branch_mask, lay_out, rows_of, segments_of


def answer(*ids: int, slot: int = 0) -> Answer:
    return Answer(list(ids), [1.0] * len(ids), slot)


TWO = Segment([7, 8], 0, [answer(1, 2, slot=0), answer(3, slot=1)])
ONE = Segment([9], 1, [answer(4, 5, slot=2)])


def test_layout_by_hand():
    """[7 8 | 1 2 | 3] and [9 | 4 5] in one row, then [9 | 4 5] alone in a second, padded one."""
    laid = lay_out([[TWO, ONE], [ONE]], pad=0)
    assert laid["input_ids"].tolist() == [[7, 8, 1, 2, 3, 9, 4, 5], [9, 4, 5, 0, 0, 0, 0, 0]]
    assert laid["position_ids"].tolist()[0] == [0, 1, 2, 3, 2, 0, 1, 2]
    assert laid["segment"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, -1, -1, -1, -1, -1]]
    assert laid["branch"].tolist()[0] == [0, 0, 1, 1, 2, 0, 1, 1]
    # 1 is foretold by 8, 2 by 1, 3 by 8 again; 4 by 9, 5 by 4
    assert laid["at"].tolist() == [[0, 1], [0, 2], [0, 1], [0, 5], [0, 6], [1, 0], [1, 1]]
    assert laid["target"].tolist() == [1, 2, 3, 4, 5, 4, 5]
    assert laid["slot"].tolist() == [0, 0, 1, 2, 2, 2, 2]


def test_three_rows_of_positions_by_hand():
    """An image of three tokens and a word, time, height and width apart; answers start at 3 in all rows.

    The second prompt (one word) starts at 0 again; 0 on the padding of the second row.
    """
    image = Segment([7, 7, 7, 8], 0, [answer(1, 2, slot=0), answer(3, slot=1)])
    own = [torch.tensor([[0, 0, 0, 2], [0, 0, 0, 2], [0, 1, 1, 2]]), torch.zeros(3, 1, dtype=torch.long)]
    laid = lay_out([[image, ONE], [ONE]], pad=0, positions=own)["position_ids"]
    assert laid.shape == (3, 2, 10)
    assert laid[:, 0].tolist() == [
        [0, 0, 0, 2, 3, 4, 3, 0, 1, 2],
        [0, 0, 0, 2, 3, 4, 3, 0, 1, 2],
        [0, 1, 1, 2, 3, 4, 3, 0, 1, 2],
    ]
    assert laid[:, 1].tolist() == [[0, 1, 2, 0, 0, 0, 0, 0, 0, 0]] * 3


def test_answers_start_behind_the_furthest_position():
    """Not behind the last: a wide image at the end of a prompt may reach further."""
    laid = lay_out([[Segment([7, 7], 0, [answer(1)])]], pad=0, positions=[torch.tensor([[0, 0], [5, 1]])])
    assert laid["position_ids"][:, 0].tolist() == [[0, 0, 6], [5, 1, 6]]


def test_mask_by_hand():
    """Rows are queries: 7 8 | 1 2 | 3, then 9 | 4 5 of another case."""
    laid = lay_out([[TWO, ONE]], pad=0)
    expected = [
        "1.......",
        "11......",
        "111.....",
        "1111....",
        "11..1...",
        ".....1..",
        ".....11.",
        ".....111",
    ]
    mask = branch_mask(laid["segment"], laid["branch"])[0, 0]
    assert ["".join("1" if seen else "." for seen in row) for row in mask.tolist()] == expected


def test_padding_sees_itself_and_is_not_seen():
    mask = branch_mask(torch.tensor([[0, 0, -1, -1]]), torch.tensor([[0, 1, 0, 0]]))[0, 0]
    assert mask.tolist()[2:] == [[False, False, True, False], [False, False, True, True]]
    assert not mask[:2, 2:].any()


def test_a_case_is_split_with_its_prompt_repeated():
    """Prompt of 2: with a budget of 5 there is room for 3 answer tokens a segment."""
    answers = [answer(1, 2), answer(3), answer(4), answer(5, 6, 7, 8)]
    found = segments_of([7, 8], 0, answers, budget=5)
    assert [[a.ids for a in s.answers] for s in found] == [[[1, 2], [3]], [[4]], [[5, 6, 7, 8]]]
    assert [s.prefix for s in found] == [[7, 8]] * 3
    assert [len(s.answers) for s in segments_of([7, 8], 0, answers, budget=0)] == [1, 1, 1, 1]


@given(
    st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=6),
    st.integers(0, 40),
)
def test_every_answer_is_laid_whole_and_once(lengths, budget):
    """Whatever the budget: each answer behind its own prompt, no row over it but one answer alone."""
    segments, slot, expected = [], 0, []
    for case, counts in enumerate(lengths):
        answers = []
        for count in counts:
            answers.append(answer(*range(count), slot=slot))
            expected += [slot] * count
            slot += 1
        segments += segments_of([100 + case] * 3, case, answers, budget)
    rows = rows_of(segments, budget)
    laid = lay_out(rows, pad=0)
    assert laid["slot"].tolist() == expected
    assert [s for row in rows for s in row] == segments
    for row in rows:
        alone = len(row) == 1 and len(row[0].answers) == 1
        assert alone or sum(map(len, row)) <= budget
    ahead = laid["input_ids"][laid["at"][:, 0], laid["at"][:, 1]]
    first = torch.tensor([True, *(a != b for a, b in itertools.pairwise(expected))])
    assert bool((ahead[first] >= 100).all())
    assert laid["position_ids"].max() == 2 + max(count for counts in lengths for count in counts)


def test_weights_follow_their_tokens():
    laid = lay_out([[Segment([7], 0, [Answer([1, 2], [0.0, 0.5], 0)])]], pad=0)
    assert laid["token_weights"].tolist() == pytest.approx([0.0, 0.5])
