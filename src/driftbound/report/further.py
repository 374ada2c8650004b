"""Further tables of the results: reports, consistency and probabilities, each with what it is of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from driftbound.records import Estimate
from driftbound.report.tables import entries, estimate, score_rows, verdict

REPORT = {
    "clinical_micro_f1": "clinical F1, micro",
    "clinical_macro_f1": "clinical F1, macro",
    "clinical_micro_f1_all": "micro, all findings",
    "clinical_macro_f1_all": "macro, all findings",
    **{f"bleu_{n}": f"BLEU-{n}" for n in range(1, 5)},
    "rouge_l": "ROUGE-L",
    "meteor_nosyn": "METEOR",
    "cider_d": "CIDEr-D",
    "radgraph_f1": "RadGraph F1",
    "chexbert_micro_f1": "CheXbert F1, micro",
    "chexbert_macro_f1": "CheXbert F1, macro",
    "ratescore": "RaTEScore",
    "green": "GREEN",
}
CONSISTENCY = {
    "contradicting": "contradict themselves",
    "concluding": "have a conclusion",
    "conclusion_agreement": "conclusion agrees with reasoning",
    "sample_agreement": "samples agree",
    "sample_coverage": "samples speak of the same",
    "claim_precision": "claim precision",
    "claim_recall": "claim recall",
    "claim_f1": "similarity (claim F1)",
    "claim_conflict": "claims in conflict",
}
"""Key of the summary -> heading."""
OF_CONSISTENCY = (
    "Claims are presence and side, as the field's own labeler reads them. Shares of answers that assert and "
    "deny one thing; of what both reasoning and conclusion name, how much agrees; the same between several "
    "answers of one writer to one case, where it was asked more than once (silence is no conflict: read it "
    "beside how much they both speak of)."
)
AGAINST = " Precision, recall, similarity and conflict are of claims against those of the reference report."
OF_AUROC = (
    "How well a model's own probability ranks the cases: the chance that it gives a case with the finding "
    "more than one without. Of models whose logits can be read alone; 0.5 is chance."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FurtherRow:
    """One answerer's row."""

    kind: str
    name: str
    label: str
    values: tuple[Estimate, ...]
    """In the order of the columns; ``nan``: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """One table."""

    title: str
    note: str
    """What it is, and against what; in a table without rows, why it has none."""
    columns: tuple[str, ...]
    rows: tuple[FurtherRow, ...] = ()
    verdicts: tuple[str, ...] = ()
    """The aligned student beside the bootstrapped one, in words."""


def further(table: Mapping[str, Any], headline: Sequence[str]) -> tuple[Further, ...]:
    """The further tables of one split's results; none of a summary that knows nothing of them."""
    if "references" not in table:
        return ()
    tables = [
        _table(table, "Reports", reports_note(table, headline), "report", REPORT),
        _table(table, "Consistency", _consistency_note(table), "consistency", CONSISTENCY),
    ]
    if any("auroc" in scores for _, _, scores in entries(table)):
        columns = {"mean": "mean", "mean_14": "mean, all findings"} | {name: name for name in headline}
        tables.append(_table(table, "Probabilities (AUROC)", OF_AUROC, "auroc", columns))
    return tuple(tables)


def reports_note(table: Mapping[str, Any], headline: Sequence[str]) -> str:
    """What the table of reports is of: how many references, and what is read how."""
    given = table["references"]
    cases, without, reason = given.get("cases") or 0, given.get("without") or 0, given.get("reason") or ""
    if not cases:
        return f"Not compared with reports: {reason}."
    lacking = f" ({without} of {cases + without} cases have none)" if without else ""
    over = f" over {', '.join(headline)}" if headline else ""
    words = f" No word metrics: {reason}." if reason else ""
    failed = [one["reason"] for one in (given.get("scorers") or {}).values() if one.get("reason")]
    words += "".join(f" No score of {one}." for one in failed)
    return (
        f"Every answer against the reference report of its case, in {cases} cases{lacking}. Words are in "
        "lower case, without marks but full stops; METEOR knows no synonyms. Word metrics do not tell a "
        "denial from an assertion; "
        "clinical F1 does: it compares the findings that the field's own labeler reads in both (present is "
        f"the positive class{over}). Answers that were refused share nothing with their references.{words}"
    )


def _consistency_note(table: Mapping[str, Any]) -> str:
    return OF_CONSISTENCY + (AGAINST if table["references"].get("cases") else "")


def _table(table: Mapping[str, Any], title: str, note: str, word: str, columns: Mapping[str, str]) -> Further:
    """Rows that know at least one of the columns, in the order of the results; columns that a row knows."""
    given = {(kind, name): scores.get(word) for kind, name, scores in entries(table)}
    rows, values = list[tuple[str, str, str]](), list[list[Estimate]]()
    for row in score_rows(table, ()):
        found = given[row.kind, row.name]
        own = [_value(found, key) for key in columns]
        if any(math.isfinite(one.mean) for one in own):
            rows.append((row.kind, row.name, row.label))
            values.append(own)
    known = [c for c in range(len(columns)) if any(math.isfinite(own[c].mean) for own in values)]
    return Further(
        title=title,
        note=note,
        columns=tuple(heading for c, heading in enumerate(columns.values()) if c in known),
        rows=tuple(
            FurtherRow(kind=kind, name=name, label=label, values=tuple(own[c] for c in known))
            for (kind, name, label), own in zip(rows, values, strict=True)
        ),
        verdicts=_verdicts(table, word),
    )


def _value(found: Any, key: str) -> Estimate:
    given = found if isinstance(found, Mapping) else {}
    return estimate(given.get(key) or (given.get("per_finding") or {}).get(key))


_COMPARED = {
    "report": {"rouge_l": "ROUGE-L", "clinical_micro_f1": "micro clinical F1"},
    "consistency": {"claim_f1": "similarity", "contradicting": "share of answers that contradict themselves"},
    "auroc": {"": "mean AUROC"},
}


def _verdicts(table: Mapping[str, Any], word: str) -> tuple[str, ...]:
    pair = (table.get("comparisons") or {}).get("aligned_minus_bootstrapped") or {}
    told = []
    for key, name in _COMPARED[word].items():
        difference = estimate((pair.get(word) or {}).get(key) if key else pair.get(word))
        if math.isfinite(difference.low):
            said = verdict("the bootstrapped student", difference).sentence
            told.append(f"The aligned student's {name}: {said[0].lower()}{said[1:]}")
    return tuple(told)
