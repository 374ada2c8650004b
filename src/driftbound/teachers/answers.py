"""Answers: a trajectory says by itself who was asked what, whichever kind of teacher it is of."""

from datetime import UTC, datetime
from typing import Any

from driftbound.protocols import Teacher
from driftbound.records import Request, Trajectory


def trajectory_of(request: Request, teacher: Teacher, **said: Any) -> Trajectory:
    """What a teacher ``said`` to a request: the fields of a trajectory that the answer decides."""
    return Trajectory(
        case_id=request.case.case_id,
        teacher=teacher.name,
        sample=request.sample,
        wave=request.wave,
        model=teacher.model,
        params=teacher.params,
        request_hash=request.request_hash,
        prompt_discloses=request.prompt_discloses,
        **said,
    )


def now() -> str:
    """The present time as answers carry it: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
