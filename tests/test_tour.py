"""The tour's Markdown: whatever a teacher wrote, it stays what it is; weights cover the whole text."""

from pathlib import Path

import pytest


@pytest.fixture
def records(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    import tour_records

    return tour_records


def test_stretches_cover_the_text_and_what_no_span_covers_weighs_one(records):
    text = "No mass. Edema. Ok."
    spans = [{"start": 0, "end": 8, "weight": 0.0}, {"start": 9, "end": 15, "weight": 0.5}]
    assert records.stretches(text, spans) == [("No mass.", 0.0), ("Edema.", 0.5), (" Ok.", 1.0)]
    assert records.stretches(text, []) == [(text, 1.0)]
    assert records.stretches("", []) == []


def test_a_text_cannot_end_its_fence(records):
    text = "```\n<script>\n````"
    lines = records.fenced(text).splitlines()
    assert lines[0] == "`````text"
    assert lines[-1] == "`````"
    assert "\n".join(lines[1:-1]) == text


def test_cells_stay_cells(records):
    assert records.code("a `b`\n| c") == "`a 'b' | c`"
    assert records.code("  \n") == ""
    lines = records.table(["x", "y"], [["a|b", "c\nd"], [1, ""]]).splitlines()
    assert lines == ["| x | y |", "| --- | --- |", "| a\\|b | c d |", "| 1 |  |"]


@pytest.mark.parametrize(
    ("part", "said"),
    [(0.0, "0%"), (0.001, "<1%"), (0.5, "50%"), (0.998, ">99%"), (1.0, "100%")],
)
def test_nothing_is_rounded_to_certainty(records, part, said):
    assert records.share(part) == said


def test_a_run_that_is_not_there_is_one_line(records, tmp_path):
    with pytest.raises(SystemExit, match="the run is not finished"):
        records.Run(tmp_path)
