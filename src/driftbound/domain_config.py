"""Tables of a recipe that say which field its cases are of, and how texts of it become claims."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from driftbound.data_config import DataConfig
from driftbound.teacher_config import Table

LETTERS = ("A", "B", "C", "D", "E")
"""Options of a multiple choice that declares none."""
COUNTS = ("train", "validation", "test", "test_scanner")
"""How many cases a field that makes its own is to make."""
DIALS = ("findings", "teachers_copy", "copy_rate", "shared_error", "drift")
"""What can be set of the scripted teachers of the field ``phantom``."""


class ClaimsConfig(Table):
    """How texts of the generic field become claims (docs/measure.md)."""

    kind: Literal["auto", "choice", "yes_no", "json", "labelled"] = "auto"
    """``auto`` looks at the answers; a recipe says one of the others."""
    options: tuple[str, ...] = LETTERS
    """What a multiple choice chooses from, with ``kind: choice``."""
    findings: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Name -> synonyms, with ``kind: labelled`` and ``json``. A list of names has no synonyms."""
    sided: tuple[str, ...] = ()
    """Those of the findings that have a side."""
    headline: tuple[str, ...] = ()
    """Those of the findings that ``mean`` averages over; none means all."""
    json_object: Literal["last", "first"] = "last"
    """Which of a text's JSON objects is the answer."""

    @field_validator("options", mode="before")
    @classmethod
    def _numbers_are_words(cls, given: Any) -> Any:
        """``[1, 2, 3]`` are options too."""
        if not isinstance(given, list | tuple):
            return given
        return [str(each) if type(each) is int else each for each in given]

    @field_validator("options", mode="after")
    @classmethod
    def _distinct(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        options = tuple(each.strip() for each in given)
        if len(options) < 2 or "" in options or len({each.casefold() for each in options}) < len(options):
            raise ValueError("give two or more options, each another word whatever its case")
        return options

    @field_validator("findings", mode="before")
    @classmethod
    def _names_alone(cls, given: Any) -> Any:
        """A list of names, or a name with nothing behind it, has no synonyms."""
        if isinstance(given, list | tuple) and all(isinstance(each, str) for each in given):
            return dict.fromkeys(given, ())
        if isinstance(given, dict):
            return {name: () if words is None else words for name, words in given.items()}
        return given

    @field_validator("findings", mode="after")
    @classmethod
    def _one_meaning(cls, given: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        meaning: dict[str, str] = {}
        for name, synonyms in given.items():
            for word in (name, *synonyms):
                key = " ".join(word.casefold().split())
                if not any(letter.isalnum() for letter in key):
                    raise ValueError(f"{word!r} of {name!r} holds no letter")
                if meaning.setdefault(key, name) != name:
                    raise ValueError(f"{word!r} means both {meaning[key]!r} and {name!r}")
        return given

    @model_validator(mode="after")
    def _fits(self) -> "ClaimsConfig":
        for key, names in (("sided", self.sided), ("headline", self.headline)):
            for name in names:
                if name not in self.findings:
                    raise ValueError(f"{key}: {name!r} is none of the findings{_near(name, self.findings)}")
        if self.kind == "labelled" and not self.findings:
            raise ValueError("kind labelled needs findings: {name: [synonyms]}")
        if self.kind in ("choice", "yes_no") and self.findings:
            raise ValueError(f"findings belong to kind labelled or json; {self.kind} has one, 'answer'")
        if self.kind not in ("auto", "choice") and self.options != LETTERS:
            raise ValueError("options belong to kind choice")
        if self.kind not in ("auto", "json") and self.json_object != "last":
            raise ValueError("json_object belongs to kind json")
        return self


class DomainConfig(Table):
    """Which field, and how many cases of it."""

    name: str = "phantom"
    train: int = Field(700, ge=1)
    """Training images."""
    validation: int = Field(60, ge=0)
    """Images for watching a training; never trained on, never in the results table."""
    test: int = Field(240, ge=1)
    """Held-out images of held-out patients."""
    test_scanner: int = Field(120, ge=0)
    """Held-out images from another scanner."""
    findings: Literal["all", "headline"] = "all"
    """Of what the field ``phantom`` speaks: all 14 findings, or only the five of the headline, for texts a
    third as long."""
    teachers_copy: int = Field(0, ge=0, le=7)
    """Of the scripted teachers so many, from gpt-5 on, depend on each other: all but the last of them copy
    the last. 0: none does."""
    copy_rate: float = Field(0.8, ge=0, le=1)
    """With ``teachers_copy``: share of its findings on which such a teacher says what the last one says."""
    shared_error: float = Field(0.0, ge=0, lt=1)
    """Share of the findings of all cases on which every scripted teacher makes the same mistake."""
    drift: float = Field(1.0, ge=0)
    """Strength of the drift along the scripted teachers' answers: factor on the logarithm of the odds by
    which errors grow more frequent. 0: none."""
    cases: str = ""
    """Table of cases, from where the command is started, for the field ``generic``: it says itself how many
    there are of each split."""
    claims: ClaimsConfig = ClaimsConfig()
    """How texts are read, for the field ``generic``."""
    data: DataConfig = DataConfig()
    """The data sets, for the field ``chest-xray``; the numbers above are then the most studies of each
    split, whole patients."""

    @model_validator(mode="after")
    def _one_source(self) -> "DomainConfig":
        made = self.name == type(self).model_fields["name"].default
        if made and (self.cases or self.claims != ClaimsConfig()):
            raise ValueError(f"cases and claims belong to the field 'generic'; {self.name} has its own")
        if self.data.set and self.name in ("phantom", "generic"):
            raise ValueError(f"data belongs to the field 'chest-xray'; {self.name} has its own cases")
        if not made and (dial := next((key for key in DIALS if self._is_set(key)), "")):
            raise ValueError(f"{dial} belongs to the field 'phantom', whose teachers are scripted")
        if self.teachers_copy == 1:
            raise ValueError("teachers_copy: one teacher cannot copy itself; give 0, or 2 or more")
        counts = [key for key in COUNTS if key in self.model_fields_set]
        if self.cases and counts:
            raise ValueError(f"{counts[0]} belongs to a field that makes its cases; the table has a split")
        return self

    @model_serializer(mode="wrap")
    def _meant(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that have no meaning for this field: they are no part of its recipe."""
        given: dict[str, Any] = whole(self)
        idle = [key for key in ("cases", "claims", "data", *DIALS) if not self._is_set(key)]
        for key in (*idle, *(COUNTS if self.cases else ())):
            given.pop(key, None)
        return given

    def _is_set(self, key: str) -> bool:
        """Whether a key says something else than by default."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
