"""References: written beside the truth, as hidden, by every field that has some."""

import json

import pytest
from chest_xray_trees import film, mimic, report, write
from hypothesis import given
from hypothesis import strategies as st
from test_chest_xray_domain import SAID, picture
from test_generic_domain import ROWS, folder, table  # noqa: F401
from test_generic_domain import domain as generic

from driftbound.config import DomainConfig
from driftbound.data_config import DataConfig
from driftbound.domains.chest_xray.domain import ChestXrayDomain
from driftbound.domains.chest_xray.references import references_of
from driftbound.domains.chest_xray.study import Study
from driftbound.domains.phantom.claims import claims
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.domains.phantom.findings import FINDINGS, SIDED
from driftbound.domains.phantom.language import STYLES, canonical
from driftbound.domains.phantom.reports import report as phantom_report
from driftbound.errors import CaseError
from driftbound.stances import stances
from driftbound.store.references import read_references, references_beside, write_references
from driftbound.store.tables import read_rows, read_truth, write_rows, write_truth


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_what_is_written_is_read(tmp_path_factory, texts):
    truth = tmp_path_factory.mktemp("r") / "demo.truth.parquet"
    write_references(truth, texts)
    assert read_references(truth) == {case: text for case, text in texts.items() if text.strip()}


def test_no_text_leaves_no_file_and_takes_an_older_one_away(tmp_path):
    truth = tmp_path / "demo.truth.parquet"
    assert read_references(truth) == {}
    write_references(truth, {"a": "No edema."})
    assert references_beside(truth).name == "demo.references.parquet"
    write_references(truth, {"a": " \n"})
    assert list(tmp_path.iterdir()) == []
    write_references(truth, {})  # nothing there to take away


def test_a_file_that_holds_no_references_is_one_line(tmp_path):
    truth = tmp_path / "demo.truth.parquet"
    write_references(truth, {"a": "x"})
    references_beside(truth).write_bytes(b"PAR1")
    with pytest.raises(CaseError, match=r"demo\.references\.parquet: holds no references .*remove it"):
        read_references(truth)
    write_truth(references_beside(truth), {"a": {"Edema": "absent"}})
    with pytest.raises(CaseError, match="holds no references"):
        read_references(truth)


def test_a_case_that_is_there_twice_is_one_line(tmp_path):
    from driftbound.store.references import REFERENCES

    truth = tmp_path / "demo.truth.parquet"
    rows = [{"case_id": "a", "text": "x"}, {"case_id": "a", "text": "y"}]
    write_rows(references_beside(truth), rows, REFERENCES)
    with pytest.raises(CaseError, match="there twice"):
        read_references(truth)


# ---------------------------------------------------------------- phantoms

VALUES = {
    name: ("absent", "left", "right", "both") if name in SIDED else ("absent", "present") for name in FINDINGS
}
TRUTHS = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})


@given(TRUTHS)
def test_a_phantom_s_report_reads_as_its_truth(truth):
    assert stances(claims(phantom_report(truth)), FINDINGS) == truth


def test_a_phantom_s_report_is_worded_as_nobody_else_does():
    """No teacher's sentence for a finding and not the student's."""
    truth = dict.fromkeys(FINDINGS, "absent") | {"Consolidation": "left", "Cardiomegaly": "present"}
    sentences = {each.strip() for each in phantom_report(truth).split(".") if each.strip()}
    assert "Consolidation is demonstrated on the left" in sentences
    for style in STYLES.values():
        words = {"f": "consolidation", "F": "Consolidation", "on": "on the left", "side": "left", "n": 1}
        assert not sentences & {each.format(**words).strip(" .") for each in style.sided}
    assert not sentences & {each.strip() for each in canonical(truth).split(".")}


def test_phantoms_have_references_that_are_not_among_the_cases(tmp_path):
    config = DomainConfig(train=3, validation=1, test=2, test_scanner=0, findings="headline")
    domain = PhantomDomain(config, seed=3)
    truth = tmp_path / "demo.truth.parquet"
    domain.write_cases(tmp_path / "demo", truth)
    known, texts = read_truth(truth), read_references(truth)
    assert texts.keys() == known.keys()
    assert len(texts) == 6
    for case, text in texts.items():
        own = {name: known[case][name] for name in domain.findings}
        assert stances(claims(text), domain.findings) == own
    assert "demonstrated" not in (tmp_path / "demo" / "cases.parquet").read_bytes().decode("latin-1")


# ---------------------------------------------------------------- a table of one's own


def test_the_column_reference_goes_beside_the_truth_alone(folder):  # noqa: F811
    rows = [ROWS[0] | {"reference": "Small effusion."}, ROWS[1] | {"reference": ""}]
    run, truth = folder / "run", folder / "run.truth.parquet"
    run.mkdir()
    generic(table(folder / "t.jsonl", rows), kind="yes_no").write_cases(run, truth)
    assert read_references(truth) == {"a": "Small effusion."}
    assert "Small effusion" not in json.dumps(read_rows(run / "cases.parquet"))


# ---------------------------------------------------------------- reports of chest X-rays

SECTIONS = {
    "1": {"findings": "Clear lungs.", "impression": "Normal."},
    "2": {"impression": "Edema.", "findings": "  "},
    "3": {"comparison": "None."},
}


@pytest.mark.parametrize(
    ("section", "expected", "lacking"),
    [
        ("findings", {"1": "Clear lungs."}, 2),
        ("impression", {"1": "Normal.", "2": "Edema."}, 1),
        ("findings+impression", {"1": "Clear lungs.\nNormal.", "2": "Edema."}, 1),
        ("none", {}, 0),
    ],
)
def test_sections_become_references_and_what_has_none_is_counted(section, expected, lacking, capsys):
    studies = [Study(study_id=name, patient=name, films=(), sections=own) for name, own in SECTIONS.items()]
    assert references_of(studies, section) == expected
    said = capsys.readouterr().err
    assert (f"{lacking} of 3 studies have no {section}" in said) == bool(lacking)


STUDIES = [
    ("10000001", "50000001", "test", [(film(1), "PA")], {"Edema": "1.0"}, 1, 1.0),
    ("10000002", "50000002", "test", [(film(2), "AP")], {}, 1, 1.0),
]


@pytest.fixture
def root(tmp_path):
    root = mimic(tmp_path / "jpg", STUDIES)
    for subject, study, _, films, *_ in STUDIES:
        place = root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}"
        picture(place / f"{films[0][0]}.jpg")
    return root


def cases_of(root, tmp_path, **data):
    domain = ChestXrayDomain(DomainConfig(name="chest-xray", data=SAID | {"root": str(root)} | data), seed=0)
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    domain.write_cases(run, tmp_path / "run.truth.parquet")
    return read_references(tmp_path / "run.truth.parquet")


def test_mimic_cxr_s_reports_become_references(tmp_path, root):
    """Made-up reports in the set's own form; the second study has no impression."""
    top = tmp_path / "reports" / "files"
    report(top, "10000001", "50000001", " FINAL REPORT\n FINDINGS:  Haze.\n\n IMPRESSION:\n Edema.\n")
    report(top, "10000002", "50000002", " FINAL REPORT\n FINDINGS:  Clear.\n")
    given = {"reports": str(tmp_path / "reports")}
    assert cases_of(root, tmp_path, section="impression", **given) == {"50000001": "Edema."}
    both = cases_of(root, tmp_path, section="findings+impression", **given)
    assert both == {"50000001": "Haze.\nEdema.", "50000002": "Clear."}
    assert cases_of(root, tmp_path) == {}  # by default nothing is compared


def test_the_sectioned_table_serves_as_well(tmp_path, root):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    columns = ("study", "impression", "findings", "last_paragraph", "comparison")
    rows = [{"study": "s50000001", "impression": "Edema."}, {"study": "s50000002", "findings": "Clear."}]
    write(path, columns, rows)
    found = cases_of(root, tmp_path, section="findings", reports=str(path))
    assert found == {"50000002": "Clear."}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"set": "nih", "section": "findings"}, "nih has no reports"),
        ({"set": "mimic-cxr", "reports": "x"}, "say by section"),
        ({"set": "open-i", "section": "findings", "reports": "x"}, "reports belongs to mimic-cxr"),
    ],
)
def test_sections_that_cannot_be(given, said):
    with pytest.raises(ValueError, match=said):
        DataConfig(root="r", uncertain_as="ignore", blank_as="absent", **given)
