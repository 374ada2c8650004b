"""Times in a file of answers: what orders them, and what does not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from driftbound.cli import app
from driftbound.errors import DriftboundError
from driftbound.measuring import measure_file
from driftbound.store.stream_file import read_stream_file

START = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = [START + timedelta(days=7 * c) for c in range(24)]  # over the turn of the year


def rows(times):
    return [
        {"case_id": f"q{c}", "teacher": t, "text": f"Answer: {'AB'[c % 2]}", "created_at": time}
        for c, time in enumerate(times)
        for t in ("one", "two")
    ]


def write(tmp_path, times):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(times)))
    return path


def notes(path, tmp_path):
    measure_file(path, tmp_path / "out")
    return " ".join(json.loads((tmp_path / "out" / "summary.json").read_text())["about"]["notes"])


def test_seconds_since_1970_are_times(tmp_path):
    path = write(tmp_path, [each.timestamp() for each in DAYS])
    assert read_stream_file(path).trajectories[2].created_at == DAYS[1].isoformat()
    assert "order of asking is taken from their times" in notes(path, tmp_path)


@pytest.mark.parametrize("form", ["%m/%d/%Y", "%d.%m.%Y"])
def test_dates_whose_letters_do_not_sort_by_time_are_not_taken_for_an_order(tmp_path, form):
    told = notes(write(tmp_path, [each.strftime(form) for each in DAYS]), tmp_path)
    assert "is looked at in the order of the file, and raises no alarm" in told
    assert "no ISO 8601" in told


def test_times_of_several_zones_are_not_taken_for_an_order(tmp_path):
    times = [
        each.isoformat() if c % 2 else each.strftime("%Y-%m-%dT%H:%M+05:00") for c, each in enumerate(DAYS)
    ]
    assert "no ISO 8601 of one time zone" in notes(write(tmp_path, times), tmp_path)


def test_a_measure_that_is_cut_short_leaves_no_manifest_of_the_one_before(tmp_path, monkeypatch):
    path = write(tmp_path, [each.isoformat() for each in DAYS])
    measure_file(path, tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").exists()

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("driftbound.measuring.measure", cut)
    with pytest.raises(KeyboardInterrupt):
        measure_file(path, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_instead_of_a_file_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["measure", "--streams", "."])
    assert isinstance(result.exception, DriftboundError | SystemExit), result.exception
