"""Recipes: every checked-in one parses; what is misspelt or impossible is named in one line."""

import math
from pathlib import Path

import pytest

from driftbound import config
from driftbound.config import Recipe
from driftbound.errors import ConfigError

SHIPPED = sorted((Path(config.__file__).parent / "recipes").glob("*.yaml"))
RECIPES = [path for path in SHIPPED if not path.stem.endswith("_study")]
DEMO = Path(config.__file__).parent / "recipes" / "demo.yaml"
PAPER = ["gpt-5", "gemini-2.5", "sonnet-4", "qwen-vl-max", "grok-4", "glm-4.5v", "moonshot-v1"]
SMALLEST = {"name": "x", "teachers": [{"name": "a", "model": "a"}]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_checked_in_recipe_is_valid(path):
    recipe = Recipe.read(path)
    assert recipe.name == path.stem
    assert [teacher.name for teacher in recipe.teachers] == PAPER


def test_all_recipes_are_shipped():
    assert len(SHIPPED) == len(RECIPES) + 1
    assert [path.stem for path in RECIPES] == [
        *("apo_qwen2_5_vl_7b", "apo_qwen3_vl_8b", "cxr_max", "demo", "short"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in DEMO.read_text().splitlines()
        if ":" in line and not line.lstrip().startswith(("#", "- {")) and not line.rstrip().endswith(":")
    ],
    ids=lambda line: line.split("#")[0].strip(),
)
def test_every_value_of_the_demo_says_where_it_comes_from(line):
    assert line.partition("#")[2].strip()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teecher": []}, "unknown key 'teecher'; did you mean 'teachers'?"),
        ({"align": {"bata": 0.1}}, "unknown key 'bata' in 'align'; did you mean 'beta'?"),
        (
            {"bootstrap": {"lora": {"rnak": 4}}},
            "unknown key 'rnak' in 'bootstrap.lora'; did you mean 'rank'?",
        ),
        (
            {"teachers": [{"name": "a", "modle": "a"}]},
            "unknown key 'modle' in 'teachers'; did you mean 'model'?",
        ),
        ({"zzz": 1}, "unknown key 'zzz'; known keys: name, seed"),
        ({"align": {"beta": 0}}, "align.beta: Input should be greater than 0"),
        ({"align": {"beta": "much"}}, "align.beta: Input should be a valid number"),
        ({"teachers": []}, "teachers: Tuple should have at least 1 item"),
        ({"teachers": SMALLEST["teachers"] * 2}, "two teachers have the same name"),
        ({"align": {"groups_per_step": 8, "groups_per_forward": 3}}, "groups_per_forward 3 must divide"),
        ({"name": "../up"}, "name: String should match pattern"),
        (
            {"evaluate": {"splits": ["tset"]}},
            "'tset' is no held-out split of this recipe; did you mean 'test'",
        ),
        ({"bootstrap": {"epochs": math.inf}}, "bootstrap.epochs: Input should be a finite number"),
        ({"align": {"floor": -math.inf}}, "align.floor: Input should be a finite number"),
        ({"measure": {"decisive": math.nan}}, "measure.decisive: Input should be a finite number"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_in_one_line(given, said):
    with pytest.raises(ConfigError) as caught:
        Recipe.parse({**SMALLEST, **given}, where="my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"name: [", "not valid YAML"),
        (b"- a\n- b\n", "a recipe is a table of keys"),
        (b"", "a recipe is a table of keys"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"name: 2020-13-45\n", "not valid YAML"),
        (b"name: x\nseed: 1\nname: y\n", "line 3: key 'name' stands in line 1 already"),
        (b"name: x\nalign:\n  beta: 1\n  beta: 1\n", "line 4: key 'beta' stands in line 3 already"),
        (b"name: x\nteachers:\n- {name: a, name: a}\n", "line 3: key 'name' stands in line 3 already"),
    ],
    ids=["missing", "broken", "list", "empty", "binary", "date", "twice", "within", "in a line"],
)
def test_unreadable_recipe_is_named(tmp_path, content, said):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Recipe.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_key_in_two_tables_and_a_merged_default_are_no_repetition(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: x\n"
        "teachers: [{name: a, model: m}, {name: b, model: m}]\n"
        "bootstrap: &training {epochs: 2, warmup: 0.5}\n"
        "align: {<<: *training, epochs: 3}\n"
    )
    recipe = Recipe.read(path)
    assert (recipe.bootstrap.epochs, recipe.align.epochs, recipe.align.warmup) == (2, 3, 0.5)


def test_recipe_is_frozen():
    recipe = Recipe.parse(SMALLEST, where="here")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1
