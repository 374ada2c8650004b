"""docs/phantom.md and its picture say what the code does."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from driftbound.domains.phantom.findings import HEADLINE, SIGN_NAMES
from driftbound.domains.phantom.population import BOTH_SIDES, SAME_PATIENT
from driftbound.domains.phantom.reliability import TEACHERS, expected, target

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = example("phantom_tables")


@pytest.mark.parametrize("name", ["findings_table", "pairs_table", "planted_table"])
def test_table_is_the_codes(name):
    """Written by `python examples/phantom_tables.py`; run it and paste where this fails."""
    assert f"\n\n{getattr(TABLES, name)()}\n\n" in DOC


def rows_of_accuracy():
    found = re.findall(r"^\| (\S+) \|((?: 0\.\d\d\*? / 0\.\d{3} \|){5})$", DOC, re.MULTILINE)
    return {teacher: [cell.strip() for cell in cells.split("|")[:-1]] for teacher, cells in found}


def test_accuracies_are_the_papers_and_delivered_within_two_hundredths():
    """Against the paper's number, or in the three cells that no pair gives, against the pair taken."""
    rows = rows_of_accuracy()
    assert list(rows) == list(TEACHERS)
    starred = 0
    for teacher, cells in rows.items():
        for finding, cell in zip(HEADLINE, cells, strict=True):
            paper, found = cell.split(" / ")
            assert float(paper.rstrip("*")) == target(teacher, finding)
            assert float(found) == pytest.approx(expected(teacher, finding), abs=0.02)
            starred += paper.endswith("*")
    assert starred == 3


def test_delivered_accuracies_are_what_the_named_command_measures():
    """Two of the seven rows, digit for digit; the command prints all."""
    phantoms = TABLES.cases()
    assert len(phantoms) == 4000
    for teacher in ("grok-4", "moonshot-v1"):
        assert TABLES.accuracy_row(teacher, phantoms)[1:] == rows_of_accuracy()[teacher]


def test_numbers_in_the_prose():
    assert (SAME_PATIENT, BOTH_SIDES) == (0.7, 0.2)
    assert f"the {len(SIGN_NAMES)} signs one by one" in DOC
    assert len(DOC.splitlines()) < 200


def test_picture_is_what_the_script_draws():
    """Up to the letters of the labels, which depend on the font at hand."""
    shown = Image.open(ROOT / "docs" / "pictures" / "signs.png")
    drawn = example("phantom_sheet").sheet()
    assert shown.size == drawn.size
    assert np.abs(np.asarray(shown, float) - np.asarray(drawn, float)).mean() < 1
    labels = [label for label, _ in example("phantom_sheet").films()]
    assert all(sum(label.startswith(sign) for label in labels) == 1 for sign in SIGN_NAMES)
