"""The run directory: which stage writes where."""

from dataclasses import dataclass
from pathlib import Path

VERBS = ("collect", "measure", "bootstrap", "synthesize", "align", "evaluate", "report")
"""The order of the method; each word is a command, a file in ``stages/`` and a folder of the run."""

STREAMS = "streams.sqlite"
"""The teachers' answers; SQLite's own files beside it begin alike. No option of any command removes it."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run; nothing is created by asking for a path.

    >>> RunFolder(Path("runs/demo")).stage("measure").as_posix()
    'runs/demo/2-measure'
    """

    root: Path

    def stage(self, verb: str) -> Path:
        """Folder of a stage."""
        return self.root / f"{VERBS.index(verb) + 1}-{verb}"

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
    def groups(self) -> Path:
        return self.stage("synthesize") / "groups.parquet"

    def student(self, verb: str) -> Path:
        """Checkpoint folder that ``bootstrap`` or ``align`` leaves."""
        return self.stage(verb) / "student"
