"""What tests stand in: a world of tiny stages; a desk to collect from, and a server that answers."""

import gc
import json
from types import SimpleNamespace

import pytest
from desk import KEY, Desk
from hypothesis import HealthCheck, settings
from test_collect import chat, vendor

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.records import Case
from driftbound.store import manifest
from driftbound.store.folder import VERBS, RunFolder
from driftbound.store.tables import write_cases

# How long an example takes says nothing: other tests run at the same time.
settings.register_profile("beside", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("beside")


def pytest_collection_finish():
    """What is imported stays; transformers' trainer looks for garbage often, and need not look there."""
    gc.collect()
    gc.freeze()


def upstream(folder, verb):
    if verb == VERBS[0]:
        return folder.root / "images" / "a.png"
    if verb == "synthesize":
        return folder.former.parent / "out.txt"
    return folder.stage(VERBS[VERBS.index(verb) - 1]) / "out.txt"


class World:
    """Seven stages and a domain that only write files; what was called, in order, and what may fail.

    The stages of ``tidy`` have half a file that serves to go on, and nothing else.
    """

    def __init__(self, root):
        self.runs = root / "runs"
        self.folder = RunFolder(self.runs / "tiny")
        self.calls = []
        self.fails = {}
        self.seen = {}
        self.seconds = 0.0
        self.now = 0.0
        self.sensitivity = "public"
        self.n_cases = 2
        self.tidy = set()

    @staticmethod
    def recipe(**changes):
        teachers = [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}]
        return Recipe.parse({"name": "tiny", "teachers": teachers} | changes, where="test")

    def domain(self, config, seed):
        return SimpleNamespace(name=config.name, write_cases=self.write_cases)

    def write_cases(self, folder, truth):
        self._work("cases", folder)
        case = {"cluster": "p", "split": "test", "prompt": "?", "images": ("images/a.png",)}
        cases = [Case(case_id=f"c{n}", sensitivity=self.sensitivity, **case) for n in range(self.n_cases)]
        write_cases(folder / "cases.parquet", cases)
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / "a.png").write_bytes(b"pixels")
        truth.write_bytes(b"truth")

    def module(self, verb):
        return SimpleNamespace(
            inputs=lambda context: {"upstream": upstream(context.folder, verb).read_text()},
            run=lambda context: self._run(verb, context),
            WORK=("half.txt",) if verb in self.tidy else (),
        )

    def _run(self, verb, context):
        folder = context.folder.stage(verb)
        self.seen[verb] = {path.name for path in folder.iterdir()}
        (folder / "half.txt").write_text("half")
        self._work(verb, folder)
        (folder / "out.txt").write_text(f"{verb} of {upstream(context.folder, verb).read_text()}")
        return {"lines": 1}

    def _work(self, what, folder):
        self.calls.append(what)
        self.now += self.seconds
        if what in self.fails:
            raise self.fails.pop(what)

    def manifest(self, verb):
        return json.loads((self.folder.stage(verb) / "manifest.json").read_text())

    def run(self, given=None, **options):
        self.calls.clear()
        return pipeline.run(given or self.recipe(), self.runs, **options)

    def bytes(self):
        files = [path for path in self.runs.rglob("*") if path.is_file()]
        return {path.relative_to(self.runs).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def world(tmp_path, monkeypatch):
    return set_in(World(tmp_path), monkeypatch)


def set_in(world, monkeypatch):
    """Let the pipeline run a world's stages instead of its own."""
    monkeypatch.setattr(manifest, "code_version", lambda: "test")  # a git process per manifest is slow
    monkeypatch.setattr(manifest, "package_versions", dict)
    monkeypatch.setattr(pipeline, "load_domain", world.domain)
    base = {"phantom-base": "some/base"}  # a hub name, which passes: no test here needs the shipped one
    monkeypatch.setattr(pipeline, "resolve_base", lambda name: base.get(name, name))
    monkeypatch.setattr(pipeline, "stage_module", world.module)
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: world.now))
    return world


@pytest.fixture
def desk(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    monkeypatch.setattr(pipeline, "load_domain", lambda config, seed: desk.ward)
    monkeypatch.setattr(manifest, "code_version", lambda: "test")  # a git process per manifest is slow
    monkeypatch.setattr(manifest, "package_versions", dict)
    monkeypatch.delenv(KEY, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return desk


@pytest.fixture
def server():
    """Answers by model, question and seed alone."""
    with vendor(lambda model, question, nth: (200, chat(f"{model} on {question}"))) as server:
        yield server
