"""Columns of CXR-MAX: the shape of a file's rows, and which of its columns are what."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from driftbound.domains.chest_xray.names import by_word
from driftbound.errors import CaseError, ConfigError
from driftbound.store.foreign_columns import CHATS, SYNONYMS

WORDS: dict[str, tuple[str, ...]] = {
    "case_id": ("case_id", "sample_id", "image_id", "id"),
    "subject": ("subject", "subject_id", "patient_id"),
    "study": ("study", "study_id"),
    "dicom": ("dicom", "dicom_id"),
    "image": ("image", "images", "image_path", "img_path", "image_file", "file_name", "path"),
    "prompt": ("prompt", "question", "instruction", "query"),
    "labels": ("labels", "label", "diseases"),
    "report": ("report", "reference_report", "reference", "ground_truth", "gt_report"),
    "answers": ("answers", "responses", "rationales", "teachers"),
    "teacher": ("teacher", "teacher_name", "model", "model_name"),
    "text": SYNONYMS["text"],
    "messages": CHATS,
    "rejected": ("rejected_response", "rejected_messages"),
}
"""Our word -> a file's words for it, whatever their case; the first that a file has counts."""
NAMING = ("case_id", "dicom", "image", "study")
"""What names a case; the first that a row has."""
ONE = "answers."
"""Beginning of our word for the column of one teacher: ``answers.gpt-5``."""

WIDE, TABLE, LONG, CHAT = "a column for each teacher", "a table of teachers", "a row for each answer", "chats"
_MODEL = re.compile(
    r"(?<![a-z])(claude|deepseek|doubao|ernie|gemini|gemma|glm|gpt|grok|hunyuan|internvl|kimi|llama|llava|"
    r"medgemma|minimax|mistral|moonshot|pixtral|qvq|qwen|sonnet)"
)
_ASIDE = re.compile(r"(cost|error|finish_reason|id|labels?|latency|refused|score|time|tokens|usage|version)$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file keeps what."""

    shape: str
    """``WIDE``, ``TABLE``, ``LONG`` or ``CHAT``."""
    columns: Mapping[str, str]
    """Our word -> column, or path within one."""
    teachers: Mapping[str, str]
    """Of wide rows whose columns were given: teacher -> column of what it says."""

    def needed(self, names: Sequence[str]) -> set[str]:
        """Those of the columns that are read."""
        places = (*self.columns.values(), *self.teachers.values())
        return {
            name
            for name in names
            if finding_of(name)
            or (self.shape == WIDE and like_a_teacher(name))
            or any(at == name or at.startswith(f"{name}.") for at in places)
        }


def place_of(path: Path, names: Sequence[str], given: Mapping[str, str]) -> Place:
    """Where a file with these columns keeps what; ``given`` goes before the usual names.

    Raises ``ConfigError`` for a word that is none of ours, ``CaseError`` where nothing maps.
    """
    _check(path, names, given)
    teachers = {ours[len(ONE) :]: theirs for ours, theirs in given.items() if ours.startswith(ONE) and theirs}
    columns = {ours: theirs for ours, theirs in given.items() if ours in WORDS}
    for ours, words in WORDS.items():
        free = {name.lower(): name for name in names if name not in (*columns.values(), *teachers.values())}
        columns.setdefault(ours, next((free[word] for word in words if word in free), ""))
    columns = {ours: theirs for ours, theirs in columns.items() if theirs}
    shape = _shape(columns, teachers, given)
    if not shape and any(like_a_teacher(name) for name in names if name not in columns.values()):
        shape = WIDE
    if not shape:
        looked = (
            f"{WIDE} (called after a model, as gpt-5), {TABLE} ({', '.join(WORDS['answers'])}), "
            f"{LONG} with teacher ({', '.join(WORDS['teacher'])}) and text ({', '.join(WORDS['text'])}), "
            f"{CHAT} ({', '.join(WORDS['messages'])})"
        )
        how = f"teacher: COLUMN, text: COLUMN}} or columns: {{{ONE}NAME: COLUMN"
        raise _refusal(path, names, "no answers of teachers", looked, how)
    if not any(ours in columns for ours in NAMING):
        looked = ", ".join(word for ours in NAMING for word in WORDS[ours])
        raise _refusal(path, names, "no column that names the case", looked, "case_id: COLUMN")
    return Place(shape, columns, teachers)


@cache
def finding_of(name: str) -> str:
    """The finding that a word names, in CheXpert's words; empty where it names none.

    >>> finding_of("pleural_effusion"), finding_of("split")
    ('Pleural Effusion', '')
    """
    return by_word("chexpert").get(name.replace("_", " ").strip().lower(), "")


@cache
def like_a_teacher(name: str) -> bool:
    """Whether a column is called after a model, and holds what it says instead of what it cost.

    >>> like_a_teacher("GPT-5-nano"), like_a_teacher("gpt5_tokens"), like_a_teacher("split")
    (True, False, False)
    """
    return bool(_MODEL.search(name.lower())) and not _ASIDE.search(name.lower())


def _check(path: Path, names: Sequence[str], given: Mapping[str, str]) -> None:
    for ours, theirs in given.items():
        if ours not in WORDS and not (ours.startswith(ONE) and ours != ONE):
            near = get_close_matches(ours, WORDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(WORDS)}, {ONE}TEACHER."
            raise ConfigError(f"columns: no {ours!r} is read of CXR-MAX; {hint}")
        if theirs and not any(theirs == name or theirs.startswith(f"{name}.") for name in names):
            raise CaseError(f"{path}: no column {theirs!r}. Its columns: {_listed(names)}. Correct {ours!r}.")


def _shape(columns: Mapping[str, str], teachers: Mapping[str, str], given: Mapping[str, str]) -> str:
    """What was given decides; else the plainest shape that the columns allow. Empty where none is."""
    able = {
        TABLE: "answers" in columns,
        LONG: {"teacher", "text"} <= set(columns),
        CHAT: "messages" in columns,
    }
    if teachers:
        return WIDE
    said = {TABLE: ("answers",), LONG: ("text", "teacher"), CHAT: ("messages", "rejected", "teacher")}
    asked = [shape for shape, words in said.items() if any(given.get(word) for word in words)]
    return next((shape for shape in (*asked, TABLE, LONG, CHAT) if able[shape]), "")


def _refusal(path: Path, names: Sequence[str], what: str, looked: str, how: str) -> CaseError:
    return CaseError(
        f"{path}: {what}. Its columns: {_listed(names)}. Looked for: {looked}. "
        f"Say which is which: columns: {{{how}}}."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
