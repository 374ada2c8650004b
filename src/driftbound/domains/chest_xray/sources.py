"""Sources: the data set that a recipe names, read by its reader."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from driftbound.data_config import SetConfig
from driftbound.domains.chest_xray import chexpert, nih, openi, padchest, rsna, siim, vindr
from driftbound.domains.chest_xray.mimic import read_mimic
from driftbound.domains.chest_xray.study import Study
from driftbound.errors import CaseError
from driftbound.store.manifest import sha256_file

TABLES = ("*.csv", "*.csv.gz", "*.json", "*.txt", "annotations/*.csv", "chexbert_labels/*.json")
REPORTS = ("ecgen-radiology/*.xml",)
"""Where each report is a file and holds its labels."""
"""What of a data set's folder is tables."""

_PLAIN: dict[str, Callable[[Path], list[Study]]] = {
    "chexpert": chexpert.read_chexpert,
    "nih": nih.read_nih,
    "chestx-det10": nih.read_chestx_det,
    "padchest": padchest.read_padchest,
    "open-i": openi.read_openi,
    "rsna": rsna.read_rsna,
    "siim": siim.read_siim,
}
"""Those that take a folder and nothing else."""


def read(data: SetConfig, key: str = "domain.data") -> list[Study]:
    """The studies of the data set that stands under ``key`` in the recipe.

    Raises ``CaseError`` for a folder that is not there, what the reader cannot read, and an empty set.
    """
    root = Path(data.root)
    if not root.is_dir():
        raise CaseError(f"{root}: no such folder. Set {key}.root to the folder of {data.set}.")
    studies = _read(data, root)
    if not studies:
        raise CaseError(f"{root}: no study of {data.set} in it. Set {key} to the set that lies there.")
    return studies


def tables_hash(root: Path, reports: str = "") -> str:
    """Identity of the tables that lie in a data set's folder, and of a table of reports, by content."""
    found = sha256()
    paths = [path for pattern in (*TABLES, *REPORTS) for path in sorted(root.glob(pattern)) if path.is_file()]
    paths += [path for path in (Path(reports),) if path.is_file()]
    for path in paths:
        found.update(f"{path.name} {sha256_file(path)}\n".encode())
    return found.hexdigest()


def _read(data: SetConfig, root: Path) -> list[Study]:
    if data.set in _PLAIN:
        return _PLAIN[data.set](root)
    if data.set == "mimic-cxr":
        return read_mimic(root, images=data.images, labeler=data.labels, **_reports(data, root))
    if data.set == "chexpert-plus":
        return chexpert.read_chexpert_plus(root, labels="report")
    reader = vindr.read_vindr if data.set == "vindr-cxr" else vindr.read_vindr_kaggle
    assert data.readers
    return reader(root, readers=data.readers)


def _reports(data: SetConfig, root: Path) -> dict[str, Path]:
    """Where MIMIC-CXR's reports are to be looked for; nowhere where none is wanted."""
    if data.section == "none":
        return {}
    place = Path(data.reports) if data.reports else root
    return {"sectioned" if place.is_file() else "reports": place}
