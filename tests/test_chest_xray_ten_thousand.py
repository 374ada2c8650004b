"""Readers on trees of 10,000 rows that no other file measures: each takes seconds, and reads all of them."""

import json
import time

import chest_xray_trees_other as trees
import pytest
from chest_xray_trees import film, mimic, report, write

from driftbound.domains.chest_xray.chexpert import read_chexpert_plus
from driftbound.domains.chest_xray.mimic import LABELS, read_labels, read_mimic, report_of
from driftbound.domains.chest_xray.ms_cxr_t import COLUMNS, IMAGES, SENTENCES, read_pairs, read_sentences
from driftbound.domains.chest_xray.nih import read_chestx_det
from driftbound.domains.chest_xray.openi import read_openi
from driftbound.domains.chest_xray.rsna import read_rsna
from driftbound.domains.chest_xray.sections import read_sectioned
from driftbound.domains.chest_xray.study import NEGATIVE, POSITIVE

N = 10_000
SECONDS = 5
"""Of processor time; each takes a tenth of it or less."""


def took(read, *given, **how):
    """What was read, in time."""
    start = time.process_time()
    found = read(*given, **how)
    assert time.process_time() - start < SECONDS
    return found


def test_chestx_det(tmp_path):
    rows = [{"file_name": f"{n:08}_000.png", "syms": ["Effusion"], "boxes": [[1, 2, 3, 4]]} for n in range(N)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    found = took(read_chestx_det, tmp_path)
    assert len({study.patient for study in found}) == N
    assert all(study.labels["Pleural Effusion"] == POSITIVE for study in found)


def test_open_i(tmp_path):
    """As many files, which is ten thousand parses: the set itself has 3,955."""
    text = trees.openi_report(
        "NUMBER", ["IMAGE"], ["Pneumonia/right"], findings="Clear.", impression="Normal."
    )
    reports = {str(n): text.replace("NUMBER", str(n)).replace("IMAGE", f"CXR{n}_IM-1") for n in range(N)}
    found = took(read_openi, trees.openi(tmp_path, reports))
    assert (len(found), len({study.study_id for study in found})) == (N, N)
    assert {study.labels["Pneumonia"] for study in found} == {POSITIVE}


def test_chexpert_plus_with_its_labels(tmp_path):
    films = [f"train/patient{n:05}/study1/view1_frontal.jpg" for n in range(N)]
    root = trees.chexpert_plus(
        tmp_path, [trees.plus_row(name) for name in films], {name: {"Edema": 1.0} for name in films}
    )
    found = took(read_chexpert_plus, root, labels="report")
    assert [study.labels for study in found] == [{"Edema": POSITIVE}] * N


def test_rsna_with_its_classes(tmp_path):
    rows = [(f"p{n}", "", "", "", "", 0) for n in range(N)]
    root = trees.rsna(tmp_path, rows, [(f"p{n}", "Normal") for n in range(N)])
    assert len(took(read_rsna, root)) == N


def test_pairs_of_ms_cxr_t(tmp_path):
    ids = ("subject_id", "study_id", "dicom_id", "previous_study_id", "previous_dicom_id")
    more = [f"{name}_{what}" for name in COLUMNS.values() for what in ("progression", "label_quality")]
    rows = [
        {
            "subject_id": 10_000_000 + n,
            "study_id": 50_000_000 + n,
            "dicom_id": film(n),
            "previous_study_id": 55_000_000 + n,
            "previous_dicom_id": film(N + n),
            "edema_progression": "stable",
        }
        for n in range(N)
    ]
    write(tmp_path / IMAGES, (*ids, *more), rows)
    found = took(read_pairs, tmp_path)
    assert [pair.courses for pair in found] == [{"Edema": "stable"}] * N
    assert found[-1].film == f"p10/p10009999/s50009999/{film(N - 1)}"


def test_sentences_of_ms_cxr_t(tmp_path):
    row = {"subset_name": "x", "sentence_1": "Less.", "sentence_2": "More.", "category": "contradiction"}
    write(tmp_path / SENTENCES, tuple(row), [row] * N)
    assert len(took(read_sentences, tmp_path)) == N


def test_a_sectioned_table(tmp_path):
    path = tmp_path / "mimic_cxr_sectioned.csv"
    rows = [{"study": f"s{50_000_000 + n}", "impression": "No change. " * 20} for n in range(N)]
    write(path, ("study", "impression", "findings", "last_paragraph", "comparison"), rows)
    assert len(took(read_sectioned, path)) == N


@pytest.mark.parametrize("labeler", ["negbio", "radiologist"])
def test_labels_of_mimic(tmp_path, labeler):
    """``chexpert`` is measured with the films."""
    rows = [{"study_id": 50_000_000 + n, "Edema": "0.0"} for n in range(N)]
    root = mimic(tmp_path, [], gz=False, radiologist=rows)
    if labeler == "negbio":
        table = root / LABELS[labeler]
        head = table.read_text().splitlines()[0].split(",")
        write(table, head, [row | {"subject_id": 10_000_000} for row in rows])
    found = took(read_labels, root, labeler)
    assert (len(found), found["50000000"][1]) == (N, {"Edema": NEGATIVE})


def test_reports_of_mimic(tmp_path):
    """A fifth of the files, read and cut into sections: to make them takes longer than to read them."""
    n = N // 5
    studies = [
        (str(10_000_000 + k), str(50_000_000 + k), "train", [(film(k), "PA")], {}, 1, 1.0) for k in range(n)
    ]
    root = mimic(tmp_path / "jpg", studies)
    for subject, study, *_ in studies:
        report(
            tmp_path / "reports", subject, study, " FINAL REPORT\n FINDINGS: Clear.\n IMPRESSION: Normal.\n"
        )
    read = took(read_mimic, root, images="jpg", labeler="chexpert", reports=tmp_path / "reports")
    found = took(lambda: [report_of(study) for study in read])
    assert {study.sections["findings"] for study in found} == {"Clear."}
