"""CXR-MAX: what several teachers say of one film, read from whatever shape its rows have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from driftbound.domains.chest_xray.cxr_max_columns import NAMING, place_of
from driftbound.domains.chest_xray.cxr_max_rows import CHOSEN, REJECTED, Said, said_by
from driftbound.errors import CaseError
from driftbound.store.rowfiles import columns_of, read_rows

_FIELDS = ("subject", "study", "dicom", "image", "prompt", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One case and what each teacher says of it."""

    case_id: str
    subject: str = ""
    """Patient; by MIMIC's paths where no column tells. Empty: unknown, as with all texts here."""
    study: str = ""
    dicom: str = ""
    image: str = ""
    """Path as it stands in the file; of several the first."""
    prompt: str = ""
    """Without the marks of where images go."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """Finding -> ``POSITIVE``, ``NEGATIVE`` or ``UNCERTAIN``, raw; no key: blank."""
    report: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Teacher, as the file calls it -> text; an empty text is an answer, a missing one is none."""
    notes: tuple[str, ...] = ()
    """What is odd about this case, a few words each."""


@dataclass(slots=True)
class _Case:
    """A case while its rows are gathered."""

    fields: dict[str, str]
    labels: dict[str, float]
    answers: dict[str, str]
    where: dict[str, str]
    """Teacher -> the row of its answer."""
    notes: dict[str, None]


def read_cxr_max(path: Path, *, columns: Mapping[str, str] = {}) -> list[Answers]:
    """The cases of a JSON array, JSON lines, Parquet or CSV file, in the order of their first rows.

    The set's published page names no fields, so that these shapes are read: a column for each teacher,
    or a table of teachers and texts (``answers``); a row for each teacher's text (``teacher``, ``text``);
    chats of ms-swift, whose last turn is the answer of ``teacher``, or else of ``chosen`` (``assistant``
    where nothing is rejected), and ``rejected_response`` or ``rejected_messages`` those of ``rejected``,
    ``rejected 2`` and so on. Rows of one case are gathered. ``columns`` maps our words
    (``cxr_max_columns.WORDS``, ``answers.NAME`` for one teacher) to the file's columns or paths within them
    and wins over the usual names; an empty name says that the file has none. Patients, studies and films
    are taken from MIMIC's paths where no column tells. The text is derived from MIMIC-CXR: credentialed.
    Raises ``ConfigError`` for a word that is none of ours, ``StoreError`` for a file that cannot be
    read, ``CaseError`` where nothing maps, a value makes no sense or a case has one teacher twice.
    """
    names = columns_of(path)
    place = place_of(path, names, columns)
    cases: dict[str, _Case] = {}
    for at, row in read_rows(path, place.needed(names)):
        where = f"{path}, {at}"
        said = said_by(row, place, where)
        case_id = next((said.fields[name] for name in NAMING if said.fields[name]), "")
        if not case_id:
            raise CaseError(f"{where}: names no case ({', '.join(NAMING)}). Correct the row.")
        _add(cases.setdefault(case_id, _Case({}, {}, {}, {}, {})), case_id, said, at, where)
    return list(_made(cases))


def _add(case: _Case, case_id: str, said: Said, at: str, where: str) -> None:
    """Take a row into its case. Raises ``CaseError`` where a teacher has answered already."""
    for name in _FIELDS:
        if said.fields[name] and case.fields.setdefault(name, said.fields[name]) != said.fields[name]:
            case.notes[f"rows differ in {name}: the first counts"] = None
    for finding, value in said.labels.items():
        if case.labels.setdefault(finding, value) != value:
            case.notes["rows differ in labels: the first counts"] = None
    case.notes |= dict.fromkeys(said.notes)
    for teacher, text in said.answers:
        name = teacher
        if teacher == REJECTED:  # nobody's name: a row for each of them repeats what was chosen
            n = sum(each.startswith(REJECTED) for each in case.answers) + 1
            name = f"{REJECTED} {n}" if n > 1 else REJECTED
        elif teacher == CHOSEN and case.answers.get(CHOSEN) == text:
            continue
        if name in case.answers:
            raise CaseError(
                f"{where}: case {case_id!r} has an answer of {name!r} already ({case.where[name]}). "
                "Take one of the rows out, or give the column that tells them apart."
            )
        case.answers[name], case.where[name] = text, at


def _made(cases: Mapping[str, _Case]) -> Iterator[Answers]:
    for case_id, case in cases.items():
        if not case.answers:
            case.notes["no answer"] = None
        yield Answers(
            case_id=case_id,
            labels=case.labels,
            answers=case.answers,
            notes=tuple(case.notes),
            **{name: case.fields.get(name, "") for name in _FIELDS},
        )
