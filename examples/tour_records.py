"""What the tour shows of a run: its records about one case, and a little Markdown to print them with."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from textwrap import fill
from typing import Any

import pyarrow.parquet as pq

from driftbound.config import DomainConfig
from driftbound.domains.registry import load_domain
from driftbound.records import Trajectory
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams

SIGNS = {"present": "`+`", "absent": "`−`", "uncertain": "`?`", "omitted": "", "refused": "`×`"}


class Run:
    """A finished run, and the case that the page follows."""

    def __init__(self, root: Path) -> None:
        """Ends the program where the run is unfinished, or its texts must not go onto a page."""
        self.folder = RunFolder(root)
        self.made, ended = self.manifest(""), self.manifest("report")
        if ended.sensitivity != "public":
            raise SystemExit(f"{root}: the run is {ended.sensitivity}. Its texts are for no page.")
        self.recipe = ended.config
        self.domain = load_domain(DomainConfig.model_validate(self.made.config["domain"]), self.made.seed)
        self.summary = json.loads((self.folder.stage("evaluate") / "summary.json").read_text())
        self.alarms = json.loads((self.folder.stage("measure") / "summary.json").read_text())["alarms"]
        self.teachers = [teacher["name"] for teacher in self.recipe["teachers"]]
        self.split = str(self.recipe["evaluate"]["splits"][0])
        self.case_id = self._chosen()
        (self.case,) = self._where(self.folder.cases)
        with Streams.open_readonly(self.folder.streams) as streams:
            self.answers = [each for each in streams.current() if each.case_id == self.case_id]
        self.predictions = {row["row"]: row for row in self.rows("evaluate", "predictions")}

    def _chosen(self) -> str:
        """Of the held-out cases to which most teachers gave an answer that counts, that of most conflict."""
        groups = pq.read_table(self.folder.groups, filters=[("split", "=", self.split)]).to_pylist()
        if not groups:
            raise SystemExit(f"{self.folder.root}: no case of {self.split} has a consensus to show.")
        usable: dict[str, int] = {
            each["case_id"]: sum(one["valid"] for one in each["negatives"]) for each in groups
        }
        measured = pq.read_table(self.folder.stage("measure") / "cases.parquet").to_pylist()
        conflict = {each["case_id"]: each["conflict"] for each in measured}
        return min(usable, key=lambda case: (-usable[case], -conflict[case], case))

    def _where(self, path: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(
            path, filters=[("case_id", "=", self.case_id)]
        ).to_pylist()
        return found

    def rows(self, verb: str, name: str) -> list[dict[str, Any]]:
        """The rows of a stage's table that are about the case."""
        return self._where(self.folder.stage(verb) / f"{name}.parquet")

    def manifest(self, verb: str) -> Manifest:
        """What made a stage's records; without a verb the cases."""
        found = Manifest.read(self.folder.stage(verb) if verb else self.folder.root)
        if found is None:
            raise SystemExit(f"{self.folder.root}: the run is not finished. Run its recipe to the end first.")
        return found

    def first(self) -> dict[str, Trajectory]:
        """Teacher -> its first answer, the one that counts."""
        return {each.teacher: each for each in self.answers if each.sample == 0}

    def steps(self, verb: str) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """What a training has logged of its first and its last step, and of the validation cases."""
        text = (self.folder.stage(verb) / "metrics.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        logged = [line for line in lines if "step" in line]
        held: dict[str, float] = lines[-1].get("validation", {})
        return logged[0], logged[-1], held

    def judged(self, row: str, finding: str, truth: str) -> str:
        """Whether a row of the results table is right on a finding, and on its side."""
        found = self.predictions[row]
        if not json.loads(found["correct"]).get(finding, False):
            return "✗"
        claims = self.domain.claims(found["text"])
        sides = [each.value for each in claims if (each.finding, each.attribute) == (finding, "side")]
        return "✓" if truth in ("present", "absent") or sides[-1:] == [truth] else "✓, not its side"


def stretches(text: str, spans: Sequence[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """A text cut by the weights of its characters; what no span covers weighs 1."""
    found, at = [], 0
    for span in spans:
        found += [(text[at : span["start"]], 1.0), (text[span["start"] : span["end"]], span["weight"])]
        at = span["end"]
    return [(words, weight) for words, weight in [*found, (text[at:], 1.0)] if words.strip()]


def votes_of(run: Run) -> list[list[str]]:
    """A row per finding or side that anyone speaks of: the votes, their status, and what is believed."""
    rows = []
    for slot in run.rows("measure", "slots"):
        votes, posterior = json.loads(slot["votes"]), json.loads(slot["posterior"])
        if all(vote in ("omitted", "refused") for vote in votes.values()):
            continue
        value, chance = max(posterior.items(), key=lambda item: item[1], default=("", 0.0))
        side = "" if slot["attribute"] == "presence" else f", {slot['attribute']}"
        stands = [SIGNS.get(votes[name], votes[name]) for name in run.teachers]
        believed = f"{value} {share(chance)}" if value else ""
        rows.append([slot["finding"] + side, *stands, slot["status"], believed])
    return rows


def doubts_of(run: Run) -> list[list[str]]:
    """A row per headline finding: the chance that each teacher's vote on it is wrong."""
    wrong = {
        (row["finding"], row["teacher"]): row["wrong"]
        for row in run.rows("measure", "reliability")
        if row["attribute"] == "presence" and row["vote"] in ("present", "absent") and not isnan(row["wrong"])
    }
    return [
        [each, *(share(wrong[each, t]) if (each, t) in wrong else "" for t in run.teachers)]
        for each in run.domain.headline
    ]


def share(part: float) -> str:
    """In per cent; neither all nor nothing unless it is."""
    said = f"{part:.0%}"
    return {"100%": ">99%", "0%": "<1%"}.get(said, said) if 0 < part < 1 else said


def prose(*parts: str) -> str:
    """A paragraph."""
    return fill(" ".join(parts), 118, break_long_words=False, break_on_hyphens=False)


def fenced(text: str, language: str = "text") -> str:
    """A text as it is, whatever is in it."""
    mark = "```"
    while mark in text:
        mark += "`"
    return f"{mark}{language}\n{text}\n{mark}"


def code(text: str) -> str:
    """A few words as code, or nothing."""
    plain = " ".join(text.replace("`", "'").split())
    return f"`{plain}`" if plain else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(each).replace("|", "\\|").replace("\n", " ") for each in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
