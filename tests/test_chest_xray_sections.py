"""Sections of a report: slices of it, cut at headings, titles and lines; any text can be cut."""

import time
from itertools import pairwise

import pytest
from chest_xray_trees import write
from hypothesis import given
from hypothesis import strategies as st

from driftbound.domains.chest_xray.sections import by_name, choose, read_sectioned, sections_of
from driftbound.errors import CaseError

LINE = "_" * 78
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.  // r/o pneumonia

 COMPARISON:  ___

 FINDINGS:

 The lungs are clear: no consolidation.
 Heart size is normal.

 IMPRESSION:

 No pneumonia.
"""


def test_a_report_by_sections():
    found = by_name(REPORT)
    assert found["findings"] == "The lungs are clear: no consolidation.\n Heart size is normal."
    assert found["impression"] == "No pneumonia."
    assert found["indication"].startswith("___ year old")
    assert "comparison" not in found  # only what was taken out
    assert choose(found, "auto") == "No pneumonia."
    assert choose(found, "findings").startswith("The lungs")


def test_a_typo_is_no_impression_and_the_last_of_a_name_counts():
    text = " NDICATION:  Cough.\n\n FINDINGS:  Old.\n\n FINDINGS:  New.\n"
    assert by_name(text) == {"indication": "Cough.", "findings": "New."}
    assert choose(by_name(text), "impression") == ""


def test_a_report_without_findings_and_impression_has_a_last_paragraph():
    text = "   FINAL REPORT\n CHEST, ___ AT 05:12\n\n One view.\n\n Lungs are clear.\n Heart is big.\n\n"
    assert by_name(text)["last_paragraph"] == "Lungs are clear.\n Heart is big."
    assert choose(by_name(text), "auto").startswith("Lungs")


@pytest.mark.parametrize("text", ["", "\n \n", "   FINAL REPORT\n", " FINDINGS:\n\n IMPRESSION:\n ___\n"])
def test_an_empty_report_has_no_section(text):
    assert sections_of(text) == []


@given(st.text(alphabet="AB ab:\n_.()", max_size=200) | st.text(max_size=80))
def test_sections_are_slices_in_order_of_any_text(text):
    found = sections_of(text)
    for section in found:
        said = section.of(text)
        assert said == said.strip() != ""
    ordered = [section for section in found if section.name != "last_paragraph"]
    assert all(one.end <= other.start for one, other in pairwise(ordered))


def test_lines_and_titles_belong_to_no_section():
    """An addendum stands on top, set off by underscores; what follows is another text."""
    report = (
        f"     FINAL ADDENDUM\n ADDENDUM:  Told by phone.\n\n IMPRESSION:  A nodule.\n {LINE}\n"
        f"     FINAL REPORT\n EXAM:  Chest.\n\n FINDINGS:  Clear.\n"
    )
    assert by_name(report) == {
        "addendum": "Told by phone.",
        "impression": "A nodule.",
        "technique": "Chest.",
        "findings": "Clear.",
    }
    untitled = f"  FINAL ADDENDUM\n Seen later: a nodule.\n {LINE}\n  FINAL REPORT\n IMPRESSION:  Normal.\n"
    assert by_name(untitled.replace("\n", "\r\n")) == by_name(untitled)
    assert by_name(untitled) == {"addendum": "Seen later: a nodule.", "impression": "Normal."}


def test_a_wet_read_never_stands_for_the_final_report():
    """It is the night's first look; the final findings may contradict it."""
    report = f" WET READ: ___ 9:02 PM\n  No effusion.\n {LINE}\n   FINAL REPORT\n FINDINGS:  New effusion.\n"
    found = by_name(report)
    assert found == {"wet read": "___ 9:02 PM\n  No effusion.", "findings": "New effusion."}
    assert choose(found, "auto") == "New effusion."
    assert choose(found, "impression") == ""


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("PORTABLE UPRIGHT AP CHEST", "findings"),
        ("CHEST, PA AND LATERAL VIEWS", "findings"),
        ("CHEST (PA AND LAT)", "findings"),
        ("AP CHEST X-RAY", "findings"),
        ("CHEST", "findings"),
        ("CHEST TUBES", "chest tubes"),
        ("PA AND LATERAL", "findings"),
        ("UPRIGHT", "upright"),
        ("FINDINGS AND IMPRESSION", "findings"),
        ("FINAL IMPRESSION", "impression"),
        ("REASON FOR THIS EXAM", "indication"),
        ("NDICATION", "indication"),
        ("COMPARISON EXAM", "comparison"),
        ("RECOMMENDATION(S)", "recommendations"),
        ("PRELIMINARY FINDINGS", "wet read"),
        ("PRELIMINARY REPORT", "wet read"),
    ],
)
def test_headings(heading, section):
    assert next(iter(by_name(f" {heading}:  Words.\n"))) == section


def test_no_heading_where_a_sentence_has_a_colon():
    text = " FINDINGS:  The line ends in the atrium.\n Time of call: noon.  NG TUBE: in place, AT 5:12.\n"
    assert list(by_name(text)) == ["findings"]
    assert list(by_name(" FINDINGS:  Seen at\n A RATIO OF LR:RL above one.\n")) == ["findings"]


def test_the_last_paragraph_lies_in_the_last_section_without_its_heading():
    """Neither the report's title nor other headings come along."""
    tight = " FINAL REPORT\n INDICATION:  Cough.\n TECHNIQUE:  One view shows clear lungs.\n"
    assert by_name(tight)["last_paragraph"] == "One view shows clear lungs."
    loose = " COMPARISON:  None.\n\n Lungs are clear.\n Heart is big.\n \t\n ___\n\n"
    found = by_name(loose)
    assert found["last_paragraph"] == choose(found, "last_paragraph") == "Lungs are clear.\n Heart is big."
    assert found["comparison"].startswith("None.")
    assert "last_paragraph" not in by_name(" FINDINGS:  Clear.\n\n Signed.\n")


HEADINGS = {
    "FINDINGS": "findings",
    "IMPRESSION": "impression",
    "CONCLUSION": "impression",
    "HISTORY": "history",
}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*HEADINGS, "RULE", "TITLE"]),
            st.sampled_from(["Clear.", "Heart is big.\n\n Lungs: clear.", "___", "", "a__b"]),
            st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
        ),
        max_size=6,
    )
)
def test_a_report_put_together_is_taken_apart_again(parts):
    report, expected = "", []
    for kind, words, gap in parts:
        lead = {"RULE": f" {LINE}\n", "TITLE": "    FINAL REPORT\n"}.get(kind, f" {kind}:  ")
        report += f"{lead}{words}{gap}"
        if words.strip("_"):
            expected.append((HEADINGS.get(kind, "preamble"), words))
    found = [(each.name, each.of(report)) for each in sections_of(report)]
    assert [each for each in found if each[0] != "last_paragraph"] == expected


def test_the_last_paragraph_is_a_slice_of_the_last_section():
    text = " HISTORY:  Cough.\n\n One.\n\n Two.\n"
    history, last = sections_of(text)
    assert (history.name, last.name, last.of(text)) == ("history", "last_paragraph", "Two.")
    assert history.start <= last.start < last.end == history.end


@pytest.mark.parametrize("piece", ["\n", " ", "a\n", "\n \t", "A", "A:\n", "_", f"{LINE}\n", "\n\n ___"])
def test_long_texts_are_cut_in_no_time(piece):
    started = time.process_time()
    sections_of(piece * 20_000)
    assert time.process_time() - started < 2


# ---- the table of sections ---------------------------------------------------------------------

COLUMNS = ("study", "impression", "findings", "last_paragraph", "comparison")


@pytest.mark.parametrize("gz", [True, False])
def test_the_table_of_sections(tmp_path, gz):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    rows = [
        {"study": "s50000002", "impression": ' Edema,\n "mild". ', "comparison": "None."},
        {"study": "s50000001", "findings": "Clear."},
        {"study": "s50000001", "findings": "Clear."},
        {"study": "s50000003"},
    ]
    write(path, COLUMNS, rows, gz=gz)
    found = read_sectioned(path)
    assert found["50000002"] == {"impression": 'Edema,\n "mild".', "comparison": "None."}
    assert (found["50000001"], found["50000003"], len(found)) == ({"findings": "Clear."}, {}, 3)


@pytest.mark.parametrize("column", COLUMNS[:4])
def test_a_missing_column_of_the_table_is_told(tmp_path, column):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    write(path, [name if name != column else "other" for name in COLUMNS], [])
    with pytest.raises(CaseError, match=f"no column '{column}'.*other") as refused:
        read_sectioned(path)
    assert str(path) in str(refused.value)


def test_a_strange_study_of_the_table_is_told_with_its_line(tmp_path):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    write(path, COLUMNS, [{"study": "s50000001.txt", "findings": "Clear."}])
    with pytest.raises(CaseError, match=r"line 2: study is 's50000001\.txt'"):
        read_sectioned(path)
    write(path, COLUMNS, [{"study": "s50000001", "findings": text} for text in ("Clear.", "Not clear.")])
    with pytest.raises(CaseError, match="line 3: study 50000001 is there already with other text"):
        read_sectioned(path)
