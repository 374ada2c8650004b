"""What several stages look up in the same way: a case's images and its training trajectories."""

from collections.abc import Mapping
from pathlib import Path

from driftbound.records import Case, Trajectory
from driftbound.stages.context import Context
from driftbound.store.streams import Streams


def training_trajectories(context: Context) -> Mapping[tuple[str, str], Trajectory]:
    """Sample 0 of every teacher for every case, the first wave's."""
    with Streams.open_readonly(context.folder.streams) as streams:
        answers = list(streams.current())
    first: dict[tuple[str, str], Trajectory] = {}
    for answer in answers:
        if answer.sample == 0:
            first.setdefault((answer.case_id, answer.teacher), answer)
    return first


def image_paths(context: Context, case: Case) -> tuple[Path, ...]:
    """Where the images of a case lie."""
    return tuple(context.folder.root / image for image in case.images)
