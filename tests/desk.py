"""Somebody at a terminal, for tests of collecting: recipes, runs, commands, and a look at what was stored."""

import json
import sqlite3
from contextlib import closing

from PIL import Image
from test_cli import call
from test_collect import Field, chat, question_of

from driftbound.config import Recipe
from driftbound.records import Case
from driftbound.stages.context import Context
from driftbound.store.folder import RunFolder
from driftbound.store.streams import Streams
from driftbound.store.tables import write_cases

KEY = "SOME_PARTS_KEY"


class Ward(Field):
    """A domain of ``n`` cases c0, c1, ... with a grey image each."""

    def __init__(self, n, sensitivity="public"):
        super().__init__()
        self.n, self.sensitivity, self.shade = n, sensitivity, 0
        self.names = [f"c{i}.png" for i in range(n)]

    def write_cases(self, root, truth):
        cases = []
        for i, name in enumerate(self.names):
            path = root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), (i + self.shade) % 256).save(path)
            case = {"cluster": f"p{i}", "split": "train", "prompt": "Look at", "images": (f"images/{name}",)}
            cases.append(Case(case_id=f"c{i}", sensitivity=self.sensitivity, **case))
        write_cases(root / "cases.parquet", cases)
        truth.write_bytes(b"truth")


class Desk:
    """Somebody at a terminal: recipes, runs, commands, and a look at what was stored."""

    def __init__(self, root, n=4):
        self.root, self.runs, self.ward = root, root / "runs", Ward(n)

    def recipe(self, teachers, **collect):
        """The path of a recipe; teachers without a model get one."""
        teachers = [
            {"model": f"model-{t['name']}"} | t if t.get("kind") != "recorded" else t for t in teachers
        ]
        path = self.root / f"recipe{len(list(self.root.glob('recipe*')))}.yaml"
        whole = {"name": "run", "teachers": teachers, "collect": {"retries": 0} | collect}
        path.write_text(json.dumps(whole))
        return path

    def collect(self, recipe, *words, name="run", ok=True):
        result = call("collect", recipe, "--runs", self.runs, "--name", name, *words)
        assert not ok or result.exit_code == 0, result.output + repr(result.exception)
        return result

    def folder(self, name="run"):
        return RunFolder(self.runs / name)

    def streams(self, name="run"):
        return Streams.open_readonly(self.folder(name).streams)

    def digest(self, name="run"):
        with self.streams(name) as streams:
            return streams.digest()

    def rows(self, name="run"):
        """(case, teacher, sample, wave) -> answer."""
        with self.streams(name) as streams:
            return {(row.case_id, row.teacher, row.sample, row.wave): row for row in streams.all()}

    def sql(self, sql, name="run"):
        with self.streams(name) as streams:
            return streams.db.execute(sql).fetchall()

    def context(self, recipe, name="run"):
        return Context(Recipe.read(recipe), self.folder(name), self.ward)


def complaint(result):
    """The one line of complaint, the last of what stands on standard error."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    said = [line for line in result.stderr.splitlines() if line.startswith("driftbound: ")]
    assert said == result.stderr.splitlines()[-1:]
    assert "Traceback" not in result.output
    return said[0]


def doctored(path, statement):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def two(server):
    return [{"name": name, "base_url": server.url} for name in ("a", "b")]


PRICE = {"prompt": 1000.0, "completion": 10000.0}
"""Dollars per million tokens: 70 tokens in and 9 out, what the server says of each answer, cost 0.16."""


def results(lines, say=lambda body: (200, chat(f"{body['model']} on {question_of(body)}"))):
    """What a vendor makes of a batch file's lines."""
    made = []
    for line in lines:
        status, body = say(line["body"])
        response = {"status_code": status, "request_id": "r", "body": body}
        made.append({"id": "b", "custom_id": line["custom_id"], "response": response, "error": None})
    return made


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
