"""Cases on the page: image, truth, every answer with its claims coloured, and who is right on what."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from driftbound.protocols import Domain
from driftbound.records import UNKNOWN, Status, Trajectory
from driftbound.report.choice import CaseRecord, Chosen, correct_of, teachers_right
from driftbound.report.spans import Piece, consensus_mark, displayable, pieces, shortened, teacher_mark
from driftbound.report.tables import LABELS

STUDENTS = ("student:base", "student:bootstrapped", "student:aligned")
"""Rows of the students, as evaluate names them."""
THUMBNAIL = 320
"""Longest side of an image on the page, in pixels."""
_USABLE = frozenset(str(status) for status in Status if status.usable)
SIGNS = {
    "present": "+",
    "absent": "−",
    "left": "L",
    "right": "R",
    "both": "B",
    "uncertain": "?",
    "omitted": "·",
    "refused": "×",
}
"""How the table of votes writes a vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One text about a case, ready to print."""

    name: str
    label: str
    status: str
    version: str
    pieces: tuple[Piece, ...]
    left_out: int
    """Code points that the page does not show."""
    right: int
    judged: int
    """Headline findings right, of those judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One headline finding of a case: the truth and who is right. ``None``: not judged."""

    finding: str
    truth: str
    teachers_right: str
    right: dict[str, bool | None]
    """Consensus and students by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRow:
    """One point of a case: how each teacher stands on it."""

    finding: str
    attribute: str
    status: str
    votes: tuple[str, ...]
    """In the order of the teachers; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """One case as the page shows it."""

    number: int
    case_id: str
    split: str
    question: str
    reason: str
    why: str
    images: tuple[str, ...]
    """``data:`` URIs."""
    judgements: tuple[Judgement, ...]
    consensus: Answer | None
    students: tuple[Answer, ...]
    teachers: tuple[Answer, ...]
    votes: tuple[VoteRow, ...]
    also_present: tuple[str, ...]
    """What is true beside the headline findings."""


def exhibit(
    number: int, chosen: Chosen, domain: Domain, images: Sequence[bytes], teachers: Sequence[str]
) -> Exhibit:
    """Everything the page says about one chosen case; ``images`` are file contents."""
    record = chosen.record
    headline = domain.headline
    named = [name for name in teachers if name in record.teachers]
    judged = [row for row in ("consensus", *STUDENTS) if correct_of(record, row)]
    return Exhibit(
        number=number,
        case_id=record.case.case_id,
        split=record.case.split,
        question=domain.question(record.case),
        reason=chosen.reason,
        why=chosen.why,
        images=tuple(thumbnail(data) for data in images),
        judgements=tuple(_judgement(record, finding, judged) for finding in headline) if judged else (),
        consensus=_consensus(record, domain),
        students=tuple(_student(record, row, domain) for row in STUDENTS if row in record.predictions),
        teachers=tuple(_teacher(record, record.teachers[name], domain) for name in named),
        votes=tuple(
            VoteRow(
                finding=finding,
                attribute=attribute,
                status=slot.status,
                votes=tuple(slot.votes.get(name, "") for name in teachers),
            )
            for (finding, attribute), slot in record.slots.items()
            if any(vote not in ("omitted", "refused") for vote in slot.votes.values())
        ),
        also_present=tuple(
            finding if value in ("present", "true", "1") else f"{finding} ({value})"
            for finding, value in record.truth.items()
            if finding not in headline and value not in ("absent", UNKNOWN)
        ),
    )


def thumbnail(data: bytes) -> str:
    """An image as a ``data:`` URI of a PNG, its longest side at most ``THUMBNAIL`` pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        image = opened if opened.mode in ("L", "RGB") else opened.convert("RGB")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        out = io.BytesIO()
        image.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _judgement(record: CaseRecord, finding: str, rows: Sequence[str]) -> Judgement:
    right, judged = teachers_right(record, finding)
    return Judgement(
        finding=finding,
        truth=record.truth.get(finding, ""),
        teachers_right=f"{right} of {judged}" if judged else "",
        right={row.removeprefix("student:"): correct_of(record, row).get(finding) for row in rows},
    )


def _teacher(record: CaseRecord, trajectory: Trajectory, domain: Domain) -> Answer:
    claims = domain.claims(trajectory.text) if trajectory.status.usable else []
    cut = pieces(trajectory.text, claims, record.slots, teacher_mark)
    name, status = trajectory.teacher, str(trajectory.status)
    return _answer(record, f"teacher:{name}", name, name, status, cut, domain, trajectory.version)


def _consensus(record: CaseRecord, domain: Domain) -> Answer | None:
    prediction = record.predictions.get("consensus")
    text = record.consensus or (prediction.text if prediction else "")
    if not text:
        return None
    cut = pieces(text, domain.claims(text), record.slots, consensus_mark)
    return _answer(record, "consensus", "consensus", LABELS["consensus"], "ok", cut, domain)


def _student(record: CaseRecord, row: str, domain: Domain) -> Answer:
    prediction = record.predictions[row]
    name = row.removeprefix("student:")
    claims = domain.claims(prediction.text) if prediction.status in _USABLE else ()
    cut = pieces(prediction.text, claims, record.slots, consensus_mark)
    return _answer(record, row, name, LABELS[name], prediction.status, cut, domain)


def _answer(
    record: CaseRecord,
    row: str,
    name: str,
    label: str,
    status: str,
    cut: Sequence[Piece],
    domain: Domain,
    version: str = "",
) -> Answer:
    kept, left_out = shortened(cut)
    correct = correct_of(record, row)
    judged = [correct[finding] for finding in domain.headline if finding in correct]
    return Answer(
        name=name,
        label=label,
        status=status,
        version=displayable(version),
        pieces=tuple(kept),
        left_out=left_out,
        right=sum(judged),
        judged=len(judged),
    )
