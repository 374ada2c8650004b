"""Progress: done of how many, how fast, how long; one line of a terminal, and few lines of a log."""

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from driftbound import progress
from driftbound.progress import Pace, bar, counted, figures, line, rows, say


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


# ---- how fast, how long -------------------------------------------------------------------------------


def test_speed_and_time_left_by_hand(clock):
    """30 units in 10 s are 3 a second; the other 60 take 20 s more. All 90 in 30 s: 3 a second."""
    pace = Pace(90)
    assert (pace.speed(), pace.left_s()) == (None, None)
    for _ in range(10):
        clock.now += 1
        pace.add(3)
    assert (pace.speed(), pace.left_s()) == (3.0, 20.0)
    assert figures(pace) == "30/90 3.0/s 0:20 left"
    clock.now += 20
    pace.add(60)
    assert figures(pace) == "90/90 3.0/s in 0:30"


def test_units_that_take_minutes_have_a_speed_too(clock):
    """One arm of a study in 165 s: the nine others take 24 min 45 s."""
    pace = Pace(10)
    clock.now += 165
    pace.add(1)
    assert figures(pace) == "1/10 165 s each 24:45 left"
    clock.now += 60  # the next one is under way
    assert figures(pace) == "1/10 165 s each 23:45 left"


def test_what_was_done_before_is_no_speed(clock):
    """500 of a run that goes on are there at once; then one a second; the last 30 s count."""
    pace = Pace(600)
    pace.add(500)
    for _ in range(60):
        clock.now += 1
        pace.add(1)
    assert pace.speed() == pytest.approx(1.0)
    assert pace.left_s() == pytest.approx(40.0)
    again = Pace(600, done=500)
    clock.now += 10
    again.add(5)
    assert again.speed() == 0.5


def test_it_slows_down_while_nothing_comes(clock):
    pace = Pace(10)
    clock.now += 1
    pace.add(5)
    clock.now += 9
    assert pace.speed() == 0.5


def test_of_unknown_length(clock):
    pace = Pace(0)
    clock.now += 2
    pace.add(50)
    assert figures(pace) == "50 25/s"


# ---- a terminal -----------------------------------------------------------------------------------------


@given(
    name=st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), max_size=60),
    note=st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), max_size=100),
    total=st.integers(0, 10**7),
    share=st.floats(0, 1),
    columns=st.integers(40, 200),
)
def test_a_row_is_one_line_of_the_terminal(name, note, total, share, columns):
    pace = Pace(total, done=0)
    pace.add(int(total * share))
    text = line(name, min(len(name), 38), pace, note, columns).plain
    assert cell_len(text) <= columns
    assert "\n" not in text


@pytest.mark.parametrize("title", ["measure: live teachers read each other", "align: steps"])
def test_80_columns_hold_all_three_figures(clock, title):
    pace = Pace(170_982)
    clock.now += 1000
    pace.add(85_000)
    text = line(title, min(len(title), 38), pace, "loss 0.312 log p -0.140 accuracy 0.998", 79).plain
    assert "85000/170982 85/s 16:52 left" in text  # 85,982 more at 85 a second: 1,011.6 s
    assert "━━━━━━" in text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_on_a_terminal_nothing_wraps(monkeypatch):
    """As many rows as there are teachers, each in a line, and what is printed meanwhile stands above."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with rows("collect", {"gpt-5": 8, "b" * 50: 8}, {"gpt-5": 2, "b" * 50: 0}) as advance:
        advance("gpt-5", 6, "1 refused $0.12")
    last = shown.getvalue().split("\r")[-1]
    lines = [each for each in progress_lines(last) if each.strip()]
    assert len(lines) == 2
    assert all(cell_len(each) <= 80 for each in lines)
    assert "8/8" in lines[0]
    assert "1 refused $0.12" in lines[0]
    assert "0/8" in lines[1]


def test_what_is_said_meanwhile_stands_above_the_bar(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with bar("scoring", 8) as advance:
        advance(3)
        say("a note")
        advance(5)
    told = [each.rstrip() for each in re.split(r"[\r\n]+", progress_lines(shown.getvalue(), split=False))]
    assert "a note" in told  # a line of its own
    assert progress._LIVE == []


def progress_lines(text, *, split=True):
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return plain.splitlines() if split else plain


# ---- a log ------------------------------------------------------------------------------------------------


def test_a_log_gets_a_line_a_minute_and_one_at_the_end(clock, capsys):
    """300 steps of a second each: told after the first, second ... fifth minute, and at the end."""
    with bar("align: steps", 300) as advance:
        for step in range(300):
            clock.now += 1
            advance(1, f"loss {step}")
    told = capsys.readouterr().err.splitlines()
    assert told == [
        *(f"align: steps: {60 * k}/300 1.0/s {5 - k}:00 left loss {60 * k - 1}" for k in range(1, 5)),
        "align: steps: 300/300 1.0/s in 5:00 loss 299",
    ]


def test_a_log_of_what_was_broken_off_says_how_far_it_came(clock, capsys):
    def breaks():
        with bar("align: steps", 300) as advance:
            clock.now += 2
            advance(20)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks()
    assert capsys.readouterr().err == "align: steps: 20/300 10/s 0:28 left\n"


def test_a_log_tells_of_all_rows_in_one_line(clock, capsys):
    with rows("collect", {"a": 4, "b": 4}, {"a": 2, "b": 0}) as advance:
        clock.now += 1
        advance("a", 2, "1 refused")
    assert capsys.readouterr().err == "collect: a 4/4 2.0/s in 0:01 1 refused, b 0/4\n"


def test_items_are_counted_as_they_pass(clock, capsys):
    """Three of 40 s each: told at 80 s, the first time that a minute is over, and at the end."""
    assert list(counted("reading", iter("abc"))) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""  # at once: nothing to say
    for _ in counted("reading", iter("abc")):
        clock.now += 40
    assert capsys.readouterr().err.splitlines() == ["reading: 2 40 s each", "reading: 3 40 s each"]


def test_of_several_processes_the_first_alone_speaks(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    with bar("align: steps", 3) as advance:
        advance(3)
    assert capsys.readouterr().err == ""
