"""Reliability: who is believed without labels when teachers depend on each other; ``BLOCKS`` names tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.cells import Block, Cell, Size
from benchmarks.calibration.tables import Table
from driftbound.measure.cautions import SHARED
from driftbound.measure.copying import fit_copying
from driftbound.measure.dawid_skene import Model, fit, posterior, wrong
from driftbound.measure.dependence import Dependence, dependence_test
from driftbound.measure.lineages import complete, tree_cuts
from driftbound.measure.patterns import Lineages, Patterns, one_voice, patterns, shares
from driftbound.measure.reliability import Reliability, reliability
from driftbound.statistics.calibration import auroc, calibration_error, log_losses

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

TEACHERS = 7
PREVALENCE = 0.35
GOLD = 100
"""Gold claims; estimates that use them are judged on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Dependence of seven teachers; sensitivity falls from 0.82 to 0.55."""

    copiers: tuple[int, ...] = ()
    """They copy one source, as good as the last of them, at ``rate``."""
    rate: float = 0.0
    shared: float = 0.0
    """Share of claims on which all teachers judge the wrong truth."""

    @property
    def lineages(self) -> Lineages:
        return complete([self.copiers], TEACHERS)


PANELS = {
    "independent": Panel(),
    "3 of 7 copy at 0.5": Panel(copiers=(4, 5, 6), rate=0.5),
    "3 of 7 copy at 0.8": Panel(copiers=(4, 5, 6), rate=0.8),
    "5 of 7 copy at 0.9": Panel(copiers=(2, 3, 4, 5, 6), rate=0.9),
    "3 of 7 copy at 1.0": Panel(copiers=(4, 5, 6), rate=1.0),
    "shared error 0.1": Panel(shared=0.1),
}
BAR = {
    "independent": (0.907, 0.954, 0.019, 0.119, 0.954, 0.953, 0.019, 0.122, 0.923, 0.985, 0.984, 0.05),
    "3 of 7 copy at 0.5": (0.876, 0.939, 0.025, 0.157, 0.943, 0.941, 0.022, 0.147, 0.892, 0.975, 0.978, 1.0),
    "3 of 7 copy at 0.8": (0.833, 0.741, 0.233, 1.155, 0.777, 0.940, 0.022, 0.154, 0.856, 0.796, 0.976, 1.0),
    "5 of 7 copy at 0.9": (0.747, 0.697, 0.302, 3.786, 0.768, 0.890, 0.048, 0.249, 0.782, 0.700, 0.944, 1.0),
    "3 of 7 copy at 1.0": (0.797, 0.698, 0.302, 4.443, 0.698, 0.939, 0.023, 0.156, 0.831, 0.742, 0.976, 1.0),
    "shared error 0.1": (0.823, 0.863, 0.104, 0.643, 0.863, 0.823, 0.093, 0.517, 0.773, 0.827, 0.802, 0.05),
}
"""Accuracy of the majority; accuracy, ECE, log-loss of plain Dawid-Skene; accuracy of automatic grouping;
accuracy, ECE, log-loss with gold; AUROC of majority dissent, plain Dawid-Skene and gold; dependence test."""
LOCKED = ("3 of 7 copy at 0.8", "5 of 7 copy at 0.9", "3 of 7 copy at 1.0")
"""Where plain Dawid-Skene takes the clique's word for the truth."""
BAR_RUNS = 40


def panel_votes(
    panel: Panel, n: int, rng: np.random.Generator, teachers: int = TEACHERS
) -> tuple[Codes, Codes]:
    """Truth (n,) and votes (n, N): 0 absent, 1 present, 2 uncertain, 3 omitted."""
    truth = (rng.random(n) < PREVALENCE).astype(np.intp)
    judged = np.where(rng.random(n) < panel.shared, 1 - truth, truth)
    tables = np.empty((teachers, 2, 4))
    for u, right in enumerate(np.linspace(0.82, 0.55, teachers)):
        miss = 1 - right
        tables[u, 1] = [0.45 * miss, right, 0.25 * miss, 0.30 * miss]
        tables[u, 0] = [0.6 * right, 0.5 * miss, 0.5 * miss, 0.4 * right]

    def said(u: int) -> Codes:
        above = rng.random(n)[:, None] > tables[u, judged].cumsum(axis=1)
        return np.minimum(above.sum(axis=1), 3)

    codes = np.stack([said(u) for u in range(teachers)], axis=1)
    if panel.copiers:
        source = said(panel.copiers[-1])
        for u in panel.copiers:
            codes[:, u] = np.where(rng.random(n) < panel.rate, source, codes[:, u])
    return truth, codes


def t7(names: Sequence[str], seed: int) -> Block:
    """Seven teachers, 800 claims: every method, and the rule."""

    def block(size: Size) -> list[Cell]:
        table = Table("T7")
        for number, name in enumerate(names):
            rng = np.random.default_rng([7, seed, number])
            runs = max(4, size.power // 5)
            rows = [_t7_run(PANELS[name], rng) for _ in range(runs)]
            _t7_cells(table, name, {key: np.array([row[key] for row in rows]) for key in rows[0]})
        return table.cells

    return block


def _t7_run(panel: Panel, rng: np.random.Generator) -> dict[str, float]:
    truth, codes = panel_votes(panel, 800, rng)
    found, rest = patterns(codes, 2), np.arange(GOLD, 800)
    said, mistaken = codes < 2, codes != truth[:, None]

    def accuracy(q: Array, where: NDArray[np.intp] = rest) -> float:
        return float((q[where].argmax(axis=1) == truth[where]).mean())

    def told(name: str, q: Array, model: Model | None) -> dict[str, float]:
        """Of a posterior (n, 2), on the claims without gold; AUROC on all assertions."""
        right = (q[rest].argmax(axis=1) == truth[rest]).astype(float)
        row = {
            f"{name} accuracy": accuracy(q),
            f"{name} ECE": calibration_error(q[rest].max(axis=1), right),
            f"{name} log-loss": float(log_losses(q[rest], truth[rest]).mean()),
        }
        if model is not None:
            row[f"{name} AUROC"] = auroc(wrong(model, found)[found.index][said], mistaken[said])
        return row

    counts = shares(found)[found.index]
    plain, gold = fit(found), _by_gold_alone(found, truth)
    row = {
        "majority accuracy": accuracy(counts),
        "majority AUROC": auroc(_dissent(codes)[said], mistaken[said]),
    }
    row |= told("plain", posterior(plain, found)[found.index], plain)
    row |= told("gold", posterior(gold, found)[found.index], gold)

    rule = reliability(codes, 2, np.arange(800), rng, draws=0)
    whole = np.arange(800)
    decided = np.flatnonzero(rule.decision.decided >= 0)
    forced = (rule.decision.forced == truth).astype(float)
    by_count = (counts.argmax(axis=1) == truth).astype(float)
    row |= told("rule", rule.posterior, None)
    row |= {
        "rule AUROC": auroc(rule.wrong[said], mistaken[said]),
        "rule forced": float(forced.mean()),
        "rule forced minus majority": float(forced.mean() - by_count.mean()),
        "rule decided": float(forced[decided].mean()) if len(decided) else np.nan,
        "rule decided minus majority": float((forced - by_count)[decided].mean()) if len(decided) else np.nan,
        "undecided": 1 - len(decided) / len(whole),
        "majority chosen": float(rule.method == "majority"),
        "right lineages": float(rule.lineages == panel.lineages),
        "dependence test": float(rule.dependence.p <= 0.05),
        "shared error said": float(any(SHARED in said for said in rule.warnings)),
    }
    auto = _linked(rule.dependence)
    row["auto accuracy"] = accuracy(posterior(fit(found, omega=one_voice(auto)), found)[found.index])
    with_gold = reliability(codes, 2, np.arange(800), rng, gold=np.where(whole < GOLD, truth, -1), draws=0)
    row |= told("rule with gold", with_gold.posterior, None)
    row["rule with gold AUROC"] = auroc(with_gold.wrong[said], mistaken[said])
    return row


def _by_gold_alone(found: Patterns, truth: Codes) -> Model:
    """The cut of the kappa tree with the smallest log-loss on gold, one voice per lineage by tempering."""
    fits = [fit(found, lineages=cut, omega=one_voice(cut)) for cut in tree_cuts(found)]
    first = found.index[:GOLD]
    return min(fits, key=lambda each: log_losses(posterior(each, found)[first], truth[:GOLD]).mean())


def _linked(test: Dependence) -> Lineages:
    """Teachers linked by a standardised excess above 3.5: the automatic grouping of the bar."""
    group = np.arange(TEACHERS)
    for u, v in zip(*np.triu_indices(TEACHERS, 1), strict=True):
        if test.standardised[u, v] > 3.5:
            group[group == group[v]] = group[u]
    return complete([tuple(np.flatnonzero(group == g).tolist()) for g in set(group.tolist())], TEACHERS)


def _dissent(codes: Codes) -> Array:
    """(n, N) share of the others' assertions that contradict a teacher's."""
    yes, no = (codes == 1).sum(axis=1, keepdims=True), (codes == 0).sum(axis=1, keepdims=True)
    against = np.where(codes == 1, no, yes)
    others = yes + no - (codes < 2)
    return np.asarray(against / np.maximum(others, 1))


def _t7_cells(table: Table, name: str, found: dict[str, Array]) -> None:
    keys = (
        "majority accuracy", "plain accuracy", "plain ECE", "plain log-loss", "auto accuracy",
        "gold accuracy", "gold ECE", "gold log-loss", "majority AUROC", "plain AUROC", "gold AUROC",
    )  # fmt: skip
    locked = name in LOCKED
    for key, bar in zip(keys, BAR[name], strict=False):
        failing = locked and key.split()[0] in ("plain", "auto")
        label = f"wrong: {key}" if failing else key
        # the automatic grouping of the bar has its bootstrap's chance in it
        slack = 0.02 if key == "auto accuracy" else 0.003
        table.mean(name, label, found[key], bar, BAR_RUNS, tolerance=slack, wrong_way=failing)
    table.share(name, "dependence test rejects", found["dependence test"], BAR[name][-1], BAR_RUNS)
    runs = len(found["rule forced"])
    for key in ("rule forced", "rule decided", "rule AUROC", "rule accuracy", "rule ECE", "rule log-loss"):
        if key != "rule accuracy":
            table.shown(name, key, np.nanmean(found[key]), runs=runs)
    for key in ("undecided", "majority chosen", "right lineages"):
        table.shown(name, f"rule: {key}", found[key].mean(), runs=runs)
    for key in ("rule forced minus majority", "rule decided minus majority"):
        known = found[key][~np.isnan(found[key])]
        half = 1.96 * known.std(ddof=1) / np.sqrt(len(known))
        table.bound(name, key, known.mean(), least=-0.01, runs=runs)
        table.bound(name, f"{key}, low end of 95 %", known.mean() - half, least=-0.01, runs=runs)
        table.shown(name, f"{key}, high end of 95 %", known.mean() + half, runs=runs)
    table.bound(name, "rule forced, against automatic grouping", found["rule forced"].mean(),
                least=BAR[name][4] - 0.01, runs=runs)  # fmt: skip
    table.bound(name, "rule with gold, accuracy", found["rule with gold accuracy"].mean(),
                least=BAR[name][5] - 0.01, runs=runs)  # fmt: skip
    table.limit(name, "rule with gold, log-loss", found["rule with gold log-loss"].mean(),
                most=BAR[name][7] + 0.02, runs=runs)  # fmt: skip
    table.shown(name, "rule with gold, ECE", found["rule with gold ECE"].mean(), runs=runs)
    table.shown(name, "rule with gold, AUROC", found["rule with gold AUROC"].mean(), runs=runs)
    table.exact(name, "rule says that shared errors are invisible", found["shared error said"].mean(), 1.0)
    if locked:
        table.limit(name, "wrong: plain Dawid-Skene, accuracy beside the majority",
                    found["plain accuracy"].mean() - found["majority accuracy"].mean(), most=0.0, runs=runs,
                    wrong_way=True)  # fmt: skip


def t8(size: Size) -> list[Cell]:
    """Dependence test on 400 claims: level, power, and whether the pair that stands out are copies."""
    table = Table("T8")
    bars = {(0.0, 3): 0.060, (0.3, 3): 0.820, (0.5, 3): 1.0, (0.8, 4): 1.0, (0.9, 5): 1.0}
    for (rate, copiers), bar in bars.items():
        rng = np.random.default_rng([8, int(100 * rate)])
        panel = Panel(copiers=tuple(range(TEACHERS - copiers, TEACHERS)), rate=rate)
        runs = max(20, size.null if rate == 0 else size.power // 2)
        tests = [
            dependence_test(patterns(panel_votes(panel, 400, rng)[1], 2), rng, draws=79) for _ in range(runs)
        ]
        rejects = [test.p <= 0.05 for test in tests]
        if rate == 0:
            table.level("independent", "dependence test", rejects)
            table.share("independent", "dependence test, beside the bar", rejects, bar, 200)
            continue
        setting = f"{copiers} of 7 copy at {rate:g}"
        table.share(setting, "dependence test rejects", rejects, bar, 50)
        inside = [set(test.top_pair or ()) <= set(panel.copiers) for test in tests]
        table.share(setting, "the top pair are copies", inside, 0.94 if rate == 0.3 else 1.0, 50)
    return table.cells


def t14_reliability(size: Size) -> list[Cell]:
    """Cross-checks: confusions against those of the known truth; exact copies; and what fails without."""
    table = Table("T14")
    rng = np.random.default_rng(140)
    setting = "2000 claims"
    misses = []
    for _ in range(max(5, size.power // 10)):
        truth, codes = panel_votes(Panel(), 2000, rng)
        known = np.stack(
            [[np.bincount(codes[truth == z, u], minlength=4) / (truth == z).sum() for z in (0, 1)]
             for u in range(TEACHERS)]
        )  # fmt: skip
        misses.append(np.abs(fit(patterns(codes, 2)).theta - known).mean())
    table.mean(setting, "confusions against those of the known truth", misses, 0.0040, 20, tolerance=5e-4)
    table.limit(setting, "the same, worst draw", max(misses), most=0.01, runs=len(misses))

    rows = []
    for _ in range(max(4, size.power // 10)):
        truth, codes = panel_votes(Panel(), 800, rng)
        doubled = np.hstack([codes, codes[:, [6]], codes[:, [6]]])
        once, twice = patterns(codes, 2), patterns(doubled, 2)
        grouped = complete([(6, 7, 8)], 9)
        alone = posterior(fit(once, limit=3000, tolerance=1e-13), once)[once.index]
        tempered = fit(twice, lineages=grouped, omega=one_voice(grouped), limit=3000, tolerance=1e-13)
        copying = fit_copying(twice, grouped)
        accuracy = {
            key: float((posterior(model, twice)[twice.index].argmax(axis=1) == truth).mean())
            for key, model in (("tempered", tempered), ("copying", copying), ("ungrouped", fit(twice)))
        }
        moved = np.abs(posterior(tempered, twice)[twice.index] - alone).max()
        rows.append((float((alone.argmax(axis=1) == truth).mean()), moved, *accuracy.values()))
    found = np.array(rows)
    setting = "two exact copies of the weakest of 7"
    table.exact(setting, "one voice by tempering: posterior moves by", found[:, 1].max(), 0.0, 1e-9)
    table.mean(setting, "accuracy before", found[:, 0], 0.951, tolerance=0.015)
    table.bound(setting, "one voice by copying: change of accuracy",
                (found[:, 3] - found[:, 0]).mean(), least=-0.005, runs=len(found))  # fmt: skip
    table.limit(setting, "wrong: ungrouped, accuracy", found[:, 4].mean(), most=0.76, runs=len(found),
                wrong_way=True)  # fmt: skip
    truth, codes = panel_votes(Panel(), 800, rng)
    table.bound("votes of four kinds as four truths", "wrong: claims whose truth is a hedge or an omission",
                _square(codes), least=0.10, wrong_way=True)  # fmt: skip
    return table.cells


def _square(codes: Codes) -> float:
    """Share of claims that a Dawid-Skene with as many truths as vote categories calls hedge or omission."""
    hot = (codes[:, :, None] == np.arange(4)).astype(float)
    q = hot.mean(axis=1)
    for _ in range(100):
        theta = np.einsum("nz,nux->uzx", q, hot) + 1e-3
        theta /= theta.sum(axis=2, keepdims=True)
        scores = np.einsum("nux,uzx->nz", hot, np.log(theta)) + np.log(q.mean(axis=0) + 1e-9)
        q = np.exp(scores - scores.max(axis=1, keepdims=True))
        q /= q.sum(axis=1, keepdims=True)
    return float((q.argmax(axis=1) >= 2).mean())


def v12(size: Size) -> list[Cell]:
    """The chance that an assertion is wrong: ranks better than dissent, whoever comes first."""
    table = Table("V12")
    for name in ("independent", "3 of 7 copy at 0.8", "5 of 7 copy at 0.9"):
        rng = np.random.default_rng([12, len(name)])
        rows = []
        for _ in range(max(4, size.power // 10)):
            truth, codes = panel_votes(PANELS[name], 800, rng)
            found = patterns(codes, 2)
            said, mistaken = codes < 2, codes != truth[:, None]
            models: dict[str, Model] = {"plain": fit(found), "gold": _by_gold_alone(found, truth)}
            scores = {key: wrong(model, found)[found.index] for key, model in models.items()}
            rows.append(
                [
                    auroc(each[said], mistaken[said])
                    for each in (_dissent(codes), scores["plain"], scores["gold"])
                ]
            )
        dissent, plain, gold = np.mean(rows, axis=0)
        if name == "independent":
            table.bound(
                name, "AUROC over majority dissent, plain", plain - dissent, least=0.0, runs=len(rows)
            )
        else:
            table.limit(name, "wrong: AUROC over majority dissent, plain", plain - dissent, most=0.0,
                        runs=len(rows), wrong_way=True)  # fmt: skip
        table.bound(name, "AUROC over majority dissent, gold", gold - dissent, least=0.0, runs=len(rows))
    table.exact("3 of 7 copy at 0.8", "other order of teachers: wrong moves by", _reordered(), 0.0, 1e-6)
    return table.cells


def _reordered() -> float:
    rng = np.random.default_rng(120)
    _, codes = panel_votes(PANELS["3 of 7 copy at 0.8"], 800, rng)
    order = rng.permutation(TEACHERS)
    places: dict[int, int] = {int(u): j for j, u in enumerate(order)}
    grouped = PANELS["3 of 7 copy at 0.8"].lineages
    other = complete([tuple(places[u] for u in members) for members in grouped], TEACHERS)
    one, two = patterns(codes, 2), patterns(codes[:, order], 2)
    first = wrong(fit_copying(one, grouped, tolerance=1e-9), one)[one.index]
    second = wrong(fit_copying(two, other, tolerance=1e-9), two)[two.index]
    return float(np.nanmax(np.abs(first[:, order] - second)))


def beyond(size: Size) -> list[Cell]:
    """The rule where nothing was tuned: other panels, each beside its majority."""
    table = Table("rule")
    runs = max(3, size.power // 10)
    for name, simulate in OTHERS.items():
        rng = np.random.default_rng([21, sum(name.encode())])
        gains, decided, open_share = [], [], []
        for _ in range(runs):
            truth, codes = simulate(rng)
            rule: Reliability = reliability(codes, 2, np.arange(len(truth)), rng, draws=0)
            right = rule.decision.forced == truth
            counted = (codes == 1).sum(axis=1) > (codes == 0).sum(axis=1)
            gains.append(right.mean() - (counted == truth).mean())
            known = rule.decision.decided >= 0
            decided.append(right[known].mean() if known.any() else np.nan)
            open_share.append(1 - known.mean())
        half = 1.96 * np.std(gains, ddof=1) / np.sqrt(runs)
        table.bound(name, "rule forced minus majority", np.mean(gains), least=-0.01, runs=runs)
        table.shown(name, "the same, low end of 95 %", np.mean(gains) - half, runs=runs)
        table.shown(name, "rule decided, accuracy", np.nanmean(decided), runs=runs)
        table.shown(name, "undecided", np.mean(open_share), runs=runs)
    return table.cells


def _hard(rng: np.random.Generator) -> tuple[Codes, Codes]:
    """Cases that are hard for all: log-odds of being right divided by a log-normal difficulty."""
    truth = (rng.random(800) < PREVALENCE).astype(np.intp)
    ability = np.log(1 / (1 / np.linspace(0.82, 0.6, TEACHERS) - 1))
    right = 1 / (1 + np.exp(-ability * np.exp(0.9 * rng.normal(size=(800, 1)))))
    return truth, np.where(rng.random(right.shape) < right, truth[:, None], 1 - truth[:, None])


def _few(rng: np.random.Generator) -> tuple[Codes, Codes]:
    return panel_votes(Panel(), 60, rng)


def _three(rng: np.random.Generator) -> tuple[Codes, Codes]:
    return panel_votes(Panel(copiers=(1, 2), rate=0.8), 800, rng, teachers=3)


def _two_lineages(rng: np.random.Generator) -> tuple[Codes, Codes]:
    truth, codes = panel_votes(Panel(copiers=(4, 5, 6), rate=0.8), 800, rng)
    source = np.where(rng.random(800) < 0.7, codes[:, 1], codes[:, 3])
    for u in (1, 2, 3):
        codes[:, u] = np.where(rng.random(800) < 0.7, source, codes[:, u])
    return truth, codes


OTHERS: dict[str, Callable[[np.random.Generator], tuple[Codes, Codes]]] = {
    "cases hard for all, yes or no": _hard,
    "60 claims": _few,
    "3 teachers, 2 copy at 0.8": _three,
    "two lineages of three": _two_lineages,
}

BLOCKS: dict[str, Block] = {
    "T7 copying": t7(LOCKED, 0),
    "T7 mild": t7([name for name in PANELS if name not in LOCKED], 1),
    "T8": t8,
    "T14 reliability": t14_reliability,
    "V12": v12,
    "rule": beyond,
}
"""V10 is among T14, V11 among T7 and T8."""
