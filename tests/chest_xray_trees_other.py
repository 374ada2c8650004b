"""Small trees in the exact formats of the data sets other than MIMIC-CXR; everything in them is made up."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

CHEXPERT_LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
)
"""In CheXpert's order, which is not MIMIC's: opacity before lesion."""
CHEXPERT_HEAD = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_LABELS)
PLUS_SECTIONS = (
    *("narrative", "clinical_history", "history", "comparison", "technique", "procedure_comments"),
    *("findings", "impression", "end_of_impression", "summary", "accession_number"),
)
PLUS_HEAD = (
    *("path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id"),
    *("patient_report_date_order", "report", *(f"section_{name}" for name in PLUS_SECTIONS)),
    *("age", "sex", "race", "ethnicity", "interpreter_needed", "insurance_type", "recent_bmi", "deceased"),
    "split",
)
NIH_HEAD = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
"""As it stands: the commas in brackets are not quoted, so that there are eleven columns."""
PADCHEST_HEAD = (
    *("", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth"),
    *("PatientSex_DICOM", "ViewPosition_DICOM", "Projection", "Report", "Labels"),
)
"""The first column, a number without a name, is as in the file that is handed out."""
PLACES = ("Localizations", "LabelsLocalizationsBySentence")
VINDR_LABELS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture"),
    *("Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity"),
    *("Lung cavity", "Lung cyst", "Mediastinal shift", "Nodule/Mass", "Pleural effusion"),
    *("Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture", "Other lesion"),
    *("COPD", "Lung tumor", "Pneumonia", "Tuberculosis"),
)
VINDR_TABLE = "annotations/image_labels_{split}.csv"
BOXES = ("image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max")
KAGGLE = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
RSNA = ("patientId", "x", "y", "width", "height", "Target")


def table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A CSV file with the usual quoting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def chexpert_row(path: str, side: str, view: str, **labels: float) -> list[object]:
    """A film of CheXpert's first edition; a label's name has underscores for its spaces."""
    said = {name.replace("_", " "): value for name, value in labels.items()}
    assert set(said) <= set(CHEXPERT_LABELS)
    return [
        f"CheXpert-v1.0-small/{path}",
        "Female",
        60,
        side,
        view,
        *(said.get(f, "") for f in CHEXPERT_LABELS),
    ]


def chexpert(root: Path, **splits: Iterable[Sequence[object]]) -> Path:
    """``train.csv``, ``valid.csv``, ``test.csv`` of rows."""
    for split, rows in splits.items():
        table(root / f"{split}.csv", CHEXPERT_HEAD, rows)
    return root


def plus_row(path: str, side: str = "Frontal", view: str = "AP", order: int = 1, **said: str) -> list[object]:
    """A film of CheXpert Plus; ``split`` and ``deid_patient_id`` are those of the path unless said."""
    split, patient = path.split("/")[:2]
    cells: dict[str, object] = {
        "path_to_image": path,
        "path_to_dcm": path.replace(".jpg", ".dcm"),
        "frontal_lateral": side,
        "ap_pa": view,
        "deid_patient_id": patient,
        "patient_report_date_order": order,
        "report": "NARRATIVE:\nmade up",
        "split": split,
        **said,
    }
    return [cells.get(name, "") for name in PLUS_HEAD]


def chexpert_plus(
    root: Path, rows: Iterable[Sequence[object]], labels: Mapping[str, Mapping[str, float]] = {}
) -> Path:
    """The table, and ``report_fixed.json``: JSON lines of film -> labels, blanks being null."""
    table(root / "df_chexpert_plus_240401.csv", PLUS_HEAD, rows)
    if labels:
        folder = root / "chexbert_labels"
        folder.mkdir()
        lines = [
            json.dumps({"path_to_image": path, **{name: said.get(name) for name in CHEXPERT_LABELS}})
            for path, said in labels.items()
        ]
        (folder / "report_fixed.json").write_text("\n".join(lines) + "\n")
    return root


def nih(
    root: Path,
    rows: Iterable[tuple[str, str, int, int, str]],
    train_val: Iterable[str] = (),
    test: Iterable[str] = (),
) -> Path:
    """Films as (name, labels, follow-up, patient, view)."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name},{labels},{follow},{patient},58,M,{view},2682,2749,0.143,0.143"
        for name, labels, follow, patient, view in rows
    ]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEAD, *lines]) + "\n")
    for name, films in (("train_val_list.txt", train_val), ("test_list.txt", test)):
        if films:
            (root / name).write_text("\n".join(films) + "\n")
    return root


def padchest(root: Path, rows: Iterable[Mapping[str, object]], *, places: bool = True) -> Path:
    """Films of PadChest; what a row leaves out is of study s1 of patient p1."""
    usual = {
        "ImageDir": 0,
        "StudyDate_DICOM": 20140915,
        "StudyID": "s1",
        "PatientID": "p1",
        "PatientBirth": 1930.0,
        "Projection": "PA",
        "Report": "sin cambi .",
        "Labels": "['normal']",
    }
    head = (*PADCHEST_HEAD, *(PLACES if places else ()))
    cells = [
        [n if not name else (usual | dict(row)).get(name, "") for name in head] for n, row in enumerate(rows)
    ]
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", head, cells)
    return root


def vindr(
    root: Path,
    train: Iterable[tuple[str, str, Sequence[str]]],
    test: Iterable[tuple[str, Sequence[str]]] = (),
    boxes: Iterable[tuple[str, str, str, float, float]] = (),
) -> Path:
    """PhysioNet's tables: of training (film, reader, words), of the test (film, words) and of training's
    boxes (film, reader, class, x_min, x_max)."""
    train_head, test_head = (
        (*VINDR_LABELS, other, "No finding") for other in ("Other diseases", "Other disease")
    )
    table(
        root / VINDR_TABLE.format(split="train"),
        ("image_id", "rad_id", *train_head),
        ([film, reader, *(int(word in words) for word in train_head)] for film, reader, words in train),
    )
    table(
        root / VINDR_TABLE.format(split="test"),
        ("image_id", *test_head),
        ([film, *(int(word in words) for word in test_head)] for film, words in test),
    )
    rows = ([film, reader, word, low, 10.5, high, 99.0] for film, reader, word, low, high in boxes)
    table(root / "annotations/annotations_train.csv", BOXES, rows)
    table(root / "annotations/annotations_test.csv", [name for name in BOXES if name != "rad_id"], ())
    return root


def kaggle(root: Path, rows: Iterable[tuple[str, str, str, float | str, float | str]]) -> Path:
    """Kaggle's ``train.csv`` of (film, class, reader, x_min, x_max)."""
    cells = ([film, word, 0, reader, low, 1, high, 2] for film, word, reader, low, high in rows)
    table(root / "train.csv", KAGGLE, cells)
    return root


def openi_report(
    number: str,
    images: Sequence[str] = (),
    major: Sequence[str] = (),
    automatic: Sequence[str] = (),
    **sections: str,
) -> str:
    """A report as Open-I writes it; an empty section is there without a text."""
    texts = "".join(
        f'<AbstractText Label="{name.upper()}">{text}</AbstractText>'
        if text
        else f'<AbstractText Label="{name.upper()}"/>'
        for name, text in sections.items()
    )
    mesh = "".join(f"<major>{each}</major>" for each in major)
    mesh += "".join(f"<automatic>{each}</automatic>" for each in automatic)
    films = "".join(
        f'<parentImage id="{image}"><figureId>F1</figureId><caption>Chest</caption>'
        f'<panel type="single"><url>/hadoop/{image}.jpg</url></panel></parentImage>'
        for image in images
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<eCitation>\n<meta type="rr"/>\n'
        f'<uId id="CXR{number}"/>\n<pmcId id="{number}"/>\n'
        '<MedlineCitation Owner="Indiana University"><Article><Abstract>'
        f"{texts}</Abstract></Article></MedlineCitation>\n<MeSH>{mesh}</MeSH>\n{films}\n</eCitation>\n"
    )


def openi(root: Path, reports: Mapping[str, str]) -> Path:
    """Reports by the name of their file, without its ending."""
    folder = root / "ecgen-radiology"
    folder.mkdir(parents=True)
    for name, text in reports.items():
        (folder / f"{name}.xml").write_text(text)
    return root


def rsna(
    root: Path, rows: Iterable[Sequence[object]], classes: Iterable[Sequence[object]] | None = None
) -> Path:
    """Rows (patient, x, y, width, height, Target), and (patient, class) where there are any."""
    table(root / "stage_2_train_labels.csv", RSNA, rows)
    if classes is not None:
        table(root / "stage_2_detailed_class_info.csv", ("patientId", "class"), classes)
    return root


def siim(root: Path, rows: Iterable[tuple[str, str]], *, head: str = "ImageId, EncodedPixels") -> Path:
    """Rows (film, mask), as they stand: a space after the comma, in the head too."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"{film}, {mask}" for film, mask in rows]
    (root / "train-rle.csv").write_text("\n".join([head, *lines]) + "\n")
    return root
