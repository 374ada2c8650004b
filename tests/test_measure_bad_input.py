"""Panels that nobody would measure: a clear error, or nulls with reasons, and never a crash or a zero."""

import json
from types import SimpleNamespace

import pytest

from driftbound.errors import MeasureError
from driftbound.measure.panel import Settings
from driftbound.measure.reading import Read, read_all
from driftbound.measure.sheet import unexplained
from driftbound.records import Case, Claim, Polarity, Status, Trajectory
from driftbound.stages.instrument import Corpus, measure


def claims(text):
    """``F0+ F1-``: findings with what is said of them."""
    found = []
    for place, word in enumerate(text.split()):
        value = {"+": "present", "-": "absent", "?": "uncertain"}[word[-1]]
        found.append(
            Claim(
                finding=word[:-1],
                attribute="presence",
                value=value,
                polarity=Polarity(value),
                start=3 * place,
                end=3 * place + 2,
                step=place,
            )
        )
    return found


def summary_of(tmp_path, answers, *, teachers, fitted=True, **more):
    """The summary of answers given as (case, teacher, text) or (case, teacher, text, fields)."""
    trajectories = [
        Trajectory(
            case_id=case_id, teacher=teacher, status=Status.OK if text else Status.REFUSED, text=text,
            **(rest[0] if rest else {}),
        )
        for case_id, teacher, text, *rest in answers
    ]  # fmt: skip
    ids = list(dict.fromkeys(each.case_id for each in trajectories)) or ["c0"]
    cases = [Case(case_id=c, cluster=c, split="train", prompt="", images=()) for c in ids]
    read = Read()
    for _ in read_all(claims, cases, trajectories, spans={}, into=read, keep=ids):
        pass
    corpus = Corpus(
        cases=cases,
        fitted=[fitted] * len(cases),
        teachers=teachers,
        read=read,
        findings=("F0", "F1"),
        sided=frozenset(),
        **more,
    )
    measure(corpus, Settings(draws=99), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(unexplained(summary)) == []
    return SimpleNamespace(**summary)


def test_one_teacher_alone_agrees_with_nobody(tmp_path):
    found = summary_of(tmp_path, [(f"c{i}", "a", "F0+ F1-") for i in range(30)], teachers=["a"])
    assert found.agreement["teachers"]["a"]["value"] is None
    assert found.agreement["findings"]["F0"]["alpha"]["value"] is None
    assert found.along["panel"]["reason"] == "one teacher alone contradicts nobody"
    assert found.alarms == []


def test_one_case_has_no_interval(tmp_path):
    found = summary_of(
        tmp_path, [("c0", "a", "F0+ F1-"), ("c0", "b", "F0+ F1+"), ("c0", "c", "F0-")], teachers=list("abc")
    )
    agreed = found.agreement["teachers"]["a"]
    assert (agreed["value"], agreed["low"]) == (0.25, None)  # F0: one of two; F1: none of one
    assert agreed["reason"] == "fewer than two clusters: no interval"
    assert found.along["panel"]["value"] is None
    assert found.alarms == []


@pytest.mark.parametrize("cases", [1, 30])
def test_all_refused(tmp_path, cases):
    found = summary_of(tmp_path, [(f"c{i}", t, "") for i in range(cases) for t in "ab"], teachers=["a", "b"])
    assert found.refusals["a"]["refusal_rate"]["value"] == 1.0
    assert found.agreement["teachers"]["a"]["value"] is None
    assert found.along["panel"]["value"] is None
    assert found.alarms == []


def test_nobody_answered(tmp_path):
    found = summary_of(tmp_path, [], teachers=["a", "b"])
    assert found.refusals["a"]["refusal_rate"]["value"] is None
    assert found.alarms == []


def test_no_case_to_fit_on_is_an_error(tmp_path):
    with pytest.raises(MeasureError, match="no case of the training split"):
        summary_of(tmp_path, [("c0", "a", "F0+")], teachers=["a"], fitted=False)


def test_no_teacher_is_an_error(tmp_path):
    with pytest.raises(MeasureError, match="no teacher"):
        summary_of(tmp_path, [], teachers=[])


def test_a_thing_all_say_alike_has_no_alpha(tmp_path):
    found = summary_of(tmp_path, [(f"c{i}", t, "F0+") for i in range(30) for t in "ab"], teachers=["a", "b"])
    alpha = found.agreement["findings"]["F0"]["alpha"]
    assert (alpha["value"], alpha["reason"]) == (
        None,
        "no two teachers name a value, or all name the same everywhere",
    )


def lists(probability):
    """A stored answer of one token that two alternatives were told of."""
    from math import log

    top = [{"token": t, "logprob": log(probability), "bytes": None} for t in "xy"]
    return json.dumps([{"token": "x", "logprob": log(probability), "bytes": None, "top_logprobs": top}])


def test_log_probabilities_that_do_not_sum_to_one(tmp_path):
    """Two alternatives of 0.7 each are no distribution; two of 0.5 are one."""
    for probability, fine in ((0.5, True), (0.7, False)):
        answers = [(f"c{i}", t, "F0+", {"logprobs": lists(probability)}) for i in range(4) for t in "ab"]
        bounds = summary_of(tmp_path, answers, teachers=["a", "b"]).tokens["own_prefix_bounds"]
        if fine:
            assert bounds[0]["upper"]["value"] == pytest.approx(0.0, abs=1e-9)
        else:
            assert bounds["value"] is None
            assert "1.4" in bounds["reason"]
