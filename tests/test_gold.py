"""Gold: what a table of checked claims may say, how it chooses, and that it does not judge itself."""

import numpy as np
import pytest
from simulated_panels import votes

from driftbound.errors import MeasureError
from driftbound.measure.gold import cross_fitted, prefer, read_gold, sharpened
from driftbound.measure.reliability import reliability
from driftbound.statistics.calibration import log_losses

CASES, FINDINGS = ("c1", "c2"), ("Edema", "Pneumonia")
VALUES = {"presence": ("absent", "present"), "side": ("left", "right", "both")}


def table(tmp_path, text):
    path = tmp_path / "gold.csv"
    path.write_text(text, encoding="utf-8")
    return path


def read(path):
    return read_gold(path, cases=CASES, findings=FINDINGS, values=VALUES)


def test_claims_of_a_table(tmp_path):
    text = "case_id,finding,value,attribute\nc1,Edema,present,\nc1,Edema,left,side\n"
    text += "c2,Pneumonia,absent,presence\n"
    assert read(table(tmp_path, text + "c2,Pneumonia,absent,presence\n")) == {
        ("c1", "Edema", "presence"): "present",
        ("c1", "Edema", "side"): "left",
        ("c2", "Pneumonia", "presence"): "absent",
    }
    assert read(table(tmp_path, "\ufeffvalue,case_id,finding\npresent,c1,Edema\n")) == {
        ("c1", "Edema", "presence"): "present"
    }
    assert read(table(tmp_path, "case_id,finding,value\n")) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case_id,finding\nc1,Edema\n", "lacks the column value"),
        ("case_id,finding,value,teacher\nc1,Edema,present,gpt\n", "column teacher.*Remove"),
        ("case_id,finding,value\nc9,Edema,present\n", "line 2: case 'c9'"),
        ("case_id,finding,value\nc1,Oedema,present\n", "line 2: finding 'Oedema' is unknown; known: Edema"),
        ("case_id,finding,value\nc1,Edema,present\nc1,Edema,yes\n", "line 3: value 'yes'.*absent, present"),
        ("case_id,finding,value,attribute\nc1,Edema,left,zone\n", "attribute 'zone'"),
        (
            "case_id,finding,value\nc1,Edema,present\nc1,Edema,absent\n",
            "line 3:.*'absent' here and 'present'",
        ),
        ("case_id,finding,value\nc1,Edema,present,more\n", "more fields"),
        ("case_id,finding,value\nc1,Edema\n", "value ''"),
        ("", "lacks the column"),
    ],
)
def test_a_table_that_says_something_impossible(tmp_path, text, said):
    with pytest.raises(MeasureError, match=said) as raised:
        read(table(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MeasureError, match="reading gold claims"):
        read(tmp_path / "none.csv")


def believed(rng, n, sure):
    """Posteriors that are right as often as they say, and the truth."""
    p = np.clip(rng.beta(sure, 1, n), 0.02, 0.98)
    truth = (rng.random(n) < p).astype(int)
    return np.stack([1 - p, p], axis=1), truth


def test_gold_prefers_what_is_clearly_better_only():
    rng = np.random.default_rng(0)
    good, truth = believed(rng, 100, 4.0)
    flip = rng.random(100) < 0.5  # the other value is as common
    good, truth = np.where(flip[:, None], good[:, ::-1], good), np.where(flip, 1 - truth, truth)
    noise = np.full((100, 2), 0.5)
    noise[:, 1] = rng.random(100).clip(0.05, 0.95)
    noise[:, 0] = 1 - noise[:, 1]
    near = sharpened(np.clip(good + rng.normal(0, 0.01, good.shape), 0.01, 0.99), 1.0)
    clusters = np.arange(100)
    assert prefer([noise, good], truth, clusters).best == 1
    assert prefer([good, noise], truth, clusters).best == 0
    assert prefer([near, good], truth, clusters).best == 0


def test_too_sure_posteriors_are_flattened_and_good_ones_left_alone():
    rng = np.random.default_rng(1)
    good, truth = believed(rng, 300, 3.0)
    assert prefer([good], truth, np.arange(300)).power == 1.0
    sure = sharpened(good, 4.0)
    power = prefer([sure], truth, np.arange(300)).power
    assert power == pytest.approx(0.25, rel=0.5)
    assert log_losses(sharpened(sure, power), truth).mean() < log_losses(sure, truth).mean() - 0.1


def test_being_too_sure_is_no_reason_for_another_grouping():
    rng = np.random.default_rng(2)
    good, truth = believed(rng, 200, 3.0)
    vague = sharpened(good[:, ::-1] * 0.15 + good * 0.85, 1.0)
    assert prefer([sharpened(good, 5.0), vague], truth, np.arange(200)).best == 0


def test_no_claim_is_judged_by_a_choice_it_took_part_in():
    """Two candidates that are certain and right on one half of the clusters each: whichever a fold prefers
    is judged on claims that did not speak for it, so that a lucky candidate cannot praise itself."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(50), 4)
    truth = rng.integers(2, size=200)
    lucky = [rng.random((50,)) for _ in range(25)]
    pool = []
    for each in lucky:
        p = np.repeat(each, 4)
        pool.append(np.stack([1 - p, p], axis=1).clip(0.05, 0.95))
    choice = prefer(pool, truth, clusters)
    inside = log_losses(sharpened(pool[choice.best], choice.power), truth).mean()
    judged = cross_fitted(pool, truth, clusters, rng)
    assert log_losses(judged, truth).mean() > inside
    with pytest.raises(MeasureError, match="one cluster"):
        cross_fitted(pool, truth, np.zeros(200, dtype=int), rng)


def test_gold_shows_an_error_that_all_share():
    """On a fifth of the claims everybody judges the opposite: without gold nothing is seen, with 120 gold
    claims the posterior is found too sure, is flattened, and fewer claims are decided."""
    rng = np.random.default_rng(4)
    truth, codes = votes(400, rng, shared=0.2)
    gold = np.where(np.arange(400) < 120, truth, -1)
    without = reliability(codes, 2, np.arange(400), np.random.default_rng(0), draws=0)
    found = reliability(codes, 2, np.arange(400), np.random.default_rng(0), gold=gold, draws=0)
    assert found.chosen_by == "gold"
    assert found.gold == 120
    assert found.power < 0.8
    assert found.calibration is not None
    assert found.calibration.accuracy.n == 120
    rest = np.arange(120, 400)
    losses = [log_losses(each.posterior[rest], truth[rest]).mean() for each in (without, found)]
    assert losses[1] < losses[0] - 0.1
    assert (found.decision.decided >= 0).sum() < (without.decision.decided >= 0).sum()
    assert not any("cannot be seen without gold" in said for said in found.warnings)


def test_too_few_gold_claims_choose_nothing():
    rng = np.random.default_rng(5)
    truth, codes = votes(200, rng)
    gold = np.where(np.arange(200) < 10, truth, -1)
    found = reliability(codes, 2, np.arange(200), rng, gold=gold, draws=0)
    assert found.chosen_by == "risk"
    assert found.calibration is None
    assert "10 gold claims given are too few" in found.warnings[0]
