"""Lineages: which teachers depend on each other, found from their votes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage

from driftbound.measure.copying import default_starts, fit_copying
from driftbound.measure.dawid_skene import Model
from driftbound.measure.patterns import Lineages, Patterns, singles, subsample

Group = tuple[int, ...]

SIZE = 0.025
"""Least price of a lineage per claim, as a share of its members' mean entropy: with many claims any small
misfit (cases that are hard for everybody above all) would else be read as a lineage. What it misses is too
weak to harm."""
SEARCHED = 4000
"""Claims that the search uses at most; the chosen grouping is fitted to all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Lineages, and how well they explain the votes."""

    lineages: Lineages
    score: float
    """Nats, see ``score``; only differences between groupings of one panel mean anything."""


def kappa_tree(found: Patterns) -> list[Group]:
    """Nodes of the average-linkage tree on 1 - Cohen's kappa of each pair's raw votes, nearest first.

    Each node is the ascending members of one merge, N - 1 in all. Pairs that never vote on one claim, or
    that always give one vote (no chance left to beat), have kappa 0.
    """
    N = found.codes.shape[1]
    if N < 2:
        return []
    distance = []
    for u in range(N):
        for v in range(u + 1, N):
            both = (found.codes[:, u] >= 0) & (found.codes[:, v] >= 0)
            table = np.zeros((found.categories, found.categories))
            np.add.at(table, (found.codes[both, u], found.codes[both, v]), found.counts[both])
            total = max(table.sum(), 1.0)
            chance = float(table.sum(axis=1) @ table.sum(axis=0)) / total**2
            kappa = (np.trace(table) / total - chance) / (1 - chance) if chance < 1 else 0.0
            distance.append(1 - kappa)
    members: dict[int, Group] = {u: (u,) for u in range(N)}
    nodes = []
    for k, merge in enumerate(linkage(np.array(distance), "average")):
        members[N + k] = tuple(sorted(members[int(merge[0])] + members[int(merge[1])]))
        nodes.append(members[N + k])
    return nodes


def tree_cuts(found: Patterns) -> list[Lineages]:
    """Groupings from cutting the kappa tree at each height: from everybody alone to all in one."""
    groups: list[Group] = list(singles(found.codes.shape[1]))
    cuts = [tuple(groups)]
    for node in kappa_tree(found):
        groups = [group for group in groups if not set(group) <= set(node)] + [node]
        cuts.append(tuple(sorted(groups)))
    return cuts


def complete(groups: Iterable[Group], teachers: int) -> Lineages:
    """Lineages of several teachers, with everybody else alone.

    >>> complete([(1, 2)], 4)
    ((0,), (1, 2), (3,))
    """
    several = [tuple(sorted(group)) for group in groups if len(group) > 1]
    taken = {u for group in several for u in group}
    return tuple(sorted(several + [(u,) for u in range(teachers) if u not in taken]))


def score(model: Model, found: Patterns) -> float:
    """Log-likelihood less a price per lineage, in nats; higher is better.

    The price is Schwarz's, (log n) / 2 for each of the source's K (L - 1) parameters and the m rates, but the
    source costs at least ``SIZE`` of the members' mean entropy on each claim: a lineage is believed by its
    size, not by its significance. L counts the categories that the members use.
    """
    price = 0.0
    for members, source in zip(model.lineages, model.sources, strict=True):
        if source is None:
            continue
        codes = found.codes[:, list(members)]
        tallies = np.stack([found.counts @ (codes == x) for x in range(found.categories)], axis=1)
        share = tallies / np.maximum(tallies.sum(axis=1, keepdims=True), 1.0)
        entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1).mean()
        used = int((tallies.sum(axis=0) > 0).sum())
        met = float(found.counts @ ((codes >= 0).sum(axis=1) > 1))
        each = 0.5 * float(np.log(found.counts.sum()))
        price += max(each * found.values * (used - 1), SIZE * float(entropy) * met) + each * len(members)
    return model.log_likelihood - price


def find_lineages(found: Patterns, rng: np.random.Generator) -> list[Grouping]:
    """Groups of dependent teachers, by the score of the copying model: all that were tried, best first.

    Greedy from everybody alone: add the node of the kappa tree that helps most (it replaces what it
    overlaps); where none helps any more, move a single teacher in, out or between the lineages found; until
    nothing helps. Where no node helps at all, everybody stays alone.
    All teachers in one lineage is no candidate: nobody would be left to tell a copied error by. The search
    takes a random ``SEARCHED`` of the claims (by ``rng``) where there are more.
    """
    search = _Search(subsample(found, SEARCHED, rng))
    nodes = kappa_tree(search.found)
    N = found.codes.shape[1]
    best = singles(N)
    while True:
        better = search.climb(best, _grown(best, nodes, N))
        if better is None and any(len(group) > 1 for group in best):
            better = search.climb(best, _moved(best, N))
        if better is None:
            break
        best = better
    ranked = sorted(search.scores.items(), key=lambda item: (-item[1], item[0]))
    return [Grouping(lineages=lineages, score=value) for lineages, value in ranked]


class _Search:
    """Groupings by score, each fitted once."""

    def __init__(self, found: Patterns) -> None:
        self.found = found
        self.scores: dict[Lineages, float] = {}

    def score(self, lineages: Lineages) -> float:
        if lineages not in self.scores:
            tempered = default_starts(self.found, lineages)[-1:]
            model = fit_copying(self.found, lineages, starts=tempered, limit=200, tolerance=1e-3)
            self.scores[lineages] = score(model, self.found)
        return self.scores[lineages]

    def climb(self, lineages: Lineages, candidates: Iterable[Lineages]) -> Lineages | None:
        """The best candidate, if it beats ``lineages``."""
        allowed = sorted({each for each in candidates if len(each) > 1})
        best = max(allowed, key=self.score, default=lineages)
        return best if self.score(best) > self.score(lineages) else None


def _grown(lineages: Lineages, nodes: Sequence[Group], teachers: int) -> list[Lineages]:
    """Groupings with one node of the tree more."""
    return [
        complete([*(group for group in lineages if not set(group) & set(node)), node], teachers)
        for node in nodes
    ]


def _moved(lineages: Lineages, teachers: int) -> list[Lineages]:
    """Groupings that differ by the place of one teacher."""
    moved = []
    for u in range(teachers):
        rest = [tuple(v for v in group if v != u) for group in lineages]
        rest = [group for group in rest if group]
        moved.append(complete(rest, teachers))
        moved += [
            complete([*rest[:i], (*group, u), *rest[i + 1 :]], teachers) for i, group in enumerate(rest)
        ]
    return moved
