"""Clinical scorers of the user's: real processes with made-up packages; what is missing is a line."""

import sys

import pytest
from test_evaluation import go, run  # noqa: F401
from test_evaluation_metrics import draws
from test_further_evaluation import recipe_with, true_report, with_references

from driftbound.config import Recipe, ScorerConfig
from driftbound.errors import ConfigError, MeasureError
from driftbound.evaluation.clinical_models import Pairs, ask, sampled
from driftbound.stages.context import Context

PAIRS = Pairs(said=["edema", ""], references=["edema here", "clear"])
RADGRAPH = """
import os
print("loading")
class F1RadGraph:
    def __init__(self, reward_level, model_type, model_cache_dir):
        assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
        assert (reward_level, model_type) == ("all", "radgraph-xl")
        assert os.path.basename(model_cache_dir) == "weights"
    def __call__(self, refs, hyps):
        own = [1.0 if h and h in r else 0.25 for h, r in zip(hyps, refs)]
        return (0, 0, 0), (own, [x / 2 for x in own], [x / 4 for x in own]), [], []
"""
CHEXBERT = """
import os
CACHE_DIR = "elsewhere"
class F1CheXbert:
    target_names = ["Edema", "Fracture"]
    target_names_5 = ["Edema"]
    def __init__(self):
        assert os.path.isfile(os.path.join(CACHE_DIR, "chexbert.pth"))
    def get_label(self, text):
        return [int("edema" in text), int("fracture" in text)]
"""
RATESCORE = """
class RaTEScore:
    def __init__(self, bert_model, eval_model, use_gpu):
        assert bert_model.endswith("weights/RaTE-NER-Deberta")
        assert eval_model.endswith("weights/BioLORD-2023-C")
    def compute_score(self, candidates, references):
        return [0.5 for _ in candidates]
"""
GREEN = """
class GREEN:
    def __init__(self, model, output_dir):
        assert model.endswith("weights")
    def __call__(self, refs, hyps):
        assert "here" in refs[0]
        return 0, 0, [0.75, 0.1], "", None
"""


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Made-up packages that a new process finds, and a folder of weights."""
    home = tmp_path / "packages"
    made = {
        "radgraph/__init__.py": RADGRAPH,
        "f1chexbert/__init__.py": "",
        "f1chexbert/f1chexbert.py": CHEXBERT,
        "RaTEScore/__init__.py": RATESCORE,
        "green_score/__init__.py": GREEN,
        "torch/__init__.py": "class cuda:\n    is_available = staticmethod(lambda: False)\n",
    }
    for name, text in made.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(home))
    weights = tmp_path / "weights"
    for name in ("radgraph-xl/config.json", "chexbert.pth", "config.json"):
        (weights / name).parent.mkdir(parents=True, exist_ok=True)
        (weights / name).write_text("{}")
    for name in ("RaTE-NER-Deberta", "BioLORD-2023-C"):
        (weights / name).mkdir()
    return home


def asked(name, tmp_path, **more):
    return ask(name, tmp_path / "weights", more.get("python", ""), PAIRS, tmp_path / "kept")


def test_every_scorer_is_called_as_its_package_wants(tmp_path, packages):
    found = asked("radgraph", tmp_path)
    assert found["scores"]["radgraph_f1"] == [0.5, 0.125]
    assert found["version"] == ""
    assert asked("ratescore", tmp_path)["scores"] == {"ratescore": [0.5, 0.5]}
    assert asked("green", tmp_path)["scores"] == {"green": [0.75, 0.1]}
    labels = asked("chexbert", tmp_path)["labels"]
    assert (labels["said"], labels["references"]) == ([[1, 0], [0, 0]], [[1, 0], [0, 0]])
    assert (labels["names"], labels["five"]) == (["Edema", "Fracture"], ["Edema"])


def test_another_interpreter_is_asked_where_one_is_named(tmp_path, packages):
    """A program that notes that it was called and then does the same."""
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\ntouch "{tmp_path}/called"\nexec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    asked("green", tmp_path, python=str(other))
    assert (tmp_path / "called").exists()
    with pytest.raises(MeasureError, match=r"^green: .*nowhere cannot be started"):
        ask("green", tmp_path / "weights", str(tmp_path / "nowhere"), PAIRS, tmp_path / "new")


def test_what_is_there_is_not_asked_again_and_no_text_is_kept(tmp_path, packages):
    first = asked("radgraph", tmp_path)
    (packages / "radgraph/__init__.py").write_text("raise SystemExit('asked again')")
    assert asked("radgraph", tmp_path) == first
    assert not [path for path in (tmp_path / "kept").iterdir() if "edema" in path.read_text()]
    with pytest.raises(MeasureError, match="asked again"):
        ask("radgraph", tmp_path / "weights", "", Pairs(said=["x"], references=["y"]), tmp_path / "kept")


@pytest.mark.parametrize(
    ("name", "lacking", "said"),
    [
        ("radgraph", "radgraph-xl/config.json", "none of radgraph-xl"),
        ("chexbert", "chexbert.pth", "no chexbert.pth in it"),
        ("ratescore", "BioLORD-2023-C", "no folder BioLORD-2023-C"),
        ("green", "config.json", "no checkpoint in it"),
    ],
)
def test_missing_weights_are_a_line(tmp_path, packages, name, lacking, said):
    path = tmp_path / "weights" / lacking
    path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(MeasureError, match=f"^{name}: .*{said}"):
        asked(name, tmp_path)


def test_a_missing_package_is_named(tmp_path, packages, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(MeasureError, match="pip install radgraph, or name the python") as error:
        asked("radgraph", tmp_path)
    assert "\n" not in str(error.value)


def test_a_scorer_that_gives_too_few_numbers_is_told(tmp_path, packages):
    (packages / "green_score/__init__.py").write_text(GREEN.replace("[0.75, 0.1]", "[0.75]"))
    with pytest.raises(MeasureError, match="1 scores of 2 texts"):
        asked("green", tmp_path)


def test_scores_of_a_row_by_hand():
    """Of four cases the third has no reference and the second's answer was refused: it scores 0 whatever
    the scorer says of an empty text. From pair 2 on: (0.6 + 0 + 0.9) / 3."""
    found = {"scores": {"green": [9, 9, 0.6, 0.5, 0.9, 9]}}
    row = sampled(found, 2, ["a", "", None, "b"], draws(["p", "q", "r", "s"]))
    assert row["green"].point[0] == pytest.approx(0.5)


def test_labels_of_a_row_by_hand():
    """Edema: a hit, and a miss (refused, whatever its label); fracture: a false alarm. Micro 2 / (2 + 1 + 1)
    over both, 2 / 3 over edema alone; macro (2/3 + 0) / 2."""
    labels = {
        "said": [[1, 1], [1, 0]],
        "references": [[1, 0], [1, 0]],
        "names": ["Edema", "Fracture"],
        "five": ["Edema"],
    }
    row = sampled({"labels": labels}, 0, ["a", None, ""], draws(["p", "q", "r"]))
    found = {name: one.point[0] for name, one in row.items()}
    assert found["chexbert_micro_f1"] == 0.5
    assert found["chexbert_micro_f1_5"] == found["chexbert_macro_f1_5"] == pytest.approx(2 / 3)
    assert found["chexbert_macro_f1"] == pytest.approx(1 / 3)


def test_scorers_through_the_stage(run, tmp_path, packages, capsys):  # noqa: F811
    """RadGraph scores rows beside the other numbers, GREEN's weights are missing and CheXbert is not asked.
    Here a text that is its reference has half a point: good says all of them, mute nothing."""
    (tmp_path / "weights/config.json").unlink()
    scorers = {name: {"path": str(tmp_path / "weights")} for name in ("radgraph", "green")}
    written = with_references(run, {f"c{n}": true_report(n) for n in range(6)})
    summary = go(Context(recipe=recipe_with(written, clinical=scorers), folder=run.folder, domain=run.domain))
    assert summary["teachers"]["good"]["report"]["radgraph_f1"]["mean"] == 0.5
    assert summary["teachers"]["mute"]["report"]["radgraph_f1"]["mean"] == 0.0
    assert summary["students"]["aligned"]["report"]["bleu_4"]["mean"] == 1.0
    assert "radgraph_f1" not in summary["baselines"]["always_prior"]["report"]
    compared = summary["comparisons"]["aligned_minus_bootstrapped"]["report"]
    assert compared["radgraph_f1"]["mean"] == pytest.approx(0.5 - (4 * 0.5 + 2 * 0.125) / 6, abs=1e-6)
    assert "rouge_l" in compared
    told = summary["references"]["scorers"]
    assert set(told) == {"radgraph", "green"}
    assert told["radgraph"]["reason"] == ""
    assert "no checkpoint" in told["green"]["reason"]
    said = capsys.readouterr().err
    assert "under PhysioNet's credentialed terms" in said
    assert "no score of green" in said
    assert not (run.folder.stage("evaluate") / "partial").exists()


def test_a_scorer_is_a_path_or_a_table():
    given = {"name": "x", "teachers": [{"name": "a", "model": "a"}]}
    recipe = Recipe.parse(given | {"evaluate": {"clinical": {"radgraph": "/w"}}}, where="t")
    assert recipe.evaluate.clinical == {"radgraph": ScorerConfig(path="/w")}
    with pytest.raises(ConfigError, match="bleurt"):
        Recipe.parse(given | {"evaluate": {"clinical": {"bleurt": "/w"}}}, where="t")
    with pytest.raises(ConfigError, match="clinical"):
        Recipe.parse(given | {"evaluate": {"clinical": {"green": {"folder": "/w"}}}}, where="t")
