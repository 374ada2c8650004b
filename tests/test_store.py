"""The store: what is put comes back, final answers stay, and half a file never counts."""

import hashlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from wanting import want_all

from driftbound.errors import CaseError, ModelError, StoreError
from driftbound.records import Case, Claim, Group, Negative, Polarity, Status, Trajectory
from driftbound.store import images, manifest, schema, tables, wanted
from driftbound.store.checkpoint import check_checkpoint, is_hub_name
from driftbound.store.manifest import Manifest
from driftbound.store.streams import Streams

TEXT = st.text()
NAME = st.text(min_size=1, max_size=8)
STATUS = st.sampled_from(Status)
INTEGER = st.integers(0, 2**31)
QUICK = settings(max_examples=12, deadline=None)


def trajectories(status=STATUS):
    return st.builds(
        Trajectory,
        case_id=NAME,
        teacher=NAME,
        status=status,
        text=TEXT,
        sample=st.integers(0, 2),
        wave=st.integers(0, 2),
        finish_reason=TEXT,
        model=TEXT,
        version=TEXT,
        fingerprint=TEXT,
        params=TEXT,
        logprobs=TEXT,
        request_hash=st.sampled_from(["", "a", "b\x00"]),
        prompt_tokens=INTEGER,
        completion_tokens=INTEGER,
        cost=st.floats(0, 1e6),
        latency_s=st.floats(0, 1e6),
        created_at=TEXT,
        error=TEXT,
        note=TEXT,
        prompt_discloses=st.sampled_from(["", '["Edema"]']),
    )


KEY = ("case_id", "teacher", "sample", "wave", "request_hash")


def key(trajectory):
    return tuple(getattr(trajectory, name) for name in KEY)


DISTINCT = st.lists(trajectories(), max_size=8, unique_by=key)


@pytest.fixture
def streams(tmp_path):
    with Streams(tmp_path / "streams.sqlite") as opened:
        yield opened


def ok(case_id="c1", teacher="gpt-5", **other):
    return Trajectory(case_id=case_id, teacher=teacher, **{"status": Status.OK, "text": "clear"} | other)


@QUICK
@given(DISTINCT)
def test_streams_give_back_what_was_put(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streams.sqlite"
        with Streams(path) as streams:
            streams.put_many(rows)
            streams.seal()
        assert [each.name for each in path.parent.iterdir()] == ["streams.sqlite"]  # complete by itself
        with Streams.open_readonly(path) as streams:
            assert streams.all() == sorted(rows, key=key)
            for row in rows:
                assert streams.get(*key(row)) == row
            assert list(streams.current()) == []  # nothing is wanted yet


def same_request(row):
    return (row.case_id, row.teacher, row.sample, row.wave)


@QUICK
@given(DISTINCT, st.sets(st.integers(0, 7)))
def test_a_stage_reads_what_the_present_recipe_asks_and_nothing_else(rows, chosen):
    asked = [row for place, row in enumerate(rows) if place in chosen]
    with tempfile.TemporaryDirectory() as folder, Streams(Path(folder) / "s.sqlite") as streams:
        streams.put_many(rows)
        want_all(streams, asked)
        for wave in range(3):
            mine = [row for row in asked if row.wave == wave]
            assert list(streams.current(wave)) == sorted(mine, key=key)
            counted = sum(n for statuses in streams.counts(wave).values() for n in statuses.values())
            assert counted == len(mine)
            for teacher in {row.teacher for row in rows}:
                of_teacher = [row for row in mine if row.teacher == teacher]
                places = [
                    place
                    for place, row in enumerate(mine)
                    if row.teacher == teacher and row.status == "failed"
                ]
                assert list(wanted.left(streams, teacher, wave=wave)) == places
                assert wanted.count(streams, teacher, wave=wave) == len(of_teacher)


@QUICK
@given(DISTINCT, st.randoms(use_true_random=False), st.floats(0, 9))
def test_digest_ignores_order_and_time_only(rows, random, latency_s):
    with tempfile.TemporaryDirectory() as folder:
        rows = [replace(row, wave=0) for row in rows]
        rows = list({key(row): row for row in rows}.values())
        with Streams(Path(folder) / "a.sqlite") as one:
            one.put_many(rows)
            want_all(one, rows)
            digest = one.digest()
        shuffled = [replace(row, created_at="later", latency_s=latency_s, cost=latency_s) for row in rows]
        random.shuffle(shuffled)
        with Streams(Path(folder) / "b.sqlite") as other:
            for row in shuffled:
                other.put(row)
            other.put(ok(case_id="of another recipe", request_hash="other"))
            want_all(other, rows)
            assert other.digest() == digest
        if rows:
            shuffled[0] = replace(shuffled[0], text=shuffled[0].text + "x")
            with Streams(Path(folder) / "c.sqlite") as changed:
                changed.put_many(shuffled)
                want_all(changed, shuffled)
                assert changed.digest() != digest


@QUICK
@given(trajectories(st.sampled_from([status for status in Status if status.final])), trajectories())
def test_a_final_answer_is_never_overwritten(first, second):
    second = replace(second, **dict(zip(KEY, key(first), strict=True)))
    with tempfile.TemporaryDirectory() as folder, Streams(Path(folder) / "s.sqlite") as streams:
        streams.put(first)
        bystander = replace(first, wave=first.wave + 1)
        with pytest.raises(StoreError, match="never overwritten"):
            streams.put_many([bystander, second])
        assert streams.all() == [first]  # the batch went back as a whole
        other = replace(second, request_hash=first.request_hash + "x")
        streams.put(other)  # another request is another answer
        assert {key(row) for row in streams.all()} == {key(first), key(other)}


@QUICK
@given(DISTINCT, DISTINCT)
def test_answers_from_elsewhere_are_taken_in_once_or_not_at_all(here, there):
    """Against a dictionary: failed gives way to final, equal is equal, a contradiction changes nothing."""
    expected = {key(row): row for row in here}
    contradicts = False
    for row in there:
        old = expected.get(key(row))
        if old is None or (old.status == "failed" and row.status != "failed"):
            expected[key(row)] = row
        elif row.status != "failed":
            said = [replace(each, created_at="", latency_s=0.0, cost=0.0) for each in (old, row)]
            contradicts |= said[0] != said[1]
    with tempfile.TemporaryDirectory() as folder, Streams(Path(folder) / "s.sqlite") as streams:
        streams.put_many(here)
        if contradicts:
            with pytest.raises(StoreError, match="Nothing was taken in"):
                streams.add(there)
            assert streams.all() == sorted(here, key=key)
        else:
            new, same = streams.add(there)
            assert new + same == len(there)
            assert streams.all() == sorted(expected.values(), key=key)
            assert streams.add(there) == (0, len(there))


def test_a_failed_answer_is_replaced(streams):
    streams.put(ok(status=Status.FAILED, text="", error="503"))
    want_all(streams, [ok()])
    assert list(wanted.left(streams, "gpt-5", wave=0)) == [0]
    assert streams.last_error("gpt-5") == "503"
    streams.put(ok(version="gpt-5-2025"))
    assert not list(wanted.left(streams, "gpt-5", wave=0))
    assert streams.all() == [ok(version="gpt-5-2025")]
    assert streams.counts() == {"gpt-5": {"ok": 1}}
    assert streams.versions() == {"gpt-5": {"gpt-5-2025": 1}}


def test_what_was_put_survives_sigkill(tmp_path):
    path = tmp_path / "streams.sqlite"
    script = (
        "import os, sys; from pathlib import Path\n"
        "from driftbound.records import Status, Trajectory\n"
        "from driftbound.store.streams import Streams\n"
        "streams = Streams(Path(sys.argv[1]))\n"
        "streams.put(Trajectory(case_id='c1', teacher='t', status=Status.OK, text='kept'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    with Streams.open_readonly(path) as streams:
        assert [row.text for row in streams.all()] == ["kept"]


def test_streams_refuse_other_files(tmp_path):
    with pytest.raises(StoreError, match="no answers collected yet"):
        Streams.open_readonly(tmp_path / "none.sqlite")
    (tmp_path / "new.sqlite").touch()
    with pytest.raises(StoreError, match="no answers collected yet"):
        Streams.open_readonly(tmp_path / "new.sqlite")
    text = tmp_path / "text.sqlite"
    text.write_text("not a database, whatever its name says " * 40)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE trajectories (case_id TEXT)")
    db.close()
    for path, said in ((text, "not a database"), (foreign, "not a file of driftbound")):
        before = path.read_bytes()
        for opening in (Streams, Streams.open_readonly):
            with pytest.raises(StoreError, match=said) as caught:
                opening(path)
            assert str(path) in str(caught.value)
        assert path.read_bytes() == before


def test_streams_refuse_another_schema(tmp_path):
    path = tmp_path / "streams.sqlite"
    with Streams(path) as streams:
        streams.seal()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="schema 99"):
        Streams(path)


SCHEMA_1 = (
    "CREATE TABLE trajectories (case_id TEXT NOT NULL, teacher TEXT NOT NULL, status TEXT NOT NULL, "
    "text TEXT NOT NULL, sample INTEGER NOT NULL, wave INTEGER NOT NULL, finish_reason TEXT NOT NULL, "
    "model TEXT NOT NULL, version TEXT NOT NULL, params TEXT NOT NULL, request_hash TEXT NOT NULL, "
    "prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, latency_s REAL NOT NULL, "
    "created_at TEXT NOT NULL, error TEXT NOT NULL, "
    "PRIMARY KEY (case_id, teacher, sample, wave)) WITHOUT ROWID"
)
"""The first schema, as its version wrote it."""


def first_schema(path, rows):
    with sqlite3.connect(path) as db:
        db.execute(SCHEMA_1)
        db.execute("PRAGMA application_id = 0x44524654")
        db.execute("PRAGMA user_version = 1")
        names = [each[1] for each in db.execute("PRAGMA table_info(trajectories)")]
        marks = ", ".join("?" * len(names))
        values = [[str(v) if isinstance(v := getattr(row, n), Status) else v for n in names] for row in rows]
        db.executemany(f"INSERT INTO trajectories ({', '.join(names)}) VALUES ({marks})", values)
    db.close()


@QUICK
@given(st.lists(trajectories(), max_size=8, unique_by=same_request))
def test_the_first_schema_is_brought_up_to_date(rows):
    rows = [replace(row, fingerprint="", logprobs="", cost=0.0, note="", prompt_discloses="") for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "streams.sqlite"
        first_schema(path, rows)
        with pytest.raises(StoreError, match="collected by an older driftbound"):
            Streams.open_readonly(path)
        for _ in range(2):  # and a second time it is up to date already
            with Streams(path) as streams:
                assert streams.all() == sorted(rows, key=key)
                assert list(streams.current()) == sorted((row for row in rows if row.wave == 0), key=key)
                streams.seal()


def second_schema(path, rows):
    """As version 2 had it: a file of today without the columns that came later."""
    with Streams(path) as streams:
        streams.put_many(rows)
        want_all(streams)
        streams.seal()
    with sqlite3.connect(path) as db:
        for table, column in (
            ("trajectories", "prompt_discloses"), ("wanted", "prompt_discloses"), ("cases", "told_question"),
        ):  # fmt: skip
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        db.execute("PRAGMA user_version = 2")
    db.close()


def test_the_second_schema_is_brought_up_to_date_and_its_digest_holds(tmp_path):
    """Nothing was given away there: what the stages after collect were made of is still the same."""
    rows = [ok("c1"), ok("c2", text="Edema.")]
    path = tmp_path / "streams.sqlite"
    whole = hashlib.sha256()
    second_schema(path, rows)
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT * FROM trajectories ORDER BY case_id")
        names = [each[0] for each in found.description]
        for row in found:
            said = dict(zip(names, row, strict=True))
            said = {name: said[name] for name in said if name not in ("created_at", "latency_s", "cost")}
            whole.update(json.dumps(said, sort_keys=True).encode() + b"\n")
    db.close()
    with pytest.raises(StoreError, match="collected by an older driftbound"):
        Streams.open_readonly(path)
    with Streams(path) as streams:
        assert streams.all() == rows
        assert list(streams.current()) == rows
        assert streams.digest() == whole.hexdigest()
        streams.put(ok("c3", prompt_discloses='["Edema"]'))
        want_all(streams)
        assert streams.digest() != whole.hexdigest()


def test_a_migration_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "streams.sqlite"
    first_schema(path, [ok()])

    def interrupted(db):
        schema._from_1(db)
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setitem(schema._STEPS, 1, interrupted)
        with pytest.raises(StoreError, match="disk I/O error"):
            Streams(path)
    with Streams(path) as streams:
        assert streams.all() == [ok()]


def test_sealing_does_not_mind_a_reader(tmp_path):
    """Another program has the file open: its log stays beside it, and the next one finds all."""
    path = tmp_path / "streams.sqlite"
    with Streams(path) as streams:
        streams.put(ok())
        streams.db.execute("PRAGMA busy_timeout = 50")
        with Streams.open_readonly(path) as reader:
            reader.db.execute("BEGIN")
            assert len(reader.all()) == 1
            streams.seal()
    with Streams.open_readonly(path) as streams:
        assert streams.all() == [ok()]


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
    """A limit on the size of files stands for the full disk (SQLite reports both as I/O errors)."""
    path = tmp_path / "streams.sqlite"
    with Streams(path) as streams:
        streams.put(ok())
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, old[1]))
        try:
            with pytest.raises(StoreError) as caught:
                streams.put_many([ok(case_id=f"c{n}", text=os.urandom(400_000).hex()) for n in range(2, 12)])
            with pytest.raises(StoreError, match="cannot be written"):
                manifest.atomic_write_bytes(tmp_path / "big.bin", bytes(400_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        assert "\n" not in str(caught.value)
        assert "what was committed stays" in str(caught.value)
        assert streams.all() == [ok()]
    assert not (tmp_path / "big.bin").exists()
    assert not list(tmp_path.glob(".*"))


def test_an_unwritable_place_is_a_store_error(tmp_path):
    """A file where the folder should be: refused to every user, root too."""
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "deeper"
    for write in (
        lambda: Streams(inside / "streams.sqlite"),
        lambda: manifest.atomic_write_text(inside / "x.txt", "x"),
        lambda: tables.write_cases(inside / "cases.parquet", []),
        lambda: Manifest(stage="s", config={}, inputs={}, seed=0).write(inside),
    ):
        with pytest.raises(StoreError, match="file"):
            write()


CASES = st.lists(
    st.builds(
        Case,
        case_id=NAME,
        cluster=TEXT,
        split=st.sampled_from(["train", "validation", "test", "test_scanner"]),
        prompt=TEXT,
        images=st.lists(TEXT, max_size=3).map(tuple),
        sensitivity=st.sampled_from(["public", "credentialed"]),
        prompt_discloses=st.lists(TEXT, max_size=2).map(tuple),
        context=st.dictionaries(TEXT, st.sampled_from(["present", "left", "unknown"]), max_size=3),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda case: case.case_id,
)
CLAIM_ROWS = st.builds(
    tables.ClaimRow,
    case_id=TEXT,
    teacher=TEXT,
    sample=INTEGER,
    wave=INTEGER,
    n_steps=INTEGER,
    claim=st.builds(
        Claim,
        finding=TEXT,
        attribute=TEXT,
        value=TEXT,
        polarity=st.sampled_from(Polarity),
        start=INTEGER,
        end=INTEGER,
        step=INTEGER,
        echo=st.booleans(),
    ),
)
WEIGHT = st.floats(0, 1)
SPANS = st.lists(st.tuples(INTEGER, INTEGER, WEIGHT), max_size=3).map(tuple)
GROUPS = st.builds(
    Group,
    case_id=TEXT,
    split=TEXT,
    consensus=TEXT,
    spans=SPANS,
    support=WEIGHT,
    negatives=st.lists(
        st.builds(
            Negative,
            teacher=TEXT,
            text=TEXT,
            status=st.sampled_from(Status),
            valid=st.booleans(),
            weight=WEIGHT,
            spans=SPANS,
            end_weight=WEIGHT,
        ),
        max_size=3,
    ).map(tuple),
)
TRUTH = st.dictionaries(NAME, st.dictionaries(NAME, TEXT, min_size=1, max_size=3), min_size=1, max_size=3)


@QUICK
@given(CASES, st.lists(CLAIM_ROWS, max_size=4), st.lists(GROUPS, max_size=3), TRUTH)
def test_tables_give_back_what_was_written(cases, claims, groups, truth):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "split=a" / "t.parquet"  # such a name must not become a column
        tables.write_cases(path, cases)
        assert tables.read_cases(path) == cases
        tables.write_claims(path, claims)
        assert tables.read_claims(path) == claims
        tables.write_groups(path, groups)
        assert tables.read_groups(path) == groups
        tables.write_truth(path, truth)
        assert tables.read_truth(path) == truth
        assert len(tables.read_rows(path)) == sum(map(len, truth.values()))
        assert [each.name for each in path.parent.iterdir()] == ["t.parquet"]


def a_case(**other):
    given = {"case_id": "c1", "cluster": "p1", "split": "train", "prompt": "?", "images": ("a.png",)}
    return Case(**given | other)


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([], "no case in it"),
        ([a_case(), a_case()], "there twice"),
        ([a_case(case_id="")], "empty"),
        ([a_case(split="trian")], "split 'trian'"),
        ([a_case(sensitivity="secret")], "sensitivity 'secret'"),
    ],
)
def test_bad_cases_are_refused(tmp_path, cases, said):
    path = tmp_path / "cases.parquet"
    tables.write_cases(path, cases)
    with pytest.raises(CaseError, match=said) as caught:
        tables.read_cases(path)
    assert str(path) in str(caught.value)


def test_unreadable_tables_name_the_file(tmp_path):
    path = tmp_path / "t.parquet"
    readers = {
        tables.read_cases: CaseError,
        tables.read_truth: CaseError,
        tables.read_claims: StoreError,
        tables.read_groups: StoreError,
        tables.read_rows: StoreError,
    }
    for content in (None, b"", b"PAR1 and then nothing of the kind PAR1"):
        if content is not None:
            path.write_bytes(content)
        for reader, kind in readers.items():
            with pytest.raises(kind, match=r"t\.parquet"):
                reader(path)
    tables.write_truth(path, {"c1": {"edema": "present"}})
    for reader, kind in readers.items():
        if reader not in (tables.read_truth, tables.read_rows):
            with pytest.raises(kind, match=r"column .* is missing"):
                reader(path)


def test_a_partial_file_never_counts(tmp_path, monkeypatch):
    """Killed just before the rename: the old manifest stands, or none."""
    new = Manifest(stage="measure", config={}, inputs={}, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(StoreError, match="Input/output error"):
            new.write(tmp_path)
    assert Manifest.read(tmp_path) is None
    (tmp_path / ".manifest.json.7.partial").write_text("{}")
    assert Manifest.read(tmp_path) is None
    new.write(tmp_path)
    assert Manifest.read(tmp_path) == new


def test_a_manifest_comes_back_with_code_and_packages(tmp_path):
    made = Manifest.of("align", config={"beta": 0.1}, inputs={"groups": "ab"}, seed=3, facts={"n": 1})
    made.write(tmp_path)
    assert Manifest.read(tmp_path) == made
    assert made.code.startswith("0.")
    assert made.packages["pyarrow"]
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "align"}))
    with pytest.raises(StoreError, match="not a manifest"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        Manifest.read(tmp_path)


def test_fingerprint_is_what_was_asked_for():
    base = Manifest(stage="measure", config={"a": 1, "b": 2}, inputs={"x": "1"}, seed=0)
    same = replace(base, config={"b": 2, "a": 1}, outputs={"y": "2"}, facts={"n": 3}, finished_at="now")
    assert same.fingerprint() == base.fingerprint()
    others = [{"stage": "align"}, {"config": {"a": 2, "b": 2}}, {"inputs": {"x": "2"}}, {"seed": 1}]
    assert len({replace(base, **other).fingerprint() for other in others} | {base.fingerprint()}) == 5


def test_hashes_by_content(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        (folder / "sub").mkdir(parents=True)
    (a / "one").write_text("1")
    (a / "sub" / "two").write_text("2")
    (b / "sub" / "two").write_text("2")
    (b / "one").write_text("1")
    (b / ".one.7.partial").write_text("half")
    assert manifest.sha256_file(a / "one") == hashlib.sha256(b"1").hexdigest()
    assert manifest.sha256_tree(a) == manifest.sha256_tree(b)
    (b / "one").rename(b / "uno")
    assert manifest.sha256_tree(a) != manifest.sha256_tree(b)
    for missing in (manifest.sha256_file, manifest.sha256_tree):
        with pytest.raises(StoreError, match="gone"):
            missing(tmp_path / "gone")


def test_images_are_checked(tmp_path):
    good = tmp_path / "good.png"
    Image.new("L", (16, 16)).save(good)
    assert images.read_image(good) == good.read_bytes()
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-2000])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("L", (16, 16)).save(tmp_path / "scan.tiff")
    expected = {"none.png": "missing", "cut.png": "not a readable", "text.png": "not a readable"}
    for name, said in (expected | {"empty.png": "not a readable", "scan.tiff": "TIFF"}).items():
        with pytest.raises(CaseError, match=said) as caught:
            images.read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


TEMPLATE = json.dumps({"chat_template": "{{ messages }}"})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"config.json": "{}", "chat_template.jinja": "x"}, ""),
        ({"config.json": "{}", "chat_template.json": TEMPLATE}, ""),
        ({"config.json": "{}", "processor_config.json": TEMPLATE}, ""),
        ({"config.json": "{}", "processor_config.json": "{}"}, "no chat template"),
        # a processor does not look there, so the checkpoint would not load
        ({"config.json": "{}", "tokenizer_config.json": TEMPLATE}, "no chat template"),
        ({"chat_template.jinja": "x"}, "config.json is missing"),
        ({"config.json": "version git-lfs", "chat_template.jinja": "x"}, "config.json: cannot be read"),
        ({"config.json": "{}", "processor_config.json": "[]"}, "processor_config.json: holds no table"),
    ],
    ids=["jinja", "json", "processor", "without", "tokenizer", "no config", "pointer", "list"],
)
def test_checkpoints_are_judged_by_their_files(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if not said:
        check_checkpoint(str(tmp_path))
        return
    with pytest.raises(ModelError, match=said) as caught:
        check_checkpoint(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistyped_path_is_no_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_checkpoint("runs/nope")  # nothing is called so here: it may be on a hub
    (tmp_path / "runs").mkdir()
    paths = ("runs/nope", "./nope", "../nope", "~/nope", "/nope", "nope", "a/b/c", "runs/", "a\\b", "")
    assert not [name for name in paths if is_hub_name(name)]
    for name in paths[:-1]:
        with pytest.raises(ModelError, match=r"config\.json is missing"):
            check_checkpoint(name)
    assert is_hub_name("llava-hf/llava-1.5-7b-hf")
