"""The examples of the documentation: a field, a teacher, a served student of one's own, as the pages say."""

import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn
import yaml
from PIL import Image

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.store import manifest
from driftbound.store.tables import read_cases, read_claims, read_groups, read_truth

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SAYS = {
    "yours": ("Orange spots are seen. No mildew.", "No rust. A white film lies on the leaf."),
    "theirs": ("Rust: absent. Mildew: absent.", "Rust: present. Mildew: present."),
}
"""What the recorded teachers say of even and of odd cases."""


@pytest.mark.parametrize(("name", "most"), [("own_domain.py", 60), ("own_teacher.py", 20)])
def test_they_are_as_short_as_promised(name, most):
    assert len((EXAMPLES / name).read_text().splitlines()) <= most


def block(page: str, language: str) -> str:
    """The first block of code of a page of the documentation."""
    return (ROOT / "docs" / page).read_text().split(f"```{language}\n")[1].split("```")[0]


@pytest.fixture
def served(monkeypatch):
    """Address of the example's teacher."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import own_teacher

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(own_teacher.app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The field, known as an installed package makes it known: by the lines that the page shows."""
    package = tmp_path / "site" / "leaves-0.1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: leaves\nVersion: 0.1\n")
    header, line = block("own-domain.md", "toml").strip().splitlines()
    group, entry = header[1:-1].removeprefix("project.entry-points.").strip('"'), line.replace('"', "")
    (package / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.syspath_prepend(str(EXAMPLES))


def the_recipe(folder: Path, address: str) -> Recipe:
    """The page's, smaller, with the teachers where they are here."""
    given = yaml.safe_load(block("own-domain.md", "yaml"))
    given["domain"] |= {"train": 8, "validation": 0, "test": 4}
    given["teachers"][0]["base_url"] = address
    for teacher in given["teachers"][1:]:
        rows = [f'leaf-{n:04},{teacher["name"]},"{SAYS[teacher["name"]][n % 2]}"' for n in range(12)]
        (folder / teacher["path"]).write_text("\n".join(["case_id,teacher,text", *rows]) + "\n")
        teacher["path"] = str(folder / teacher["path"])
    small = {"groups_per_step": 8, "groups_per_forward": 8, "row_tokens": 2048}
    given |= {"threads": 1, "bootstrap": small, "align": small | {"learning_rate": 1e-5}}
    given["synthesize"] |= {"max_new_tokens": 8}
    given["evaluate"] |= {"resamples": 100, "max_new_tokens": 8}
    return Recipe.parse(given, where="docs/own-domain.md")


def test_a_field_and_a_teacher_of_ones_own_go_through_all_stages(tmp_path, monkeypatch, installed, served):
    monkeypatch.setattr(manifest, "code_version", lambda: "test")  # a git process per manifest is slow
    folder = pipeline.run(the_recipe(tmp_path, served), tmp_path / "runs")

    cases = read_cases(folder.cases)
    truth = read_truth(folder.truth)
    assert [case.split for case in cases] == ["train"] * 8 + ["test"] * 4
    assert truth.keys() == {case.case_id for case in cases}
    assert {value for said in truth.values() for value in said.values()} == {"present", "absent"}
    plants = {case.cluster: case.split for case in cases}
    assert len(plants) == 6
    assert all(plants[case.cluster] == case.split for case in cases)

    said = {
        (row.claim.finding, row.claim.value)
        for row in read_claims(folder.claims)
        if row.teacher == "yours" and row.case_id == "leaf-0001"
    }
    assert said == {("Rust", "absent"), ("Mildew", "present")}  # "a white film" is mildew
    mine = {row.claim.value for row in read_claims(folder.claims) if row.teacher == "mine"}
    assert "absent" in mine
    assert all("Rust: " in group.consensus for group in read_groups(folder.groups))
    assert "leaf-0008" in (folder.stage("report") / "report.html").read_text()


def test_the_drawings_show_what_is_true(monkeypatch):
    """Orange where there is rust, white where there is mildew, neither where there is none."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import random

    from own_domain import leaf

    orange, white = (255, 165, 0), (245, 245, 245)
    for rust in ("present", "absent"):
        for mildew in ("present", "absent"):
            image = leaf({"Rust": rust, "Mildew": mildew}, random.Random(3))
            colours = {colour for _, colour in image.getcolors(128 * 128)}
            assert (white in colours) == (mildew == "present")
            assert mildew == "present" or (orange in colours) == (rust == "present")


def test_transformers_alone_gives_the_students_answer(tmp_path, monkeypatch):
    from driftbound.learning.policy import LocalPolicy
    from driftbound.phantom_base import resolve_base

    monkeypatch.syspath_prepend(str(EXAMPLES))
    import serve_student

    image = tmp_path / "film.png"
    Image.open(ROOT / "docs" / "pictures" / "tour.png").save(image)
    checkpoint = resolve_base("phantom-base")
    policy = LocalPolicy.load(checkpoint, threads=1)
    ((expected, ended),) = policy.generate([serve_student.QUESTION], [[image]], max_new_tokens=160)
    assert ended
    assert serve_student.ask(checkpoint, str(image)).strip() == expected.strip()
    assert len(expected.split()) > 10


def test_the_pages_client_asks_a_server(served, tmp_path, monkeypatch, capsys):
    """The snippet of docs/serving.md, at the address of the example's teacher."""
    Image.new("L", (8, 8)).save(tmp_path / "film.png")
    monkeypatch.chdir(tmp_path)
    snippet = block("serving.md", "python")
    assert "http://127.0.0.1:8000/v1" in snippet
    exec(compile(snippet.replace("http://127.0.0.1:8000/v1", served), "serving.md", "exec"), {})
    assert capsys.readouterr().out == "Rust: absent. Mildew: absent.\n"  # the image is small
