"""Collecting through faults and kills: nothing is lost, doubled or changed; and the check can fail."""

import copy
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import campaign, collecting, unruly
from benchmarks.campaign import Campaign
from benchmarks.sayings import Said, said
from driftbound.endpoints.loopback import serving
from driftbound.records import Status
from driftbound.store.folder import RunFolder

ONE = "each question has one answer"
TEXTS = "texts are right to the letter"
CASES, TEACHERS, KILLS, CONCURRENCY = 30, 3, 4, 4
SETTINGS = {"timeout_s": 2, "retries": 6, "concurrency": CONCURRENCY}


def serving_unruly(*options):
    return serving([sys.executable, "-m", "benchmarks.unruly", "--late-s", "3", *options])


def test_through_faults_and_kills(tmp_path):
    """Nothing is lost, doubled or changed, nothing stored is asked again; a kill loses what is under way."""
    root = tmp_path / "run"
    with serving_unruly("--faults", "0.2") as url:
        collecting.make_run(root, url, cases=CASES, teachers=TEACHERS, pictures=2, settings=SETTINGS)
        done = campaign.run(root, url, kills=KILLS, seed=1)
        stats = campaign.get(url, "stats")
    stored = campaign.rows(RunFolder(root).streams)
    findings = campaign.check_run(root, stats, done, in_flight=TEACHERS * CONCURRENCY)
    assert len(findings) == 8
    assert not [each for each in findings if each.wrong], campaign.table(findings)
    assert done.kills == KILLS
    assert 0 < len(done.settled) <= CASES * TEACHERS
    assert len(stored) == CASES * TEACHERS
    assert sum(stats["faults"].values()) >= 10  # so that it means something
    assert {"ok", "refused", "truncated", "empty"} == {row[4] for row in stored}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Database, log, what was asked and noted, and a campaign without kills that saw every answer stored."""
    root = tmp_path_factory.mktemp("undisturbed") / "run"
    with serving_unruly("--faults", "0") as url:
        collecting.make_run(root, url, cases=10, teachers=2, pictures=1, settings=SETTINGS)
        collecting.collect(root)
        stats = campaign.get(url, "stats")
    folder, asked = RunFolder(root), campaign.wanted(root)
    done = Campaign(0, (), dict.fromkeys(asked, 1), 0.0)
    return folder.streams, stats, asked, campaign.noted(folder), done


def wrong(database, stats, asked, notes, done):
    findings = campaign.check(campaign.rows(database), stats, asked, notes, done, in_flight=6)
    return [each for each in findings if each.wrong]


def test_the_check_passes_what_is_right(undisturbed):
    assert wrong(*undisturbed) == []
    assert len(campaign.rows(undisturbed[0])) == 20
    assert campaign.rows(undisturbed[0].with_name("none.sqlite")) == []


@pytest.mark.parametrize(
    ("doctored", "rule", "n"),
    [
        ("DELETE FROM trajectories WHERE case_id = 'c00007'", ONE, 2),
        ("UPDATE trajectories SET case_id = 'c99' WHERE case_id = 'c00007'", ONE, 4),
        ("UPDATE trajectories SET sample = 1 WHERE case_id = 'c00007'", ONE, 4),
        ("UPDATE trajectories SET wave = 1 WHERE case_id = 'c00007'", ONE, 4),
        ("UPDATE trajectories SET text = text||' ' WHERE case_id = 'c00007'", TEXTS, 2),
        ("UPDATE trajectories SET status = 'failed' WHERE case_id = 'c00007'", "statuses are right", 2),
    ],
)  # fmt: skip
def test_the_check_finds_a_doctored_row(undisturbed, tmp_path, doctored, rule, n):
    database, *rest = undisturbed
    copied = Path(shutil.copy(database, tmp_path / "streams.sqlite"))
    with closing(sqlite3.connect(copied)) as db, db:
        assert db.execute(doctored).rowcount == 2  # of two teachers
    (one,) = wrong(copied, *rest)
    assert (one.rule, len(one.wrong)) == (rule, n)
    assert f"wrong {rule}: {n}, such as " in campaign.table([one])
    assert "c00007" in campaign.table([one])


def test_the_check_finds_two_rows_for_one_question(undisturbed):
    database, *rest = undisturbed
    stored = campaign.rows(database)
    findings = campaign.check([*stored, stored[3]], *rest, in_flight=0)
    assert [each.wrong for each in findings if each.wrong] == [[f"{stored[3][:2]}: 2 times"]]


def test_the_check_finds_what_was_asked_again(undisturbed):
    database, stats, asked, notes, done = undisturbed
    more = copy.deepcopy(stats)
    model, question = asked["c00007", "t1"]
    (line,) = [each for each in more["keys"] if (each["model"], each["question"]) == (model, question)]
    line["arrivals"] += 1
    again, attempts, audit = wrong(database, more, asked, notes, done)
    assert (again.rule, again.wrong) == (
        "no stored answer was asked for again",
        ["('c00007', 't1'): 1 times"],
    )
    assert attempts.rule == "all that arrived stands in the table of attempts"
    assert audit.rule == "all that arrived stands in the audit log"
    assert attempts.wrong == audit.wrong == ["('c00007', 't1'): 2 arrived, 1 noted"]


def test_the_check_finds_answers_in_vain_and_answers_from_nowhere(undisturbed):
    database, stats, asked, notes, _ = undisturbed
    more = copy.deepcopy(stats)
    more["keys"][0]["answers"] += 2 * 6
    killed_twice = Campaign(2, (), {}, 0.0)
    assert wrong(database, more, asked, notes, killed_twice) == []
    more["keys"][1]["answers"] += 1
    more["keys"][2]["answers"] = 0
    nowhere, vain = wrong(database, more, asked, notes, killed_twice)
    assert nowhere.rule == "nothing is stored that was not answered"
    assert vain.rule == "a kill costs no more answers than were under way"
    assert vain.note == "13 given in vain in 2 kills, at most 12"


def test_a_fault_follows_from_seed_and_question_alone():
    server = unruly.Unruly(0, 0.2, list(unruly.KINDS), 1.0)
    drawn = [server.fault("m", f"q{n}", 0) for n in range(4000)]
    assert drawn == [server.fault("m", f"q{n}", 0) for n in range(4000)]
    assert 0.17 < sum(map(bool, drawn)) / len(drawn) < 0.23
    assert {*drawn} == {"", *unruly.KINDS}
    other = unruly.Unruly(1, 0.2, list(unruly.KINDS), 1.0)
    assert drawn != [other.fault("m", f"q{n}", 0) for n in range(4000)]
    assert not unruly.Unruly(0, 0, list(unruly.KINDS), 1.0).fault("m", "q", 0)


def test_answers_are_of_every_kind():
    answers = [said("m", f"q{n}") for n in range(2000)]
    assert {answer.status for answer in answers} == {*Status} - {Status.FAILED}
    assert len({answer.text for answer in answers if answer.status == "ok"}) > 1300  # 11 of 16
    lengths = [len(answer.text.split()) for answer in answers if answer.status == "ok"]
    assert (min(lengths), max(lengths)) == (20, 80)
    declined = Said("refused", "Policy: no", refusal="Policy: no")
    assert json.loads(declined.body)["choices"][0]["message"] == {
        "role": "assistant", "content": None, "refusal": "Policy: no",
    }  # fmt: skip
