"""Exchange: what is written comes back, what others wrote is understood or refused in one line."""

import csv
import json
import math
import os
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftbound.errors import ConfigError, StoreError
from driftbound.records import Case, Group, Negative, Status, Trajectory
from driftbound.store import rowfiles
from driftbound.store.exchange import (
    imported_sensitivity,
    note_import,
    read_trajectories,
    sensitivity_beside,
    write_trajectories,
)
from driftbound.store.exchange_groups import (
    WHOLE,
    Asked,
    group_rows,
    groups_of,
    sft_row,
    trl_schema,
    why_no_sft_row,
)
from driftbound.store.foreign import Answer, read_answers
from driftbound.store.foreign_columns import SYNONYMS, value_at
from driftbound.store.streams import Streams
from driftbound.store.wanted import Wanted, want

QUICK = settings(max_examples=25, deadline=None)
NAME = st.text(min_size=1, max_size=8)
INTEGER = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
KINDS = {str: st.text(), int: INTEGER, float: NUMBER, Status: st.sampled_from(Status)}
BREAKS = "one\ntwo\rthree\x0bfour\x0cfive\x1csix\x85seven\u2028eight\u2029nine\0"
GIVEN_AWAY = {"prompt_discloses": st.sampled_from(["", '["Edema"]', '["Edema", "Edema:side"]'])}
TRAJECTORIES = st.builds(
    Trajectory,
    **{name: KINDS[each.type] for name, each in Trajectory.__dataclass_fields__.items()} | GIVEN_AWAY,
)


def ok(case_id="c1", teacher="gpt-5", **other):
    return Trajectory(case_id=case_id, teacher=teacher, **{"status": Status.OK, "text": "clear"} | other)


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def answers(path, stream="gpt-5", **columns):
    return list(read_answers(path, stream=stream, columns=columns))


def names_in(folder):
    return [each.name for each in folder.iterdir()]


def refusal(path, stream="gpt-5", kind=StoreError, **columns):
    with pytest.raises(kind) as caught:
        answers(path, stream, **columns)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- trajectories -------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@QUICK
@given(rows=st.lists(TRAJECTORIES, max_size=5))
def test_trajectories_come_back_as_they_were(ending, rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("exchange") / f"rows{ending}"
    assert write_trajectories(path, rows) == len(rows)
    if rows or ending == ".parquet":
        assert list(read_trajectories(path)) == rows
    assert names_in(path.parent) == [path.name]


def test_no_reader_splits_a_line_in_two(tmp_path):
    """``str.splitlines`` breaks at ten kinds of character; JSON escapes only those below the space."""
    path = tmp_path / "rows.jsonl"
    write_trajectories(path, [ok(text=BREAKS), ok("β", text="β")])
    text = path.read_text(encoding="utf-8")
    assert [json.loads(line)["text"] for line in text.splitlines()] == [BREAKS, "β"]
    assert "β" in text  # and stays readable


def test_more_rows_than_a_row_group_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(rowfiles, "_GROUP", 3)
    path = tmp_path / "rows.parquet"
    rows = [ok(f"c{n}") for n in range(10)]
    write_trajectories(path, iter(rows))
    assert pq.ParquetFile(path).num_row_groups == 4
    assert list(read_trajectories(path)) == rows


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_half_an_export_never_counts(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    write_trajectories(path, [ok()])

    def broken():
        yield ok("c2")
        raise StoreError("the database is gone")

    with pytest.raises(StoreError, match="gone"):
        write_trajectories(path, broken())
    assert list(read_trajectories(path)) == [ok()]
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": "\ud83d"}, "row 1: 'text' holds half a Unicode character"),
        ({"cost": float("nan")}, "row 1: 'cost' is nan"),
        ({"sample": 2**63}, "row 1: 'sample' is beyond 64 bits"),
        ({"sample": True}, "row 1: 'sample' is of type bool, not int"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, ending, wrong, said):
    with pytest.raises(StoreError, match=said):
        write_trajectories(tmp_path / f"rows{ending}", [ok(**wrong)])
    assert not names_in(tmp_path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"case_id": "c1", "status": "ok"}, "line 1: 'teacher' of a trajectory is missing.*--teacher"),
        (
            {"case_id": "c1", "teacher": "a", "status": "fine"},
            "line 1: 'status' is 'fine', which is none of ok,",
        ),
        (
            {"case_id": "c1", "teacher": "a", "status": "ok", "label": 1},
            "line 1: a trajectory has no 'label'",
        ),
        ({"case_id": 7, "teacher": "a", "status": "ok"}, "line 1: 'case_id' is of type int, not str"),
        ({"case_id": "\ud83d", "teacher": "a", "status": "ok"}, "'case_id' holds half a Unicode"),
        ([], "line 1: is no table of columns"),
    ],
)
def test_a_row_that_is_no_trajectory_is_named(tmp_path, row, said):
    path = lines(tmp_path / "rows.jsonl", row)
    if isinstance(row, list):
        path.write_text("{}\n[]\n")
        said = "line 1: 'case_id' of a trajectory is missing"
    with pytest.raises(StoreError, match=said):
        list(read_trajectories(path))


def test_fields_with_a_default_may_be_missing(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"case_id": "c1", "teacher": "a", "status": "empty", "cost": 1})
    (found,) = read_trajectories(path)
    assert found == Trajectory(case_id="c1", teacher="a", status=Status.EMPTY, cost=1.0)
    assert isinstance(found.cost, float)


def test_the_database_of_a_run_is_read_too(tmp_path):
    with Streams(tmp_path / "streams.sqlite") as streams:
        streams.put_many([ok("c2"), ok("c1")])
        streams.seal()
    assert list(read_trajectories(tmp_path / "streams.sqlite")) == [ok("c1"), ok("c2")]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_a_large_file_needs_little_memory(tmp_path, ending):
    """60 MB of answers pass; at no time is more than a row group (10 MB here) held, decoded and as read."""
    path, n = tmp_path / f"rows{ending}", 3000
    text = os.urandom(10_000).hex()
    before = pa.total_allocated_bytes()
    if ending == ".json":
        rows = ",\n".join(json.dumps({"id": f"c{k}", "text": text}) for k in range(n))
        path.write_text(f"[{rows}]")
        del rows
        read = read_answers(path, stream="a", columns={})
    else:
        write_trajectories(path, (ok(f"c{k}", text=f"{k} {text}") for k in range(n)))
        read = read_trajectories(path)
    tracemalloc.start()
    held = [pa.total_allocated_bytes() - before for _ in read]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(held) == n
    assert peak < (16e6 if ending == ".parquet" else 8e6)
    assert max(held) < 30e6


# ---- answers made elsewhere ---------------------------------------------------------------------

SAID = Answer(case_id="s1", teacher="gpt-5", text="clear")


def test_long_rows_are_filtered_by_teacher(tmp_path):
    path = lines(
        tmp_path / "long.jsonl",
        {"case_id": "s1", "teacher": "gpt-5", "text": "clear", "finish_reason": "stop", "model": "gpt-5-08"},
        {"case_id": "s1", "teacher": "glm", "text": "opaque"},
        {"case_id": 2, "teacher": "gpt-5", "text": "", "sample": 1, "input_tokens": 9, "output_tokens": 4},
        {"case_id": "s3", "teacher": "gpt-5", "text": None},
    )
    assert answers(path) == [
        replace(SAID, finish_reason="stop", version="gpt-5-08"),
        Answer(case_id="2", teacher="gpt-5", text="", sample=1, prompt_tokens=9, completion_tokens=4),
    ]
    assert answers(path, "glm") == [Answer(case_id="s1", teacher="glm", text="opaque")]
    assert "no answer of 'grok', but of gpt-5, glm. Write stream: NAME" in refusal(path, "grok")


def test_long_rows_without_a_teacher_are_the_stream_s(tmp_path):
    path = lines(tmp_path / "one.jsonl", {"ID": "s1", "Answer": "clear", "image": "a/s1.png"})
    assert answers(path) == [replace(SAID, image="a/s1.png")]


def test_columns_map_our_words_to_theirs(tmp_path):
    path = lines(tmp_path / "odd.jsonl", {"fall": "s1", "arzt": "gpt-5", "befund": "clear"})
    assert answers(path, case_id="fall", teacher="arzt", text="befund") == [SAID]
    said = refusal(path, case_id="fall", teacher="arzt")
    assert "no column for the text, and none called 'gpt-5'. Its columns: fall, arzt, befund." in said
    assert "Write columns: {text: COLUMN} in the recipe (--column text=COLUMN)" in said
    assert "no column for the case" in refusal(path, text="befund")
    assert "no column 'befunde'" in refusal(path, text="befunde", case_id="fall")
    assert "no 'txt' is read; did you mean 'text'?" in refusal(path, kind=ConfigError, txt="befund")


def test_two_usual_words_are_not_guessed_between(tmp_path):
    path = lines(tmp_path / "two.jsonl", {"id": "s1", "image_id": "i1", "response": "clear", "output": "x"})
    assert "'image_id' or 'id' may be the case_id" in refusal(path)
    assert "'response' or 'output' may be the text" in refusal(path, case_id="id")
    assert answers(path, case_id="id", text="response") == [SAID]
    both = lines(tmp_path / "own.jsonl", {"case_id": "s1", "id": "x", "text": "clear", "output": "x"})
    assert answers(both) == [SAID]  # our own word counts


def test_an_empty_name_takes_a_usual_word_away(tmp_path):
    path = lines(tmp_path / "rows.jsonl", {"id": "s1", "source": "mimic", "text": "clear"})
    assert "but of mimic" in refusal(path)
    assert answers(path, teacher="") == [SAID]


def test_wide_rows_have_a_column_per_teacher(tmp_path):
    rows = [
        {"sample_id": "s1", "gpt-5": "clear", "glm": "opaque"},
        {"sample_id": "s2", "gpt-5": None, "glm": "opaque"},
        {"sample_id": "s3", "glm": "opaque"},
    ]
    path = lines(tmp_path / "wide.jsonl", *rows)
    assert answers(path) == [SAID]
    assert [each.case_id for each in answers(path, "glm")] == ["s1", "s2", "s3"]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "wide.parquet")
    assert answers(tmp_path / "wide.parquet") == [SAID]


def test_a_path_leads_into_nested_columns(tmp_path):
    row = {"id": "s1", "said": {"glm-4.5v": {"text": "clear", "stop": "length"}}}
    path = lines(tmp_path / "nested.jsonl", row)
    assert answers(path, "glm", text="said.glm-4.5v.text", finish_reason="said.glm-4.5v.stop") == [
        Answer(case_id="s1", teacher="glm", text="clear", finish_reason="length")
    ]
    assert "the answer is of type dict, not text" in refusal(path, "glm", text="said.glm-4.5v")
    assert value_at({"a.b": {"c": 0}}, "a.b.c") == 0


@pytest.mark.parametrize(
    "row",
    [
        {
            "messages": [
                {"role": "user", "content": "<image>What?"},
                {"role": "assistant", "content": "clear"},
            ],
            "images": ["x/s1.png"],
        },
        {
            "conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "clear"}],
            "image": {"path": "x/s1.png", "bytes": None},
        },
        {
            "messages": [{"role": "assistant", "content": [{"type": "text", "text": "clear"}]}],
            "images": [{"path": "x/s1.png"}],
        },
    ],
    ids=["ms-swift", "sharegpt", "parts"],
)
def test_chats_name_their_image(tmp_path, row):
    """No id: the image says which case it is."""
    found = [Answer(case_id="", teacher="gpt-5", text="clear", image="x/s1.png")]
    assert answers(lines(tmp_path / "chat.jsonl", row)) == found
    (tmp_path / "chat.json").write_text(json.dumps([row]))
    assert answers(tmp_path / "chat.json") == found


def test_a_chat_must_end_with_the_answer(tmp_path):
    path = lines(tmp_path / "chat.jsonl", {"id": 1, "messages": [{"role": "user", "content": "What?"}]})
    assert "line 1: the last turn is none of assistant or gpt" in refusal(path)


def test_results_of_a_batch_are_read(tmp_path):
    def result(number, message, reason="stop", **usage):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        body = {"model": "gpt-5-08", "choices": [choice], "usage": usage}
        response = {"status_code": 200, "body": body}
        return {"id": f"batch_{number}", "custom_id": f"s{number}", "response": response, "error": None}

    path = lines(
        tmp_path / "batch.jsonl",
        result(1, {"content": "clear", "refusal": None}, prompt_tokens=9, completion_tokens=4),
        result(2, {"content": None, "refusal": "I cannot."}),
        result(3, {"content": None}, "length"),
        {"custom_id": "s4", "response": {"status_code": 429, "body": {"error": {"message": "slow\ndown"}}}},
        {"custom_id": "s5", "response": None, "error": {"code": "expired", "message": "too late"}},
    )
    v = {"teacher": "gpt-5", "version": "gpt-5-08"}
    assert answers(path) == [
        Answer(case_id="s1", text="clear", finish_reason="stop", prompt_tokens=9, completion_tokens=4, **v),
        Answer(case_id="s2", text="I cannot.", finish_reason="stop", refused=True, **v),
        Answer(case_id="s3", text="", finish_reason="length", **v),
        Answer(case_id="s4", teacher="gpt-5", text="", error="slow down"),
        Answer(case_id="s5", teacher="gpt-5", text="", error="too late"),
    ]


def test_csv_with_a_byte_order_mark_and_line_breaks(tmp_path):
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(
            [
                ("id", "model", "text", "refused", "sample"),
                ("s1", "gpt-5", 'clear,\n"really"', "False", "0"),
                ("s2", "gpt-5", "", "true", "1"),
            ]
        )
    assert answers(path) == [
        replace(SAID, text='clear,\n"really"'),
        Answer(case_id="s2", teacher="gpt-5", text="", refused=True, sample=1),
    ]
    path.write_text("id,text\ns1,clear,more\n")
    assert "line 2: does not have 2 columns" in refusal(path)
    path.write_text("id,id\ns1,clear\n")
    assert "two columns have the same name" in refusal(path)


def test_parquet_leaves_images_unread(tmp_path):
    """Of an image only its path is looked at; numbers that pandas has made floats are whole all the same."""
    path = tmp_path / "rows.parquet"
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("id", pa.int64()), ("image", image), ("text", pa.string()), ("sample", pa.float64())]
    )
    row = {"id": 1, "image": {"bytes": b"x" * 1000, "path": "s1.png"}, "text": "clear", "sample": 2.0}
    pq.write_table(pa.Table.from_pylist([row], schema=schema), path)
    assert answers(path) == [Answer(case_id="1", teacher="gpt-5", text="clear", image="s1.png", sample=2)]
    ((_, read),) = rowfiles.read_rows(path, {"image"})
    assert read == {"image": {"path": "s1.png"}}


def test_our_own_answers_are_read_as_foreign_ones(tmp_path):
    rows = [
        ok("s1", model="gpt-5", status=Status.TRUNCATED),
        ok("s2", status=Status.REFUSED, text="No.", version="v"),
        ok("s3", status=Status.FAILED, text="", error="timeout"),
        ok("s1", "glm"),
        ok("s1", wave=1, text="later"),
    ]
    expected = [
        replace(SAID, finish_reason="length", version="gpt-5"),
        Answer(case_id="s2", teacher="gpt-5", text="No.", version="v", refused=True),
        Answer(case_id="s3", teacher="gpt-5", text="", error="timeout"),
    ]
    for ending in (".jsonl", ".parquet"):
        write_trajectories(tmp_path / f"rows{ending}", rows)
        assert answers(tmp_path / f"rows{ending}") == expected
    with Streams(tmp_path / "streams.sqlite") as streams:
        streams.put_many([*rows, ok("s4", request_hash="of another recipe")])
        asked = {"teacher": "gpt-5", "sample": 0, "wave": 0, "request_hash": ""}
        want(streams, [Wanted(place=n, case_id=f"s{n}", **asked) for n in range(1, 5)], wave=0)
        streams.seal()
    assert answers(tmp_path / "streams.sqlite") == expected


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "s1", "text": 3}, "line 1: the answer is of type int, not text"),
        ({"id": "s1", "text": "\ud83d"}, "line 1: the answer holds half a Unicode character"),
        ({"id": "", "text": "x"}, "line 1: names neither its case nor an image"),
        ({"id": "s1", "text": "x", "sample": "first"}, "line 1: sample is 'first'. Give a whole number"),
        ({"id": "s1", "text": "x", "sample": -1}, "line 1: sample is '-1'"),
        ({"id": 1.5, "text": "x"}, "line 1: case_id is of type float ('1.5')"),
    ],
)
def test_values_that_make_no_sense_are_named(tmp_path, row, said):
    assert said in refusal(lines(tmp_path / "rows.jsonl", row))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"just text", "is none of JSON lines, a JSON array, Parquet, CSV"),
        (b'{"id": 1}\n{"id": ', "line 2: is no JSON"),
        (b'{"id": "\xff"}\n', "line 1: is no JSON"),
        (b"PAR1 and no more", "cannot be read"),
        (b"SQLite format 3\0 and no more", "cannot be"),
        (b"[]", "no column for the text"),
        (b'[{"id": 1} {"id": 2}]', "after row 1 is '{'"),
        (b'[{"id": 1},]', "in row 2 is something that is no table of columns"),
        (b'[{"id": 1}', "after row 1 is the end of the file"),
        (b'[{"id": 1}] x', "after row 1 is 'x'"),
        (b'[{"id": tru}]', "in row 1 is"),
        (b"[1]", "in row 1 is something that is no table"),
        (b"[[]]", "in row 1 is something that is no table"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "rows").write_bytes(content)
    assert said in refusal(tmp_path / "rows")


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.jsonl")


JSON = st.recursive(
    st.none() | st.booleans() | INTEGER | NUMBER | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@QUICK
@given(
    rows=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4),
    chunk=st.integers(1, 9),
    indent=st.none() | st.just(2),
    ascii_only=st.booleans(),
)
def test_an_array_is_read_wherever_it_is_cut(rows, chunk, indent, ascii_only, tmp_path_factory):
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(f" {json.dumps(rows, indent=indent, ensure_ascii=ascii_only)}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rowfiles, "_CHUNK", chunk)
        assert [row for _, row in rowfiles.read_rows(path)] == rows


# ---- groups -------------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), NUMBER), max_size=2).map(tuple)
NEGATIVES = st.builds(
    Negative,
    teacher=NAME,
    text=st.text(),
    status=st.sampled_from(Status),
    valid=st.booleans(),
    weight=st.floats(0, 9),
    spans=SPANS,
    end_weight=st.floats(0, 9),
)
COUNTING = st.builds(
    Negative, teacher=NAME, text=st.just("no, none"), status=st.just(Status.OK), valid=st.just(True)
)
GROUPS = st.builds(
    Group,
    case_id=NAME,
    split=st.just("train"),
    consensus=st.text(min_size=1).map(lambda text: f"all agree: {text}"),
    negatives=st.tuples(st.lists(NEGATIVES, max_size=3), COUNTING, st.lists(NEGATIVES, max_size=2)).map(
        lambda parts: (*parts[0], parts[1], *parts[2])
    ),
    spans=SPANS,
    support=st.floats(0, 1) | st.just(math.nan),
)
TRAINERS = ("trl", "ms-swift", "llamafactory", "nemo-rl", "rows")


def asked(case_id="c1", question="What is there?", images=("/data/c1.png",), **other):
    case = Case(case_id=case_id, cluster="p1", split="train", prompt="", images=("c1.png",), **other)
    return Asked(case, question, images)


def rival(text="no", teacher="ada", **other):
    return Negative(teacher=teacher, text=text, **{"status": Status.OK, "valid": True} | other)


def group(*negatives, consensus="yes", case_id="c1"):
    return Group(case_id=case_id, split="train", consensus=consensus, negatives=negatives)


def rows_for(to, *groups, left_out=None, **other):
    pairs = [(each, asked(each.case_id, **other)) for each in groups]
    return list(group_rows(to, pairs, Counter() if left_out is None else left_out))


@pytest.mark.parametrize("to", TRAINERS)
@QUICK
@given(groups=st.lists(GROUPS, min_size=1, max_size=3))
def test_groups_come_back_as_they_were(to, groups, tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups")
    rows = rows_for(to, *groups)
    rowfiles.write_lines(folder / "rows.jsonl", rows)
    assert repr(list(groups_of(to, folder / "rows.jsonl"))) == repr(groups)  # nan is not equal to itself
    if to == "trl":
        rowfiles.write_table(folder / "rows.parquet", rows, trl_schema(pictured=True))
        assert repr(list(groups_of(to, folder / "rows.parquet"))) == repr(groups)


def without_ours(rows):
    return [{name: value for name, value in row.items() if name != "driftbound"} for row in rows]


def turn(role, content):
    return {"role": role, "content": content}


def test_rows_are_what_each_trainer_reads():
    """One row per negative that counts; the place of each image stands in the text where it is looked for."""
    made = group(rival("no"), rival("", "bob", valid=False), rival("perhaps", "cy"))
    two = {"images": ["/data/c1.png", "/data/c2.png"]}
    images = tuple(two["images"])
    user = turn("user", "What is there?")
    assert without_ours(rows_for("trl", made, images=images)) == [
        {"prompt": [user], "chosen": [turn("assistant", "yes")], "rejected": [turn("assistant", no)]} | two
        for no in ("no", "perhaps")
    ]
    marked = "<image><image>What is there?"
    assert without_ours(rows_for("ms-swift", made, images=images)) == [
        {"messages": [turn("user", marked), turn("assistant", "yes")], "rejected_response": no} | two
        for no in ("no", "perhaps")
    ]
    assert without_ours(rows_for("llamafactory", made, images=images)) == [
        {
            "conversations": [{"from": "human", "value": marked}],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": no},
        }
        | two
        for no in ("no", "perhaps")
    ]
    assert without_ours(rows_for("nemo-rl", made, images=images)) == [
        {
            "context": [user],
            "completions": [
                {"rank": rank, "completion": [turn("assistant", text)]}
                for rank, text in ((0, "yes"), (1, "no"), (1, "perhaps"))
            ],
        }
        | two
    ]


def test_our_rows_have_all_constraints():
    """Per group; what was cut off has no end token, so that its weight is 0."""
    first = rival("no", spans=((0, 1, 0.5),), weight=0.25, end_weight=0.75)
    made = replace(
        group(first, rival("", "bob", valid=False), rival("per", "cy", status=Status.TRUNCATED)),
        spans=((0, 3, 0.5),),
    )
    assert without_ours(rows_for("rows", made)) == [
        {
            "prompt": "What is there?",
            "chosen": "yes",
            "chosen_spans": ((0, 3, 0.5),),
            "rejected": ["no", "per"],
            "rejected_weights": [0.25, 1.0],
            "rejected_spans": [((0, 1, 0.5),), ()],
            "rejected_end_weights": [0.75, 0.0],
            "images": ["/data/c1.png"],
        }
    ]


def test_a_set_without_images_has_no_column_for_them():
    """TRL takes any set with ``images`` for one of images."""
    for to in TRAINERS:
        (row,) = rows_for(to, group(rival()), images=None)
        assert "images" not in row
        assert "<image>" not in json.dumps(row)
    assert "images" not in trl_schema(pictured=False).names


@pytest.mark.parametrize("to", TRAINERS)
def test_pairs_that_teach_nothing_make_no_row(to):
    left_out = Counter()
    silent = group(rival("yes"), rival("no", valid=False), rival("no", weight=0.0), rival(" "), case_id="c2")
    both = group(rival("yes"), rival(" yes ", valid=False), rival("", valid=False), rival("no"))
    rows = rows_for(to, both, silent, left_out=left_out)
    assert len(rows) == 1
    assert left_out == {
        "negatives (the consensus itself)": 2,
        "negatives (no opinion)": 1,
        "groups (no negative counts)": 1,
    }


@pytest.mark.parametrize(
    ("to", "kept"), [("trl", 1), ("rows", 1), ("nemo-rl", 1), ("ms-swift", 0), ("llamafactory", 0)]
)
def test_texts_that_a_trainer_would_misread_are_left_out(to, kept):
    """A text with ``<image>`` in it would shift or break the images of its row."""
    left_out = Counter()
    assert len(rows_for(to, group(rival("see <image>")), left_out=left_out)) == kept
    assert len(rows_for(to, group(rival(), consensus="see <video>"), left_out=left_out)) == kept
    assert len(rows_for(to, group(rival()), question="<image>What?", left_out=left_out)) == kept
    assert sum(left_out.values()) == 3 * (1 - kept)


def test_rows_in_another_order_are_refused_though_all_there(tmp_path):
    rows = rows_for("trl", group(rival("no"), rival("perhaps"), rival("hardly")))
    rowfiles.write_lines(tmp_path / "rows.jsonl", [rows[0], rows[2], rows[1]])
    with pytest.raises(StoreError, match="line 2: a group's rows are not together, or not all there"):
        list(groups_of("trl", tmp_path / "rows.jsonl"))


@pytest.mark.parametrize("to", TRAINERS)
def test_rows_out_of_order_or_cut_are_refused(to, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = rows_for(to, group(rival("no"), rival("perhaps")), group(rival("no"), case_id="c2"))
    broken = [{**row, "driftbound": "{}"} for row in rows], without_ours(rows), [{"driftbound": 1}]
    if to not in WHOLE:
        broken += (rows[:1], rows[1:], [rows[0], rows[2]], [rows[1], rows[0]])
    for each in broken:
        rowfiles.write_lines(path, each)
        with pytest.raises(StoreError, match="Export the run again") as caught:
            list(groups_of(to, path))
        assert "\n" not in str(caught.value)


def test_supervised_rows_are_chats_of_usable_answers():
    answer = ok(text="clear", request_hash="h")
    row = sft_row(asked(), answer)
    assert without_ours([row]) == [
        {
            "messages": [turn("user", "<image>What is there?"), turn("assistant", "clear")],
            "images": ["/data/c1.png"],
        }
    ]
    said = json.loads(row["driftbound"])
    assert (said["case_id"], said["teacher"], said["status"]) == ("c1", "gpt-5", "ok")
    assert why_no_sft_row(asked(), answer) == ""
    assert why_no_sft_row(asked(), replace(answer, status=Status.TRUNCATED)) == ""
    assert why_no_sft_row(asked(), replace(answer, status=Status.REFUSED)) == "refused"
    assert "<image>" in why_no_sft_row(asked(), replace(answer, text="<image>"))


# ---- sensitivity --------------------------------------------------------------------------------


def test_sensitivity_stands_beside_a_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    beside = tmp_path / "rows.jsonl.manifest.json"
    assert sensitivity_beside(path) == "public"
    beside.write_text('{"sensitivity": "credentialed", "from": "a newer driftbound"}')
    assert sensitivity_beside(path) == "credentialed"
    for content in ("{", "[]", "{}", '{"sensitivity": "secret"}'):
        beside.write_text(content)
        with pytest.raises(StoreError, match=r"manifest\.json: .*Restore"):
            sensitivity_beside(path)


@pytest.mark.parametrize("name", ["streams.sqlite", "answers.db", "answers"])
def test_a_copy_of_a_runs_answers_is_as_sensitive_whatever_it_is_called(tmp_path, name):
    with Streams(tmp_path / name) as streams, streams.transaction():
        streams.db.execute("INSERT INTO cases VALUES ('c', 'h', 'p', 'train', 'q', '[]', 'credentialed', '')")
    assert sensitivity_beside(tmp_path / name) == "credentialed"


def test_one_strict_import_makes_a_run_strict(tmp_path):
    assert imported_sensitivity(tmp_path) == "public"
    for sensitivity in ("public", "credentialed", "public"):
        note_import(tmp_path, {"file": "β.jsonl", "sensitivity": sensitivity})
    assert (
        len(Path(tmp_path / "streams.sqlite.imports.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    )  # one is told twice
    assert imported_sensitivity(tmp_path) == "credentialed"


# ---- the page -----------------------------------------------------------------------------------


def test_the_page_lists_every_usual_word():
    page = (Path(__file__).parent.parent / "docs/exchange.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("`"): row[1].partition(":")[0].split(", ") for row in rows if len(row) == 2}
    assert listed == {ours: list(theirs) for ours, theirs in SYNONYMS.items()}
