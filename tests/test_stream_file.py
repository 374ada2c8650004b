"""Stream files: what several teachers said, in whatever table, comes in whole or is refused in one line."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.errors import ConfigError, StoreError
from driftbound.records import Claim, Polarity, Status, Trajectory
from driftbound.store.exchange import write_trajectories
from driftbound.store.stream_file import read_stream_file, with_given_steps
from driftbound.store.streams import Streams
from driftbound.store.wanted import Wanted, want

QUICK = settings(max_examples=40, deadline=None)
ROWS = [
    {"case_id": "c1", "teacher": "gpt-5", "text": "Effusion: present 🫁", "cluster": "p1", "split": "train"},
    {"case_id": "c1", "teacher": "grok-4", "text": "No effusion.", "cluster": "p1", "split": "train"},
    {"case_id": "c2", "teacher": "gpt-5", "text": "Edema.\nNo mass.", "cluster": "p1", "split": "val"},
]


def write(path, rows):
    """As JSON lines, JSON, CSV or Parquet, by the ending."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def refusal(path, kind=StoreError, **options):
    with pytest.raises(kind) as caught:
        read_stream_file(path, **options)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
def test_every_kind_of_table(tmp_path, ending):
    found = read_stream_file(write(tmp_path / f"rows.{ending}", ROWS))
    assert [(each.case_id, each.teacher, each.text) for each in found.trajectories] == [
        (row["case_id"], row["teacher"], row["text"]) for row in ROWS
    ]
    assert {each.status for each in found.trajectories} == {Status.OK}
    assert found.clusters == {"c1": "p1", "c2": "p1"}
    assert found.splits == {"c1": "train", "c2": "validation"}
    assert (found.step_spans, found.duplicates, found.judged, found.sensitivity) == ({}, 0, False, "public")


def test_what_else_a_row_may_say(tmp_path):
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    logprobs = [{"token": "a", "logprob": -0.5}]
    row = {"case_id": 7, "model": "m", "Answer": "a", "sample": 1, "wave": 2, "model_version": "m-2"}
    path = write(tmp_path / "a.parquet", [row | {"date": at, "logprobs": logprobs, "patient_id": 9}])
    (only,) = read_stream_file(path).trajectories
    assert (only.case_id, only.teacher, only.text, only.sample, only.wave) == ("7", "m", "a", 1, 2)
    assert (only.version, only.created_at) == ("m-2", "2026-01-02T03:04:05+00:00")
    assert json.loads(only.logprobs) == logprobs
    assert read_stream_file(path).clusters == {"7": "9"}


def test_columns_of_another_name(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"fall": "c1", "who": "x", "said": {"final": "Edema."}}])
    columns = {"case_id": "fall", "teacher": "who", "text": "said.final"}
    assert read_stream_file(path, columns=columns).trajectories[0].text == "Edema."
    assert "did you mean 'teacher'?" in refusal(path, ConfigError, columns={"teachr": "who"})
    assert "no column 'wer'" in refusal(path, columns=columns | {"teacher": "wer"})


def test_missing_columns_are_named_with_those_that_are_there(tmp_path):
    path = write(tmp_path / "a.csv", [{"case": "c1", "text": "x", "note": ""}])
    said = refusal(path)
    assert said.startswith(f"{path}: no column for case_id and teacher. Its columns: case, text, note.")
    assert "Needed are case_id, teacher, text" in said
    path = write(tmp_path / "b.csv", [{"case_id": "c1", "teacher": "t", "answer": "x", "output": "y"}])
    assert "'answer' or 'output' may be the text" in refusal(path)


def test_statuses_are_told_or_made_of_what_is_told(tmp_path):
    base = {"case_id": "c", "text": "Edema."}
    told = [{"teacher": str(status), "status": str(status).upper()} for status in Status]
    found = read_stream_file(write(tmp_path / "a.jsonl", [base | row for row in told]))
    assert [each.status for each in found.trajectories] == list(Status)
    assert found.judged
    rows = [
        {"teacher": "a", "refused": True},
        {"teacher": "b", "refused": "I cannot.", "text": ""},
        {"teacher": "c", "finish_reason": "length"},
        {"teacher": "d", "text": " \n"},
        {"teacher": "e", "text": None, "error": "timed\nout"},
        {"teacher": "f", "refused": "no"},
    ]
    found = read_stream_file(write(tmp_path / "b.jsonl", [base | row for row in rows]))
    statuses = {each.teacher: str(each.status) for each in found.trajectories}
    assert statuses == {
        "a": "refused",
        "b": "refused",
        "c": "truncated",
        "d": "empty",
        "e": "failed",
        "f": "ok",
    }
    assert [each.text for each in found.trajectories][1] == "I cannot."
    assert [each.error for each in found.trajectories][4] == "timed out"
    assert found.judged
    path = write(tmp_path / "c.jsonl", [base | {"teacher": "a", "status": "fine"}])
    assert "line 1: status 'fine' is none of ok, truncated" in refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "holdout"}, "split 'holdout' is none of train, validation, test, test_scanner"),
        ({"sample": "first"}, "sample is 'first'"),
        ({"text": 3}, "the answer is of type int"),
        ({"teacher": ""}, "names no teacher"),
        ({"case_id": None}, "names no case"),
        ({"logprobs": "{}"}, "logprobs are no JSON list"),
        ({"text": "\ud83d"}, "half a Unicode character"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_a_value_without_sense_names_its_row(tmp_path, change, said):
    message = refusal(write(tmp_path / "a.jsonl", [ROWS[1], ROWS[0] | change]))
    assert "line 2: " in message
    assert said in message


def test_the_same_answer_twice_is_counted_and_another_one_refused(tmp_path):
    again = ROWS[0] | {"created_at": "later"}
    found = read_stream_file(write(tmp_path / "a.jsonl", [*ROWS, again, again]))
    assert (len(found.trajectories), found.duplicates) == (3, 2)
    said = refusal(write(tmp_path / "b.jsonl", [*ROWS, ROWS[0] | {"text": "Else."}]))
    assert "line 1 and line 4 both answer case 'c1' as teacher 'gpt-5', sample 0, wave 0, and differ" in said
    other = [ROWS[0] | {"text": "Else.", "sample": 1}, ROWS[0] | {"text": "Else.", "wave": 1}]
    assert len(read_stream_file(write(tmp_path / "c.jsonl", ROWS + other)).trajectories) == 5
    failed = ROWS[0] | {"text": "", "error": "down"}
    found = read_stream_file(write(tmp_path / "d.jsonl", [failed, *ROWS, failed]))
    assert (len(found.trajectories), found.duplicates, found.trajectories[0].text) == (3, 2, ROWS[0]["text"])


def test_a_case_has_one_cluster_and_one_split(tmp_path):
    path = write(tmp_path / "a.jsonl", [*ROWS, ROWS[0] | {"sample": 1, "cluster": "p2"}])
    said = "line 1 says that the cluster of case 'c1' is 'p1', line 4 that it is 'p2'"
    assert said in refusal(path)
    path = write(tmp_path / "b.jsonl", [*ROWS, ROWS[0] | {"sample": 1, "cluster": "", "split": "test"}])
    assert "the split of case 'c1' is 'train'" in refusal(path)


def test_an_empty_file_is_none(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert "is empty" in refusal(tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_text("case_id,teacher,text\n")
    assert "b.csv" in refusal(tmp_path / "b.csv")
    assert "c.jsonl" in refusal(tmp_path / "c.jsonl")


def test_the_manifest_beside_says_how_sensitive_it_is(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "a.jsonl.manifest.json").write_text('{"sensitivity": "credentialed"}')
    assert read_stream_file(path).sensitivity == "credentialed"


# steps


def step(n, text, **other):
    return {"case_id": "c1", "teacher": "t", "step": n, "text": text, "version": "v"} | other


def test_steps_are_joined_and_remembered(tmp_path):
    """By hand: two answers, told in turns; numbers with gaps, an empty step, an astral letter."""
    rows = [
        step(0, "Effusion 🫁"),
        step(3, "B", teacher="u"),
        step(2, ""),
        step(7, "No mass."),
        step(4, "C", teacher="u"),
    ]
    found = read_stream_file(write(tmp_path / "a.jsonl", rows))
    assert [(each.teacher, each.text) for each in found.trajectories] == [
        ("t", "Effusion 🫁\n\nNo mass."),
        ("u", "B\nC"),
    ]
    assert found.step_spans == {
        ("c1", "t", 0, 0): ((0, 0, 10), (2, 11, 11), (7, 12, 20)),
        ("c1", "u", 0, 0): ((3, 0, 1), (4, 2, 3)),
    }
    assert found.trajectories[0].version == "v"


def test_steps_that_do_not_go_on_name_their_row(tmp_path):
    for n, how in ((1, "repeats"), (0, "goes back")):
        path = write(tmp_path / f"{how}.jsonl", [step(0, "a"), step(1, "b"), step(n, "c")])
        said = refusal(path)
        assert (
            f"line 3: step {n} of case 'c1', teacher 't', sample 0, wave 0 comes after step 1 (line 2)"
            in said
        )
    assert "line 1: has no step" in refusal(write(tmp_path / "a.jsonl", [step(None, "a")]))
    assert "step is '-1'" in refusal(write(tmp_path / "b.jsonl", [step(-1, "a")]))


def test_status_and_logprobs_of_steps(tmp_path):
    token = [{"token": "x", "logprob": -1.0}]
    rows = [step(0, "a", logprobs=token), step(1, "b", logprobs=token, finish_reason="length")]
    (one,) = read_stream_file(write(tmp_path / "a.jsonl", rows)).trajectories
    assert (one.status, json.loads(one.logprobs)) == (Status.TRUNCATED, token * 2)
    rows = [step(0, "a", logprobs=token), step(1, "b", refused=True)]
    (one,) = read_stream_file(write(tmp_path / "b.jsonl", rows)).trajectories
    assert (one.status, one.logprobs) == (Status.REFUSED, "")


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=5), max_size=4)
)
@QUICK
def test_every_span_is_its_step(tmp_path_factory, answers):
    rows = [step(2 * n, text, sample=k) for k, texts in enumerate(answers) for n, text in enumerate(texts)]
    if not rows:
        return
    found = read_stream_file(write(tmp_path_factory.mktemp("steps") / "a.jsonl", rows))
    for each, texts in zip(found.trajectories, answers, strict=True):
        spans = found.step_spans["c1", "t", each.sample, 0]
        assert [(n, each.text[start:end]) for n, start, end in spans] == [
            (2 * n, text) for n, text in enumerate(texts)
        ]


def test_claims_get_the_files_own_steps():
    claim = Claim(
        finding="x", attribute="presence", value="present", polarity=Polarity.PRESENT, start=0, end=1, step=9
    )
    spans = ((1, 0, 5), (4, 6, 6), (5, 7, 9))
    starts = [0, 4, 5, 6, 7, 8, 20]
    claims = [replace(claim, start=start, end=start + 1) for start in starts]
    assert [each.step for each in with_given_steps(claims, spans)] == [1, 1, 5, 5, 5, 5, 5]
    assert with_given_steps([claim], ()) == [claim]


# driftbound's own files


def said(case_id, teacher, text, **other):
    return Trajectory(
        case_id=case_id, teacher=teacher, status=Status.OK, text=text, request_hash="h", **other
    )


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_an_export_comes_with_every_field(tmp_path, ending):
    rows = [said("c1", "t", "a", note="n", cost=0.5), said("c1", "u", "b", finish_reason="stop")]
    rows.append(replace(said("c2", "t", "no"), status=Status.REFUSED))
    write_trajectories(tmp_path / f"a.{ending}", rows)
    found = read_stream_file(tmp_path / f"a.{ending}")
    assert found.trajectories == rows
    assert found.judged
    two = [rows[0], replace(rows[0], text="other", request_hash="i")]
    write_trajectories(tmp_path / f"b.{ending}", two)
    assert "row 1 and row 2 both answer" in refusal(tmp_path / f"b.{ending}")


def test_a_runs_answers_are_those_to_its_present_recipe(tmp_path):
    path = tmp_path / "streams.sqlite"
    rows = [said("c1", "t", "a"), said("c1", "t", "old", sample=1), said("c1", "t", "later", wave=1)]
    with Streams(path) as streams:
        streams.put_many(rows)
        for wave in (0, 1):
            asked = {"teacher": "t", "place": 0, "case_id": "c1", "sample": 0, "request_hash": "h"}
            want(streams, [Wanted(**asked, wave=wave)], wave=wave)
        with streams.transaction():
            streams.db.execute(
                "INSERT INTO cases VALUES ('c1', 'x', 'p1', 'test', 'q', '[]', 'credentialed', ''), "
                "('c9', 'x', 'p9', 'test', 'q', '[]', 'public', '')"
            )
        streams.seal()
    found = read_stream_file(path)
    assert found.trajectories == [rows[0], rows[2]]
    assert (found.clusters, found.splits) == ({"c1": "p1"}, {"c1": "test"})
    assert (found.judged, found.sensitivity) == (True, "credentialed")
