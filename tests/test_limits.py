"""Limits: no minute has more than is allowed, 429 narrows the way, the dead are given up, budgets hold."""

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_collect import chat, make_context, stored, vendor

from driftbound.config import Recipe
from driftbound.endpoints import limiter as limiting
from driftbound.endpoints.limiter import Limiter
from driftbound.errors import TeacherError
from driftbound.stages import collect
from driftbound.store import attempts
from driftbound.store.streams import Streams
from driftbound.teacher_config import LimitsConfig
from driftbound.teachers import breaker as breaking
from driftbound.teachers.breaker import Breaker


class Clock:
    """Time that passes only when somebody sleeps; for limiter and test alike."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self._sleepers = []
        monkeypatch.setattr(limiting.asyncio, "timeout", self._timeout)

    def __call__(self):
        return self.now

    def _timeout(self, seconds):
        return _Timeout(self, seconds)


class _Timeout:
    """Stands for ``asyncio.timeout``: the clock jumps to the end at once unless the event is set already."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    async def __aenter__(self):
        self.clock.now += self.seconds
        raise TimeoutError

    async def __aexit__(self, *_):
        return False


def send_all(limiter, clock, tokens, lasts=0.0):
    """Times at which requests of so many tokens are sent one after the other, each lasting a while."""

    async def go():
        times = []
        for each in tokens:
            ticket = await limiter.acquire(each)
            times.append(clock.now)
            clock.now += lasts
            limiter.release(ticket)
        return times

    return asyncio.run(go())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7),
    st.lists(st.floats(0, 20), min_size=1, max_size=40),
    st.lists(st.floats(0, 70), max_size=10),
)
def test_no_minute_has_more_requests_than_the_limit(limit, pauses, earlier):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        limiter = Limiter(concurrency=9, requests_per_minute=limit, clock=clock)
        start = clock.now
        limiter.prime(earlier)

        async def go():
            times = []
            for pause in pauses:
                ticket = await limiter.acquire()
                times.append(clock.now)
                limiter.release(ticket)
                clock.now += pause
            return times

        sent = asyncio.run(go())
    past = [start - ago for ago in earlier]
    for at in sent:
        before = sum(at - 60 <= other for other in past)
        mine = sum(at - 60 <= other <= at for other in sent)
        assert before + mine <= limit  # at the moment of each sending; what was before may have been more
    assert len(sent) == len(pauses)


def test_a_minute_is_full_then_the_next_begins(monkeypatch):
    clock = Clock(monkeypatch)
    sent = send_all(Limiter(concurrency=1, requests_per_minute=3, clock=clock), clock, [0] * 7)
    assert [at - 1000 for at in sent] == [0, 0, 0, 61, 61, 61, 122]


def test_tokens_per_minute_hold_and_are_corrected(monkeypatch):
    """100 a minute: 60 + 40 fit, the next 10 wait; what is larger than the limit goes alone."""
    clock = Clock(monkeypatch)
    sent = send_all(Limiter(concurrency=1, tokens_per_minute=100, clock=clock), clock, [60, 40, 10, 300])
    assert [at - 1000 for at in sent] == [0, 0, 61, 122]

    limiter = Limiter(concurrency=1, tokens_per_minute=100, clock=clock)

    async def go():
        limiter.release(await limiter.acquire(90), tokens=20)
        before = clock.now
        await limiter.acquire(80)
        return clock.now - before

    assert asyncio.run(go()) == 0  # it took 20, not the 90 it was thought to take


def test_too_many_requests_narrow_the_way_and_answers_widen_it(monkeypatch):
    clock = Clock(monkeypatch)
    limiter = Limiter(concurrency=8, clock=clock)

    async def go():
        tickets = [await limiter.acquire() for _ in range(8)]
        for ticket in tickets:  # eight refusals of requests that were under way together: halved once
            clock.now += 0.01
            limiter.narrow(ticket, 5.0)
            limiter.release(ticket)
        assert limiter.allowed == 4
        held = clock.now
        ticket = await limiter.acquire()
        assert clock.now - held == pytest.approx(5.0)
        limiter.narrow(ticket, 0.0)
        assert limiter.allowed == 2
        limiter.release(ticket)
        widened = []
        for _ in range(40):
            limiter.widen()
            widened.append(limiter.allowed)
        return widened

    widened = asyncio.run(go())
    assert widened[1] == 2  # two answers of two in flight make (nearly) one more
    assert widened[2] == 3
    assert widened[-1] == 8


def test_in_flight_never_exceeds_the_concurrency():
    async def go():
        limiter = Limiter(concurrency=3)
        busy, most = 0, 0

        async def one():
            nonlocal busy, most
            ticket = await limiter.acquire()
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.002)
            busy -= 1
            limiter.release(ticket)

        await asyncio.gather(*(one() for _ in range(20)))
        return most

    assert asyncio.run(go()) == 3


def test_a_stricter_limit_holds_from_then_on(monkeypatch):
    """Two teachers of one model at one address: in flight, too, no more than the stricter one may have."""
    clock = Clock(monkeypatch)
    limiter = Limiter(concurrency=8, tokens_per_minute=50, clock=clock)
    limiter.tighten(Limiter(concurrency=3, requests_per_minute=7, tokens_per_minute=90))
    assert limiter.allowed == 3
    assert (limiter.requests_per_minute, limiter.tokens_per_minute) == (7, 50)
    limiter.widen()
    assert limiter.allowed == 3
    limiter.tighten(Limiter(concurrency=5))
    assert (limiter.allowed, limiter.requests_per_minute) == (3, 7)


def test_teachers_of_one_model_share_what_may_be_in_flight(tmp_path):
    together, most = [0], [0]
    lock = threading.Lock()

    def script(model, question, nth):
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.02)
        with lock:
            together[0] -= 1
        return 200, chat()

    with vendor(script) as server:
        context = make_context(tmp_path, [server.url, server.url], n=8, concurrency=6)
        first, second = context.recipe.teachers
        second = second.model_copy(update={"limits": LimitsConfig(concurrency=2), "model": first.model})
        recipe = context.recipe.model_copy(update={"teachers": (first, second)})
        collect.run(replace(context, recipe=recipe))
    assert most[0] == 2


def test_429_is_no_fault_of_the_request(tmp_path):
    """More refusals than ``retries``: asked until it is answered, with the pause that is asked for."""
    times = []

    def script(model, question, nth):
        times.append(time.monotonic())
        if nth < 4:
            return 429, {"error": {"message": "slow down"}}, {"Retry-After": "0.05"}
        return 200, chat()

    with vendor(script) as server:
        facts = collect.run(make_context(tmp_path, [server.url], n=1, retries=0))
    assert facts["teachers"]["t0"]["answers"] == {"ok": 1}
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.05


def test_requests_per_minute_hold_over_two_runs(tmp_path, monkeypatch):
    """With a minute of 0.9 s: in no window of that length does the server see more.

    What the limiter takes for a minute has 0.3 s more, for requests that are late on their way.
    """
    monkeypatch.setattr(limiting, "WINDOW_S", 1.2)
    monkeypatch.setattr("driftbound.stages.roster.WINDOW_S", 1.2)
    times = []

    def script(model, question, nth):
        times.append(time.monotonic())
        return 200, chat()

    with vendor(script) as server:
        context = make_context(tmp_path, [server.url], n=8)
        limited = with_teacher(context, limits={"requests_per_minute": 5})
        monkeypatch.setattr("driftbound.teachers.collector.LEAD", 64)
        collect.run(limited)
        again = with_teacher(
            make_context(tmp_path, [server.url], n=8, temperature=0.5), limits={"requests_per_minute": 5}
        )
        collect.run(again)
    assert len(times) == 16
    for at in times:
        assert sum(at - 0.9 <= other <= at for other in times) <= 5


def with_teacher(context, **changes):
    """The context with its first teacher changed."""
    given = json.loads(context.recipe.model_dump_json())
    given["teachers"][0] |= changes
    return type(context)(Recipe.parse(given, where="test"), context.folder, context.domain, context.asking)


def test_the_budget_of_requests_stops_before_it_is_exceeded(tmp_path):
    """Failed requests count; the next run with a higher budget goes on."""
    with vendor(lambda model, question, nth: (500, {}) if nth == 0 else (200, chat())) as server:
        context = make_context(tmp_path, [server.url, server.url], n=6, retries=1, concurrency=2)
        with pytest.raises(TeacherError, match=r"t0: its budget of 7 requests is used up"):
            collect.run(with_teacher(context, limits={"requests": 7}))
        assert Counter(body["model"] for body in server.requests)["model-0"] == 7
        answered = {key for key, row in stored(context).items() if row.status == "ok"}
        assert sum(teacher == "t1" for _, teacher in answered) == 6  # held up by nobody
        assert sum(teacher == "t0" for _, teacher in answered) >= 2
        facts = collect.run(with_teacher(context, limits={"requests": 40}))
        assert facts["teachers"]["t0"]["answers"] == {"ok": 6}
        assert facts["teachers"]["t0"]["requests_ever"] == len(
            [body for body in server.requests if body["model"] == "model-0"]
        )


PRICE = {"prompt": 1000.0, "completion": 10000.0}
"""So that 70 tokens in and 9 out, what the server says each answer takes, cost 0.07 + 0.09 = 0.16 dollars."""


def test_the_budget_of_money_is_never_exceeded(tmp_path):
    """At most 10 tokens out: an answer may cost 0.07 x 1.25 + 0.10; each really costs 0.16."""
    with vendor(lambda model, question, nth: (200, chat())) as server:
        context = make_context(tmp_path, [server.url], n=9, concurrency=1, max_tokens=10)
        limited = with_teacher(context, limits={"money": 1.0}, price=PRICE)
        with pytest.raises(TeacherError, match=r"of its budget of 1 US dollars"):
            collect.run(limited)
        rows = stored(context)
        spent = sum(row.cost for row in rows.values())
        assert spent == pytest.approx(0.16 * len(rows))
        # The sixth might take it beyond 1.0: 0.80 + 0.1875 is below, 0.96 + 0.1875 is not.
        assert len(rows) == 6
        facts = collect.run(with_teacher(context, limits={"money": 2.0}, price=PRICE))
        assert facts["teachers"]["t0"]["cost"] == pytest.approx(0.16 * 9)


def test_what_may_have_been_charged_counts(tmp_path):
    """A cut connection is charged at the highest price: nobody knows. A 500 is not."""
    cut = (200, b'{"choices": [{"mess', {"Content-Length": "500", "Connection": "close"})
    with vendor(lambda model, question, nth: (cut, (500, {}), (200, chat()))[nth]) as server:
        context = make_context(tmp_path, [server.url], n=1, retries=3, max_tokens=10)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("driftbound.endpoints.client.LONGEST_BACK_OFF_S", 0.01)
            facts = collect.run(with_teacher(context, price=PRICE))
    told = facts["teachers"]["t0"]
    assert told["requests_ever"] == 3
    with Streams.open_readonly(context.folder.streams) as streams:
        rows = streams.db.execute("SELECT outcome, cost FROM attempts ORDER BY id").fetchall()
    assert [outcome for outcome, _ in rows] == ["connection", "500", attempts.ANSWERED]
    assert rows[0][1] > rows[2][1] == pytest.approx(0.16)
    assert rows[1][1] == 0
    assert told["money_at_most"] == pytest.approx(sum(cost for _, cost in rows), abs=1e-6)


def breaker(monkeypatch, **settings):
    now = [0.0]

    async def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(breaking.asyncio, "sleep", sleep)
    return Breaker("t at u", clock=lambda: now[0], **settings), now


def test_a_teacher_that_never_answered_is_given_up_at_once(monkeypatch):
    it, _ = breaker(monkeypatch)
    for _ in range(breaking.UNREACHABLE_IN_A_ROW - 1):
        it.failed("no connection", barred=True, hopeless=False, trial=False)
    with pytest.raises(TeacherError, match=r"t at u: not reachable \(no connection\)"):
        it.failed("no connection", barred=True, hopeless=False, trial=False)
    with pytest.raises(TeacherError, match="not reachable"):
        asyncio.run(it.admit())


def test_a_teacher_that_answered_is_waited_for_then_tried_then_given_up(monkeypatch):
    it, now = breaker(monkeypatch, cool_downs_s=(10.0, 30.0))
    it.succeeded()
    for _ in range(breaking.FAILED_IN_A_ROW):
        it.failed("500", barred=False, hopeless=False, trial=False)
    asyncio.run(it.admit())
    assert now[0] == pytest.approx(10.0)  # one question tries
    it.failed("500", barred=False, hopeless=False, trial=True)
    asyncio.run(it.admit())
    assert now[0] == pytest.approx(40.0)
    with pytest.raises(TeacherError, match=r"out of order \(500\)"):
        it.failed("500", barred=False, hopeless=False, trial=True)


def test_a_teacher_that_is_back_is_asked_as_before(monkeypatch):
    it, now = breaker(monkeypatch, cool_downs_s=(10.0,))
    it.succeeded()
    for _ in range(breaking.UNREACHABLE_IN_A_ROW):
        it.failed("timeout", barred=True, hopeless=False, trial=False)
    asyncio.run(it.admit())
    it.succeeded()
    for _ in range(3):
        asyncio.run(it.admit())
    assert now[0] == pytest.approx(10.0)


def test_what_was_asked_before_the_break_is_no_trial(monkeypatch):
    """Slow failures of questions from before do not use up the trials, nor let a second one in."""
    it, _ = breaker(monkeypatch, cool_downs_s=(10.0,))
    it.succeeded()
    for _ in range(breaking.UNREACHABLE_IN_A_ROW):
        it.failed("timeout", barred=True, hopeless=False, trial=False)
    assert asyncio.run(it.admit())  # the one question that tries is under way
    it.failed("timeout", barred=True, hopeless=False, trial=False)  # asked before
    it.abandoned(trial=False)

    async def next_one():
        await asyncio.wait_for(it.admit(), 0.05)

    monkeypatch.undo()  # real time for whoever must wait
    with pytest.raises(TimeoutError):
        asyncio.run(next_one())
    it.abandoned(trial=True)
    assert asyncio.run(it.admit())
    it.succeeded()
    assert not asyncio.run(it.admit())


def test_a_teacher_that_comes_back_is_collected_to_the_end(tmp_path, monkeypatch):
    """Down for a while in the middle: the breaker opens, one question tries, the rest is asked."""
    monkeypatch.setattr(breaking, "COOL_DOWNS_S", (0.2, 0.2, 0.2))
    asked = []

    def script(model, question, nth):
        asked.append(question)
        return (500, {}) if 10 < len(asked) <= 10 + breaking.FAILED_IN_A_ROW else (200, chat())

    with vendor(script) as server:
        context = make_context(tmp_path, [server.url], n=60, concurrency=1, max_failed=0.5)
        facts = collect.run(context)
        assert facts["teachers"]["t0"]["answers"] == {"failed": 20, "ok": 40}
        assert collect.run(context)["teachers"]["t0"]["answers"] == {"ok": 60}
