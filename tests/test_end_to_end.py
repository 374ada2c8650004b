"""The short recipe as a user runs it: whole, killed in every stage, and without the truth.

The whole run is a command in a new interpreter; the many that are killed and go on are forked: ``forked``.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import forked
import pytest

from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import PARTIAL
from driftbound.store.streams import Streams

RECIPE = Path(__file__).parents[1] / "src/driftbound/recipes/short.yaml"
EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 280
"""After which a run has hung."""
PATIENCE = 30
"""Seconds that the scripted teachers have to notice that nobody asks them any more."""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "HF_HUB_OFFLINE": "1"}


def command(verb: str, runs: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "driftbound.cli", verb, str(RECIPE), "--runs", str(runs), *more]


def finished(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A command run to its end."""
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=SECONDS, env=ENVIRONMENT, check=False
    )


def run(verb: str, runs: Path, *more: str) -> str:
    done = finished(command(verb, runs, *more))
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def go_on(verb: str, runs: Path) -> None:
    """A verb to its end, in a forked process."""
    done = forked.run(command(verb, runs)[3:], runs / "said", ENVIRONMENT, seconds=SECONDS)
    assert done.returncode == 0, done.stderr


def kill_when(verb: str, runs: Path, seen) -> None:
    """Start a verb and kill its process alone, without warning, the moment that ``seen`` says so.

    What it has started itself (the scripted teachers) must notice and be gone soon after.
    """
    process = forked.start(command(verb, runs)[3:], runs / "said", ENVIRONMENT)
    until = time.monotonic() + SECONDS
    while not seen():
        assert process.exitcode is None, f"{verb} ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    until = time.monotonic() + PATIENCE
    while left := processes_of(runs):
        assert time.monotonic() < until, f"{verb} was killed, still there: {left}"
        time.sleep(0.02)


def processes_of(runs: Path) -> list[str]:
    """Command lines of the processes that name a folder; none where the system does not list them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended meanwhile
            continue
        if any(str(runs) in word for word in words):
            found.append(" ".join(words))
    return found


def answers(folder: RunFolder) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder.streams}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM trajectories").fetchone()[0])
    except sqlite3.Error:
        return 0


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def moments(folder: RunFolder) -> dict:
    """When to kill each stage: in the middle of its work."""
    of = folder.stage
    return {
        "collect": lambda: answers(folder) >= 40,
        "measure": lambda: (of("measure") / "plan.json").exists(),
        "bootstrap": lambda: (of("bootstrap") / "checkpoints/checkpoint-1/complete").exists(),
        "synthesize": lambda: lines(of("synthesize") / "written.jsonl") > 1,
        "align": lambda: (of("align") / "checkpoints/checkpoint-2/complete").exists(),
        "evaluate": lambda: any((of("evaluate") / "partial").glob("*")),
        "report": lambda: (of("report") / "plan.json").exists(),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    """A run from beginning to end in one go."""
    runs = tmp_path_factory.mktemp("whole")
    run("run", runs)
    return RunFolder(runs / "short")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> RunFolder:
    """The same run, one verb at a time, each killed once; the truth is away until evaluate."""
    runs = tmp_path_factory.mktemp("broken")
    folder = RunFolder(runs / "short")
    kill_when("collect", runs, lambda: len(list((folder.root / "images").glob("*.png"))) > 5)
    leave_half_a_file(folder.root / "images")
    for verb, moment in moments(folder).items():
        if verb == "evaluate":
            (runs / "away").rename(folder.truth)
        kill_when(verb, runs, moment)
        assert not (folder.stage(verb) / "manifest.json").exists()
        leave_half_a_file(folder.stage(verb))
        if verb == "collect":
            folder.truth.rename(runs / "away")
        go_on(verb, runs)
    return folder


def leave_half_a_file(folder: Path) -> None:
    """As a process leaves it that is killed while it writes."""
    (folder / f".claims.parquet.1{PARTIAL}").write_bytes(b"PAR1")


def files(folder: Path) -> dict[str, bytes]:
    """Contents of a stage, its manifest apart."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_every_stage_leaves_what_the_design_says(whole):
    expected = {
        "collect": {"streams.sqlite"},
        "measure": {
            "claims.parquet",
            "slots.parquet",
            "cases.parquet",
            "reliability.parquet",
            "drift.parquet",
            "summary.json",
        },
        "bootstrap": {"student/model.safetensors", "metrics.jsonl"},
        "synthesize": {"groups.parquet", "rejected.parquet", "candidates.parquet", "support.parquet"},
        "align": {"student/model.safetensors", "metrics.jsonl"},
        "evaluate": {"scores.parquet", "predictions.parquet", "summary.json"},
        "report": {"report.html", "report.json"},
    }
    for verb, names in expected.items():
        assert names <= files(whole.stage(verb)).keys()
        manifest = json.loads((whole.stage(verb) / "manifest.json").read_text())
        assert manifest["stage"] == verb


def test_summary_has_the_promised_shape(whole):
    summary = json.loads((whole.stage("evaluate") / "summary.json").read_text())
    assert set(summary["students"]) == {"base", "bootstrapped", "aligned"}
    assert len(summary["teachers"]) == 7
    shuffled = {"bootstrapped_images_shuffled", "aligned_images_shuffled"}
    assert {"always_prior", "majority", "signs"} | shuffled == set(summary["baselines"])
    assert set(summary["dispersion"]) == set(summary["ranks"]) == set(summary["students"])
    assert summary["unsupported_reason"] == ""
    told = summary["probe"]["which_teacher"]
    assert len(told["as_written"]["writers"]) == 7
    assert (summary["n_cases"], summary["seed"]) == (8, 0)
    assert 1 < summary["n_clusters"] <= 8
    rows = [*summary["students"].values(), *summary["teachers"].values(), summary["consensus"]]
    for row in [*rows, *summary["baselines"].values()]:
        assert {"accuracy", "balanced_accuracy", "per_finding"} <= set(row)
        assert set(row["accuracy"]) == {"mean", "low", "high"}
        assert {"rouge_l", "clinical_micro_f1"} <= set(row["report"])
        assert {"contradicting", "claim_f1"} <= set(row["consistency"])
    assert summary["references"]["cases"] == 8  # phantoms all have one


def test_alignment_starts_at_the_log_of_its_candidates(whole):
    """Seven teachers or fewer (refusals are masked): between ln 5 and ln 8 in the first step."""
    first = json.loads((whole.stage("align") / "metrics.jsonl").read_text().splitlines()[0])
    assert 1.6 < first["preference_loss"] < 2.0795


def test_finished_stages_are_skipped(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.root.rglob("*") if path.name != ".lock"}
    said = run("run", whole.root.parent)
    assert [said.count(f"{verb}: finished before") for verb in VERBS] == [1] * 7
    after = {path: path.stat().st_mtime_ns for path in whole.root.rglob("*") if path.name != ".lock"}
    assert before == after


def test_killed_in_every_stage_gives_the_same_results(whole, broken):
    with Streams.open_readonly(whole.streams) as one, Streams.open_readonly(broken.streams) as two:
        assert one.digest() == two.digest()
    for verb in ("measure", "bootstrap", "synthesize", "align", "evaluate"):
        one, two = files(whole.stage(verb)), files(broken.stage(verb))
        assert one.keys() == two.keys()
        assert [name for name in one if one[name] != two[name]] == []
    assert [path for path in broken.root.rglob("*") if path.name.endswith(PARTIAL)] == []
    assert files(broken.stage("report")).keys() == {"report.html", "report.json"}


def test_stages_one_to_five_do_not_need_the_truth(whole, broken):
    """``broken`` ran them with the truth file away: byte for byte what ``whole`` had beside it."""
    for verb in ("measure", "bootstrap", "synthesize", "align"):
        assert files(whole.stage(verb)) == files(broken.stage(verb))


def test_evaluate_without_the_truth_is_one_line(whole):
    runs, away = whole.root.parent, whole.root.parent / "away"
    whole.truth.rename(away)
    try:
        done = finished(command("run", runs, "--from", "report"))
    finally:
        away.rename(whole.truth)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("driftbound: ")
    assert "truth" in last
    assert "Traceback" not in done.stderr


def test_ask_answers_about_an_image(whole):
    image = next((whole.root / "images").glob("*.png"))
    words = ["ask", f"{whole.root}:aligned", str(image)]
    done = forked.run(words, whole.root.parent / "said", ENVIRONMENT, seconds=SECONDS)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 3


def test_tour_shows_the_records_of_one_case(whole, tmp_path, monkeypatch):
    """Its page is made of what the stages left: the case by the stated rule, every text to the letter."""
    from driftbound.store.tables import read_cases, read_groups

    monkeypatch.syspath_prepend(str(EXAMPLES))
    import tour

    tour.write(whole.root, tmp_path / "tour.md")
    page = (tmp_path / "tour.md").read_text()
    assert [line[3] for line in page.splitlines() if line[:3] == "## " and line[3].isdigit()] == [*"1234567"]
    held = [group for group in read_groups(whole.groups) if group.split == "test"]
    (group,) = [group for group in held if f"The film of case {group.case_id}]" in page]
    most = max(sum(negative.valid for negative in other.negatives) for other in held)
    assert sum(negative.valid for negative in group.negatives) == most
    (case,) = [case for case in read_cases(whole.cases) if case.case_id == group.case_id]
    picture = (whole.root / case.images[0]).read_bytes()
    assert (tmp_path / "pictures" / "tour.png").read_bytes() == picture
    collected = page.partition("## 1")[2].partition("## 2")[0]
    assert all(f"```\n{negative.text}\n```".split("\n", 1)[1] in collected for negative in group.negatives)
    assert f"\n{group.consensus}\n" in page.partition("## 4")[2].partition("## 5")[0]
    before, _, after = page.partition("## 6")
    assert "truth" not in before.partition("## 1")[2]  # it is read, and shown, by evaluate alone
    assert "| truth |" in after


def test_prompts_at_synthesis_are_anonymous_and_shuffled(whole):
    """All usable answers are in the student's context, no teacher's name is, and orders differ by case."""
    from driftbound.config import Recipe
    from driftbound.consensus.synthesize import shuffled
    from driftbound.domains.registry import load_domain
    from driftbound.store.tables import read_cases

    recipe = Recipe.read(RECIPE)
    domain = load_domain(recipe.domain, recipe.seed)
    with Streams.open_readonly(whole.streams) as streams:
        everything = streams.all()
    orders = set()
    for case in read_cases(whole.cases)[:12]:
        given = [answer for answer in everything if answer.case_id == case.case_id]
        usable = [answer for answer in given if answer.status.usable]
        shown = shuffled(case, [answer.text for answer in usable], recipe.seed)
        prompt = domain.merge_question(case, shown)
        assert all(answer.text in prompt for answer in usable)
        assert not any(teacher.name in prompt for teacher in recipe.teachers)
        placed = sorted(usable, key=lambda answer: prompt.index(answer.text))
        orders.add(tuple(answer.teacher for answer in placed))
    assert len(orders) > 6
