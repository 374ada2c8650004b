"""Dials of the scripted teachers: each does what it says, and at its default changes no byte."""

import hashlib
import json
from functools import cache

import numpy as np
import pytest

from driftbound.config import DomainConfig, Recipe
from driftbound.domains.phantom.claims import claims
from driftbound.domains.phantom.completions import Collection
from driftbound.domains.phantom.dials import dialled, in_question, settled
from driftbound.domains.phantom.domain import PhantomDomain
from driftbound.domains.phantom.findings import FINDINGS, HEADLINE, SIDED
from driftbound.domains.phantom.planted import PLANTED, calm, planted
from driftbound.domains.phantom.population import population
from driftbound.domains.phantom.reliability import TEACHERS, expected
from driftbound.domains.phantom.teachers import answer, opinions, seeded
from driftbound.errors import ConfigError

N, SEED = 1500, 3
PHANTOMS = population(DomainConfig(train=N - 1, validation=0, test=1, test_scanner=0), SEED)


def held(teacher: str, config: DomainConfig, sample: int = 0) -> list[dict[str, str]]:
    """What a teacher holds of every case, refusals aside."""
    return _held(teacher, config.model_dump_json(), sample)


@cache
def _held(teacher: str, dials: str, sample: int) -> list[dict[str, str]]:
    config, found = DomainConfig.model_validate_json(dials), []
    for position, phantom in enumerate(PHANTOMS):
        rng = seeded(SEED, teacher, phantom.case.case_id, sample)
        rng.random()
        plan = dialled(planted(teacher, position, N), config)
        given = settled(teacher, phantom, position, N, SEED, sample, config)
        found.append({s.finding: s.value for s in opinions(phantom.findings, plan, rng, given)})
    return found


def wrong(said: list[dict[str, str]], finding: str) -> np.ndarray:
    return np.array(
        [
            (each[finding] == "absent") != (p.findings[finding] == "absent")
            for each, p in zip(said, PHANTOMS, strict=True)
        ]
    )


def test_at_their_defaults_the_dials_change_no_byte():
    """Plans, answers and the recipe's own record; the digest is of answers made before there were dials."""
    usual = DomainConfig()
    assert all(dialled(plan, usual) == plan for plan in PLANTED.values())
    assert settled("gpt-5", PHANTOMS[0], 0, N, SEED, 0, usual) == {}
    texts = [answer(t, p, n, N, SEED).text for n, p in enumerate(PHANTOMS[:200]) for t in TEACHERS]
    assert hashlib.sha256("\n".join(texts).encode()).hexdigest() == BEFORE
    assert set(usual.model_dump()) == {"name", "train", "validation", "test", "test_scanner"}


BEFORE = "3ddd8a4062d81bf7f0916181a4bcb34afcdac902d3cc5ab399abe04dbb776c1b"


def test_a_set_dial_is_part_of_the_recipe():
    assert DomainConfig(drift=2.0).model_dump()["drift"] == 2.0
    assert "copy_rate" not in DomainConfig(teachers_copy=3).model_dump()  # its default


@pytest.mark.parametrize("finding", ["Consolidation", "Pneumonia", "Edema"])
def test_copies_come_at_their_rate_and_the_others_stay_as_they_were(finding):
    """Of three, two copy the third: on 0.8 of the claims, and agree with it by chance on some others."""
    alone, config = DomainConfig(), DomainConfig(teachers_copy=3, copy_rate=0.8)
    source = held("sonnet-4", config)
    assert source == held("sonnet-4", alone)
    for teacher in ("gpt-5", "gemini-2.5"):
        own, said = held(teacher, alone), held(teacher, config)
        match = np.mean([a[finding] == b[finding] for a, b in zip(own, source, strict=True)])
        same = np.mean([a[finding] == b[finding] for a, b in zip(said, source, strict=True)])
        assert same == pytest.approx(0.8 + 0.2 * match, abs=0.03)
        mixture = 0.8 * wrong(source, finding).mean() + 0.2 * wrong(own, finding).mean()
        assert wrong(said, finding).mean() == pytest.approx(mixture, abs=0.03)
    assert all(held(t, config) == held(t, alone) for t in TEACHERS[3:])


def test_samples_copy_anew():
    config = DomainConfig(teachers_copy=3)
    assert held("gpt-5", config, 0) != held("gpt-5", config, 1)


@pytest.mark.parametrize("finding", ["Consolidation", "Pleural Effusion", "Edema"])
def test_shared_mistakes_come_at_their_rate_without_costing_accuracy(finding):
    """All seven are wrong together on a tenth; each alone is as often right as the table has it."""
    config = DomainConfig(shared_error=0.1)
    said = {teacher: wrong(held(teacher, config), finding) for teacher in TEACHERS}
    usual = {teacher: wrong(held(teacher, DomainConfig()), finding) for teacher in TEACHERS}
    together = np.mean(np.all(list(said.values()), axis=0))
    before = np.mean(np.all(list(usual.values()), axis=0))
    assert together == pytest.approx(0.1 + 0.9 * before, abs=0.03)
    for teacher in TEACHERS:
        assert said[teacher].mean() == pytest.approx(usual[teacher].mean(), abs=0.035)


def test_a_shared_mistake_is_the_same_to_all_and_in_every_sample():
    config = DomainConfig(shared_error=0.3, teachers_copy=3)
    for position, phantom in enumerate(PHANTOMS[:50]):
        given = [settled(t, phantom, position, N, SEED, s, config) for t in TEACHERS[3:] for s in (0, 1)]
        assert all(each == given[0] for each in given)
        for name, value in given[0].items():
            assert (value == "absent") == (phantom.findings[name] != "absent")
            assert value in (("absent", "left", "right", "both") if name in SIDED else ("absent", "present"))
        copied = settled("gpt-5", phantom, position, N, SEED, 0, config)
        assert given[0].items() <= copied.items()


def late_less_early(config: DomainConfig) -> float:
    """Error of grok-4 on the later half of its findings less that on the earlier half."""
    errors: dict[bool, list[bool]] = {False: [], True: []}
    for position, phantom in enumerate(PHANTOMS):
        rng = seeded(SEED, "grok-4", phantom.case.case_id, 0)
        rng.random()
        plan = dialled(planted("grok-4", position, N), config)
        for place, said in enumerate(opinions(phantom.findings, plan, rng)):
            if said.finding != "No Finding":
                missed = (said.value == "absent") != (phantom.findings[said.finding] == "absent")
                errors[place >= 6].append(missed)
    return float(np.mean(errors[True]) - np.mean(errors[False]))


def test_drift_has_the_strength_that_is_set():
    assert dialled(PLANTED["grok-4"], DomainConfig(drift=0.5)).late_odds == 2.0  # of 4: half the log odds
    assert dialled(PLANTED["grok-4"], DomainConfig(drift=0.0)).late_odds == calm("grok-4").late_odds
    none, usual, strong = (late_less_early(DomainConfig(drift=d)) for d in (0.0, 1.0, 2.0))
    assert abs(none) < 0.02
    assert 0.2 < usual < strong


def test_strong_drift_keeps_the_accuracy():
    said = held("glm-4.5v", DomainConfig(drift=2.0))
    for finding in ("Consolidation", "Pleural Effusion"):
        assert 1 - wrong(said, finding).mean() == pytest.approx(expected("glm-4.5v", finding), abs=0.035)


# ---- only the headline -------------------------------------------------------------------------


def test_of_the_headline_only_the_five_are_spoken():
    config = DomainConfig(findings="headline")
    domain = PhantomDomain(config, 0)
    assert set(domain.findings) == set(HEADLINE) == set(in_question(config))
    assert domain.sided == SIDED & set(HEADLINE)
    assert PhantomDomain(DomainConfig(), 0).findings == FINDINGS
    words: dict[str, list[int]] = {"all": [], "headline": []}
    for position, phantom in enumerate(PHANTOMS[:200]):
        for teacher in TEACHERS:
            plan = dialled(PLANTED[teacher], config)
            text = answer(teacher, phantom, position, N, SEED, plan=plan).text
            if not domain.is_refusal(text):
                assert {claim.finding for claim in claims(text)} <= set(HEADLINE)
                words["headline"].append(len(text.split()))
                words["all"].append(len(answer(teacher, phantom, position, N, SEED).text.split()))
    assert np.mean(words["headline"]) < 0.5 * np.mean(words["all"])
    assert [c.finding for c in domain.claims("No fracture.")] == ["Fracture"]  # what is said is still read


def test_of_the_headline_each_teacher_is_as_good_as_ever():
    config = DomainConfig(findings="headline")
    for teacher in ("gpt-5", "grok-4"):
        said, refusal = held(teacher, config), PLANTED[teacher].refusal
        for finding in HEADLINE:
            right = (1 - wrong(said, finding).mean()) * (1 - refusal)
            assert right == pytest.approx(expected(teacher, finding), abs=0.04)


def test_the_server_speaks_as_dialled(tmp_path):
    config = DomainConfig(train=3, validation=0, test=1, test_scanner=0, findings="headline", teachers_copy=3)
    phantoms = population(config, SEED)
    digests = {bytes([n]): (n, p) for n, p in enumerate(phantoms)}
    served = Collection(digests, len(phantoms), SEED, config)
    plan = dialled(planted("gpt-5", 0, 4), config)
    given = settled("gpt-5", phantoms[0], 0, 4, SEED, 0, config)
    assert given
    expected_text = answer("gpt-5", phantoms[0], 0, 4, SEED, 0, plan, given).text
    assert served._answer("gpt-5", phantoms[0], 0, 0).text == expected_text


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"name": "generic", "cases": "c.csv", "drift": 2.0}, "drift belongs to the field 'phantom'"),
        ({"teachers_copy": 1}, "one teacher cannot copy itself"),
        ({"teacher_copy": 3}, "did you mean 'teachers_copy'"),
        ({"findings": "five"}, "domain.findings"),
    ],
)
def test_what_cannot_be_dialled(table, said):
    given = {"name": "x", "teachers": [{"name": "a", "model": "a"}], "domain": table}
    with pytest.raises(ConfigError, match=said):
        Recipe.parse(json.loads(json.dumps(given)), where="test")
