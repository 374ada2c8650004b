"""Answers that a server sends twice: the second copy is never taken for the answer to the next question."""

import sys

import pytest

from benchmarks import campaign, collecting
from driftbound.endpoints.loopback import serving


@pytest.mark.parametrize("kind", ["twice", "twice-late", "500-twice"])
def test_a_second_copy_is_not_the_next_answer(kind, tmp_path):
    command = [sys.executable, "-m", "benchmarks.unruly", "--faults", "0.3", "--kinds", kind]
    settings = {"timeout_s": 5, "retries": 9, "concurrency": 4}
    root = tmp_path / "run"
    with serving(command) as url:
        collecting.make_run(root, url, cases=40, teachers=2, pictures=1, settings=settings)
        collecting.collect(root)
        assert campaign.get(url, "totals")["faults"][kind] >= 15
        stats = campaign.get(url, "stats")
    findings = campaign.check_run(root, stats, campaign.UNDISTURBED, in_flight=0)
    assert not [each for each in findings if each.wrong]
