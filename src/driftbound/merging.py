"""Merging: the answers, attempts and audit logs of other machines become those of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftbound import pipeline
from driftbound.collecting import reopen
from driftbound.endpoints.gate import append_log
from driftbound.errors import StoreError
from driftbound.progress import counted
from driftbound.store import attempts
from driftbound.store.exchange import imported_sensitivity, note_import, sensitivity_beside, strictest
from driftbound.store.folder import RunFolder
from driftbound.store.streams import Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What was taken in from one source."""

    source: str
    new: int
    there_before: int
    audit: bool
    """Whether its audit log came along; a ``streams.sqlite`` outside a run folder has none."""

    def line(self) -> str:
        """For people."""
        more = "" if self.audit else "; no audit log there"
        return f"{self.source}: {self.new} new, {self.there_before} there before{more}"


def merge(run: Path, sources: Sequence[Path]) -> list[Merged]:
    """Take the answers, attempts and audit logs of other machines into a run.

    A source is a run folder or a ``streams.sqlite``. Raises ``StoreError`` where the same request
    has two different answers, a case is another one there or requests wait in batch files there;
    the sources before that one are taken in. Answers that a stage would read are for ``collect``
    to finish; those of a later wave leave it finished.
    """
    folder, merged = RunFolder(run), []
    if not folder.cases.exists():
        raise StoreError(
            f"{run}: is no run yet. Make it with 'driftbound collect RECIPE --dry-run', then merge into it."
        )
    with pipeline.working_on(folder), Streams(folder.streams) as streams:
        before = streams.digest()
        try:
            for source in sources:
                merged.append(_take_in(folder, streams, source))
        finally:
            streams.seal()
            if streams.digest() != before:
                reopen(folder)
    return merged


def _take_in(folder: RunFolder, streams: Streams, source: Path) -> Merged:
    path = RunFolder(source).streams if source.is_dir() else source
    if path.resolve() == folder.streams.resolve():
        raise StoreError(f"{path}: is the run's own file. Name those of the other machines.")
    # A file that was copied out of its run may lie beside anything: only within a run is the log its own.
    run = path.absolute().parent.parent
    log = RunFolder(run).audit if RunFolder(run).streams == path.absolute() else None
    if path.is_file() and Streams.lacks_its_log(path):
        raise StoreError(
            f"{path}: was copied while it was written, without {path.name}-wal: its latest answers may be "
            "missing. Copy both, or copy it after 'collect' has ended there."
        )
    with Streams.open_readonly(path) as other:
        _refuse_other_cases(streams, other)
        waiting = attempts.in_batches(other)
        if waiting:
            raise StoreError(
                f"{path}: {sum(waiting.values())} requests wait in batch files there, and only there can "
                "their results be read. Read them (--batch-results) or give them up, then merge."
            )
        here, there = imported_sensitivity(streams.path.parent), sensitivity_beside(path)
        if strictest([here, there]) != here:  # noted before anything is taken, so that it is never lost
            note_import(streams.path.parent, {"file": str(path), "sensitivity": there})
        new, before = streams.add(counted(f"merge: answers of {source}", other.each()))
        attempts.copy(streams, other)
    there_is = log is not None and log.exists()
    if log is not None and there_is:
        append_log(folder.audit, log)
    return Merged(source=str(source), new=new, there_before=before, audit=there_is)


def _refuse_other_cases(streams: Streams, other: Streams) -> None:
    """Raise ``StoreError`` where the same id is another case there: then the machines read other files."""
    sql = "SELECT case_id, content_hash FROM cases"
    with streams.guard("read"), other.guard("read"):
        here = dict(streams.db.execute(sql).fetchall())
        if not here:
            raise StoreError(
                f"{streams.path}: its cases are not noted yet, so those of the others cannot be compared. "
                "Run 'driftbound collect RECIPE --dry-run' once, then merge."
            )
        for case_id, content in other.db.execute(sql):
            if here.get(case_id, content) != content:
                raise StoreError(
                    f"{other.path}: {case_id} is another case there (question or images differ). "
                    "Collect both from the same recipe and the same cases."
                )
