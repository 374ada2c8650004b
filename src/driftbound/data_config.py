"""Tables of a recipe that say where data sets of the field ``chest-xray`` lie and what their labels mean."""

import re
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from driftbound.records import SPLITS
from driftbound.teacher_config import Table

SETS = (
    *("mimic-cxr", "chexpert", "chexpert-plus", "nih", "chestx-det10", "padchest"),
    *("vindr-cxr", "vindr-kaggle", "open-i", "rsna", "siim"),
)
"""Data sets that can be read (docs/chest-xray.md)."""
MIMIC = ("images", "labels", "exclude", "ms_cxr_t", "reports")
"""Keys that say something of MIMIC-CXR alone."""
REPORTED = ("mimic-cxr", "chexpert-plus", "open-i")
"""Data sets with reports."""
PRESENCE, PROGRESSION = "mscxrt_presence", "mscxrt_progression"
"""Splits of the two protocols over the films of MS-CXR-T."""
COLLECTIONS = {
    **dict.fromkeys(("nih", "chestx-det10", "rsna", "siim"), "ChestX-ray14"),
    **dict.fromkeys(("chexpert", "chexpert-plus"), "CheXpert"),
    **dict.fromkeys(("vindr-cxr", "vindr-kaggle"), "VinDr-CXR"),
}
"""Set -> the collection that its films are taken from, where several sets are taken from one."""
UNTOLD = ("rsna", "siim", "vindr-cxr", "vindr-kaggle")
"""Sets that name no patients of their collection: nobody can tell whom they share with another set of it."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


class SetConfig(Table):
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
    reports: str = ""
    """Of MIMIC-CXR: folder that the reports lie below, or ``mimic_cxr_sectioned.csv``; empty: ``root``."""
    section: Literal["none", "findings", "impression", "findings+impression"] = "none"
    """What of a report evaluate takes as reference; with both sections what there is of them."""

    @model_validator(mode="after")
    def _said(self) -> "SetConfig":
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
        if self.section != "none" and self.set not in REPORTED:
            raise ValueError(f"section: {self.set} has no reports; {', '.join(REPORTED)} have")
        if self.reports and self.section == "none":
            raise ValueError("reports: say by section what of them is the reference")
        vindr = self.set.startswith("vindr")
        if vindr != bool(self.readers):
            raise ValueError(
                f"readers must be said of {self.set}"
                if vindr
                else f"readers belongs to vindr, not {self.set}"
            )
        return self

    @model_serializer(mode="wrap")
    def _meant(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that belong to another set: what is written can be read again."""
        given: dict[str, Any] = whole(self)
        return {key: value for key, value in given.items() if self.set == "mimic-cxr" or key not in MIMIC}


class OtherConfig(SetConfig):
    """A further data set, on which models are evaluated and nothing is trained."""

    cases: int = Field(500, ge=1)
    """At most so many studies, whole patients, drawn by the seed."""
    part: Literal["", "train", "validation", "test", "all"] = ""
    """Of which split of its own; not said: ``test``, or all of a set without splits."""

    @model_validator(mode="after")
    def _named(self) -> "OtherConfig":
        if not self.set:
            raise ValueError(f"set: say which data set: {', '.join(SETS)}")
        return self


class DataConfig(SetConfig):
    """The data set that is learnt from, and those that models are evaluated on besides."""

    context: bool = False
    """Labels may be told to teachers that are asked to explain them (``prompt: told``). They then lie in
    ``cases.parquet``, outside the truth file."""
    exclude: str = ""
    """Of MIMIC-CXR: folder of MS-CXR-T, whose patients are left out, so that it stays a test."""
    ms_cxr_t: str = ""
    """Of MIMIC-CXR: folder of MS-CXR-T, whose films become the splits ``mscxrt_presence`` and
    ``mscxrt_progression``; its patients are left out of training and validation."""
    others: dict[str, OtherConfig] = Field(default_factory=dict)
    """Split -> a further data set, whose studies become its cases."""
    size: int = Field(512, ge=32)
    """Side of the square that a film is fitted into, in pixels, whatever its set; its shape is kept."""

    @field_validator("others", mode="after")
    @classmethod
    def _free_names(cls, given: dict[str, OtherConfig]) -> dict[str, OtherConfig]:
        for name in given:
            if name in (*SPLITS, PRESENCE, PROGRESSION):
                raise ValueError(f"{name!r} is a split already; give the further set another name")
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name; take small letters, digits, '-' and '_'")
        return given

    @model_validator(mode="after")
    def _told_apart(self) -> "DataConfig":
        for name, other in self.others.items():
            collection = COLLECTIONS.get(self.set)
            pair = {self.set, other.set}
            untold = next((each for each in UNTOLD if each in pair), "")
            if len(pair) == 2 and collection and collection == COLLECTIONS.get(other.set) and untold:
                raise ValueError(
                    f"others.{name}: {self.set} and {other.set} are both taken from {collection}, and "
                    f"{untold} does not name its patients: nobody can keep those of the training out; "
                    "take another set"
                )
        return self

    @property
    def further_splits(self) -> tuple[str, ...]:
        """Held-out splits that this table makes besides the four usual ones."""
        return (*self.others, *((PRESENCE, PROGRESSION) if self.ms_cxr_t else ()))
