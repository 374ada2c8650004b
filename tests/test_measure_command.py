"""``driftbound measure --streams``: a file of answers, wrong files among them, as a newcomer would use it."""

import json
import random

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from driftbound.cli import app
from driftbound.measure.sheet import unexplained
from driftbound.store.exchange import manifest_beside
from driftbound.store.manifest import Manifest

ROWS = [
    {"case_id": f"q{c}", "teacher": teacher, "text": f"I think so. Answer: {'ABCD'[(c + shift) % 4]}"}
    for c in range(40)
    for teacher, shift in (("one", 0), ("two", 0), ("three", c // 20))
]
"""One and two always agree; three agrees with them on the first twenty cases and never after."""


def call(*arguments):
    return CliRunner().invoke(app, ["measure", *map(str, arguments)], env={"COLUMNS": "80"})


def write(tmp_path, rows, name="answers.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_alone_is_measured(tmp_path):
    """Agreement of "three": the others' two votes equal its own on half of the cases. Of "one": "two"
    always, "three" on half: 3/4."""
    path = write(tmp_path, ROWS)
    result = call("--streams", path)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "answers.jsonl.measured"
    assert result.stdout.splitlines()[-1] == str(folder)
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if "─" in line)
    summary = json.loads((folder / "summary.json").read_text())
    assert list(unexplained(summary)) == []
    told = summary["agreement"]["teachers"]
    assert (told["three"]["value"], told["one"]["value"]) == (0.5, 0.75)
    assert summary["agreement"]["findings"]["answer"]["agreed"]["value"] == 0.5
    claims = pq.read_table(folder / "claims.parquet").to_pylist()
    assert [claim["value"] for claim in claims[:3]] == ["A", "A", "A"]
    assert Manifest.read(folder).facts["answers"] == len(ROWS)


def test_json_is_the_whole_summary(tmp_path):
    path = write(tmp_path, ROWS)
    result = call("--streams", path, "--out", tmp_path / "out", "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_the_order_of_the_rows_changes_no_agreement(tmp_path):
    shuffled = ROWS.copy()
    random.Random(0).shuffle(shuffled)
    shuffled.sort(key=lambda row: row["teacher"] != "one")  # "one" stays the first of each pair
    found = [
        json.loads(call("--streams", write(tmp_path, rows, name), "--json").stdout)["agreement"]["pairs"]
        for name, rows in (("a.jsonl", ROWS), ("b.jsonl", shuffled))
    ]
    assert found[0]["one"]["three"]["value"] == found[1]["one"]["three"]["value"] == 0.5


def test_what_a_file_is_made_of_goes_on(tmp_path):
    path = write(tmp_path, ROWS)
    manifest_beside(path).write_text(json.dumps({"sensitivity": "credentialed"}))
    call("--streams", path)
    assert Manifest.read(tmp_path / "answers.jsonl.measured").sensitivity == "credentialed"


def test_steps_may_be_ragged(tmp_path):
    """Answers of one, two and three steps; the claim stands in the last one."""
    rows = [
        {"case_id": f"q{c}", "teacher": teacher, "step": step, "text": text}
        for c in range(12)
        for teacher, steps in (("one", 1), ("two", 2), ("three", 3))
        for step, text in enumerate([*["Let me think."] * (steps - 1), f"Answer: {'AB'[c % 2]}"])
    ]
    summary = json.loads(call("--streams", write(tmp_path, rows), "--json").stdout)
    steps = summary["agreement"]["steps"]
    assert [each["n"] for each in steps["one"]] == [12, *[0] * 9]
    assert [each["n"] for each in steps["two"]] == [*[0] * 5, 12, *[0] * 4]  # step 1 of 2
    assert [each["n"] for each in steps["three"]] == [*[0] * 6, 12, *[0] * 3]  # step 2 of 3: 20 // 3 = 6


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        ([{"case_id": "c", "text": "A"}], (), "teacher"),
        ([{"case_id": "c", "teacher": "t", "text": text} for text in "AB"], (), "line 1 and line 2"),
        ([{"case_id": "c", "teacher": "t", "text": "nothing in it"}], (), "claims"),
        (ROWS, ("--domain", "phanton"), "did you mean 'phantom'"),
        (ROWS, ("--claims", "chioce"), "choice"),
        (ROWS, ("--claims", "choice", "--domain", "phantom"), "--claims belongs to the field generic"),
        (ROWS, ("--claims", "none.yaml"), "none.yaml"),
        (ROWS, ("--column", "case_id"), "OURS=THEIRS"),
        (ROWS, ("--gold", "none.csv"), "none.csv"),
        (ROWS, ("demo",), "Leave out RECIPE"),
    ],
    ids=lambda value: None,
)
def test_what_cannot_be_measured_is_one_line(tmp_path, rows, more, said):
    result = call("--streams", write(tmp_path, rows), *more)
    assert result.exit_code == 2, result.output
    complaint = [line for line in result.stderr.splitlines() if line.startswith("driftbound: ")]
    assert len(complaint) == 1
    assert said in complaint[0]


def test_neither_recipe_nor_file(tmp_path):
    assert "measure needs a RECIPE, or --streams FILE." in call().stderr
    assert "--gold belongs to --streams" in call("demo", "--gold", "gold.csv").stderr
    assert call("--streams", tmp_path / "none.jsonl").exit_code == 2


def test_a_change_in_the_order_of_a_file_alarms_only_with_times(tmp_path):
    """One teacher of two stops answering yes half-way. Sorted files look so, too: without times it is no
    alarm."""
    rows = [
        {"case_id": f"q{c:03d}", "teacher": teacher, "text": "Yes." if c < 60 or teacher == "two" else "No."}
        for c in range(120)
        for teacher in ("one", "two")
    ]
    at = [f"2026-01-01T{n // 120:02d}:{n // 2 % 60:02d}:00Z" for n in range(len(rows))]
    timed = [row | {"created_at": when} for row, when in zip(rows, at, strict=True)]
    found = [
        json.loads(call("--streams", write(tmp_path, given, name), "--json").stdout)
        for name, given in (("a.jsonl", rows), ("b.jsonl", timed))
    ]
    named = [[a["teacher"] for a in each["alarms"] if a["family"] == "over the collection"] for each in found]
    assert named == [[], ["one"]]
    assert any("created_at" in note for note in found[0]["about"]["notes"])
