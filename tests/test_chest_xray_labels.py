"""Label policies: what a raw label means under each, by hand; nothing is decided or dropped silently."""

import pytest
from chest_xray_trees import LABELS

from driftbound.domains.chest_xray.findings import FINDINGS
from driftbound.domains.chest_xray.labels import decide
from driftbound.errors import CaseError


def test_every_policy_by_hand():
    raw = {"Edema": 1.0, "Pneumonia": 0.0, "Fracture": -1.0}
    for uncertain, fracture in (("absent", "absent"), ("present", "present"), ("ignore", "unknown")):
        for blank, rest in (("absent", "absent"), ("ignore", "unknown")):
            told = decide(raw, uncertain_as=uncertain, blank_as=blank)
            assert set(told) == set(FINDINGS)
            assert (told["Edema"], told["Pneumonia"], told["Fracture"]) == ("present", "absent", fracture)
            assert (told["Atelectasis"], told["Support Devices"], told["No Finding"]) == (
                rest,
                rest,
                "absent",
            )


def test_a_normal_study_denies_all_but_devices():
    told = decide({"No Finding": 1.0}, uncertain_as="ignore", blank_as="ignore")
    assert told["Support Devices"] == "unknown"
    assert {told[name] for name in FINDINGS if name not in ("No Finding", "Support Devices")} == {"absent"}
    devices = decide({"Support Devices": 1.0}, uncertain_as="ignore", blank_as="ignore")
    assert devices["No Finding"] == "unknown"  # devices are no illness


def test_sides_are_those_of_what_is_there():
    sides = {"Pneumothorax": "left", "Fracture": "right"}
    told = decide(
        {"Pneumothorax": 1.0, "Fracture": 0.0}, uncertain_as="ignore", blank_as="ignore", sides=sides
    )
    assert (told["Pneumothorax"], told["Fracture"]) == ("left", "absent")


def test_a_label_that_is_there_is_never_overruled():
    """A radiologist may find nothing and be in doubt of one finding: both are what was said."""
    told = decide({"No Finding": 1.0, "Edema": -1.0}, uncertain_as="present", blank_as="ignore")
    assert (told["No Finding"], told["Edema"], told["Pneumonia"]) == ("present", "present", "absent")
    told = decide({"No Finding": -1.0, "Edema": 1.0}, uncertain_as="ignore", blank_as="ignore")
    assert (told["No Finding"], told["Edema"]) == ("unknown", "present")


def test_a_doubt_is_an_illness_only_where_the_policy_says_so():
    for uncertain, healthy in (("present", "absent"), ("absent", "unknown"), ("ignore", "unknown")):
        told = decide({"Edema": -1.0}, uncertain_as=uncertain, blank_as="ignore")
        assert told["No Finding"] == healthy


def test_both_policies_must_be_said():
    with pytest.raises(TypeError, match="uncertain_as"):
        decide({}, blank_as="absent")
    with pytest.raises(TypeError, match="blank_as"):
        decide({}, uncertain_as="absent")


@pytest.mark.parametrize(
    "raw", [{"Airspace Opacity": 1.0}, {"Effusion": 0.0}, {"Edema": 2.0}, {"Edema": float("nan")}]
)
def test_what_no_reader_has_translated_is_refused(raw):
    """Were it passed over, the finding would count as blank, hence as absent under some policies."""
    with pytest.raises(CaseError, match=next(iter(raw))) as refused:
        decide(raw, uncertain_as="ignore", blank_as="absent")
    assert "\n" not in str(refused.value)


def test_labels_of_the_trees_are_all_of_ours():
    assert set(LABELS) == set(FINDINGS)
