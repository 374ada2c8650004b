"""The run directory: which stage writes where."""

from dataclasses import dataclass
from pathlib import Path

VERBS = ("collect", "measure", "bootstrap", "synthesize", "align", "evaluate", "report")
"""The order of the method; each word is a command, a file in ``stages/`` and a folder of the run."""

ROUNDED = ("synthesize", "align")
"""The stages that take turns where a recipe has several rounds."""

ROUNDS = "rounds.json"
"""In the folder of align: what each of several rounds was worth, and which is kept."""

STREAMS = "streams.sqlite"
"""The teachers' answers; SQLite's own files beside it begin alike. No option of any command removes it."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run; nothing is created by asking for a path.

    >>> RunFolder(Path("runs/demo")).stage("measure").as_posix()
    'runs/demo/2-measure'

    >>> RunFolder(Path("runs/demo"), round=2).groups.as_posix()
    'runs/demo/4-synthesize/round-2/groups.parquet'
    """

    root: Path
    round: int = 0
    """Of several rounds the one that is at work, from 1; 0: the run as a whole."""

    def stage(self, verb: str) -> Path:
        """Folder of a stage, of the round that is at work."""
        whole = self.root / f"{VERBS.index(verb) + 1}-{verb}"
        return whole / f"round-{self.round}" if self.round and verb in ROUNDED else whole

    @property
    def cases(self) -> Path:
        """Cases as the domain wrote them; ``images/`` lies beside."""
        return self.root / "cases.parquet"

    @property
    def truth(self) -> Path:
        """Ground truth, outside the run: only ``stages/evaluate.py`` opens it."""
        return self.root.with_name(self.root.name + ".truth.parquet")

    @property
    def streams(self) -> Path:
        return self.stage("collect") / STREAMS

    @property
    def audit(self) -> Path:
        """Every passage of the data gate, one JSON line each."""
        return self.root / "audit.jsonl"

    @property
    def claims(self) -> Path:
        return self.stage("measure") / "claims.parquet"

    @property
    def slots(self) -> Path:
        """What ``measure`` believes of every claim slot."""
        return self.stage("measure") / "slots.parquet"

    @property
    def reliability(self) -> Path:
        """How likely ``measure`` holds every vote to be wrong."""
        return self.stage("measure") / "reliability.parquet"

    @property
    def groups(self) -> Path:
        return self.stage("synthesize") / "groups.parquet"

    def student(self, verb: str) -> Path:
        """Checkpoint folder that ``bootstrap`` or ``align`` leaves."""
        return self.stage(verb) / "student"

    @property
    def former(self) -> Path:
        """Checkpoint with which a round begins: its writer, what it aligns, and its reference."""
        if self.round < 2:
            return self.student("bootstrap")
        return RunFolder(self.root, self.round - 1).student("align")
