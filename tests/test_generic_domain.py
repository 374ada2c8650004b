"""The generic field: a table of one's own becomes cases, images and truth, and a run can be made of them."""

import csv
import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_collect import chat, vendor

from driftbound import doctor, pipeline
from driftbound.config import DomainConfig, Recipe
from driftbound.domain_config import ClaimsConfig
from driftbound.domains import registry
from driftbound.domains.generic.domain import GenericDomain, generic_domain
from driftbound.errors import CaseError, ConfigError, StoreError
from driftbound.protocols import Domain
from driftbound.records import Case
from driftbound.store import manifest
from driftbound.store.manifest import sha256_file
from driftbound.store.tables import read_cases, read_truth

LABELLED = {"kind": "labelled", "findings": {"Effusion": ["fluid"], "Edema": []}, "sided": ["Effusion"]}
ROWS = [
    {"case_id": "a", "prompt": "Effusion?", "image": "pics/1.png", "cluster": "p1", "split": "test"},
    {"case_id": "b", "prompt": "Edema?", "image": "pics/2.jpg", "cluster": "p1"},
    {"case_id": "c", "prompt": "Both?", "image": "pics/1.png", "cluster": "", "split": "dev"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pics").mkdir()
    Image.new("L", (8, 8), 10).save(tmp_path / "pics" / "1.png")
    Image.new("L", (8, 8), 20).save(tmp_path / "pics" / "2.jpg")
    return tmp_path


def table(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def domain(path="", **claims):
    return GenericDomain(
        DomainConfig(name="generic", cases=str(path), claims=claims or {"kind": "choice"}), 0
    )


def written(path, **claims):
    """Cases and truth that the field makes of a table; the run lies beside it."""
    run = path.parent / "run"
    run.mkdir(exist_ok=True)
    domain(path, **claims).write_cases(run, path.parent / "truth")
    return read_cases(run / "cases.parquet"), run


def refusal(path, error=CaseError, **claims):
    with pytest.raises(error) as caught:
        written(path, **claims)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_table_becomes_cases(folder, ending):
    cases, run = written(table(folder / f"cases.{ending}", ROWS))
    assert [(c.case_id, c.prompt, c.cluster, c.split, c.sensitivity) for c in cases] == [
        ("a", "Effusion?", "p1", "test", "public"),
        ("b", "Edema?", "p1", "train", "public"),
        ("c", "Both?", "c", "validation", "public"),
    ]
    first, second = (sha256_file(folder / "pics" / name) for name in ("1.png", "2.jpg"))
    assert [c.images for c in cases] == [
        (f"images/{first}.png",),
        (f"images/{second}.jpg",),
        (f"images/{first}.png",),
    ]
    assert sorted(path.name for path in (run / "images").iterdir()) == sorted(
        [f"{first}.png", f"{second}.jpg"]
    )
    assert (run / cases[1].images[0]).read_bytes() == (folder / "pics" / "2.jpg").read_bytes()


def test_cases_without_and_with_several_images(folder):
    rows = [{"id": 1, "question": "Q"}, {"id": 2, "question": "Q", "images": ["pics/1.png", "pics/2.jpg"]}]
    cases, _ = written(table(folder / "a.jsonl", rows))
    assert [(c.case_id, len(c.images)) for c in cases] == [("1", 0), ("2", 2)]
    rows = [{"case_id": "1", "prompt": "Q", "images": "pics/1.png; pics/2.jpg"}]
    assert len(written(table(folder / "a.csv", rows))[0][0].images) == 2


def test_sensitivity_by_row_and_by_the_manifest_beside(folder):
    path = table(folder / "a.jsonl", [ROWS[0], ROWS[1] | {"sensitivity": "Credentialed"}])
    assert [c.sensitivity for c in written(path)[0]] == ["public", "credentialed"]
    (folder / "a.jsonl.manifest.json").write_text('{"sensitivity": "credentialed"}')
    assert [c.sensitivity for c in written(path)[0]] == ["credentialed"] * 2


def test_truth_of_findings(folder):
    rows = [
        ROWS[0] | {"truth.Effusion": "left", "truth.Edema": 0, "prompt_discloses": ["Edema"]},
        ROWS[1] | {"truth": {"Effusion": False, "Edema": "Yes"}},
        ROWS[2],
    ]
    cases, _ = written(table(folder / "a.jsonl", rows), **LABELLED)
    truth = read_truth(folder / "truth")
    assert truth == {
        "a": {"Effusion": "left", "Edema": "absent"},
        "b": {"Effusion": "absent", "Edema": "present"},
    }
    assert [c.prompt_discloses for c in cases] == [("Edema",), (), ()]
    rows = [ROWS[0] | {"truth.Effusion": "1", "truth.Edema": ""}]
    written(table(folder / "a.csv", rows), **LABELLED)
    assert read_truth(folder / "truth") == {"a": {"Effusion": "present"}}


def test_truth_of_an_answer(folder):
    path = table(folder / "a.csv", [ROWS[0] | {"truth": "b"}, ROWS[1] | {"truth": "D"}])
    written(path, kind="choice")
    assert read_truth(folder / "truth") == {"a": {"answer": "B"}, "b": {"answer": "D"}}
    path = table(folder / "b.jsonl", [ROWS[0] | {"truth": True}, ROWS[1] | {"truth": "no"}])
    written(path, kind="yes_no")
    assert read_truth(folder / "truth") == {"a": {"answer": "present"}, "b": {"answer": "absent"}}
    path = table(folder / "c.jsonl", [ROWS[0] | {"truth": {"size": 3.0, "kind": "Solid", "edema": "yes"}}])
    written(path, kind="json")
    assert read_truth(folder / "truth") == {"a": {"size": "3", "kind": "solid", "edema": "present"}}


@pytest.mark.parametrize(
    ("rows", "claims", "said"),
    [
        (
            [{"case_id": "a", "promt": "x"}],
            {},
            "no column for prompt; is it 'promt'? Its columns: case_id, promt.",
        ),
        ([{"case": "a", "prompt": "x"}], {}, "no column for case_id"),
        ([ROWS[0], ROWS[1] | {"case_id": "a"}], {}, "line 2: case 'a' is there already (line 1)"),
        ([ROWS[0] | {"prompt": " "}], {}, "line 1: has no prompt"),
        ([ROWS[0] | {"image": "pics/9.png"}], {}, "image is missing"),
        ([ROWS[0] | {"image": "text.png"}], {}, "not a readable image"),
        (
            [ROWS[0] | {"sensitivity": "secret"}],
            {},
            "sensitivity 'secret' is neither public nor credentialed",
        ),
        ([ROWS[0] | {"truth": "F"}], {}, "truth 'F' is none of A, B, C, D, E"),
        ([ROWS[0] | {"truth.Efusion": "no"}], LABELLED, "none of the findings; did you mean 'Effusion'?"),
        (
            [ROWS[0] | {"truth.Edema": "left"}],
            LABELLED,
            "truth 'left' of 'Edema' is neither present nor absent.",
        ),
        (
            [ROWS[0] | {"truth.Effusion": "maybe"}],
            LABELLED,
            "neither present nor absent, left, right or both.",
        ),
        ([ROWS[0] | {"image": [{"path": None}]}], {}, "images holds something without a name or path"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_table(folder, rows, claims, said):
    (folder / "text.png").write_text("no picture")
    assert said in refusal(table(folder / "a.jsonl", rows), **claims)


def test_a_split_that_nobody_knows(folder):
    assert "split 'fold1' is none of" in refusal(
        table(folder / "a.jsonl", [ROWS[0] | {"split": "fold1"}]), StoreError
    )


def test_what_a_recipe_lacks_is_said_before_anybody_is_asked(folder):
    path = table(folder / "a.jsonl", ROWS)
    assert (
        "auto looks at answers, and a recipe has none yet. Say json, choice, yes_no or labelled."
        in refusal(path, ConfigError, kind="auto")
    )
    with pytest.raises(ConfigError, match="the field 'generic' needs a table of cases"):
        domain().write_cases(folder, folder / "truth")


def test_it_is_a_domain():
    found = domain(**LABELLED)
    case = Case(case_id="a", cluster="a", split="test", prompt="Any effusion?", images=())
    assert isinstance(found, Domain)
    assert (found.findings, found.headline, found.sided) == (
        ("Effusion", "Edema"),
        ("Effusion", "Edema"),
        {"Effusion"},
    )
    assert domain(**LABELLED, headline=["Edema"]).headline == ("Edema",)
    assert found.question(case) == "Any effusion?"
    merged = found.merge_question(case, ["Effusion.", "None."])
    assert merged.startswith("Panelist 1: Effusion.\n\nPanelist 2: None.\n\n")
    assert "Any effusion?" in merged
    guided = found.guided_question(case, ["Effusion."], ["Effusion: present 90 %, absent 10 %"])
    refined = found.refine_question(case, ["Effusion."], "Edema: absent.", ["left out is Effusion present"])
    assert "Effusion: present 90 %, absent 10 %" in guided
    assert "Edema: absent.\n" in refined
    assert "- left out is Effusion present" in refined
    assert guided.endswith(merged[-60:])
    assert refined.endswith(merged[-60:])
    assert found.guided_question(case, ["Effusion.", "None."], []) == merged
    assert found.mentions_sources(merged)
    assert found.scripted_server(Path()) is None
    text = found.render({"Edema": "absent", "Effusion": "both"})
    assert [(c.finding, c.value) for c in found.claims(text)][1:] == [
        ("Effusion", "both"),
        ("Edema", "absent"),
    ]
    assert domain().findings == ("answer",)
    assert domain(kind="json").findings == ()


def test_the_entry_point_is_this_field(monkeypatch):
    given = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    lines = given["project"]["entry-points"][registry.GROUP]
    points = [EntryPoint(name, value, registry.GROUP) for name, value in lines.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert registry.domain_names() == ["chest-xray", "generic", "phantom"]
    assert isinstance(registry.load_domain(DomainConfig(name="generic"), 0), GenericDomain)


def test_answers_alone_make_a_field(capsys):
    texts = ["Answer: B", "The answer is C.", "Hm."]
    found = generic_domain(ClaimsConfig(), texts)
    assert [claim.value for claim in found.claims("Answer: D")] == ["D"]
    assert found.choice.shares["choice"] == pytest.approx(2 / 3)
    assert "claims are read as choice: 67% of 3 answers" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="none reads 20% of 1 answers"):
        generic_domain(ClaimsConfig(), ["Hm."])


# recipes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"name": "generic", "claims": {"knid": "json"}},
            "unknown key 'knid' in 'domain.claims'; did you mean 'kind'?",
        ),
        ({"name": "generic", "claims": {"kind": "labelled"}}, "kind labelled needs findings"),
        (
            {"name": "generic", "claims": {"kind": "labeled"}},
            "domain.claims.kind: Input should be 'auto', 'choice'",
        ),
        (
            {"name": "generic", "claims": LABELLED | {"sided": ["Efusion"]}},
            "'Efusion' is none of the findings; did you",
        ),
        (
            {"name": "generic", "claims": {"kind": "yes_no", "findings": ["a"]}},
            "findings belong to kind labelled",
        ),
        (
            {"name": "generic", "claims": {"kind": "json", "options": ["x", "y"]}},
            "options belong to kind choice",
        ),
        (
            {"name": "generic", "claims": {"kind": "choice", "options": ["x", "X"]}},
            "give two or more options",
        ),
        ({"name": "generic", "claims": {"findings": {"a": ["x"], "b": ["X"]}}}, "'X' means both 'a' and 'b'"),
        ({"name": "generic", "claims": {"findings": {"a": ["--"]}}}, "'--' of 'a' holds no letter"),
        (
            {"name": "generic", "claims": {"kind": "choice", "json_object": "first"}},
            "json_object belongs to kind json",
        ),
        ({"cases": "a.csv"}, "cases and claims belong to the field 'generic'"),
        ({"claims": {"kind": "json"}}, "cases and claims belong to the field 'generic'"),
        ({"name": "generic", "cases": "a.csv", "train": 5}, "train belongs to a field that makes its cases"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_impossible_recipes(given, said):
    with pytest.raises(ConfigError) as caught:
        Recipe.parse(
            {"name": "x", "teachers": [{"name": "a", "model": "a"}], "domain": given}, where="r.yaml"
        )
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_keys_that_mean_something_are_part_of_a_recipe():
    """So no key of this field changes what a run of another one was made of."""
    assert list(DomainConfig().model_dump()) == ["name", "train", "validation", "test", "test_scanner"]
    config = DomainConfig(name="generic", cases="a.csv", claims={"findings": ["Edema"], "options": [1, 2]})
    given = config.model_dump(mode="json")
    assert list(given) == ["name", "cases", "claims"]
    assert given["claims"]["findings"] == {"Edema": []}
    assert given["claims"]["options"] == ["1", "2"]
    assert DomainConfig.model_validate(given) == config


def recipe(folder, url, **claims):
    given = {
        "name": "own",
        "domain": {"name": "generic", "cases": str(folder / "cases.csv"), "claims": claims or LABELLED},
        "teachers": [
            {"name": name, "model": name, "base_url": url, "images": {"mode": "optional"}} for name in "xy"
        ],
        "collect": {"retries": 0},
    }
    return Recipe.parse(given, where="test")


def test_a_run_of_ones_own_cases(folder, monkeypatch):
    """Cases, collect and measure over HTTP; other words for a finding ask nobody again, other cases do."""
    monkeypatch.setattr(pipeline, "load_domain", GenericDomain)
    monkeypatch.setattr(manifest, "code_version", lambda: "test")  # a git process per manifest is slow
    monkeypatch.setattr(manifest, "package_versions", dict)
    path = table(folder / "cases.csv", [{**ROWS[0], "split": "train"}, ROWS[1]])
    said = {"x": "No effusion. Edema: present", "y": "Fluid on the left; exudate."}
    with vendor(lambda model, question, nth: (200, chat(said[model]))) as server:
        run = pipeline.run(recipe(folder, server.url), folder / "runs", only="collect")
        assert len(server.requests) == 4
        assert {body["messages"][0]["content"][-1]["text"] for body in server.requests} == {
            "Effusion?",
            "Edema?",
        }
        pipeline.run(recipe(folder, server.url), folder / "runs", only="measure")
        rows = pq.read_table(run.stage("measure") / "claims.parquet").to_pylist()
        assert [(r["teacher"], r["finding"], r["value"]) for r in rows if r["case_id"] == "a"] == [
            ("x", "Effusion", "absent"),
            ("x", "Edema", "present"),
            ("y", "Effusion", "present"),
            ("y", "Effusion", "left"),
        ]
        other = LABELLED | {"findings": {"Effusion": ["fluid"], "Edema": ["exudate"]}}
        pipeline.run(recipe(folder, server.url, **other), folder / "runs", only="collect")
        with pytest.raises(StoreError, match=r"domain\.claims\.findings\.Edema"):
            pipeline.run(recipe(folder, server.url, **other), folder / "runs", only="measure")
        pipeline.run(recipe(folder, server.url, **other), folder / "runs", only="measure", force=True)
        rows = pq.read_table(run.stage("measure") / "claims.parquet").to_pylist()
        assert ("y", "Edema", "present") in [(r["teacher"], r["finding"], r["value"]) for r in rows]
        assert len(server.requests) == 4
        table(path, [{**ROWS[0], "split": "train"}, ROWS[1], ROWS[2]])
        with pytest.raises(StoreError, match=r"other inputs \(table of cases changed since\).*--force"):
            pipeline.run(recipe(folder, server.url), folder / "runs", only="collect")


def test_doctor_looks_at_the_table(folder, monkeypatch):
    monkeypatch.setattr(doctor, "load_domain", GenericDomain)
    path = folder / "r.yaml"
    path.write_text(recipe(folder, "http://127.0.0.1:1/v1").model_dump_json())
    checks = {check.name: check for check in doctor.examine(path, folder)}
    assert checks["cases"].ok is False
    table(folder / "cases.csv", ROWS)
    assert {check.name: check for check in doctor.examine(path, folder)}["cases"].ok
