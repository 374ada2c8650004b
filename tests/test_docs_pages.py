"""What the pages of the documentation name and reckon: functions and tests that exist, figures that hold."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src/driftbound"


def names_in(path: Path) -> set[str]:
    """Functions, methods and classes that a file defines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def cells(page: str) -> list[list[str]]:
    """The rows of all tables of a page."""
    lines = (DOCS / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def claims_of_the_map() -> list[tuple[str, str]]:
    """(file, name in it or nothing) that the map of the paper names in its second and third columns.

    ``file.py: a, b`` names two of a file; a test alone in a span is of the file before.
    """
    found, last = [], ""
    for row in cells("paper-map.md"):
        for cell in row[1:]:
            for span in re.findall(r"`([^`]+)`", cell):
                path, colon, named = span.partition(": ")
                if path.endswith((".py", "/", ".json")):
                    found += [(path, name) for name in (named.split(", ") if colon else [""])]
                    last = path
                elif span.startswith("test_"):
                    found.append((last, span))
    return found


def resolved(path: str) -> Path:
    """Where a file of the map lies."""
    name = Path(path).name
    if name.startswith("test_"):
        return ROOT / "tests" / name
    around = ROOT if path.startswith(("benchmarks/", "tests/", "examples/")) else SOURCE
    return around / path


def test_the_map_names_enough():
    """The reader of the map reads it: it finds what a person finds in its first two rows, and most others."""
    found = claims_of_the_map()
    assert found[0] == ("learning/goals.py", "Bootstrapping")
    assert found[1] == ("test_learning.py", "test_bootstrapping_is_the_nll_per_token")
    assert ("consensus/synthesize.py", "shuffled") in found
    assert ("test_constraint_loss.py", "test_weights_per_token_and_per_trajectory_are_the_formula") in found
    assert len(found) > 35


@pytest.mark.parametrize(("path", "name"), sorted(set(claims_of_the_map())))
def test_what_the_map_of_the_paper_names_exists(path, name):
    assert resolved(path).exists(), path
    if name:
        assert name in names_in(resolved(path)), f"{path} defines no {name}"


def test_every_file_that_a_page_names_exists():
    """In prose and tables: ``tests/...``, ``benchmarks/...``, ``examples/...`` and ``studies/...``."""
    wrong = []
    for page in sorted(DOCS.glob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for named in re.findall(r"\b((?:tests|benchmarks|examples)/[\w/.-]+\.(?:py|json))\b", text):
            if not (ROOT / named).exists():
                wrong.append(f"{page.name}: {named}")
    # Results of a GPU, which nobody has run yet: both pages say so.
    assert [each for each in wrong if not each.endswith("results/large.json")] == []


def test_the_answer_on_displacement_has_the_studys_figures():
    arms = {
        "plackett-luce": "plackett-luce",
        "reliability SFT": "reliability-sft",
        "confidence on both sides, NCA": "confidence-on-both-sides-nca",
    }
    rows = [row for row in cells("faq.md") if row[0].rpartition(", ")[0] in arms]
    assert len(rows) == 6
    for row in rows:
        arm, _, seed = row[0].rpartition(", ")
        path = ROOT / f"studies/phantom_study/tuning/main--{arms[arm]}--seed-{seed}.json"
        result = json.loads(path.read_text())
        metrics, held = result["metrics"], result["splits"]["validation"]
        numbers = [
            metrics.get("rewards/accuracy"),
            metrics.get("rewards/margin"),
            metrics["logp_consensus_per_token"],
            held["parsable"],
            held["repeated"],
        ]
        assert row[1:] == ["" if number is None else f"{number:.2f}" for number in numbers]


def test_what_7b_should_need_is_reckoned_from_its_architecture():
    """Counted without memory, on the architecture; the page's products, done again."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForImageTextToText

    from benchmarks.large import RANK, config_of

    config = config_of(False)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    layers = [each for each in model.get_decoder().modules() if isinstance(each, torch.nn.Linear)]
    adapters = sum(RANK * (each.in_features + each.out_features) for each in layers)
    page = (DOCS / "recipes-7b.md").read_text()
    assert f"{weights:,} parameters" in page
    assert f"linear layers {adapters:,}" in page.replace("\n", " ")
    text = config.text_config
    reckoned = {
        f"{weights:,} x 2 bytes": 2 * weights,
        f"{adapters:,} x 16 bytes": 16 * adapters,
        f"{text.num_hidden_layers} x 8,192 tokens x {text.hidden_size:,} x 2 bytes": text.num_hidden_layers
        * 8192
        * text.hidden_size
        * 2,
        f"4 x 8,192 x {text.intermediate_size:,} x 2 bytes": 4 * 8192 * text.intermediate_size * 2,
    }
    rows = {row[1]: row[2] for row in cells("recipes-7b.md") if len(row) == 3}
    assert {how: rows.get(how) for how in reckoned} == {how: f"{n / 1e9:.1f}" for how, n in reckoned.items()}


def test_how_many_requests_the_papers_recipe_makes():
    from driftbound.config import Recipe
    from driftbound.recipe_files import find_recipe

    recipe = Recipe.read(find_recipe("apo_qwen2_5_vl_7b"))
    teachers, domain = len(recipe.teachers), recipe.domain
    page = " ".join((DOCS / "recipes-7b.md").read_text().split())
    assert f"{teachers * domain.train:,} requests" in page
    held = teachers * (domain.validation + domain.test + domain.test_scanner)
    assert f"test cases of the recipe {held:,} more" in page
