"""Reading the streams of a whole data set: each answer is looked up, not searched for among all of them."""

import pytest

from driftbound.records import Status, Trajectory
from driftbound.store import wanted
from driftbound.store.streams import Streams
from driftbound.store.wanted import Wanted

READS = {
    "current": lambda streams: list(streams.current()),
    "counts": lambda streams: streams.counts(),
    "versions": lambda streams: streams.versions(),
    "usage": lambda streams: streams.usage(),
    "left": lambda streams: wanted.left(streams, "t", wave=0),
}


def steps(path, read, n):
    """About how many steps of SQLite's machine it takes to read ``n`` answers, all of them wanted."""
    asked = [
        {"case_id": f"c{i}", "teacher": "t", "sample": 0, "wave": 0, "request_hash": f"{i}"} for i in range(n)
    ]
    with Streams(path) as streams:
        wanted.want(streams, (Wanted(place=i, **each) for i, each in enumerate(asked)), wave=0)
        streams.put_many(Trajectory(status=Status.OK, text="fine", **each) for each in asked)
        taken = []
        streams.db.set_progress_handler(lambda: taken.append(1) and None, 10)
        READS[read](streams)
        streams.db.set_progress_handler(None, 0)
    return 10 * len(taken)


@pytest.mark.parametrize("read", READS)
def test_twice_the_answers_take_twice_the_work(tmp_path, read):
    """Four times the work would be a search among all 24,426 requests for each of 170,982 answers."""
    once, twice = steps(tmp_path / "1.sqlite", read, 200), steps(tmp_path / "2.sqlite", read, 400)
    assert 1.5 < twice / once < 2.5
