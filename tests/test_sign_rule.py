"""The textbook rule from signs to findings: by hand, and against how films are drawn."""

import pytest

from driftbound.config import DomainConfig
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.domains.phantom.findings import FINDINGS, SIDED, SIGN_NAMES, SIGNS
from driftbound.domains.phantom.population import signs_of
from driftbound.domains.phantom.sign_rule import from_signs
from driftbound.phantom_base.corpus import signs_report
from driftbound.protocols import SignReader

NOTHING = dict.fromkeys(SIGN_NAMES, "absent")


def said(**signs):
    """What the rule makes of a report of these signs (underscores for spaces): asserted findings alone."""
    found = from_signs(signs_report(NOTHING | {name.replace("_", " "): v for name, v in signs.items()}))
    assert set(found) == set(FINDINGS)
    return {finding: value for finding, value in found.items() if value != "absent"}


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ({}, {"No Finding": "present"}),
        ({"dark_apex": "left", "thin_edge_line": "left"}, {"Pneumothorax": "left"}),
        ({"dark_apex": "left", "thin_edge_line": "right"}, {"No Finding": "present"}),
        ({"dark_apex": "both", "thin_edge_line": "right"}, {"Pneumothorax": "right"}),
        ({"dark_apex": "both", "thin_edge_line": "both"}, {"Pneumothorax": "both"}),
        ({"dark_apex": "left"}, {"No Finding": "present"}),
        ({"patch": "left"}, {"Lung Opacity": "left"}),
        ({"patch": "left", "dark_branches": "left"}, {"Consolidation": "left"}),
        ({"patch": "left", "dark_branches": "right"}, {"Lung Opacity": "left"}),
        ({"patch": "both", "dark_branches": "left"}, {"Consolidation": "left", "Lung Opacity": "right"}),
        ({"haze": "both", "fine_lines": "both"}, {"Edema": "present"}),
        ({"haze": "left", "mottled_dots": "left"}, {"Pneumonia": "left"}),
        ({"white_base": "right", "curved_edge": "right"}, {"Pleural Effusion": "right"}),
        ({"white_base": "both", "raised_diaphragm": "left"}, {"Atelectasis": "left"}),
        ({"wide_heart": "present"}, {"Cardiomegaly": "present"}),
        ({"wire_and_box": "present"}, {"Support Devices": "present", "No Finding": "present"}),
    ],
)
def test_rule_by_hand(signs, expected):
    assert said(**signs) == expected


@pytest.mark.parametrize("finding", SIGNS)
def test_a_film_with_one_finding_is_read_right(finding):
    """Signs as they are drawn, on each side that the finding may have."""
    nothing = dict.fromkeys(FINDINGS, "absent")
    for value in ("left", "right", "both") if finding in SIDED else ("present",):
        truth = nothing | {finding: value}
        truth["No Finding"] = "present" if finding == "Support Devices" else "absent"
        assert from_signs(signs_report(signs_of(truth))) == truth


def test_a_sign_without_a_side_lies_anywhere_and_says_none():
    assert from_signs("Patch: present.")["Lung Opacity"] == "present"
    found = from_signs("Dark apex: present. Thin edge line: left.")
    assert found["Pneumothorax"] == "left"


def test_what_states_no_sign_is_no_reading():
    assert from_signs("") is None
    assert from_signs("Edema: present. I see haze.") is None
    assert from_signs("Haze: absent.")["No Finding"] == "present"  # the others are not stated: not seen


def test_last_word_counts():
    assert from_signs("Patch: left. Patch: absent.")["Lung Opacity"] == "absent"


def test_the_phantom_field_has_the_rule():
    domain = PhantomDomain(DomainConfig(name="phantom"), 0)
    assert isinstance(domain, SignReader)
    assert "signs" in domain.sign_question
    assert domain.from_signs("Patch: left.")["Lung Opacity"] == "left"
    assert domain.from_signs("Edema: present.") is None
