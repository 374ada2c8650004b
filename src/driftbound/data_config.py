"""Table of a recipe that says where a data set of the field ``chest-xray`` lies and what its labels mean."""

from typing import Literal

from pydantic import Field, model_validator

from driftbound.teacher_config import Table

SETS = (
    *("mimic-cxr", "chexpert", "chexpert-plus", "nih", "chestx-det10", "padchest"),
    *("vindr-cxr", "vindr-kaggle", "open-i", "rsna", "siim"),
)
"""Data sets that can be read (docs/chest-xray.md)."""
MIMIC = ("images", "labels", "exclude")
"""Keys that say something of MIMIC-CXR alone."""


class DataConfig(Table):
    """A data set that the user holds; nothing is downloaded."""

    set: Literal[
        "",
        "mimic-cxr",
        "chexpert",
        "chexpert-plus",
        "nih",
        "chestx-det10",
        "padchest",
        "vindr-cxr",
        "vindr-kaggle",
        "open-i",
        "rsna",
        "siim",
    ] = ""
    root: str = ""
    """Its folder, as the publisher lays it out."""
    images: Literal["jpg", "dicom"] = "jpg"
    """Of MIMIC-CXR: which films lie there."""
    labels: Literal["chexpert", "negbio", "radiologist"] = "chexpert"
    """Of MIMIC-CXR: whose labels are the truth."""
    readers: Literal["", "any", "majority", "all"] = ""
    """Of VinDr-CXR: how many of the training's three readers must see a finding."""
    uncertain_as: Literal["", "absent", "present", "ignore"] = ""
    """What an uncertain label says; it must be said. ``ignore``: the finding is not scored in that study."""
    blank_as: Literal["", "absent", "ignore"] = ""
    """What a missing label says; it must be said."""
    exclude: str = ""
    """Of MIMIC-CXR: folder of MS-CXR-T, whose patients are left out, so that it stays a test."""
    size: int = Field(512, ge=32)
    """Side of the square that a film is fitted into, in pixels; its shape is kept."""

    @model_validator(mode="after")
    def _said(self) -> "DataConfig":
        if not self.set:
            if self.model_fields_set - {"set"}:
                raise ValueError(f"set: say which data set: {', '.join(SETS)}")
            return self
        for key in ("root", "uncertain_as", "blank_as"):
            if not getattr(self, key):
                raise ValueError(f"{key}: must be said of {self.set}")
        for key in MIMIC:
            if self.set != "mimic-cxr" and key in self.model_fields_set:
                raise ValueError(f"{key} belongs to mimic-cxr, not to {self.set}")
        vindr = self.set.startswith("vindr")
        if vindr != bool(self.readers):
            raise ValueError(
                f"readers must be said of {self.set}"
                if vindr
                else f"readers belongs to vindr, not {self.set}"
            )
        return self
