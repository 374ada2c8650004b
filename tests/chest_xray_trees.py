"""Small trees in the exact formats of MIMIC-CXR-JPG, MIMIC-CXR and MS-CXR-T; everything is made up."""

import csv
import gzip
import io

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
    "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia",
    "Pneumothorax", "Support Devices",
)  # fmt: skip
METADATA = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows",
    "Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip


def film(number):
    """A dicom_id: five groups of eight."""
    return "-".join(f"{number:08x}" for _ in range(5))


def write(path, columns, rows, *, gz=False):
    """A CSV file of tables of cells, plain or packed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if gz:
        with gzip.open(path.with_name(path.name + ".gz"), "wt", newline="") as file:
            file.write(text.getvalue())
    else:
        path.write_text(text.getvalue())


def mimic(root, studies, *, gz=True, radiologist=()):
    """``studies``: (subject, study, split, [(film, view)], labels, date, time)."""
    metadata, split, labels = [], [], []
    for subject, study, part, films, told, date, time in studies:
        ids = {"subject_id": subject, "study_id": study}
        for name, view in films:
            more = {"ViewPosition": view, "StudyDate": date, "StudyTime": time, "Rows": 9, "Columns": 9}
            metadata.append({"dicom_id": name, **ids, **more})
            if part:
                split.append({"dicom_id": name, **ids, "split": part})
        if told is not None:
            labels.append({**ids, **told})
    write(root / "mimic-cxr-2.0.0-metadata.csv", METADATA, metadata, gz=gz)
    write(root / "mimic-cxr-2.0.0-split.csv", ("dicom_id", "study_id", "subject_id", "split"), split, gz=gz)
    for name in ("chexpert", "negbio"):
        write(root / f"mimic-cxr-2.0.0-{name}.csv", ("subject_id", "study_id", *LABELS), labels, gz=gz)
    names = ["Airspace Opacity" if name == "Lung Opacity" else name for name in LABELS]
    write(root / "mimic-cxr-2.1.0-test-set-labeled.csv", ("study_id", *names), radiologist)
    return root


def report(top, subject, study, text):
    """A report beside its study's folder."""
    path = top / f"p{subject[:2]}" / f"p{subject}" / f"s{study}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


ADA, BOB = "10000032", "11000011"
STUDIES = [
    (
        ADA,
        "50000002",
        "train",
        [(film(1), "LATERAL"), (film(2), "PA")],
        {"Edema": "1.0"},
        21800506,
        213014.531,
    ),
    (
        ADA,
        "50000001",
        "train",
        [(film(3), "AP")],
        {"Edema": "-1.0", "Pneumonia": "0.0"},
        21800626,
        165500.312,
    ),
    (BOB, "50000003", "validate", [(film(4), "LL"), (film(5), "")], {"No Finding": "1.0"}, 21800101, 1.0),
]
"""Two of Ada's, the greater number taken first, and one of Bob's without a frontal film."""
