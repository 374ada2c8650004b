"""Cases: a study becomes a case with one frontal film; what cannot is told, and the rest goes on."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftbound.data_config import DataConfig
from driftbound.domains.chest_xray.labels import decide
from driftbound.domains.chest_xray.study import Study
from driftbound.domains.chest_xray.thumbnails import thumbnail
from driftbound.errors import CaseError
from driftbound.progress import bar, say
from driftbound.records import Case
from driftbound.store.manifest import atomic_write_text

FILMS = "images"
"""Folder of the films, below the run's."""
LEFT_OUT = "left_out.jsonl"
"""Beside ``cases.parquet``: the studies that became no case, with the reason; a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A case and what is true of it."""

    case: Case
    truth: dict[str, str]


def make(studies: Sequence[Study], folder: Path, data: DataConfig) -> list[Made]:
    """A case for every study whose first frontal film can be read; writes films and ``left_out.jsonl``.

    A film is fitted into a square of ``data.size`` pixels, its shape kept and nothing mirrored. Raises
    ``CaseError`` where no study is left, and what the labels' policy or the file system raise.
    """
    assert data.uncertain_as
    assert data.blank_as
    made, gone = list[Made](), list[tuple[str, str]]()
    with bar("reading films", len(studies)) as advance:
        for study in studies:
            film = study.frontal
            try:
                if film is None:
                    raise CaseError("no frontal film")
                kept, _ = thumbnail(film.path, folder / FILMS, size=data.size)
            except CaseError as error:
                gone.append((study.study_id, str(error)))
            else:
                case = Case(
                    case_id=study.study_id,
                    cluster=study.patient,
                    split=study.split,
                    prompt="",
                    images=(kept.relative_to(folder).as_posix(),),
                    sensitivity=study.sensitivity,
                )
                truth = decide(
                    study.labels,
                    uncertain_as=data.uncertain_as,
                    blank_as=data.blank_as,
                    sides=study.sides,
                )
                made.append(Made(case=case, truth=truth))
            advance()
    lines = [json.dumps({"study": study, "reason": reason}) + "\n" for study, reason in gone]
    atomic_write_text(folder / LEFT_OUT, "".join(lines))
    if gone:
        kinds = Counter("no frontal film" if why == "no frontal film" else "film" for _, why in gone)
        told = ", ".join(f"{number} {_WORDS[kind]}" for kind, number in kinds.items())
        say(f"{len(gone)} of {len(studies)} studies became no case: {told} ({folder / LEFT_OUT})")
    if not made:
        raise CaseError(f"{data.root}: no study can be used, first {gone[0][0]}: {gone[0][1]}")
    return made


_WORDS = {"no frontal film": "without a frontal film", "film": "whose film cannot be read"}
