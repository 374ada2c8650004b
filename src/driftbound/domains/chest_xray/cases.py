"""Cases: a study or a pair of films becomes a case; what cannot is told, and the rest goes on."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftbound.data_config import SetConfig
from driftbound.domains.chest_xray.labels import decide
from driftbound.domains.chest_xray.study import Study
from driftbound.domains.chest_xray.thumbnails import thumbnail
from driftbound.errors import CaseError
from driftbound.progress import bar, say
from driftbound.records import Case
from driftbound.store.manifest import atomic_write_text

FILMS = "images"
"""Folder of the films, below the run's."""
LEFT_OUT, NOTES, SHOWN = "left_out.jsonl", "notes.jsonl", "films.jsonl"
"""Beside ``cases.parquet``: the studies that became no case, with the reason; what is odd about studies (also
such that became one); and which film of its study each case shows. A line each."""
NO_FRONTAL = "no frontal film"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A case to be made, and what is true of it."""

    case_id: str
    cluster: str
    split: str
    films: tuple[Path, ...]
    """In the order of showing."""
    truth: Mapping[str, str]
    sensitivity: str = "credentialed"
    prompt: str = ""
    """Empty: the usual question."""
    hindered: str = ""
    """Why it can be no case; empty: nothing is known."""
    notes: tuple[str, ...] = ()
    shown: str = ""
    """The film that the case shows, as its data set calls it; empty where it shows several."""
    context: Mapping[str, str] = field(default_factory=dict)
    """What teachers may be told of it."""


def planned(study: Study, policy: SetConfig, *, of: str = "", told: bool = False) -> Planned:
    """The case of a study's first frontal film.

    ``of`` goes before its id and its patient's where it is of a further set: two sets may use the same words.
    Of one that may be ``told`` the labels are its context. Raises what ``decide`` does.
    """
    assert policy.uncertain_as
    assert policy.blank_as
    film = study.frontal
    own = f"{of}:" if of else ""
    truth = decide(
        study.labels, uncertain_as=policy.uncertain_as, blank_as=policy.blank_as, sides=study.sides
    )
    return Planned(
        case_id=own + study.study_id,
        cluster=own + study.patient,
        split=study.split,
        films=() if film is None else (film.path,),
        truth=truth,
        sensitivity=study.sensitivity,
        hindered=NO_FRONTAL if film is None else "",
        notes=study.notes,
        shown="" if film is None else film.image_id,
        context=truth if told and study.labels else {},
    )


def make(plans: Sequence[Planned], folder: Path, size: int) -> list[tuple[Case, Mapping[str, str]]]:
    """A case and its truth for every plan whose films can be read; writes films, left out ones and notes.

    A film is fitted into a square of ``size`` pixels, its shape kept and nothing mirrored. Raises
    ``CaseError`` where two plans have one id or none is left, and what the file system raises.
    """
    twice = [name for name, number in Counter(plan.case_id for plan in plans).items() if number > 1]
    if twice:
        raise CaseError(f"two studies are called {twice[0]!r}. Rename the split in domain.data.others.")
    made, gone = list[tuple[Case, Mapping[str, str]]](), list[tuple[str, str]]()
    shown: list[str] = []
    with bar("reading films", len(plans)) as advance:
        for plan in plans:
            try:
                if plan.hindered:
                    raise CaseError(plan.hindered)
                kept = [thumbnail(film, folder / FILMS, size=size)[0] for film in plan.films]
            except CaseError as error:
                gone.append((plan.case_id, str(error)))
            else:
                made.append((_case(plan, [path.relative_to(folder).as_posix() for path in kept]), plan.truth))
                if plan.shown:
                    shown.append(json.dumps({"study": plan.case_id, "film": plan.shown}) + "\n")
            advance()
    atomic_write_text(folder / SHOWN, "".join(shown))
    _tell_left_out(gone, plans, folder)
    _tell_notes(plans, folder)
    if not made:
        raise CaseError(f"no study can be used, first {gone[0][0]}: {gone[0][1]}")
    return made


def _case(plan: Planned, images: Sequence[str]) -> Case:
    return Case(
        case_id=plan.case_id,
        cluster=plan.cluster,
        split=plan.split,
        prompt=plan.prompt,
        images=tuple(images),
        sensitivity=plan.sensitivity,
        context=plan.context,
    )


def _tell_left_out(gone: Sequence[tuple[str, str]], plans: Sequence[Planned], folder: Path) -> None:
    lines = [json.dumps({"study": study, "reason": reason}) + "\n" for study, reason in gone]
    atomic_write_text(folder / LEFT_OUT, "".join(lines))
    if gone:
        hindered = {plan.case_id: plan.hindered for plan in plans if plan.hindered}
        kinds = Counter(hindered.get(study, "film") for study, _ in gone)
        told = ", ".join(f"{number} {_WORDS.get(kind, f'with {kind}')}" for kind, number in kinds.items())
        say(f"{len(gone)} of {len(plans)} studies became no case: {told} ({folder / LEFT_OUT})")


def _tell_notes(plans: Sequence[Planned], folder: Path) -> None:
    """What is odd about studies, but for what already kept them from being a case; counted by kind."""
    odd = [
        (plan.case_id, notes) for plan in plans if (notes := [n for n in plan.notes if n != plan.hindered])
    ]
    lines = [json.dumps({"study": study, "notes": notes}) + "\n" for study, notes in odd]
    atomic_write_text(folder / NOTES, "".join(lines))
    if odd:
        kinds = Counter(_NAMES.sub("...", note) for _, notes in odd for note in notes)
        often = [f"{number} x {kind}" for kind, number in kinds.most_common(_SHOWN)]
        more = f", {len(kinds) - _SHOWN} kinds more" if len(kinds) > _SHOWN else ""
        say(f"{len(odd)} of {len(plans)} studies have notes: {', '.join(often)}{more} ({folder / NOTES})")


_WORDS = {NO_FRONTAL: "without a frontal film", "film": "whose film cannot be read"}
_NAMES = re.compile(r"\S*\d\S*|'[^']*'|\"[^\"]*\"")
"""What is another word in every study's note of one kind."""
_SHOWN = 3
