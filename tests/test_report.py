"""The report: what is on the page is what the stages left, escaped, self-contained and coloured right."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest
from measured_summaries import summary as measured_summary
from measured_summaries import told
from PIL import Image
from rich.console import Console
from wanting import WantedStreams as Streams

from driftbound.config import Recipe
from driftbound.domains.phantom import claims as phantom
from driftbound.errors import CaseError, StoreError
from driftbound.records import Case, Claim, Group, Negative, Polarity, Status, Trajectory
from driftbound.report.choice import CaseRecord, Prediction, choose
from driftbound.report.figures import dots
from driftbound.report.page import Material, render
from driftbound.report.spans import Slot, consensus_mark, pieces, shortened
from driftbound.report.tables import score_rows
from driftbound.report.terminal import headline as terminal_headline
from driftbound.report.training import training
from driftbound.stages import report
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.manifest import Manifest
from driftbound.store.tables import write_cases, write_groups, write_rows

TEACHERS = ("alpha", "beta", "gamma")
HEADLINE = ("Pleural Effusion", "Edema")
HOSTILE = "<script>alert('x')</script> **bold** ![](https://evil.example/x.png) No edema. </p></main>"
TEXTS = {
    "alpha": "There is pleural effusion on the left. No edema.",
    "beta": "No pleural effusion. No edema.",
    "gamma": "Pleural effusion on the right. Possible edema.",
}


class Field:
    """A field with two findings that speaks the phantom language."""

    name = "field"
    findings = HEADLINE
    headline = HEADLINE
    sided = frozenset({"Pleural Effusion"})

    def question(self, case: Case) -> str:
        return case.prompt

    def claims(self, text: str) -> list[Claim]:
        return phantom.claims(text)

    def write_cases(self, folder: Path, truth: Path) -> None:
        raise NotImplementedError

    def merge_question(self, case: Case, answers: object) -> str:
        raise NotImplementedError

    def render(self, stances: object) -> str:
        raise NotImplementedError

    def is_refusal(self, text: str) -> bool:
        return phantom.is_refusal(text)

    def mentions_sources(self, text: str) -> bool:
        raise NotImplementedError

    def scripted_server(self, cases: Path) -> None:
        return None


def entry(mean: float, parsable: float = 1.0) -> dict:
    est = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    both = {"accuracy": {**est, "mean": mean + 0.0111}, "balanced_accuracy": est}
    per = {name: {"accuracy": est, "balanced_accuracy": est} for name in HEADLINE}
    return {
        **both,
        "per_finding": per,
        "mean_14": both,
        "answered_only": both,
        "parsable": parsable,
        "note": "",
    }


def summary(difference: tuple[float, float, float] = (0.1234, 0.0456, 0.2012)) -> dict:
    mean, low, high = difference
    table = {
        "teachers": {"alpha": entry(0.7012), "beta": entry(0.4503), "gamma": entry(0.6123, 0.5)},
        "students": {"aligned": entry(0.6789), "base": entry(0.5011), "bootstrapped": entry(0.5555)},
        "consensus": entry(0.7234),
        "baselines": {
            "always_prior": entry(0.5),
            "majority": entry(0.6543),
            "bootstrapped_images_shuffled": {
                "accuracy": None,
                "balanced_accuracy": {"mean": None},
                "note": "",
            },
        },
        "comparisons": {
            "aligned_minus_bootstrapped": {"balanced_accuracy": {"mean": mean, "low": low, "high": high}},
            "aligned_minus_best_teacher": {"balanced_accuracy": {"mean": -0.0223, "low": -0.1, "high": 0.05}},
        },
        "best_teacher": "alpha",
        "n_cases": 3,
        "n_clusters": 2,
    }
    return {**table, "splits": {"test": table, "test_scanner": table}, "seed": 5}


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (400, 200), shade).save(out, "PNG")
    return out.getvalue()


def slot_row(case_id: str, finding: str, attribute: str, votes: dict, status: str, leading: str) -> dict:
    row = {
        "case_id": case_id,
        "finding": finding,
        "attribute": attribute,
        "status": status,
        "leading": leading,
    }
    return {**row, "votes": json.dumps(votes)}


def judged(case_id: str, row: str, text: str, right: tuple[bool, bool], status: str = "ok") -> dict:
    correct = json.dumps(dict(zip(HEADLINE, right, strict=True)))
    truth = json.dumps({"Pleural Effusion": "left", "Edema": "absent"})
    both = {"text": text, "status": status, "correct": correct, "truth": truth}
    return {"case_id": case_id, "split": "test", "row": row, **both}


def strings(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


@pytest.fixture
def run(tmp_path: Path) -> Context:
    """A finished run: three teachers, four cases, one hostile text, one refusal."""
    folder = RunFolder(tmp_path / "demo")
    root = folder.root
    (root / "images").mkdir(parents=True)
    cases = []
    for number, split in enumerate(("train", "test", "test", "test_scanner")):
        (root / "images" / f"c{number}.png").write_bytes(png(40 * number))
        image = (f"images/c{number}.png",)
        cases.append(Case(case_id=f"c{number}", cluster="p", split=split, prompt="What?", images=image))
    write_cases(folder.cases, cases)
    with Streams(folder.streams) as streams:
        for case in cases:
            for name in TEACHERS:
                text = HOSTILE if (case.case_id, name) == ("c2", "alpha") else TEXTS[name]
                status = Status.REFUSED if (case.case_id, name) == ("c1", "gamma") else Status.OK
                both = {"text": text, "status": status, "prompt_tokens": 10, "version": f"{name}-v1"}
                streams.put(Trajectory(case_id=case.case_id, teacher=name, **both))
    measure(folder)
    negatives = tuple(Negative(teacher=t, text=TEXTS[t], status=Status.OK, valid=True) for t in TEACHERS)
    merged = "Edema: absent. Pleural effusion: left."
    groups = [Group(case_id=c.case_id, split=c.split, consensus=merged, negatives=negatives) for c in cases]
    write_groups(folder.groups, groups)
    for verb in ("bootstrap", "align"):
        folder.stage(verb).mkdir()
        lines = [
            {"step": 5, "loss": 1.5, "rewards/rejected/alpha": -0.5},
            {"step": 10, "loss": 1.25, "logp_consensus_per_token": -0.7},
        ]
        (folder.stage(verb) / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = []
    for case in cases[1:3]:
        rows += [judged(case.case_id, f"teacher:{t}", TEXTS[t], (t == "alpha", True)) for t in TEACHERS]
        rows.append(judged(case.case_id, "consensus", merged, (True, True)))
        rows.append(judged(case.case_id, "student:bootstrapped", "Edema: present.", (False, False)))
        rows.append(judged(case.case_id, "student:aligned", "Edema: absent.", (case.case_id == "c1", True)))
    names = ("case_id", "split", "row", "text", "status", "correct", "truth")
    write_rows(folder.stage("evaluate") / "predictions.parquet", rows, strings(*names))
    (folder.stage("evaluate") / "summary.json").write_text(json.dumps(summary()))
    for stage, where in {"cases": root, "collect": folder.stage("collect")}.items():
        Manifest.of(stage, config={}, inputs={}, seed=5, facts={"seconds": 75.0, "rows": 12}).write(where)
    recipe = {"name": "demo", "teachers": [{"name": t, "model": t} for t in TEACHERS], "report": {"cases": 3}}
    return Context(Recipe.parse(recipe, where="test"), folder, Field())


def measure(folder: RunFolder) -> None:
    """What measure leaves for these texts: effusion 2 to 1, side 1 to 1, no edema 2 and a hedge."""
    rows = []
    for number in range(4):
        case = f"c{number}"
        effusion = {"alpha": "present", "beta": "absent", "gamma": "present"}
        side = {"alpha": "left", "beta": "omitted", "gamma": "right"}
        edema = {"alpha": "absent", "beta": "absent", "gamma": "uncertain"}
        rows.append(slot_row(case, "Pleural Effusion", "presence", effusion, "conflicting", "present"))
        rows.append(slot_row(case, "Edema", "presence", edema, "agreed", "absent"))
        rows.append(slot_row(case, "Pleural Effusion", "side", side, "conflicting", ""))
    names = ("case_id", "finding", "attribute", "status", "leading", "votes")
    write_rows(folder.stage("measure") / "slots.parquet", rows, strings(*names))
    table = measured_summary(TEACHERS, HEADLINE)
    (folder.stage("measure") / "summary.json").write_text(json.dumps(table))


def test_the_floor_drawn_is_where_the_training_would_stop(run: Context) -> None:
    """It may fall by 1 below the reference; where no fall was logged there is nothing to draw it into."""
    assert "dashed floor" not in page_of(run)
    path = run.folder.stage("align") / "metrics.jsonl"
    lines = [{"step": k, "logp_consensus_change_per_token": -0.1 * k} for k in (1, 2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run.recipe.align.floor == -1.0
    assert "training stops below the dashed floor, -1" in page_of(run)


def page_of(run: Context) -> str:
    report.run(run)
    return (run.folder.stage("report") / "report.html").read_text(encoding="utf-8")


def numbers_of(run: Context) -> dict:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text = (run.folder.stage("report") / "report.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=refuse)


class Reader(HTMLParser):
    """Tags with their attributes, and which tags are left open or closed twice."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_hostile_text_is_shown_inert(run: Context) -> None:
    html = page_of(run)
    assert html.lower().count("<script") == 2  # the page's own, and its numbers
    assert "\\u003cscript\\u003ealert('x')" in html  # the text among them
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in html
    assert not Reader(html).open  # a closing tag in a text would leave the page's own unbalanced


def test_the_page_loads_nothing(run: Context) -> None:
    html = page_of(run)
    sources = [
        value for _, attrs in Reader(html).tags for name, value in attrs.items() if name in ("src", "href")
    ]
    assert sources
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    style = html[html.index("<style>") : html.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    tags = Reader(html).tags
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    )
    scripts = [attrs for tag, attrs in tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "numbers"}, {}]
    own = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert not {tag for tag, _ in tags} & {"link", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on")]
    anchors = {attrs["id"] for _, attrs in tags if "id" in attrs}
    assert {value[1:] for value in sources if value.startswith("#")} <= anchors


def test_images_are_thumbnails_of_the_cases(run: Context) -> None:
    """400 x 200 in grey 40 becomes 320 x 160 of the same grey."""
    first = re.search(r'data:image/png;base64,([^"]+)" alt="Image 1 of case c1"', page_of(run))
    with Image.open(io.BytesIO(base64.b64decode(first.group(1)))) as image:
        assert image.size == (320, 160)
        assert image.getpixel((5, 5)) == 40


def test_the_page_says_the_summary_s_numbers(run: Context) -> None:
    html = page_of(run)
    cells = r"([^<]+)(?:<small>[^<]*</small>)?</th>\s*<td[^>]*>([^<]+)<small>([^<]+)"
    table = re.findall(rf"<tr[^>]*><th scope=\"row\">{cells}", html)
    found = {name: (mean, interval) for name, mean, interval in reversed(table)}  # the first table counts
    assert found["aligned student"] == ("0.679", "0.579–0.779")
    assert found["gamma"][0] == "0.612"
    given = summary()["splits"]["test"]
    rows = {(row["kind"], row["name"]): row for row in numbers_of(run)["results"]["test"]["rows"]}
    kinds = (("teacher", given["teachers"]), ("student", given["students"]))
    for kind, entries in kinds:
        for name, one in entries.items():
            assert rows[kind, name]["balanced_accuracy"] == one["balanced_accuracy"]
            assert rows[kind, name]["accuracy"] == one["accuracy"]
            assert f">{one['accuracy']['mean']:.3f}<small>" in html
    assert rows["control", "bootstrapped_images_shuffled"]["accuracy"]["mean"] is None
    assert [name for kind, name in rows if kind == "student"] == ["base", "bootstrapped", "aligned"]
    assert [name for kind, name in rows if kind == "teacher"] == ["alpha", "gamma", "beta"]
    assert html.count("balanced accuracy</th>") == 2  # one results table per split


def test_the_page_tells_what_the_controls_found(run: Context) -> None:
    path = run.folder.stage("evaluate") / "summary.json"
    given = summary()
    half, told = {"mean": 0.5, "low": 0.4, "high": 0.6}, {"mean": 0.9876, "low": 0.9, "high": 1.0}
    given["splits"]["test"] = given["splits"]["test"] | {
        "ranks": {"aligned": {"Edema": {"rank": 2, "of": 4, "spread": 0.25}, "Pneumonia": {"rank": None}}},
        "dispersion": {"base": {"mean": 0.9312}, "aligned": {"mean": None}},
        "probe": {"consensus_or_teacher": {"as_written": {"auroc": told}, "one_style": {"auroc": half}}},
    }
    path.write_text(json.dumps(given))
    html = page_of(run)
    assert "by balanced accuracy: Edema 2 of 4 (teachers 0.250 apart)." in html
    assert "(lower is tighter): base 0.931, aligned student –." in html
    assert "AUROC of 0.988 (0.5 is chance), and of 0.500 when all" in html
    assert html.count("lower is tighter") == 1  # the other split has nothing of it


def test_the_headline_is_honest(run: Context) -> None:
    html = page_of(run)
    assert "aligned student reaches a balanced accuracy of 0.679 (95 % interval 0.579 to 0.779)" in html
    assert "Above the bootstrapped student by 0.123 (paired difference +0.123, +0.046 to +0.201)" in html
    assert "No clear difference from the best teacher, alpha: −0.022 (−0.100 to +0.050; the interval" in html
    path = run.folder.stage("evaluate") / "summary.json"
    path.write_text(json.dumps(summary((-0.2, -0.3, -0.1))))
    assert "Below the bootstrapped student by 0.200" in page_of(run)


def test_spans_are_coloured_by_what_the_teachers_say(run: Context) -> None:
    """Effusion is in conflict and so is its side; no edema is agreed; gamma hedges on it."""
    page_of(run)
    case = next(case for case in numbers_of(run)["cases"] if case["case_id"] == "c1")
    texts = {answer["name"]: answer for answer in case["teachers"]}

    def marked(answer: dict) -> list[tuple[str, str]]:
        return [(answer["text"][start:end], mark) for start, end, mark in answer["marks"]]

    assert marked(texts["alpha"]) == [
        ("There is pleural effusion on the ", "conflict"),
        ("left", "conflict"),
        (".", "conflict"),
        ("No edema.", "agreement"),
    ]
    assert marked(texts["gamma"]) == []  # it refused
    assert ("Edema: absent.", "agreement") in marked(case["consensus"])
    assert ("left", "settled") in marked(case["consensus"])


def claim(finding: str, value: str, start: int, end: int, attribute: str = "presence") -> Claim:
    polarity = Polarity(value) if attribute == "presence" else Polarity.PRESENT
    return Claim(
        finding=finding, attribute=attribute, value=value, polarity=polarity, start=start, end=end, step=0
    )


def test_nested_and_overlapping_spans_keep_the_text_whole() -> None:
    """The side is the shorter span, so it colours its own word; the text is never lost or doubled."""
    text = "effusion on the left and edema"
    slots = {
        ("A", "presence"): Slot(status="agreed", leading="present"),
        ("A", "side"): Slot(status="conflicting", leading=""),
        ("B", "presence"): Slot(status="undecided", leading=""),
    }
    said = [claim("A", "present", 0, 20), claim("A", "left", 16, 20, "side"), claim("B", "present", 12, 30)]
    cut = pieces(text, said, slots)
    assert "".join(piece.text for piece in cut) == text
    assert [(piece.text, piece.mark) for piece in cut] == [
        ("effusion on ", "agreement"),
        ("the ", "uncertainty"),
        ("left", "conflict"),
        (" and edema", "uncertainty"),
    ]
    same = [claim("A", "present", 0, 8), claim("B", "present", 0, 8)]
    assert pieces("effusion", same, slots)[0].mark == "uncertainty"  # the stronger of two equal spans


def test_offsets_count_code_points() -> None:
    """Each emoji is one code point (and two UTF-16 units): the span still starts at the E of Edema."""
    text = "🫁🫁🩻 Edema."
    slots = {("Edema", "presence"): Slot(status="agreed", leading="present")}
    cut = pieces(text, phantom.claims(text)[-1:], slots)
    assert cut[-1].text.endswith("Edema.")
    by_hand = pieces(text, [claim("Edema", "present", 4, 9)], slots)
    assert [(piece.text, piece.mark) for piece in by_hand] == [
        ("🫁🫁🩻 ", ""),
        ("Edema", "agreement"),
        (".", ""),
    ]


@pytest.mark.parametrize(
    ("value", "status", "leading", "teacher", "consensus"),
    [
        ("present", "agreed", "present", "agreement", "agreement"),
        ("absent", "agreed", "present", "conflict", "conflict"),
        ("present", "conflicting", "absent", "conflict", "settled"),
        ("present", "undecided", "present", "uncertainty", "settled"),
        ("uncertain", "agreed", "present", "uncertainty", "uncertainty"),
    ],
)
def test_marks(value: str, status: str, leading: str, teacher: str, consensus: str) -> None:
    slots = {("A", "presence"): Slot(status=status, leading=leading)}
    one = [claim("A", value, 0, 1)]
    assert pieces("x", one, slots)[0].mark == teacher
    assert pieces("x", one, slots, consensus_mark)[0].mark == consensus
    assert pieces("x", one, {})[0].mark == ""


def test_what_cannot_be_shown_is_replaced_and_long_texts_are_cut() -> None:
    cut = pieces("a\x00\ud800b", [], {})
    assert cut[0].text == "a\ufffd\ufffdb"
    kept, left_out = shortened(pieces("abcdef" * 100, [claim("A", "present", 3, 9)], {}), 5)
    assert "".join(piece.text for piece in kept) == "abcde"
    assert left_out == 595


def test_cases_are_chosen_for_a_reason(run: Context) -> None:
    page_of(run)
    shown = {case["case_id"]: case for case in numbers_of(run)["cases"]}
    assert set(shown) == {"c1", "c2"}  # held out, judged
    assert all(case["why"] for case in shown.values())
    truth = {row["finding"]: row for row in shown["c1"]["judgements"]}["Pleural Effusion"]
    assert truth["truth"] == "left"
    assert truth["teachers_right"] == "1 of 2"  # gamma refused
    assert truth["right"] == {"consensus": True, "bootstrapped": False, "aligned": True}


def test_the_strongest_case_of_each_reason_comes_first() -> None:
    def record(name: str, aligned: bool, teachers: tuple[bool, bool, bool], conflicts: int) -> CaseRecord:
        case = Case(case_id=name, cluster=name, split="test", prompt="", images=())
        rows = {f"teacher:t{n}": right for n, right in enumerate(teachers)} | {"student:aligned": aligned}
        return CaseRecord(
            case=case,
            teachers={f"t{n}": Trajectory(case_id=name, teacher=f"t{n}", status=Status.OK) for n in range(3)},
            slots={(str(n), "presence"): Slot(status="conflicting", leading="") for n in range(conflicts)},
            predictions={
                row: Prediction(text="", status="ok", correct={"A": right}) for row, right in rows.items()
            },
        )

    records = [
        record("some conflict", True, (True, True, True), 1),
        record("most conflict", True, (True, True, True), 3),
        record("student right", True, (False, False, True), 0),
        record("student wrong", False, (True, True, False), 0),
    ]
    chosen = choose(records, ["A"], 3)
    assert [(each.record.case.case_id, each.reason) for each in chosen] == [
        ("most conflict", "Largest conflict"),
        ("student wrong", "Aligned student wrong"),
        ("student right", "Aligned right, most teachers wrong"),
    ]
    assert len(choose(records, ["A"], 12)) == 4  # none is shown twice


@pytest.mark.parametrize("missing", ["collect", "measure", "bootstrap", "synthesize", "align", "evaluate"])
def test_a_missing_stage_is_said_and_nothing_breaks(run: Context, missing: str) -> None:
    shutil.rmtree(run.folder.stage(missing))
    html = page_of(run)
    numbers_of(run)
    said = {"evaluate": "Nothing is evaluated", "measure": "measure stage has left nothing"}
    assert said.get(missing, "Results") in html
    assert not Reader(html).open


def test_nothing_but_cases(run: Context) -> None:
    for verb in ("collect", "measure", "bootstrap", "synthesize", "align", "evaluate"):
        shutil.rmtree(run.folder.stage(verb))
    html = page_of(run)
    for words in ("Nothing is evaluated", "No training has left a log", "There are no answers to show"):
        assert words in html


def test_a_teacher_that_refused_everything(run: Context) -> None:
    run.folder.streams.unlink()
    with Streams(run.folder.streams) as streams:
        for number in range(4):
            for name in TEACHERS:
                status = Status.REFUSED if name == "gamma" else Status.OK
                text = "As an AI I cannot." if name == "gamma" else TEXTS[name]
                streams.put(Trajectory(case_id=f"c{number}", teacher=name, status=status, text=text))
    path = run.folder.stage("measure") / "summary.json"
    table = json.loads(path.read_text())
    table["agreement"]["teachers"]["gamma"] = told(None)
    table["agreement"]["steps"]["gamma"] = [told(None)] * 4
    path.write_text(json.dumps(table))
    html = page_of(run)
    assert "<h4>gamma</h4><span>refused" in html
    assert not Reader(html).open


def test_without_correctness_the_texts_are_shown_alone(run: Context) -> None:
    """Predictions may come without ``correct`` and ``truth``: then nobody is called right or wrong."""
    names = ("case_id", "split", "row", "text", "status")
    rows = [dict(zip(names, ("c1", "test", "student:aligned", "Edema: absent.", "ok"), strict=True))]
    write_rows(run.folder.stage("evaluate") / "predictions.parquet", rows, strings(*names))
    page_of(run)
    case = numbers_of(run)["cases"][0]
    assert case["judgements"] == []
    assert case["students"][0]["text"] == "Edema: absent."


def test_a_missing_image_is_named(run: Context) -> None:
    (run.folder.root / "images" / "c1.png").unlink()
    with pytest.raises(CaseError, match=r"c1\.png: image is missing"):
        report.run(run)


def test_a_broken_summary_is_named(run: Context) -> None:
    (run.folder.stage("evaluate") / "summary.json").write_text("{")
    with pytest.raises(StoreError, match=r"summary\.json: cannot be read"):
        report.run(run)


def test_the_same_run_gives_the_same_page(run: Context) -> None:
    assert page_of(run) == page_of(run)


def test_inputs_follow_what_the_stages_left_and_not_the_clock(run: Context) -> None:
    before = report.inputs(run)
    folder = run.folder.stage("collect")
    facts = {"seconds": 99.0}
    Manifest.of("collect", config={}, inputs={}, seed=5, facts=facts).write(folder)
    assert report.inputs(run) == before
    with Streams(run.folder.streams) as streams:
        streams.put(Trajectory(case_id="c0", teacher="alpha", sample=1, status=Status.OK, text="more"))
    after = report.inputs(run)
    assert {name for name in before if before[name] != after[name]} == {"collect"}


def test_the_truth_file_is_not_needed(run: Context) -> None:
    assert not run.folder.truth.exists()
    page_of(run)


def test_credentialed_data_are_announced(run: Context) -> None:
    assert "Contains credentialed data" not in page_of(run)
    Manifest.of("cases", config={}, inputs={}, seed=5, sensitivity="credentialed").write(run.folder.root)
    assert "Contains credentialed data" in page_of(run)


def test_dots_stand_where_the_numbers_are() -> None:
    """Axis from 0.4 to 0.8 over 38 % to 86 % of the width: 0.6 is in the middle, at 62 %."""
    one = entry(0.6) | {"balanced_accuracy": {"mean": 0.6, "low": 0.5, "high": 0.7}}
    svg = dots(score_rows({"students": {"aligned": one}}, HEADLINE), "test").svg
    assert '<circle cx="62.00%"' in svg
    assert 'x1="50.00%" x2="74.00%"' in svg
    assert "<title>Balanced accuracy with 95 % intervals, split test</title>" in svg
    assert 'role="img"' in svg


def test_a_hostile_name_is_escaped_in_figures() -> None:
    svg = dots(score_rows({"teachers": {'"><script>': entry(0.6)}}, HEADLINE), "test").svg
    assert "<script" not in svg


def test_trainings_show_what_was_logged() -> None:
    rows = [
        {"step": 5, "loss": 2.0, "grad_norm": "nan", "rewards/consensus": 0.0, "rewards/rejected/alpha": 0.1},
        {"step": 10, "loss": 1.0, "rewards/margin": float("nan"), "logp_consensus_change_per_token": -0.5},
        {"validation": {"loss": 1.5}},
    ]
    shown = training("align", "Align", rows, floor=-3.0)
    assert shown.steps == 10
    assert (shown.changes[0].first, shown.changes[0].last, shown.changes[0].validation) == (2.0, 1.0, 1.5)
    assert [chart.title for chart in shown.charts] == [
        "loss, nats per group",
        "log p(consensus) against the reference, nats per token",
        "rewards, nats",
    ]
    assert "dashed floor, -3" in shown.charts[1].note
    loss, fall, rewards = (chart.figure for chart in shown.charts)
    assert loss.says == "It falls from 2.000 at step 5 to 1.000 at step 10."
    assert fall.says.endswith(" The dashed limit is -3.")
    assert rewards.says == ("The consensus is 0.000 at step 5, the only value. At the end: alpha 0.100.")
    assert rewards.rows == (("alpha", 5, 0.1), ("the consensus", 5, 0.0))
    assert shown.charts[2].note.endswith("at the end alpha 0.10, the consensus 0.00")


def test_looks_stand_at_their_own_steps():
    """A row of its own without a step; the number of cases and the reason are no curves."""
    look = {"step": 4, "cases": 20, "words": 31.5, "unparsable": 0.25, "broke": "", "repeated": 0.0}
    rows = [{"step": 2, "loss": 1.0}, {"watch": look}, {"step": 6, "loss": 0.5}]
    points = training("align", "Align", rows).points
    assert points.keys() == {"loss", *(f"held-out answers/{k}" for k in ("words", "unparsable", "repeated"))}
    assert points["held-out answers/words"] == [(4.0, 31.5)]
    shown = training("align", "Align", rows)
    assert not shown.unwatched
    assert [chart.title for chart in shown.charts[1:]] == [
        "length of held-out answers, words per answer",
        "repetition in held-out answers, share of sentences said before",
        "unparsable held-out answers, share",
    ]
    assert training("align", "Align", rows[:1]).unwatched
    assert points["loss"] == [(2.0, 1.0), (6.0, 0.5)]


def test_a_page_of_nothing_at_all() -> None:
    html, numbers = render(Material(name="<x>", headline=(), findings=(), recipe={}))
    assert "&lt;x&gt;" in html
    assert numbers["results"] == {}


def test_the_terminal_table_fits_80_columns() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_headline(summary()))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    line = next(line for line in text.splitlines() if "aligned student" in line)
    assert line.split() == ["aligned", "student", "0.679", "0.579–0.779", "0.690", "0.579–0.779", "1.00"]
