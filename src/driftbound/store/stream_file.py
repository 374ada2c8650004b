"""Stream files: teachers' answers read from one table, so that they can be measured without a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from driftbound.errors import StoreError
from driftbound.progress import counted
from driftbound.records import Claim, Trajectory
from driftbound.store.exchange import is_ours, read_trajectories, sensitivity_beside
from driftbound.store.foreign import as_word
from driftbound.store.rowfiles import CSV, STREAMS, columns_of, kind_of, read_rows
from driftbound.store.stream_rows import (
    Key,
    Steps,
    StepSpans,
    columns_needed,
    key_of,
    places,
    split_of,
    trajectory_of,
    values_of,
)
from driftbound.store.streams import Streams

_DECIDES = ("status", "text", "version", "logprobs")
"""In what two rows of the same key must agree to be the same answer twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFile:
    """What a file tells of its teachers' answers."""

    trajectories: list[Trajectory]
    """In the order of the file; each key (case, teacher, sample, wave) once."""
    clusters: dict[str, str] = field(default_factory=dict)
    """Case -> patient or document, for the cases of which the file says it."""
    splits: dict[str, str] = field(default_factory=dict)
    """Case -> one of ``records.SPLITS``, likewise."""
    step_spans: dict[Key, StepSpans] = field(default_factory=dict)
    """Where the file's own steps lie in each text; empty for a file without steps."""
    duplicates: int = 0
    """Rows that only repeat another one, or failed where another one did not; left out."""
    judged: bool = False
    """The file says itself of each answer whether it was declined; else nobody has read the texts for it."""
    sensitivity: str = "public"
    """By the manifest beside the file."""


def read_stream_file(path: Path, columns: Mapping[str, str] | None = None) -> StreamFile:
    """Every answer of a JSON lines, JSON, CSV or Parquet file, or of a run's ``streams.sqlite``.

    Rows have ``case_id``, ``teacher`` and ``text`` and may have the other words of ``WORDS``; ``columns``
    maps one to the file's column (or path within one) where that has another name. With ``step`` a row
    is one step of a trajectory, whose text is its steps joined by line ends; its steps rise, with gaps
    or without. driftbound's own exports come with every field; of a ``streams.sqlite`` the answers to
    its present recipe. Without ``status`` an answer is refused where its row says so, cut off where the
    finish reason is ``length``, empty where there is nothing in it, else ok.

    Raises ``ConfigError`` for a word that is none of ``WORDS``; ``StoreError`` for a missing column, a
    value that makes no sense, a step that repeats or goes back, and two rows that answer the same
    differently.
    """
    kind = kind_of(path)
    if kind == STREAMS:
        return _of_run(path)
    names = columns_of(path)
    if kind != CSV and not columns and is_ours(names):
        return _of_export(path)
    place = places(path, names, columns or {})
    found, steps = _Kept(path), Steps(path)
    for where, row in counted(f"reading {path.name}", read_rows(path, columns_needed(names, place))):
        values, at = values_of(row, place), f"{path}, {where}"
        if "step" in place:
            steps.add(values, where)
        else:
            key = key_of(values, at)
            found.keep(key, trajectory_of(key, values, at), where)
        if "cluster" in place or "split" in place:
            found.note_case(values, where)
    for key, (trajectory, spans, where) in steps.joined():
        found.keep(key, trajectory, where)
        found.spans[key] = spans
    return found.file(judged="status" in place or "refused" in place)


def with_given_steps(claims: Sequence[Claim], spans: StepSpans) -> list[Claim]:
    """Claims whose step is the file's own: the one that each begins in.

    >>> from driftbound.records import Polarity
    >>> claim = Claim(finding="Edema", attribute="presence", value="present", polarity=Polarity.PRESENT,
    ...               start=9, end=15, step=1)
    >>> [each.step for each in with_given_steps([claim], ((2, 0, 7), (5, 8, 20)))]
    [5]
    """
    if not spans:
        return list(claims)
    return [replace(claim, step=_step_at(claim, spans)) for claim in claims]


def _step_at(claim: Claim, spans: StepSpans) -> int:
    # What begins on the white space before a step belongs to the step that it runs into.
    return next((step for step, start, end in spans if start < end > claim.start), spans[-1][0])


def _of_export(path: Path) -> StreamFile:
    found = _Kept(path)
    for n, each in enumerate(read_trajectories(path), start=1):
        found.keep(_key(each), each, f"row {n}")
    return found.file(judged=True)


def _of_run(path: Path) -> StreamFile:
    found = _Kept(path)
    with Streams.open_readonly(path) as streams:
        with streams.guard("read"):
            waves = [wave for (wave,) in streams.db.execute("SELECT DISTINCT wave FROM wanted ORDER BY 1")]
            cases = streams.db.execute("SELECT case_id, cluster, split FROM cases").fetchall()
        for wave in waves:
            for n, each in enumerate(streams.current(wave), start=1):
                found.keep(_key(each), each, f"answer {n} of wave {wave}")
    told = {each.case_id for each in found.trajectories}
    for case_id, cluster, split in cases:
        if case_id in told:
            found.note_case({"case_id": case_id, "cluster": cluster, "split": split}, case_id)
    return found.file(judged=True)


def _key(each: Trajectory) -> Key:
    return each.case_id, each.teacher, each.sample, each.wave


class _Kept:
    """The answers kept so far, and where in the file each came from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trajectories: list[Trajectory] = []
        self.spans: dict[Key, StepSpans] = {}
        self._at: dict[Key, int] = {}
        self._where: list[str] = []
        self._words: dict[str, str] = {}
        self._told: dict[str, dict[str, tuple[str, str]]] = {"cluster": {}, "split": {}}
        self._duplicates = 0

    def keep(self, key: Key, new: Trajectory, where: str) -> None:
        """Keep an answer, or count it where it is there; raises ``StoreError`` where another one is."""
        at = self._at.setdefault(key, len(self.trajectories))
        if at == len(self.trajectories):
            self.trajectories.append(new)
            self._where.append(where)
            return
        old = self.trajectories[at]
        if not old.status.final and new.status.final:
            self.trajectories[at], self._where[at] = new, where
        elif new.status.final and any(getattr(old, name) != getattr(new, name) for name in _DECIDES):
            raise StoreError(
                f"{self.path}: {self._where[at]} and {where} both answer case {key[0]!r} as teacher "
                f"{key[1]!r}, sample {key[2]}, wave {key[3]}, and differ. "
                "Take one out, or give it another sample or wave."
            )
        self._duplicates += 1

    def note_case(self, row: Mapping[str, Any], where: str) -> None:
        """Take in what a row says of its case; raises ``StoreError`` where another row says otherwise."""
        place = f"{self.path}, {where}"
        said = {
            "cluster": as_word(row.get("cluster"), place, "cluster"),
            "split": split_of(row.get("split"), place),
        }
        case_id = as_word(row["case_id"], place, "case_id")
        for name, value in said.items():
            if not value:
                continue
            value = self._words.setdefault(value, value)
            first, before = self._told[name].setdefault(case_id, (value, where))
            if first != value:
                raise StoreError(
                    f"{self.path}: {before} says that the {name} of case {case_id!r} is {first!r}, {where} "
                    f"that it is {value!r}. A case has one; correct the file."
                )

    def file(self, *, judged: bool) -> StreamFile:
        """All that was kept. Raises ``StoreError`` where it is nothing."""
        if not self.trajectories:
            raise StoreError(f"{self.path}: no answer in it. Give another file.")
        clusters, splits = (
            {case_id: value for case_id, (value, _) in self._told[name].items()} for name in self._told
        )
        return StreamFile(
            trajectories=self.trajectories,
            clusters=clusters,
            splits=splits,
            step_spans=self.spans,
            duplicates=self._duplicates,
            judged=judged,
            sensitivity=sensitivity_beside(self.path),
        )
