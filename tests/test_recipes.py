"""Recipes that ship: valid, sourced value by value, and the paper's run with a tiny model in its place."""

import json
import re
from pathlib import Path

import pytest
import yaml

from driftbound import pipeline
from driftbound.config import Recipe
from driftbound.errors import ConfigError
from driftbound.recipe_files import SHIPPED, find_recipe
from driftbound.store.folder import VERBS
from driftbound.teacher_config import SCRIPTED

PAPER = ("apo_qwen2_5_vl_7b", "apo_qwen3_vl_8b")
SOURCES = ("paper", "script", "open", "here")
SMALL = {
    "domain": {"train": 3, "validation": 1, "test": 3},
    "bootstrap": {"base": "phantom-base", "groups_per_step": 2},
    "synthesize": {"batch_size": 7},
    "align": {"groups_per_step": 2},
    "evaluate": {"resamples": 100},
}
"""All that is changed of the paper's recipe: model, number of cases, and how many of them a step takes."""


def values(text: str) -> list[tuple[str, str]]:
    """Each line of a recipe that holds a value, and its comment."""
    found = []
    for line in text.splitlines():
        said, _, comment = line.partition("#")
        if said.strip() and not said.rstrip().endswith(":"):
            found.append((said.strip(), comment.strip()))
    return found


def unsourced(text: str) -> list[str]:
    words = "|".join(SOURCES)
    return [value for value, said in values(text) if not re.match(rf"({words})\b", said)]


@pytest.mark.parametrize("name", PAPER)
def test_every_value_of_the_papers_recipes_says_where_it_comes_from(name):
    assert len(values(SHIPPED[name].read_text())) > 60
    assert unsourced(SHIPPED[name].read_text()) == []


def test_a_value_without_a_source_is_found():
    text = "name: x  # here\nalign:\n  beta: 0.1  # as usual\n  anchor: 0\n  warmup: 0.05  # scripted\n"
    assert unsourced(text) == ["beta: 0.1", "anchor: 0", "warmup: 0.05"]


@pytest.mark.parametrize("name", PAPER)
def test_every_key_of_the_papers_recipes_is_written_down(name):
    """A default that changes later must not change the paper's run."""
    given = yaml.safe_load(SHIPPED[name].read_text())
    whole = Recipe.read(SHIPPED[name]).model_dump(mode="json")
    for table in ("domain", "collect", "measure", *VERBS[2:]):
        assert given[table].keys() == whole[table].keys()


def test_the_papers_numbers():
    """As the released scripts have them; 7 trajectories for each of 24,426 images make the data set."""
    recipe = Recipe.read(SHIPPED["apo_qwen2_5_vl_7b"])
    one, two = recipe.bootstrap, recipe.align
    assert one.base == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert recipe.domain.train * len(recipe.teachers) == 170_982
    assert (one.learning_rate, two.learning_rate) == (1e-4, 5e-7)
    assert (one.max_length, two.max_length) == (2304, 4096)
    assert (one.epochs, two.epochs, one.warmup, two.warmup) == (1, 1, 0.05, 0.05)
    assert abs(one.groups_per_step * len(recipe.teachers) - 32) <= 3  # whole cases of seven rows
    assert two.groups_per_step == 32
    assert (two.objective, two.beta, two.anchor) == ("plackett_luce", 0.1, 0.0)
    for stage in (one, two):
        assert (stage.tuner, stage.lora.rank, stage.lora.alpha) == ("lora", 8, 32)
        assert (stage.weights, stage.train_vision) == ("bfloat16", False)


def test_a_shipped_recipe_is_found_by_name(tmp_path, monkeypatch):
    """A file of that name goes before; a path is left alone; a word that is neither is put right."""
    monkeypatch.chdir(tmp_path)
    assert find_recipe("demo") == SHIPPED["demo"]
    assert find_recipe("demo.yaml") == Path("demo.yaml")
    assert find_recipe("some/demo") == Path("some/demo")
    with pytest.raises(ConfigError, match="called 'dmeo'; did you mean 'demo'"):
        find_recipe("dmeo")
    with pytest.raises(
        ConfigError, match="recipes that ship: apo_qwen2_5_vl_7b, apo_qwen3_vl_8b, cxr_max, demo"
    ):
        find_recipe("zzz")
    Path("demo").write_text("name: mine\n")
    assert find_recipe("demo") == Path("demo")


def test_the_two_differ_in_name_and_base_alone():
    old, new = (yaml.safe_load(SHIPPED[name].read_text()) for name in PAPER)
    old["name"], old["bootstrap"]["base"] = new["name"], new["bootstrap"]["base"]
    assert old == new


def test_the_papers_recipe_runs_with_a_tiny_model(tmp_path):
    """Everything else as it stands there: tuner, dtype, layers computed again, schedule, lengths, loss."""
    given = yaml.safe_load(find_recipe(PAPER[0]).read_text())
    for table, changes in SMALL.items():
        given[table] |= changes
    assert {teacher["base_url"] for teacher in given["teachers"]} == {SCRIPTED}
    folder = pipeline.run(Recipe.parse(given, where="test"), tmp_path)
    facts = {}
    for verb in VERBS:
        facts[verb] = json.loads((folder.stage(verb) / "manifest.json").read_text())["facts"]
    assert facts["bootstrap"]["steps"] == 2  # of two cases, and of the one that is left
    first = json.loads((folder.stage("align") / "metrics.jsonl").read_text().splitlines()[0])
    assert 1.6 < first["preference_loss"] < 2.1  # ln 5 to ln 8
    for verb in ("bootstrap", "align"):
        assert facts[verb]["kept_in_merging"] < 0.9  # a few steps, small ones: bfloat16 rounds them away
        assert json.loads((folder.student(verb) / "config.json").read_text())["dtype"] == "bfloat16"
