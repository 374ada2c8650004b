"""A collection that is killed again and again while its server misbehaves, and the check of what it left."""

import http.client
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks.collecting import context_of, finished, started
from benchmarks.sayings import said
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_cases

Key = tuple[str, str]
"""Case and teacher."""
Row = tuple[str, str, int, int, str, str]
"""case_id, teacher, sample, wave, status, text"""
JITTER_S = 0.1
EARLY_S = 1.0
"""How long a process may live that is to be killed before it has done anything."""
PATIENCE_S = 120.0
"""How long a process may take to get as far as where it is to be killed."""
FINAL_RUNS = 5
GIVEN_UP = 20
"""How often a process may end by itself, with a complaint, before it counts as an error."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What became of the processes, and what was seen at each kill."""

    kills: int
    """Kills that struck a living process."""
    ended: tuple[str, ...]
    """What processes said that gave up by themselves."""
    settled: Mapping[Key, int]
    """Arrivals of each question when its answer was first seen in the store."""
    seconds: float


UNDISTURBED = Campaign(kills=0, ended=(), settled={}, seconds=0.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, and what breaks it."""

    rule: str
    wrong: Sequence[str]
    note: str = ""


def get(url: str, what: str) -> dict[str, Any]:
    """What the unruly server at ``url`` tells: ``stats`` or ``totals``."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port)) as connection:
        connection.request("GET", f"{parts.path}/{what}")
        told: dict[str, Any] = json.loads(connection.getresponse().read())
    return told


def rows(database: Path) -> list[Row]:
    """What is stored, read past driftbound's own reader; nothing where a kill came before the table."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as db:
        if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'trajectories'").fetchone()[0]:
            return []
        return db.execute("SELECT case_id, teacher, sample, wave, status, text FROM trajectories").fetchall()


def noted(folder: RunFolder) -> dict[str, Counter[Key]]:
    """How often each question was noted before it left: in the table of attempts, and in the audit log."""
    with closing(sqlite3.connect(f"file:{quote(str(folder.streams))}?mode=ro", uri=True)) as db:
        attempts = db.execute("SELECT case_id, teacher FROM attempts").fetchall()
        hashes = db.execute("SELECT request_hash, case_id, teacher FROM trajectories").fetchall()
    asked = {request: (case_id, teacher) for request, case_id, teacher in hashes}
    with folder.audit.open() as lines:
        passed = [json.loads(line)["what"] for line in lines]
    audit = (asked[request] for request in passed if request in asked)
    return {"table of attempts": Counter(attempts), "audit log": Counter(audit)}


def wanted(root: Path) -> dict[Key, Key]:
    """What is to be asked: (case, teacher) -> (model, question)."""
    context = context_of(root)
    return {
        (case.case_id, teacher.name): (teacher.model, context.domain.question(case))
        for case in read_cases(context.folder.cases)
        for teacher in context.recipe.teachers
    }


def run(root: Path, url: str, *, kills: int, seed: int) -> Campaign:
    """Collect the run at ``root`` from the server at ``url``, killed ``kills`` times, and then to the end.

    A kill strikes when so many questions have been answered as was drawn for it, give or take; or soon
    after the start where the one before it came later. Raises ``RuntimeError`` when it never ends.
    """
    began = time.monotonic()
    asked = wanted(root)
    database = RunFolder(root).streams
    rng = random.Random(seed)
    due = sorted(rng.uniform(0, 0.97 * len(asked)) for _ in range(kills))
    settled: dict[Key, int] = {}
    ended: list[str] = []
    struck = 0
    while struck < len(due):
        complaint = _killed(root, url, due[struck], rng)
        if complaint is None:
            struck += 1
        else:
            ended.append(complaint)
        if len(ended) > GIVEN_UP:
            raise RuntimeError(f"{len(ended)} processes ended before they were killed: {ended[-1]}")
        _settle(settled, rows(database), asked, get(url, "stats"))
    for _ in range(FINAL_RUNS):
        try:
            finished(started("collect", root))
        except RuntimeError as error:
            ended.append(str(error))
        if not any(row[4] == "failed" for row in rows(database)) and len(rows(database)) >= len(asked):
            return Campaign(struck, tuple(ended), settled, time.monotonic() - began)
        _settle(settled, rows(database), asked, get(url, "stats"))
    raise RuntimeError(f"not complete after {FINAL_RUNS} undisturbed runs; {ended[-1:] or 'no complaint'}")


def _killed(root: Path, url: str, due: float, rng: random.Random) -> str | None:
    """Start a process and kill it; what it said if it ended before.

    Raises ``RuntimeError`` when it does not get as far as it should.
    """
    until = time.monotonic() + PATIENCE_S
    early = get(url, "totals")["answered"] >= due
    with started("collect", root) as process:
        if early:
            time.sleep(rng.uniform(0, EARLY_S))
        else:
            while process.poll() is None and get(url, "totals")["answered"] < due:
                if time.monotonic() > until:
                    process.kill()
                    raise RuntimeError(
                        f"{get(url, 'totals')} after {PATIENCE_S:g} s, {due:.0f} answers were due"
                    )
                time.sleep(0.01)
            time.sleep(rng.uniform(0, JITTER_S))
        process.kill()
        _, complaint = process.communicate()
        return None if process.returncode == -9 else complaint.strip()[-500:] or "ended in peace"


def _settle(
    settled: dict[Key, int], stored: Iterable[Row], asked: Mapping[Key, Key], stats: Mapping[str, Any]
) -> None:
    """Note the arrivals of every question whose answer is now stored for the first time."""
    arrivals = {(each["model"], each["question"]): each["arrivals"] for each in stats["keys"]}
    for case_id, teacher, _, _, status, _ in stored:
        if status != "failed":
            settled.setdefault((case_id, teacher), arrivals[asked[case_id, teacher]])


def check(
    stored: Sequence[Row],
    stats: Mapping[str, Any],
    asked: Mapping[Key, Key],
    notes: Mapping[str, Mapping[Key, int]],
    campaign: Campaign,
    *,
    in_flight: int,
) -> list[Finding]:
    """Compare store and notes with what the server says and has counted; a finding per rule.

    ``in_flight`` is how many questions are under way at most, from being asked to being stored: what a
    kill may lose, and all that it may.
    """
    log = {(each["model"], each["question"]): each for each in stats["keys"]}
    times = Counter((case_id, teacher) for case_id, teacher, sample, wave, *_ in stored if not sample + wave)
    ours = [row for row in stored if row[:2] in asked]
    foreign = [f"{row[:4]}" for row in stored if row[:2] not in asked or row[2] or row[3]]
    missing = [f"{key}: {times[key]} times" for key in asked if times[key] != 1]
    right = {key: said(*question) for key, question in asked.items()}
    status = [
        f"{row[:2]}: {row[4]}, not {right[row[:2]].status}" for row in ours if row[4] != right[row[:2]].status
    ]
    text = [f"{row[:2]}: {row[5][:40]!r}" for row in ours if row[5] != right[row[:2]].text]
    never = [f"{key}" for key in times if key in asked and not log.get(asked[key], {}).get("answers")]
    again = [
        f"{key}: {log[asked[key]]['arrivals'] - before} times"
        for key, before in campaign.settled.items()
        if log[asked[key]]["arrivals"] > before
    ]
    lost = sum(max(0, each["answers"] - 1) for each in stats["keys"])
    most = campaign.kills * in_flight
    return [
        Finding("each question has one answer", missing + foreign),
        Finding("statuses are right", status),
        Finding("texts are right to the letter", text),
        Finding("nothing is stored that was not answered", never),
        Finding("no stored answer was asked for again", again),
        Finding(
            "a kill costs no more answers than were under way",
            [f"{lost} were given in vain, {most} may be"] if lost > most else [],
            note=f"{lost} given in vain in {campaign.kills} kills, at most {most}",
        ),
        *(_unnoted(what, counts, log, asked) for what, counts in notes.items()),
    ]


def check_run(root: Path, stats: Mapping[str, Any], campaign: Campaign, *, in_flight: int) -> list[Finding]:
    """As ``check``, of what lies in a run folder."""
    folder = RunFolder(root)
    return check(rows(folder.streams), stats, wanted(root), noted(folder), campaign, in_flight=in_flight)


def _unnoted(
    what: str, counts: Mapping[Key, int], log: Mapping[Key, Mapping[str, Any]], asked: Mapping[Key, Key]
) -> Finding:
    """What has arrived oftener than the notes say that it left."""
    wrong = [
        f"{key}: {log[question]['arrivals']} arrived, {counts.get(key, 0)} noted"
        for key, question in asked.items()
        if question in log and log[question]["arrivals"] > counts.get(key, 0)
    ]
    return Finding(f"all that arrived stands in the {what}", wrong, note=f"{sum(counts.values())} lines")


def table(findings: Iterable[Finding]) -> str:
    """Findings as lines of text."""
    lines = []
    for each in findings:
        note = f"{len(each.wrong)}, such as {'; '.join(each.wrong[:3])}" if each.wrong else each.note
        lines.append(f"{'wrong' if each.wrong else 'right':6}{each.rule}" + (f": {note}" if note else ""))
    return "\n".join(lines)
