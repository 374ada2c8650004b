"""Chunks: cut where all tokenizers cut, the same sums however they do it, and the models' divergence."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftbound.errors import MeasureError
from driftbound.measure.chain import drawn_information
from driftbound.measure.chunks import chunk_logps, chunk_parts, chunk_table, common_boundaries
from driftbound.measure.divergence import gjs, kl
from driftbound.records import Tokens


def cut_at(length: int, places, *, ended: bool = False) -> Tokens:
    """A text cut into tokens at these places."""
    edges = [0, *sorted({p for p in places if 0 < p < length}), length]
    spans = list(itertools.pairwise(edges)) + [(length, length)] * ended
    return Tokens(tuple(range(len(spans))), tuple(spans))


def test_a_boundary_is_where_nobody_straddles():
    assert common_boundaries([cut_at(9, [3, 5]), cut_at(9, [3, 6]), cut_at(9, [1, 3, 5, 6])], 9) == (3, 9)


def test_a_character_of_several_tokens_is_not_cut():
    """Three bytes of one character; the middle token of the other tokenizer reaches into it."""
    one = Tokens((1, 2, 3, 4), ((0, 1), (1, 2), (1, 2), (2, 3)))
    other = Tokens((5, 6, 7), ((0, 2), (1, 2), (2, 3)))
    assert common_boundaries([one, one], 3) == (1, 2, 3)
    assert common_boundaries([one, other], 3) == (2, 3)


def test_white_space_of_nobody_belongs_to_the_next_token():
    """In "a b" one tokenizer says that its second token is " b" and hides the space, the other's first is
    "a ": cut behind the space, the chunks would not be the same text."""
    hidden = Tokens((1, 2), ((0, 1), (2, 3)))
    trailing = Tokens((3, 4), ((0, 2), (2, 3)))
    assert common_boundaries([hidden, trailing], 3) == (3,)
    leading = Tokens((5, 6), ((0, 1), (1, 3)))
    assert common_boundaries([hidden, leading], 3) == (1, 3)
    at_the_end = Tokens((1,), ((0, 1),))
    assert common_boundaries([at_the_end, cut_at(3, [1])], 3) == (3,)


def test_an_end_token_is_a_chunk_of_its_own_and_a_token_without_width_goes_with_the_next():
    tokens = Tokens((0, 1, 2, 3, 9), ((0, 0), (0, 2), (2, 2), (2, 4), (4, 4)))
    found = chunk_logps(tokens, np.array([-1.0, -2, -4, -8, -16]), (2, 4))
    assert found.tolist() == [-3, -12, -16]
    assert chunk_parts((2, 4), 2, ended=True).tolist() == [0, 1, 1]
    assert chunk_parts((2, 3, 4), 2, ended=False).tolist() == [0, 1, 1]


texts = st.integers(2, 30).flatmap(
    lambda length: st.tuples(
        st.just(length),
        st.lists(st.lists(st.integers(1, length - 1), max_size=12), min_size=2, max_size=4),
        st.booleans(),
    )
)


@given(texts, st.integers(0, 1000))
def test_splitting_merging_and_relabelling_tokens_changes_nothing(text, seed):
    """Teacher 0's tokens cut once more, its probability shared out: sums stay, and every chunk that stays has
    what it had; the pairwise log-ratio and the N-way information likewise."""
    length, cuts, ended = text
    rng = np.random.default_rng(seed)
    tokens = [cut_at(length, own, ended=ended) for own in cuts]
    logps = [-rng.gamma(1.0, size=len(each.ids)) for each in tokens]
    table, boundaries = chunk_table(tokens, logps, length)
    assert table.sum(0) == pytest.approx([own.sum() for own in logps], abs=1e-12)

    wide = [n for n, (start, end) in enumerate(tokens[0].spans) if end - start > 1]
    if not wide:
        return
    n = int(rng.choice(wide))
    start, end = tokens[0].spans[n]
    spans, share = list(tokens[0].spans), rng.random()
    spans[n : n + 1] = [(start, start + 1), (start + 1, end)]
    finer = Tokens(tuple(rng.permutation(len(spans)).tolist()), tuple(spans))
    split = np.r_[logps[0][:n], share * logps[0][n], (1 - share) * logps[0][n], logps[0][n + 1 :]]
    found, others = chunk_table([finer, *tokens[1:]], [split, *logps[1:]], length)
    assert set(boundaries) <= set(others)
    firsts = [0, *(others.index(b) + 1 for b in boundaries[:-1])] + [len(others)] * ended
    again = np.add.reduceat(found, firsts)
    assert again == pytest.approx(table, abs=1e-12)
    ratio, finer_ratio = (t[:, 0] - t[:, 1] for t in (table, found))
    assert finer_ratio.sum() == pytest.approx(ratio.sum(), abs=1e-12)
    informed = [drawn_information(t, 0).sum() for t in (table, found)]
    assert informed[0] == pytest.approx(informed[1], abs=1e-10)


ROWS = np.random.default_rng(7).dirichlet(np.ones(3), (2, 3))
"""Next character given the last, of two models."""


def read(rows: np.ndarray, text: list[int], width: int) -> tuple[Tokens, np.ndarray]:
    """A model over characters, seen through tokens of ``width`` characters; before the text stands a 0."""
    single = np.log([rows[a, b] for a, b in zip([0, *text], text, strict=False)])
    starts = range(0, len(text), width)
    tokens = cut_at(len(text), starts)
    return tokens, np.array([single[start : start + width].sum() for start in starts])


def test_chunks_measure_the_models_and_not_their_tokenizers():
    """All 81 texts of four characters, weighted by model 0: exactly the divergence of the models, and none
    between a model and itself through other tokens."""
    texts = [list(t) for t in np.ndindex(3, 3, 3, 3)]
    weight = np.exp([read(ROWS[0], t, 1)[1].sum() for t in texts])
    exact, h = 0.0, np.eye(3)[0]
    for _ in range(4):
        exact, h = exact + h @ kl(ROWS[0], ROWS[1]), h @ ROWS[0]
    for rows, expected in ((ROWS[0], 0.0), (ROWS[1], exact)):
        ratios = []
        for text in texts:
            (one, p), (other, q) = read(ROWS[0], text, 1), read(rows, text, 2)
            table, boundaries = chunk_table([one, other], [p, q], 4)
            assert boundaries == (2, 4)
            ratios.append((table[:, 0] - table[:, 1]).sum())
        assert weight @ ratios == pytest.approx(expected, abs=1e-12)


def test_chunks_information_is_the_divergence_of_whole_texts():
    """Each teacher draws its own texts: the mean over both is the Jensen-Shannon divergence of their laws."""
    texts = [list(t) for t in np.ndindex(3, 3, 3, 3)]
    laws = np.exp([[read(rows, t, 1)[1].sum() for t in texts] for rows in ROWS])
    drawn = []
    for text in texts:
        seen = [read(ROWS[0], text, 1), read(ROWS[1], text, 2)]
        table, _ = chunk_table([tokens for tokens, _ in seen], [logps for _, logps in seen], 4)
        drawn.append([drawn_information(table, host).sum() for host in (0, 1)])
    assert (laws.T * drawn).sum() / 2 == pytest.approx(gjs(laws), abs=1e-12)


def test_what_cannot_be_cut_is_refused():
    whole = cut_at(4, [])
    for tokens, length in ((Tokens((), ()), 4), (Tokens((1,), ((0, 0),)), 0), (Tokens((1,), ((0, 9),)), 4)):
        with pytest.raises(MeasureError, match="do not cover the text"):
            common_boundaries([tokens], length)
    with pytest.raises(MeasureError, match="2 log-probabilities for 1 tokens"):
        chunk_logps(whole, np.zeros(2), (4,))
    with pytest.raises(MeasureError, match="end token"):
        chunk_table([whole, cut_at(4, [], ended=True)], [np.zeros(1), np.zeros(2)], 4)


def test_an_impossible_text_has_an_infinite_log_ratio():
    table, _ = chunk_table([cut_at(2, [1]), cut_at(2, [1])], [np.zeros(2), np.array([-np.inf, 0])], 2)
    assert (table[:, 0] - table[:, 1]).sum() == math.inf
