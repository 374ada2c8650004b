"""Panels of teachers with known truth: independent, copying, or wrong all together."""

import numpy as np


def votes(n, rng, *, copiers=(), rate=0.0, shared=0.0, teachers=7):
    """Truth (n,) and votes (n, teachers): 0 absent, 1 present, 2 uncertain, 3 omitted.

    Sensitivity falls from 0.82 to 0.55. ``copiers`` repeat one source, as good as the last of them, at
    ``rate``; on a share ``shared`` of the claims everybody judges the opposite of the truth.
    """
    truth = (rng.random(n) < 0.35).astype(int)
    judged = np.where(rng.random(n) < shared, 1 - truth, truth)

    def said(u):
        right = np.linspace(0.82, 0.55, teachers)[u]
        miss = 1 - right
        table = np.array(
            [
                [0.6 * right, 0.5 * miss, 0.5 * miss, 0.4 * right],
                [0.45 * miss, right, 0.25 * miss, 0.3 * miss],
            ]
        )
        return (rng.random(n)[:, None] > table[judged].cumsum(axis=1)).sum(axis=1).clip(0, 3)

    codes = np.stack([said(u) for u in range(teachers)], axis=1)
    if copiers:
        source = said(copiers[-1])
        for u in copiers:
            codes[:, u] = np.where(rng.random(n) < rate, source, codes[:, u])
    return truth, codes


def tables(rng, teachers, values, categories):
    """Random confusions (teachers, values, categories), somewhat heavier where the vote names the truth."""
    raw = rng.random((teachers, values, categories)) + 0.2
    for z in range(values):
        raw[:, z, z] += 1.0
    return raw / raw.sum(axis=2, keepdims=True)
