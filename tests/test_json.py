"""``--json``: every command that prints results has it; one document on standard output, and nothing else."""

import json
from pathlib import Path

import pytest
import typer
from test_cli import TINY, call, complaint
from test_measure_command import ROWS, write
from typer.testing import CliRunner

from driftbound import asking, uploading, viewing
from driftbound.cli import app
from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.manifest import Manifest
from driftbound.telling import document

COMMANDS = typer.main.get_command(app).commands
EXEMPT: dict[str, str] = {}
"""Command -> why it has no ``--json``; so far, each has something to tell a machine."""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def told(*words):
    """The one document that a call leaves on standard output."""
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def shown(folder):
    result = CliRunner().invoke(app, ["show", str(folder)], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_the_option_or_a_reason(name):
    (option,) = [each for each in COMMANDS[name].params if "--json" in each.opts] or [None]
    assert (option is None) == bool(EXEMPT.get(name)), f"{name}: give it --json, or say here why not"
    assert option is None or option.help == "Results as one JSON document; notes go to stderr."


def test_exemptions_are_of_commands_that_exist():
    assert set(EXEMPT) <= set(COMMANDS)


def test_numbers_that_are_none_are_null_and_paths_are_text():
    given = {"a": float("nan"), "b": [float("-inf"), 1.5], "c": {"d": Path("x/y"), "e": (1, None, True)}}
    assert json.loads(document(given)) == {
        "a": None,
        "b": [None, 1.5],
        "c": {"d": "x/y", "e": [1, None, True]},
    }


# ---- the whole method, one stage ----------------------------------------------------------------------


def test_run_tells_where_and_what(world, tiny):
    said = told("run", tiny, "--runs", world.runs)
    assert said["run"] == str(world.folder.root)
    assert said["report"] is None  # these stages make no page
    assert list(said["stages"]) == list(VERBS)
    for verb, stage in said["stages"].items():
        assert stage["folder"] == str(world.folder.stage(verb))
        assert stage["facts"] == world.manifest(verb)["facts"]
    world.folder.stage("report").joinpath("report.html").write_text("a page")
    assert told("run", tiny, "--runs", world.runs)["report"].endswith("7-report/report.html")


def test_part_of_a_run_tells_what_is_not_there_yet(world, tiny):
    said = told("run", tiny, "--runs", world.runs, "--only", "collect")
    assert [verb for verb, stage in said["stages"].items() if stage is None] == list(VERBS[1:])


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("collect", "measure")])
def test_a_stage_tells_its_facts(world, tiny, verb):
    call("run", tiny, "--runs", world.runs)
    said = told(verb, tiny, "--runs", world.runs)
    assert said == {
        "run": str(world.folder.root),
        "stage": verb,
        "folder": str(world.folder.stage(verb)),
        "facts": world.manifest(verb)["facts"],
    }


def test_an_error_stays_one_line_and_leaves_standard_output_empty(world, tiny):
    tiny.write_text(TINY + "algin: {}\n")
    for words in (("run", tiny), ("align", tiny), ("collect", tiny), ("measure", tiny), ("show", tiny)):
        result = call(*words, "--json")
        assert complaint(result)
        assert result.stdout == ""


# ---- others -------------------------------------------------------------------------------------------


def test_ask_tells_all_answers_in_one_document(monkeypatch):
    answers = [(Path("a.png"), 'says "no"'), (Path("b.png"), "two\nlines")]
    monkeypatch.setattr(asking, "ask", lambda student, images, **options: iter(answers))
    assert told("ask", "phantom-base", "a.png", "b.png") == {
        "student": "phantom-base",
        "answers": [
            {"image": "a.png", "answer": 'says "no"'},
            {"image": "b.png", "answer": "two\nlines"},
        ],
    }


def test_push_tells_the_address(monkeypatch):
    monkeypatch.setattr(uploading, "push", lambda what, repo, recipe, public: f"https://hub/{repo}")
    assert told("push", "runs/demo:aligned", "me/it") == {
        "pushed": "runs/demo:aligned",
        "address": "https://hub/me/it",
    }


def test_align_of_rows_tells_where_the_student_is(monkeypatch, tmp_path):
    monkeypatch.setattr("driftbound.aligning.align", lambda groups, base, out, settings: None)
    said = told("align", "--groups", "rows.jsonl", "--base", "some/base", "--out", tmp_path / "out")
    assert said == {"student": str(tmp_path / "out"), "groups": "rows.jsonl", "base": "some/base"}


def test_view_tells_its_address_when_it_is_up(monkeypatch, tmp_path):
    """A script asks for any port and reads which one it was; the notes for a person are on stderr."""
    opened = type("Shown", (), {"sensitivity": "public", "warm": lambda self: None})()
    search = type("Search", (), {"ready": True})()
    monkeypatch.setattr(viewing, "open_run", lambda root: (opened, None))
    monkeypatch.setattr(viewing, "Site", lambda *given: type("Site", (), {"search": search})())
    ports = []

    def serve(site, host, port, started):
        ports.append(port)
        started()

    monkeypatch.setattr(viewing, "serve", serve)
    said = told("view", tmp_path, "--port", "0", "--no-browser")
    assert said == {"url": f"http://127.0.0.1:{ports[0]}/", "run": str(tmp_path), "beside": None}


def test_a_study_tells_what_is_left(tmp_path):
    """The same numbers as its table has: jobs of every line, and none of them done in an empty folder."""
    words = ("study", "phantom_study", "--dry-run", "--out", tmp_path / "out", "--runs", tmp_path / "runs")
    said = told(*words)
    assert said["jobs"] == sum(part["jobs"] for part in said["parts"]) > 0
    assert said["done"] < said["jobs"]  # some ask for the same as others
    assert f"{said['jobs']} jobs (arm, seed, setting), {said['done']} done" in call(*words).stdout
    assert said["results"] == str(tmp_path / "out")


def test_a_sweep_tells_its_trials(monkeypatch, tmp_path, tiny):
    trial = {"settings": {"align.beta": 0.1}, "reason": "", "support": 0.8, "loss": None}
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps({"split": "validation", "trials": [trial]}))
    monkeypatch.setattr("driftbound.study.trials.sweep", lambda *given, **options: path)
    said = told("sweep", tiny, "align.beta=0.1")
    assert said == {"file": str(path), "split": "validation", "trials": [trial]}


@pytest.fixture
def measured(tmp_path):
    """The folder that ``measure --streams`` has left, and the summary that it told."""
    summary = told("measure", "--streams", write(tmp_path, ROWS))
    return tmp_path / "answers.jsonl.measured", summary


def test_show_of_a_file_that_was_measured_alone(measured):
    folder, summary = measured
    assert told("show", folder)["measured"] == summary
    lines = shown(folder)
    assert any("three" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_show_of_a_run_that_is_measured_and_no_more(measured, tmp_path):
    """Its tables, and what comes next."""
    alone, summary = measured
    folder = RunFolder(tmp_path / "run")
    alone.rename(folder.stage("measure").parent.mkdir() or folder.stage("measure"))
    Manifest.of("measure", config={}, inputs={}, seed=0).write(folder.stage("measure"))
    lines = shown(folder.root)
    assert any("three" in line for line in lines)
    assert "Finished: measure. Not yet: collect, bootstrap" in " ".join(lines)
    assert max(map(len, lines)) <= 80
    assert told("show", folder.root)["measured"] == summary


def test_the_page_on_json_names_every_command():
    """A row of docs/json.md for each, and none for a command that is not there."""
    text = (Path(__file__).parents[1] / "docs" / "json.md").read_text()
    first = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    named = {word.split()[0] for word in first.split("`")[1::2] if not word.startswith("--")}
    assert named == set(COMMANDS)
