"""docs/teachers.md says what the code does."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from driftbound.config import Recipe
from driftbound.endpoints.vendors import FORMATS, vendor_of
from driftbound.records import Status, Trajectory
from driftbound.teacher_config import (
    AnchorsConfig,
    CollectConfig,
    ImagesConfig,
    LimitsConfig,
    PriceConfig,
    RepeatsConfig,
    SamplingConfig,
    TeacherConfig,
)

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "teachers.md"
TABLE = re.compile(r"(?<=<!-- made by: python tests/test_teacher_docs.py -->\n).*(?=<!-- end -->)", re.DOTALL)


def megabytes(n):
    return f"{n / 1e6:g} MB"


def images_of(rules):
    said = ["PNG, JPEG" + "".join(f", {kind}" for kind in FORMATS[2:] if kind in rules.formats)]
    if rules.largest_bytes:
        said.append(megabytes(rules.largest_bytes))
    if rules.largest_side:
        said.append(f"{rules.largest_side} pixels")
    if rules.largest_request:
        said.append(f"{megabytes(rules.largest_request)} in all")
    return "; ".join(said)


def settings_of(vendor):
    said = [f"no {key}" for key in sorted(vendor.unsupported)]
    for key, (low, high) in vendor.ranges.items():
        said.append(f"{key} {low:g}" if low == high else f"{key} {low:g} to {high:g}")
    if "logprobs" not in vendor.unsupported:
        said.append(f"logprobs to {vendor.top_logprobs}")
    return ", ".join(said)


def batches_of(rules):
    if rules is None:
        return ""
    size = f"{rules.largest_requests:,} lines, {megabytes(rules.largest_bytes)}"
    return f"{size}, {rules.price_share:.0%} of the price"


def vendor_table():
    """The table of vendors.yaml as Markdown."""
    given = yaml.safe_load((ROOT / "src/driftbound/endpoints/vendors.yaml").read_text())
    lines = ["| `vendor` | address | key in | images | settings | batch files |", "|" + " --- |" * 6]
    for name, entry in given.items():
        vendor = vendor_of(name)
        settings = [settings_of(vendor)]
        settings += [
            f"`{pattern}`: {settings_of(vendor_of(name, pattern.replace('[0-9]', '1').replace('*', '')))}"
            for pattern in entry.get("models", {})
        ]
        key = f"`{vendor.key_env}`" if vendor.key_env else ""
        cells = (f"`{name}`", vendor.base_url, key, images_of(vendor.images), "; ".join(settings))
        lines.append(f"| {' | '.join((*cells, batches_of(vendor.batch)))} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def page():
    return PAGE.read_text(encoding="utf-8")


def test_the_table_is_the_one_of_the_vendors():
    """Run `python tests/test_teacher_docs.py` where this fails."""
    assert TABLE.search(page()).group() == f"\n{vendor_table()}\n"


def recipe_text():
    return re.search(r"```yaml\n(.*?)```", page(), re.DOTALL).group(1)


def test_the_recipe_is_one_and_shows_every_key():
    recipe = Recipe.parse(yaml.safe_load(recipe_text()), where="docs/teachers.md")
    assert [teacher.kind for teacher in recipe.teachers] == ["http", "http", "recorded", "local"]
    tables = (TeacherConfig, SamplingConfig, LimitsConfig, PriceConfig, ImagesConfig, CollectConfig)
    for table in (*tables, RepeatsConfig, AnchorsConfig):
        for key in table.model_fields:
            assert re.search(rf"\b{key}:", recipe_text()), key
    # What stands in collect and has no reason to differ is the default.
    assert recipe.collect == CollectConfig()


def cells(heading):
    """First cells of the table under a heading of its own."""
    table = page().split(heading)[1].split("\n\n")[0]
    return re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines()[1:]))


def test_statuses_and_columns_are_all_there():
    assert cells("| status | | counts |") == [status.value for status in Status]
    assert sorted(cells("| column of `trajectories` | |")) == sorted(each.name for each in fields(Trajectory))


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", page()))
def test_links_lead_somewhere(target):
    assert (PAGE.parent / target).exists()


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: f"\n{vendor_table()}\n", page()), encoding="utf-8")
