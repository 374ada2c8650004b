"""Further tables of the report: what stands in them, what they are of, and published figures beside them."""

import io
import json
import math

import pytest
from rich.console import Console
from test_report import HEADLINE, summary

from driftbound.data_config import DataConfig
from driftbound.domains.chest_xray.findings import HEADLINE as CHEST_HEADLINE
from driftbound.domains.chest_xray.published import published
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.protocols import Published
from driftbound.report.further import further
from driftbound.report.page import Material, render
from driftbound.report.published import published_tables
from driftbound.report.terminal import consistency, others, reports


def est(mean):
    return {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}


def evaluated(*, auroc=False, reason=""):
    """Results of a split: the aligned student, one teacher, the consensus."""
    given = summary()["splits"]["test"]
    for number, row in enumerate(
        (given["students"]["aligned"], given["teachers"]["alpha"], given["consensus"]), start=1
    ):
        row["report"] = {"clinical_micro_f1": est(0.5 + number / 100)}
        if not reason:
            row["report"] |= {"rouge_l": est(0.3 + number / 100), "bleu_4": est(0.1), "cider_d": est(1.25)}
        row["consistency"] = {"contradicting": est(0.2), "claim_f1": est(0.4 + number / 100)}
    given["teachers"]["alpha"]["consistency"]["sample_agreement"] = est(0.77)
    given["comparisons"]["aligned_minus_bootstrapped"] |= {
        "report": {"rouge_l": {"mean": 0.1, "low": 0.02, "high": 0.2}},
        "consistency": {"claim_f1": {"mean": -0.01, "low": -0.1, "high": 0.1}},
    }
    given["references"] = {"cases": 3, "without": 1, "reason": reason, "implementations": {}}
    if auroc:
        table = {"mean": est(0.9), "mean_14": est(0.8), "per_finding": {"Edema": est(0.95)}}
        given["students"]["aligned"]["auroc"] = table
    return given


def of(tables, title):
    return next(one for one in tables if one.title.startswith(title))


def test_reports_have_the_rows_and_columns_that_are_known():
    table = of(further(evaluated(), HEADLINE), "Reports")
    assert table.columns == ("clinical F1, micro", "BLEU-4", "ROUGE-L", "CIDEr-D")
    assert [(row.kind, row.label) for row in table.rows] == [
        ("student", "aligned student"),
        ("teacher", "alpha"),
        ("together", "consensus"),
    ]
    assert [value.mean for value in table.rows[1].values] == [0.52, 0.1, 0.32, 1.25]
    assert "in 3 cases (1 of 4 cases have none)" in table.note
    assert "present is the positive class over Pleural Effusion, Edema" in table.note
    assert table.verdicts == (
        "The aligned student's ROUGE-L: above the bootstrapped student by 0.100 (paired difference +0.100, "
        "+0.020 to +0.200).",
    )


def test_consistency_says_what_it_is_of():
    table = of(further(evaluated(), HEADLINE), "Consistency")
    assert table.columns == ("contradict themselves", "samples agree", "similarity (claim F1)")
    assert [row.values[1].mean for row in table.rows] == pytest.approx(
        [math.nan, 0.77, math.nan], nan_ok=True
    )
    assert "reference report" in table.note
    assert table.verdicts[0].startswith("The aligned student's similarity: no clear difference")


def test_without_word_metrics_the_reason_stands_there():
    table = of(further(evaluated(reason="pip install it"), HEADLINE), "Reports")
    assert table.columns == ("clinical F1, micro",)
    assert "No word metrics: pip install it." in table.note


def test_without_references_the_reason_stands_there_and_no_table():
    given = evaluated()
    given["references"] = {"cases": 0, "without": 4, "reason": "no reference: nobody wrote any"}
    for row in (given["students"]["aligned"], given["teachers"]["alpha"], given["consensus"]):
        del row["report"]
    table = of(further(given, HEADLINE), "Reports")
    assert (table.rows, table.note) == ((), "Not compared with reports: no reference: nobody wrote any.")
    assert "reference" not in of(further(given, HEADLINE), "Consistency").note


def test_probabilities_are_a_table_where_a_model_shows_some():
    assert len(further(evaluated(), HEADLINE)) == 2
    table = of(further(evaluated(auroc=True), HEADLINE), "Probabilities")
    assert table.columns == ("mean", "mean, all findings", "Edema")
    assert [value.mean for value in table.rows[0].values] == [0.9, 0.8, 0.95]


def test_a_summary_of_before_has_no_further_tables():
    assert further(summary()["splits"]["test"], HEADLINE) == ()


def test_the_page_and_its_numbers_have_the_tables():
    whole = summary() | {"splits": {"test": evaluated(auroc=True), "other": evaluated()}, "split": "test"}
    page, numbers = render(Material(name="r", headline=HEADLINE, findings=HEADLINE, recipe={}, scores=whole))
    for heading in ("Reports, test", "Consistency, test", "Probabilities (AUROC), test", "Reports, other"):
        assert f'<h4 class="further">{heading}</h4>' in page
    assert "Probabilities (AUROC), other" not in page
    assert page.count(">1.250<small>1.200–1.300</small></td>") == 6
    told = numbers["results"]["other"]["further"][0]
    assert (told["title"], told["rows"][0]["values"][2]["mean"]) == ("Reports", 0.31)
    assert "Published figures" not in page
    assert json.dumps(numbers, allow_nan=False)


def printed(table):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_terminal_shows_them_in_80_columns():
    whole = summary() | {"splits": {"test": evaluated(), "test_scanner": evaluated()}, "split": "test"}
    said = printed(reports(whole))
    assert "Reports, test" in said
    assert "0.310 0.260–0.360" in said
    assert "1.25" in said
    said = printed(consistency(whole))
    assert "0.420 0.370–0.470" in said
    assert "0.77" in said
    (other,) = others(whole)
    said = printed(other)
    assert "test_scanner: 3 cases" in said
    assert "0.679" in said
    assert "alpha" not in said  # teachers are in the table of the first split
    assert max(len(line) for line in printed(reports(whole)).splitlines()) <= 80
    assert reports(summary()) is None
    assert consistency(summary()) is None


# ---------------------------------------------------------------- published figures

MIMIC = DataConfig(set="mimic-cxr", root="r", uncertain_as="ignore", blank_as="absent", section="findings")


def test_published_figures_are_those_of_mimic_cxr_alone():
    assert published(DataConfig(set="nih", root="r", uncertain_as="ignore", blank_as="absent")) is None
    assert published(DataConfig()) is None
    assert not issubclass(PhantomDomain, Published)
    here = published(MIMIC)["here"]
    assert "chexpert labels with uncertain as ignore and missing as absent" in here
    assert "reports by their findings" in here


def test_published_tables_are_whole_and_say_what_differs():
    """Every row has a number or nothing for each column; the paper's own means are those of its columns."""
    tables = published(MIMIC)["tables"]
    for table in tables:
        assert table["differs"]
        assert table["source"]
        assert len(table["ours"]) == len(table["columns"])
        assert {len(row) for row in table["rows"]} == {1 + len(table["columns"])}
    classified = tables[0]
    assert tuple(classified["columns"][:5]) == CHEST_HEADLINE
    for _, *values, mean in classified["rows"]:
        assert mean == pytest.approx(sum(values) / 5, abs=0.0061)  # printed numbers are rounded


def test_a_run_s_own_numbers_stand_beside_published_ones():
    given = evaluated()
    given["teachers"]["alpha"]["consistency"]["claim_precision"] = est(0.61)
    tables = published_tables(published(MIMIC), given)
    assert [one.title for one in tables] == [
        "Classification on MS-CXR-T, top-1 accuracy",
        "Report generation on MIMIC-CXR",
        "Drift of the teachers",
    ]
    drift = tables[2]
    assert drift.differs[-1].startswith("here: MIMIC-CXR's own split")
    sonnet = next(row for row in drift.rows if row.label == "Sonnet-4")
    assert [value.mean for value in sonnet.values] == [0.35, 0.42, 0.33]
    assert not sonnet.ours
    ours = [row.label for row in tables[0].rows if row.ours]
    assert ours[:3] == ["base", "bootstrapped student", "aligned student"]
    assert set(ours[3:]) == {"alpha", "beta", "gamma", "consensus"}  # no control, no majority
    alpha = next(row for row in drift.rows if row.label == "alpha")
    assert alpha.ours
    assert alpha.values[0].mean == 0.61
    assert math.isnan(alpha.values[1].mean)
    assert alpha.values[2].mean == pytest.approx(0.42)


def test_a_table_of_which_the_run_knows_nothing_is_left_out():
    given = summary()["splits"]["test"]
    assert [one.title for one in published_tables(published(MIMIC), given)] == [
        "Classification on MS-CXR-T, top-1 accuracy"
    ]
    assert published_tables(None, given) == ()


def test_the_page_shows_published_figures_under_a_heading_that_says_what_they_are():
    whole = summary() | {"splits": {"test": evaluated()}, "split": "test"}
    page, numbers = render(
        Material(
            name="r",
            headline=HEADLINE,
            findings=HEADLINE,
            recipe={},
            scores=whole,
            published=published(MIMIC),
        )
    )
    at = page.index("Published figures, of other measurements")
    assert page.index("CPO", at) > at
    assert "which section is the reference" in page[at:]
    assert numbers["published"][1]["rows"][0]["label"] == "R2Gen"
