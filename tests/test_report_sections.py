"""Sections of the report: consensus, rounds, versions, costs, reasons; all numbers in the JSON too."""

import json
import math
import re
import shutil
from html import unescape
from html.parser import HTMLParser

import pytest
from measured_summaries import told
from test_measured_report import Tables
from test_report import TEACHERS, numbers_of, page_of, run, strings  # noqa: F401
from wanting import WantedStreams as Streams

from driftbound.consensus.gate import kind_of
from driftbound.records import Case, Group, Negative, Status, Trajectory
from driftbound.report.answers import form_rows
from driftbound.report.choice import CaseRecord, Chosen, Prediction, reasons_of
from driftbound.report.consensus import Tables as Left
from driftbound.report.consensus import consensus_of
from driftbound.report.consensus_figures import histogram
from driftbound.report.contents import Heading, contents
from driftbound.report.costs import Asked, Purse, stage_costs
from driftbound.report.figures import curves
from driftbound.report.measured import along_of
from driftbound.report.rounds import rounds_of
from driftbound.report.saying import of_changes
from driftbound.report.spans import Slot
from driftbound.report.versions import Ledger, summary_of, timeline
from driftbound.stages import report
from driftbound.store.consensus_tables import CANDIDATES, REJECTED, SUPPORT
from driftbound.store.manifest import Manifest
from driftbound.store.tables import read_groups, write_groups, write_rows

EVIL = "<script>alert('r')</script>"


def group(case_id: str, split: str, support: float, *, usable: bool = True) -> Group:
    negative = Negative(teacher="alpha", text="x", status=Status.OK, valid=usable)
    return Group(case_id=case_id, split=split, consensus="c", negatives=(negative,), support=support)


def candidate(case_id: str, *, refined: bool = False, chosen: bool = True, **more: object) -> dict:
    row = {"case_id": case_id, "split": "train", "number": 0, "refined": refined, "text": "t", "ended": True}
    counts = {"support": 0.5, "contradictions": 0, "inventions": 0, "omissions": 0}
    return row | counts | {"chosen": chosen, "reason": "", "note": ""} | more


def claimed(
    case_id: str, finding: str, value: str, support: float = 0.5, attribute: str = "presence"
) -> dict:
    row = {"case_id": case_id, "split": "train", "finding": finding, "attribute": attribute, "value": value}
    return row | {"start": 0, "end": 1, "support": support, "contradiction": False, "invention": False}


def lost(case_id: str, split: str, reason: str, support: float, text: str = "t") -> dict:
    return {"case_id": case_id, "split": split, "reason": reason, "text": text, "support": support}


def told_of(left: Left, slots: dict | None = None):
    return consensus_of(
        left, synthesizer="vote", threshold=0.5, teachers=TEACHERS, slots=slots or {},
        clusters={"a": "p", "b": "q"}, kind_of=kind_of, seed=0,
    )  # fmt: skip


def test_consensus_per_split_and_why_it_was_rejected() -> None:
    """Train: 0.6 and 0.9, median 0.75; of three cases one is rejected. Test: nothing measured."""
    rejected = [
        lost("r1", "train", "support 0.31 below 0.50: left out is Edema", 0.31),
        lost("r2", "test", "copies alpha", math.nan),
        lost("r3", "test", "support 0.40 below 0.50: no claim to judge", 0.4),
    ]
    groups = [group("a", "train", 0.6), group("b", "train", 0.9, usable=False), group("c", "test", math.nan)]
    rows = [
        candidate("a", chosen=False),
        candidate("a", refined=True, contradictions=1, omissions=2),
        candidate("b", inventions=3),
        candidate("r1", refined=True, chosen=False, inventions=7),
    ]
    found = told_of(Left(groups=groups, rejected=rejected, candidates=rows))
    train, test = found.splits
    assert (train.cases, train.synthesized, train.usable, train.rejected) == (3, 2, 1, 1)
    assert (train.lowest, train.median, train.mean) == (0.6, 0.75, 0.75)
    assert (test.cases, test.synthesized, test.rejected) == (3, 1, 2)
    assert math.isnan(test.median)
    assert [(row.kind, row.splits, row.total) for row in found.reasons] == [
        ("low support", {"train": 1, "test": 1}, 2),
        ("copies a teacher", {"test": 1}, 1),
    ]
    assert (found.candidates, found.refined, found.refined_chosen) == (4, 2, 1)
    assert found.lacks == {"contradictions": 1, "inventions": 3, "omissions": 2}  # of the chosen ones alone
    assert [row.case_id for row in found.examples] == ["r1", "r2", "r3"]
    assert told_of(Left(groups=())) is None


def test_whom_the_consensus_agrees_with() -> None:
    """Three claims: alpha agrees on two of two, beta on one of two, gamma takes no stand on any but one."""
    slots = {
        "a": {
            ("Edema", "presence"): Slot(
                status="conflicting", leading="present",
                votes={"alpha": "absent", "beta": "present", "gamma": "omitted"},
            ),
            ("Edema", "side"): Slot(status="undecided", leading="", votes={"alpha": "left"}),
        },
        "b": {
            ("Edema", "presence"): Slot(
                status="agreed", leading="present",
                votes={"alpha": "uncertain", "beta": "present", "gamma": "absent"},
            ),
        },
    }  # fmt: skip
    support = [
        claimed("a", "Edema", "absent"),
        claimed("a", "Edema", "left", attribute="side"),
        claimed("b", "Edema", "present"),
        claimed("b", "Edema", "present", attribute="zone"),  # no slot: not compared
        claimed("c", "Edema", "present"),  # no votes at all
    ]
    found = told_of(Left(groups=[group("a", "train", 0.5)], support=support), slots)
    counted = {row.teacher: (row.same.mean, row.compared, row.silent) for row in found.teachers}
    assert counted == {"alpha": (1.0, 2, 1), "beta": (0.5, 2, 1), "gamma": (0.0, 1, 2)}
    stands = {row.status: (row.claims, row.with_most, row.against_most, row.no_most) for row in found.stands}
    assert stands == {"agreed": (1, 1, 0, 0), "conflicting": (1, 0, 1, 0), "undecided": (1, 0, 0, 1)}


def test_the_histogram_counts_every_support_once() -> None:
    """0.05 and 0.3 open their bins; 1.0 is in the last one, which 0.97 is in too."""
    figure = histogram("s", "case", [0.0, 0.05, 0.3, 0.97, 1.0, math.nan], [0.31], 0.5)
    counts = {round(row[0], 2): row[2:] for row in figure.rows if row[2] or row[3]}
    assert counts == {0.0: (1, 0), 0.05: (1, 0), 0.3: (1, 1), 0.95: (2, 0)}
    assert len(figure.rows) == 20
    assert figure.says == (
        "Of 5 cases the median support is 0.300, the lowest 0.000; 2 have 0.5 or more. "
        "1 more were rejected; the threshold is 0.5. Of 1 cases nothing was measured."
    )
    assert '<line class="limit" x1="196.0" x2="196.0"' in figure.svg  # half of 46 to 346
    assert not histogram("s", "case", [math.nan], [], 0.5)


def test_rounds_come_with_their_verdicts() -> None:
    seen = {"unparsable": 0.25, "repeated": 0.1, "words": 30.5}
    table = {
        "cases": 20, "kept": 1, "reason": "round 2: refused",
        "rounds": [
            {"round": 0, "support": 0.6, **seen},
            {"round": 1, "support": 0.7, **seen, "verdict": "accepted", "gain": 0.1, "standard_error": 0.02,
             "kept": True, "reason": "support rose"},
            {"round": 2, "verdict": "refused", "kept": False, "reason": EVIL},
        ],
    }  # fmt: skip
    facts = {
        1: {"synthesize": {"rejected": 4, "mean_support": 0.81, "seconds": 2.5}, "align": {"groups": 96}}
    }
    found = rounds_of(table, facts)
    before, first, second = found.rows
    assert (before.label, before.support, before.verdict) == ("before: bootstrapped", 0.6, "")
    assert (first.groups, first.rejected, first.consensus_support, first.seconds) == (96, 4, 0.81, 2.5)
    assert (first.gain, first.standard_error, first.words, first.kept) == (0.1, 0.02, 30.5, True)
    assert (second.verdict, second.kept, math.isnan(second.support)) == ("refused", False, True)
    assert found.figure.says == "It rises from 0.600 at round 0 to 0.700 at round 1."
    assert rounds_of(None, {}) is None
    odd = rounds_of({"rounds": [{}], "kept": None}, {})
    assert (odd.kept, odd.cases, odd.rows[0].kept) == (-1, 0, True)


def answer(case_id: str, teacher: str, **more: object) -> Trajectory:
    return Trajectory(**{"case_id": case_id, "teacher": teacher, "status": Status.OK} | more)


def at(second: int) -> str:
    return f"2026-03-01T12:00:{second:02d}+00:00"


def noted(book, answers):
    """A ledger or a purse that has seen these answers."""
    for each in answers:
        book.note(each)
    return book


def test_versions_stand_with_their_first_and_last_answer() -> None:
    """b asked first; a changes at second 20; a failed answer has no version, an unnamed one is said so."""
    given = [
        answer("1", "b", version="b-1", created_at=at(0), fingerprint="f"),
        answer("2", "b", version="b-1", created_at=at(40), fingerprint="g"),
        answer("1", "a", version="a-2", created_at=at(20)),
        answer("2", "a", version="a-1", created_at=at(10)),
        answer("3", "a", version="a-9", created_at=at(5), status=Status.FAILED),
        answer("1", "a", version="", created_at=at(30), wave=1),
        answer("1", "gone", version="x"),
    ]
    found = noted(Ledger(), given).spans(["a", "b"])
    assert [(s.teacher, s.wave, s.version, s.answers, s.first, s.last, s.place) for s in found] == [
        ("a", 0, "a-1", 1, at(10), at(10), 0),
        ("a", 0, "a-2", 1, at(20), at(20), 1),
        ("a", 1, "not reported", 1, at(30), at(30), 2),
        ("b", 0, "b-1", 2, at(0), at(40), 0),
    ]
    assert found[-1].fingerprints == 2
    assert summary_of(found) == (
        "1 of 2 teachers answered as more than one version: "
        "a answered as a-1, then as a-2, then as not reported."
    )
    drawn = timeline(found)
    assert 'x="38.00%" width="48.00%"' in drawn.svg  # b: from the first second to the last
    assert 'x="50.00%"' in drawn.svg  # a-1 at a quarter of 38 to 86 %
    assert drawn.rows[0] == ("a", 0, "a-1", 1, at(10), at(10))
    assert not timeline(noted(Ledger(), [answer("1", "a", version="v")]).spans(["a"]))  # nobody knows when
    assert "each of 1 teachers answered as one version" in summary_of(noted(Ledger(), given[:2]).spans(["b"]))


def test_money_is_said_or_said_to_be_unknown() -> None:
    """Two answers of 10 and 5 tokens at $0.25 and $0.5; another has no price; a file's answers have none."""
    given = [
        answer("1", "paid", prompt_tokens=10, completion_tokens=3, cost=0.25, latency_s=1.0),
        answer("1", "paid", prompt_tokens=5, completion_tokens=4, cost=0.5, latency_s=3.0, sample=1),
        answer("1", "free", status=Status.REFUSED),
        answer("1", "file"),
    ]
    asked = [
        Asked(name="paid", priced=True, remote=True, requests=3, money=0.8),
        Asked(name="free", priced=False, remote=True, requests=1, money=0.0),
        Asked(name="file", priced=False, remote=False, requests=0, money=0.0),
    ]
    paid, free, file = noted(Purse(), given).costs(asked)
    assert (paid.prompt_tokens, paid.completion_tokens, paid.requests, paid.latency_s) == (15, 7, 3, 2.0)
    assert (paid.dollars, paid.money) == (0.8, "$0.80")  # with what failed and was charged
    assert (free.money, free.answers["refused"]) == ("price unknown", 1)
    assert (file.money, math.isnan(file.requests)) == ("–", True)
    made = [
        Manifest(stage="collect", config={}, inputs={}, seed=0, facts={"seconds": 60.0}),
        Manifest(stage="measure", config={}, inputs={}, seed=0),
        Manifest(stage="synthesize", config={}, inputs={}, seed=0, facts={"seconds": 2.0}),
    ]
    collect, measure, synthesize = stage_costs(
        made, (paid, free, file), {"synthesize": {"judge": {"model": "m"}}, "measure": {"reader": None}}
    )
    assert (collect.money, collect.requests, collect.prompt_tokens) == (
        "$0.80 and 1 teacher of unknown price", 4, 15,
    )  # fmt: skip
    assert (measure.money, math.isnan(measure.requests), math.isnan(measure.seconds)) == ("–", True, True)
    assert synthesize.money == "not counted"
    assert Purse().costs(asked) == ()


def judged(name: str, split: str = "test", **right: bool) -> CaseRecord:
    case = Case(case_id=name, cluster=name, split=split, prompt="", images=())
    rows = {"student:aligned": right["aligned"]} | {
        f"teacher:{t}": right[t] for t in ("t0", "t1") if t in right
    }
    return CaseRecord(
        case=case,
        teachers={t: answer(name, t) for t in ("t0", "t1")},
        predictions={row: Prediction(text="", status="ok", correct={"A": r}) for row, r in rows.items()},
    )


def test_a_reason_that_no_case_meets_is_said() -> None:
    """Right alone: 'alone' has both teachers wrong; 'one' but half of them. Nobody conflicts or refuses."""
    records = [
        judged("alone", aligned=True, t0=False, t1=False),
        judged("one", aligned=True, t0=False, t1=True),
        judged("wrong", aligned=False, t0=True, t1=True),
    ]
    chosen = [Chosen(record=records[0], reason="Aligned right, all teachers wrong", why="")]
    found = {each.name: each for each in reasons_of(records, ["A"], chosen)}
    alone = found["Aligned right, all teachers wrong"]
    assert (alone.cases, alone.of, alone.shown, alone.also) == (1, 3, (1,), ())
    most = found["Aligned right, most teachers wrong"]
    assert (most.cases, most.shown, most.also) == (1, (), (1,))
    assert (found["Aligned student wrong"].cases, found["Aligned student wrong"].shown) == (1, ())
    assert found["Largest conflict"].cases == 0
    assert list(found)[:4] == [
        "Largest conflict", "Consensus against the majority", "Aligned right, all teachers wrong",
        "Aligned student wrong",
    ]  # fmt: skip
    assert "From another split" not in found  # there is no other one


def test_the_form_of_answers_by_hand() -> None:
    """Two answers of 2 and 4 words; of the second's two sentences one was said before; a refusal is apart."""
    texts = {"a": "No edema.", "b": "No edema. No edema.", "c": "Sorry"}
    status = {"a": "ok", "b": "truncated", "c": "refused"}
    records = [
        CaseRecord(
            case=Case(case_id=n, cluster=n, split="test", prompt="", images=()),
            predictions={"student:aligned": Prediction(text=texts[n], status=status[n], correct={})},
        )
        for n in texts
    ]
    (row,) = form_rows(records, "test", ["alpha"], lambda text: [text] if "edema" in text else [])
    assert (row.label, row.answers, row.refused) == ("aligned student", 2, 1)
    assert (row.words, row.repeated, row.unparsable) == (3.0, 0.25, 0.5)  # the cut one has no end
    assert form_rows(records, "other", [], lambda text: []) == ()


def test_contents_are_the_headings_that_can_be_gone_to() -> None:
    html = (
        '<section id="one"><h2>First &amp; <i>foremost</i></h2><h3 id="x"><span>1</span> &lt;b&gt;</h3>'
        '<h3>no anchor</h3></section><section id="two"><h2 id="own">Second</h2></section>'
    )
    assert contents(html) == (
        Heading("one", "First & foremost", (Heading("x", "1 <b>"),)),
        Heading("own", "Second"),
    )


def test_figures_say_what_is_to_be_seen() -> None:
    lines = {"the consensus": [(1.0, 0.0), (5.0, 2.0)], "b": [(1.0, 0.0), (5.0, -3.0)], "a": [(5.0, 1.0)]}
    drawn = curves("rewards", lines, strong="the consensus", name="align rewards")
    assert drawn.says == (
        "The consensus rises from 0.000 at step 1 to 2.000 at step 5. At the end: a 1.000, b −3.000."
    )
    assert f'role="img" aria-label="rewards, by step. {drawn.says}"' in drawn.svg
    assert drawn.columns == ("line", "step", "rewards")
    assert drawn.rows[0] == ("the consensus", 1.0, 0.0)
    assert len(drawn.rows) == 5


def test_changes_say_who_drifts() -> None:
    rows = {"a": {"change": told(0.02), "drifts": True}, "b": {"change": told(-0.05), "drifts": False}}
    assert of_changes(along_of({"along": {"teachers": rows}}, ["a", "b"])) == (
        "1 of 2 teachers drift: a. The largest change is −0.050, of b."
    )


@pytest.fixture
def whole(run):  # noqa: F811
    """The run with all that synthesize, rounds and endpoints leave; reasons and versions are hostile."""
    folder = run.folder.stage("synthesize")
    reason = f"support 0.31 below 0.50: {EVIL}"
    write_rows(folder / "rejected.parquet", [lost("c3", "test_scanner", reason, 0.3123, EVIL)], REJECTED)
    write_rows(folder / "candidates.parquet", [candidate("c0"), candidate("c1", refined=True)], CANDIDATES)
    claims = [claimed("c0", "Pleural Effusion", "present", 0.777), claimed("c1", "Edema", "absent", 0.9)]
    write_rows(folder / "support.parquet", claims, SUPPORT)
    groups = [g for g in read_groups(run.folder.groups) if g.case_id != "c3"]
    scored = [
        Group(case_id=g.case_id, split=g.split, consensus=g.consensus, negatives=g.negatives, support=0.6789)
        for g in groups
    ]
    write_groups(run.folder.groups, scored)
    table = {
        "cases": 7, "kept": 0, "reason": EVIL,
        "rounds": [
            {"round": 0, "support": 0.5432, "words": 12.3, "unparsable": 0.21, "repeated": 0.11},
            {"round": 1, "verdict": EVIL, "reason": EVIL, "kept": False},
        ],
    }  # fmt: skip
    (run.folder.stage("align") / "rounds.json").write_text(json.dumps(table))
    with Streams(run.folder.streams) as streams:
        streams.put(
            Trajectory(
                case_id="c0", teacher="beta", sample=1, status=Status.OK, text="x", version=EVIL,
                created_at=at(30),
            )
        )  # fmt: skip
        streams.put(answer("c1", "beta", sample=1, text="y", version="beta-v1", created_at=at(10)))
    return run


def test_the_new_sections_are_on_the_page_and_inert(whole) -> None:
    html = page_of(whole)
    assert html.lower().count("<script") == 2
    assert not Tables(html).open
    tables = Tables(html).found
    assert tables["Rejected cases by reason"][1] == ["low support", "0", "0", "1", "1"]
    assert tables["Rejected cases"][1][2:4] == ["0.312", f"support 0.31 below 0.50: {EVIL}"]
    assert ["train", "1", "1", "1", "0", "0.679", "0.679", "0.679"] in tables["Consensus per split"]
    beta = {row[2]: row for row in tables["Versions over time"] if row[0] == "beta"}
    assert beta[EVIL][3:] == ["1", "0", "2026-03-01 12:00:30", "2026-03-01 12:00:30"]
    assert beta["beta-v1"][3] == "5"  # four cases, and one asked again
    assert tables["Rounds"][1][:3] == ["before: bootstrapped kept", "–", "0.543"]
    assert (tables["Rounds"][2][1], tables["Rounds"][2][-1]) == (EVIL, EVIL)
    costs = {row[0]: row[1:] for row in tables["Cost per teacher"]}
    assert costs["beta"] == ["–", "6", "0", "0", "0", "0", "40", "0", "price unknown", "0.00 s"]
    assert "In 1 case a refined text was among them, and in 1 it is the consensus." in html


def test_nothing_rejected_and_one_round_are_said_so(run) -> None:  # noqa: F811
    html = page_of(run)
    assert "None rejected." in html
    assert "No support was measured in this run." in html
    assert 'id="rounds"' not in html
    assert numbers_of(run)["rounds"] is None


class Numbers(HTMLParser):
    """Every number in a cell of a table, its label and rows' names apart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._label, self._in = "", False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "div":
            self._label = dict(attrs).get("aria-label", "")
        self._in = tag == "td" or (self._in and tag == "small")

    def handle_data(self, data: str) -> None:
        text = data.strip().replace("−", "-")
        if self._in and re.fullmatch(r"[+-]?[\d,]+(\.\d+)?", text):
            self.found.append((self._label, text.lstrip("+").replace(",", "")))


def leaves(table: object) -> list[float]:
    if isinstance(table, dict):
        return [one for each in table.values() for one in leaves(each)]
    if isinstance(table, list):
        return [one for each in table for one in leaves(each)]
    return [float(table)] if isinstance(table, (int, float)) and not isinstance(table, bool) else []


def not_in(numbers: dict, html: str) -> set[str]:
    """Labels of the tables with a number that no number of the JSON is rounded to."""
    known: dict[int, set[str]] = {}
    given = leaves(numbers)
    missing = set()
    for label, text in Numbers(html).found:
        places = len(text.partition(".")[2])
        rounded = known.setdefault(places, {f"{value:.{places}f}" for value in given})
        if text not in rounded and text.lstrip("-") not in {each.lstrip("-") for each in rounded}:
            missing.add(label)
    return missing


def test_every_number_of_the_page_s_tables_is_in_the_json(whole) -> None:
    html = page_of(whole)
    numbers = numbers_of(whole)
    assert len(Numbers(html).found) > 300
    assert not_in(numbers, html) == set()
    without = {key: value for key, value in numbers.items() if key not in ("rounds", "figures")}
    assert "Rounds" in not_in(without, html)  # it can be seen where one is not there


def test_every_figure_has_its_numbers_and_a_sentence(whole) -> None:
    html = page_of(whole)
    names = re.findall(r'<figure data-figure="([^"]+)"', html)
    figures = numbers_of(whole)["figures"]
    assert len(names) == len(set(names)) == html.count("<svg ") == len(figures)
    assert {unescape(name) for name in names} == set(figures)
    for name in ("balanced accuracy test", "support per case", "support by round", "versions over time",
                 "align rewards", "agreement per finding", "change per teacher"):  # fmt: skip
        own = figures[name]
        assert own["says"].endswith("."), name
        assert re.search(r"\d", own["says"]), name
        assert own["rows"], name
        assert all(len(row) == len(own["columns"]) for row in own["rows"]), name
    for label in re.findall(r'<svg role="img" aria-label="([^"]*)"', html):
        assert re.search(r"\d.*\.$", label), label


OLD = [
    ("4-synthesize/candidates.parquet", "no record of the texts that were judged"),
    ("4-synthesize/support.parquet", "the run has no claims of the consensus"),
    ("4-synthesize/rejected.parquet", "None rejected."),
    ("2-measure/slots.parquet", "no votes of the teachers"),
]


@pytest.mark.parametrize(("file", "said"), OLD)
def test_an_older_run_without_a_file_is_shown(whole, file: str, said: str) -> None:
    (whole.folder.root / file).unlink()
    html = page_of(whole)
    assert said in html
    assert not Tables(html).open


@pytest.mark.parametrize("last", ["", "collect", "measure", "bootstrap", "synthesize", "align"])
def test_a_run_that_stopped_after_a_stage_is_shown(whole, last: str) -> None:
    verbs = ["", "collect", "measure", "bootstrap", "synthesize", "align", "evaluate"]
    for verb in verbs[verbs.index(last) + 1 :]:
        shutil.rmtree(whole.folder.stage(verb))
    html = page_of(whole)
    assert "Nothing is evaluated in this run yet." in html
    assert ("The synthesize stage has left nothing." in html) == (verbs.index(last) < 4)
    assert ("There are no answers of which a version could be known." in html) == (last == "")
    assert ("Versions over time" in Tables(html).found) == (last != "")
    assert not Tables(html).open
    assert not_in(numbers_of(whole), html) == set()


def test_only_columns_that_an_old_table_has_are_read(whole) -> None:
    """Before there were supports: case, split and reason alone."""
    names = ("case_id", "split", "reason")
    rows = [dict(zip(names, ("c3", "test_scanner", ""), strict=True))]
    write_rows(whole.folder.stage("synthesize") / "rejected.parquet", rows, strings(*names))
    found = Tables(page_of(whole)).found
    assert found["Rejected cases by reason"][1][0] == "no reason given"
    assert found["Rejected cases"][1][2:] == ["–", "–", "–"]


def test_costs_count_what_cases_do_not_show(whole) -> None:
    """Of beta: four answers that train, two further samples, one of a later round of asking."""
    with Streams(whole.folder.streams) as streams:
        streams.put(answer("c2", "beta", wave=1, text="later", version="beta-v2"))
    found = report._asked(whole)
    assert {(each.sample, each.wave) for each in found.answers} == {(0, 0)}
    assert len(found.answers) == 12
    costs = {each.teacher: sum(each.answers.values()) for each in found.costs}
    assert costs == {"alpha": 4, "beta": 7, "gamma": 4}
    assert ("beta", 1, "beta-v2") in {(each.teacher, each.wave, each.version) for each in found.spans}
