"""Worlds: fixed panels of simulated teachers whose divergences are known by enumeration."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _rows(text: str, *shape: int) -> Array:
    """Transition rows, each brought to a sum of one."""
    table = np.array(text.split(), dtype=np.float64).reshape(shape)
    return np.asarray(table / table.sum(axis=-1, keepdims=True))


PAIR = _rows(
    """
    0.2652 0.3094 0.2521 0.0357 0.0481 0.0602 0.0236 0.0057
    0.0893 0.4314 0.1878 0.1634 0.0354 0.0339 0.0270 0.0319
    0.0084 0.1301 0.7564 0.0257 0.0268 0.0315 0.0060 0.0152
    0.0446 0.0238 0.1664 0.3466 0.2919 0.1041 0.0192 0.0033
    0.0279 0.0569 0.3145 0.0124 0.1597 0.0503 0.2515 0.1268
    0.0344 0.0398 0.0472 0.0104 0.0249 0.5704 0.0894 0.1834
    0.0782 0.0313 0.1908 0.0109 0.1017 0.1842 0.3987 0.0042
    0.0437 0.0630 0.0723 0.0507 0.0676 0.3378 0.0729 0.2922

    0.2214 0.4889 0.1408 0.0104 0.0428 0.0507 0.0419 0.0031
    0.0708 0.5400 0.2287 0.0915 0.0234 0.0162 0.0123 0.0171
    0.0052 0.1199 0.8040 0.0186 0.0182 0.0231 0.0071 0.0038
    0.1046 0.0067 0.0585 0.3123 0.4279 0.0788 0.0078 0.0034
    0.0138 0.0483 0.3605 0.0171 0.1033 0.0171 0.3768 0.0632
    0.0202 0.0122 0.1397 0.0102 0.0282 0.5483 0.0506 0.1905
    0.0691 0.0058 0.1272 0.0029 0.1115 0.2897 0.3922 0.0016
    0.1286 0.0305 0.0326 0.0549 0.1536 0.3968 0.0349 0.1681
    """,
    *(2, 8, 8),
)
"""(2, K, K): two teachers over eight symbols. Texts begin evenly."""

PANEL = _rows(
    """
    0.2221 0.0798 0.5317 0.1664
    0.4640 0.4198 0.0927 0.0235
    0.3342 0.5138 0.1503 0.0016
    0.1532 0.0775 0.0239 0.7453

    0.4089 0.0812 0.1709 0.3390
    0.1240 0.6889 0.1637 0.0233
    0.0583 0.1561 0.7846 0.0010
    0.1132 0.1564 0.0393 0.6912

    0.4432 0.0800 0.0961 0.3806
    0.3971 0.2853 0.2373 0.0803
    0.0272 0.8260 0.1383 0.0086
    0.8130 0.0166 0.0105 0.1599

    0.1712 0.0330 0.7856 0.0102
    0.2885 0.1577 0.3882 0.1655
    0.3917 0.4743 0.1245 0.0095
    0.3961 0.1831 0.0270 0.3938
    """,
    *(4, 4, 4),
)
"""(N, K, K): four teachers over four symbols. Texts begin evenly."""


def every_text(symbols: int, length: int) -> NDArray[np.intp]:
    """(K ** J, J) all texts."""
    return np.stack(np.unravel_index(np.arange(symbols**length), (symbols,) * length), axis=1)


def symbol_logps(rows: Array, texts: NDArray[np.intp]) -> Array:
    """(..., J, N) log-probability of each symbol of ``texts`` (..., J) for teachers ``rows`` (N, K, K)."""
    first = np.full((*texts.shape[:-1], 1, len(rows)), -np.log(rows.shape[-1]))
    later = np.moveaxis(np.log(rows[:, texts[..., :-1], texts[..., 1:]]), 0, -1)
    return np.concatenate([first, later], axis=-2)


def next_symbol(rows: Array, texts: NDArray[np.intp]) -> Array:
    """(..., J, N, K) the teachers' distributions before each symbol of ``texts`` (..., J)."""
    first = np.full((*texts.shape[:-1], 1, *rows.shape[:2]), 1 / rows.shape[-1])
    later = np.moveaxis(rows[:, texts[..., :-1]], 0, -2)
    return np.concatenate([first, later], axis=-3)


def written(rows: Array, host: NDArray[np.intp], length: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """(..., J) texts drawn from the teachers ``host`` (...)."""
    texts = np.empty((*host.shape, length), dtype=np.intp)
    texts[..., 0] = rng.integers(0, rows.shape[-1], host.shape)
    for j in range(1, length):
        reached = rows[host, texts[..., j - 1]].cumsum(axis=-1)
        drawn = (rng.random(host.shape)[..., None] > reached).sum(axis=-1)
        texts[..., j] = np.minimum(drawn, rows.shape[-1] - 1)
    return texts
