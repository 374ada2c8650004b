"""Parts: equal shares of an answer's tokens, and sums and means over them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def part_of(tokens: int, parts: int) -> NDArray[np.intp]:
    """Part 0..parts-1 of each of an answer's tokens, floor(parts t / T): (T,).

    Known only once the answer has ended: a share of the way, not a point on it.

    >>> part_of(5, 2)
    array([0, 0, 0, 1, 1])
    """
    return (parts * np.arange(tokens) // max(tokens, 1)).astype(np.intp)


def part_sums(values: Array, part: NDArray[np.intp], parts: int) -> Array:
    """Sums of ``values`` (T, ...) over the tokens of each part, (parts, ...); 0 where there are none."""
    found = np.zeros((parts, *values.shape[1:]))
    np.add.at(found, part, values)
    return found


def part_means(values: Array, part: NDArray[np.intp], parts: int) -> Array:
    """Means of ``values`` (T, ...) over the tokens of each part, (parts, ...); ``nan`` where there are none.

    >>> part_means(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 2]), 3)
    array([ 2., nan,  5.])
    """
    n = np.bincount(part, minlength=parts).reshape(-1, *[1] * (values.ndim - 1))
    found: Array = part_sums(values, part, parts) / np.where(n > 0, n, np.nan)
    return found


def paired_positions(lengths: Sequence[int]) -> NDArray[np.intp]:
    """Tokens of N answers that stand at the same share of their ways: (N, m), m the shortest length.

    Row u holds floor(i T_u / m), i = 0..m-1: every token of the shortest answer, as many of the others.

    >>> paired_positions([2, 5])
    array([[0, 1], [0, 2]])
    """
    m = min(lengths)
    return np.array([length * np.arange(m) // max(m, 1) for length in lengths], dtype=np.intp)
