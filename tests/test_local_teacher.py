"""The teacher in this process: together as alone, beside others, and what becomes of failures."""

import asyncio
import json
import re
import threading
import time
from pathlib import Path

import pytest

from driftbound.domains.phantom.claims import is_refusal
from driftbound.errors import ModelError, StoreError, TeacherError
from driftbound.learning.policy import LocalPolicy
from driftbound.phantom_base import resolve_base
from driftbound.protocols import Teacher
from driftbound.records import Case, Completion, Request, Status
from driftbound.teacher_config import ImagesConfig
from driftbound.teachers.local import FAILED_IN_A_ROW, LocalTeacher, seed_of
from driftbound.teachers.statuses import status_of

ROOT = Path(__file__).parent.parent
SETTINGS = {
    "name": "mine",
    "model": "some/model",
    "images": ImagesConfig(mode="optional"),
    "batch": 4,
    "is_refusal": is_refusal,
}


def request_of(n, *, sample=0, wave=0, images=(), question="What does this chest radiograph show?"):
    case = Case(case_id=f"c{n}", cluster=f"p{n}", split="train", prompt=question, images=())
    return Request(
        case=case, question=question, images=images, request_hash=f"hash {n}", sample=sample, wave=wave
    )


def teacher_of(sampler, **changes):
    own = {key: changes.pop(key) for key in [*changes] if key in SETTINGS}
    params = {"temperature": 1.5, "top_p": 0.9, "max_tokens": 6} | changes
    return LocalTeacher(sampler, params=params, **SETTINGS | own)


def ask(teacher, requests, *, together=True):
    async def everyone():
        if together:
            return await asyncio.gather(*map(teacher.answer, requests), return_exceptions=True)
        return [await teacher.answer(request) for request in requests]

    return asyncio.run(everyone())


class Scripted:
    """A sampler that says what it is told, or fails; notes who was asked together, and in which thread."""

    version, fingerprint = "sha256:00", "torch 0 transformers 0"

    def __init__(self, say=lambda question: "Edema.", *, ended=True, seconds=0.0):
        self.say, self.ended, self.seconds = say, ended, seconds
        self.batches, self.threads = [], set()
        self.asking = self.most = 0

    def complete(self, questions, images, *, max_new_tokens, temperature, top_p, seeds, logprobs):
        self.asking += 1
        self.most = max(self.most, self.asking)
        self.batches.append(list(questions))
        self.threads.add(threading.get_ident())
        self.work()
        self.asking -= 1
        counts = {"ended": self.ended, "prompt_tokens": 7, "completion_tokens": 3}
        return [Completion(text=self.say(question), **counts) for question in questions]

    def work(self):
        time.sleep(self.seconds)


class Held(Scripted):
    """One that has no answer before it may go on."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def work(self):
        self.go.wait(60)


@pytest.fixture(scope="module")
def policy():
    return LocalPolicy.load(resolve_base("phantom-base"))


# --- with a model


def test_together_is_as_one_at_a_time(policy):
    """Answers, log-probabilities and counts; images of two cases, none in the others."""
    image = (ROOT / "docs" / "pictures" / "signs.png").read_bytes()
    requests = [request_of(n, images=(image,) * (n < 2), question="What? " * (n + 1)) for n in range(6)]
    requests += [request_of(0, images=(image,), sample=1), request_of(3, sample=1, wave=2)]
    together = ask(teacher_of(policy, logprobs=1), requests)
    alone = ask(teacher_of(policy, logprobs=1, batch=1), requests, together=False)
    for one, other in zip(together, alone, strict=True):
        assert (one.text, one.finish_reason, one.status) == (other.text, other.finish_reason, other.status)
        assert (one.prompt_tokens, one.completion_tokens) == (other.prompt_tokens, other.completion_tokens)
        logps = [token["logprob"] for token in json.loads(other.logprobs)]
        assert [token["logprob"] for token in json.loads(one.logprobs)] == pytest.approx(logps, abs=1e-3)
    assert len({each.text for each in together}) > 4


def test_a_request_asked_again_is_answered_again_the_same(policy):
    requests = [request_of(1, sample=sample, wave=wave) for sample in (0, 1) for wave in (0, 1)]
    texts = [each.text for each in ask(teacher_of(policy), requests)]
    assert texts[0] == texts[1] != texts[2] == texts[3]


def test_everything_worth_knowing_is_filled_in(policy):
    request = request_of(4, sample=1, wave=2)
    teacher = teacher_of(policy, temperature=0, logprobs=2)
    assert isinstance(teacher, Teacher)
    found = ask(teacher, [request])[0]
    said = policy.complete([request.question], [()], max_new_tokens=6, logprobs=2)[0]
    assert json.loads(found.params) == json.loads(teacher.params)
    assert json.loads(teacher.params) == {"logprobs": 2, "max_tokens": 6, "temperature": 0.0, "top_p": 0.9}
    assert (found.case_id, found.teacher, found.sample, found.wave) == ("c4", "mine", 1, 2)
    assert (found.model, found.version, found.fingerprint) == (
        "some/model",
        policy.version,
        policy.fingerprint,
    )
    assert (found.status, found.finish_reason, found.text) == (Status.TRUNCATED, "length", said.text)
    assert (found.prompt_tokens, found.completion_tokens) == (said.prompt_tokens, 6)
    assert json.loads(found.logprobs) == list(said.logprobs)
    assert found.request_hash == "hash 4"
    assert found.latency_s > 0
    assert found.created_at.endswith("+00:00")
    assert (found.cost, found.error) == (0.0, "")


def test_an_image_that_is_none_fails_alone(policy):
    requests = [request_of(0), request_of(1, images=(b"no image",)), request_of(2)]
    found = ask(teacher_of(policy), requests)
    assert [each.status for each in found] == [Status.TRUNCATED, Status.FAILED, Status.TRUNCATED]
    assert found[1].error == "not sent: 8 bytes that are no readable image"
    assert found[1].text == ""


def test_cases_that_cannot_be_put_are_no_fault_of_the_model(policy):
    """More of them in a row than a model may fail: the next case is answered."""
    blind = [request_of(n, images=(b"no image",)) for n in range(FAILED_IN_A_ROW + 1)]
    found = ask(teacher_of(policy), [*blind, request_of(99)])
    assert [each.status for each in found] == [Status.FAILED] * len(blind) + [Status.TRUNCATED]


def test_the_docs_snippet_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "local-teacher.md").read_text(), re.DOTALL)[
        1
    ]
    said = {}
    exec(compile(snippet, "docs/local-teacher.md", "exec"), said)
    assert said["answer"].error == ""
    assert said["rows"].shape == (len(said["tokens"].ids), 811)
    assert capsys.readouterr().out.endswith(f"{said['answer'].text}\n")


# --- without


def test_who_waits_is_answered_together_one_batch_at_a_time():
    sampler = Scripted(seconds=0.01)
    requests = [request_of(n, question=str(n)) for n in range(10)]
    found = ask(teacher_of(sampler, batch=4), requests)
    assert [each.case_id for each in found] == [f"c{n}" for n in range(10)]
    assert sampler.batches == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    assert threading.get_ident() not in sampler.threads
    assert sampler.most == 1


def test_others_go_on_meanwhile():
    async def beside():
        sampler, ticks = Held(), 0
        answer = asyncio.create_task(teacher_of(sampler).answer(request_of(0)))
        while not answer.done():
            await asyncio.sleep(0.01)
            ticks += 1
            if ticks > 3:
                sampler.go.set()
        return ticks

    assert asyncio.run(beside()) > 3


def test_who_stops_waiting_is_not_asked_and_holds_nobody_up():
    sampler = Held()

    async def some():
        teacher = teacher_of(sampler, batch=2)
        tasks = [asyncio.create_task(teacher.answer(request_of(n, question=str(n)))) for n in range(6)]
        while not sampler.batches:
            await asyncio.sleep(0.01)
        for n in (0, 2):  # one is being answered, one waits
            tasks[n].cancel()
        await asyncio.sleep(0.01)
        sampler.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await teacher.close()
        return found

    found = asyncio.run(some())
    assert [type(each).__name__ for each in found] == ["CancelledError", "Trajectory"] + (
        ["CancelledError"] + ["Trajectory"] * 3
    )
    assert sampler.batches == [["0", "1"], ["3", "4"], ["5"]]
    assert sampler.most == 1


def failing(error):
    def say(question):
        if question == "bad":
            raise error
        return "Edema."

    return say


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA out of memory.\nTried to allocate"), "CUDA out of memory. Tried to allocate"),
        (ModelError("sampling: not finite. Load it."), "sampling: not finite. Load it"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_a_model_that_fails_at_one_case_fails_it_alone(error, said):
    requests = [request_of(n, question="bad" if n == 2 else "good") for n in range(4)]
    found = ask(teacher_of(Scripted(failing(error))), requests)
    assert [each.status for each in found] == [Status.OK, Status.OK, Status.FAILED, Status.OK]
    assert found[2].error.removeprefix("RuntimeError: ") == said
    assert (found[2].case_id, found[2].request_hash, found[2].finish_reason) == ("c2", "hash 2", "")


def test_a_model_that_always_fails_is_given_up():
    requests = [request_of(n, question="bad") for n in range(FAILED_IN_A_ROW)]
    teacher = teacher_of(Scripted(failing(ValueError("broken"))))
    *failed, last = ask(teacher, requests)
    assert [each.status for each in failed] == [Status.FAILED] * (FAILED_IN_A_ROW - 1)
    assert isinstance(last, TeacherError)
    assert str(last) == f"mine: {FAILED_IN_A_ROW} failed in a row (ValueError: broken)"


def test_a_good_answer_between_failures_is_a_sign_of_life():
    requests = [request_of(n, question="good" if n == 15 else "bad") for n in range(30)]
    found = ask(teacher_of(Scripted(failing(ValueError("broken")))), requests)
    assert [each.status for each in found].count(Status.FAILED) == 29


def test_errors_that_are_not_the_models_stop_everything():
    class Gone(Scripted):
        @property
        def version(self):
            raise StoreError("weights: cannot be read")

    found = ask(teacher_of(Gone()), [request_of(n) for n in range(2)])
    assert [str(each) for each in found] == ["weights: cannot be read"] * 2


def test_closed_it_lets_go_of_its_model():
    async def closing():
        teacher = teacher_of(Scripted(seconds=0.05))
        last = asyncio.create_task(teacher.answer(request_of(0)))
        await asyncio.sleep(0.01)
        await teacher.close()
        assert last.done()
        with pytest.raises(TeacherError, match="closed"):
            await teacher.answer(request_of(1))
        await teacher_of(Scripted()).close()

    asyncio.run(closing())


@pytest.mark.parametrize(
    ("text", "ended", "status", "finish_reason"),
    [
        ("Edema.", True, Status.OK, "stop"),
        ("Edema", False, Status.TRUNCATED, "length"),
        (" \n", True, Status.EMPTY, "stop"),
        ("As an AI I cannot interpret medical images.", True, Status.REFUSED, "stop"),
    ],
)
def test_status_says_what_the_answer_is(text, ended, status, finish_reason):
    found = ask(teacher_of(Scripted(lambda question: text, ended=ended)), [request_of(0)])[0]
    assert (found.status, found.finish_reason, found.text) == (status, finish_reason, text)
    assert found.logprobs == ""


def test_seeds_differ_by_request_and_sample_and_by_nothing_else():
    seeds = {seed_of(request_of(n, sample=sample)) for n in range(5) for sample in range(5)}
    assert len(seeds) == 25
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(request_of(1, wave=3, question="?")) == seed_of(request_of(1))


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (("", "SAFETY", ""), Status.REFUSED),
        (("Edema.", "Content_Filter", ""), Status.REFUSED),
        (("Edema.", "stop", "I will not."), Status.REFUSED),
        (("Edema.", "sensitive", ""), Status.REFUSED),
        (("Edema.", "refusal", ""), Status.REFUSED),
        ((" \n", "length", ""), Status.EMPTY),
        (("no", "length", ""), Status.REFUSED),
        (("Edema", "MAX_TOKENS", ""), Status.TRUNCATED),
        (("Edema", "length", ""), Status.TRUNCATED),
        (("Edema.", "", ""), Status.OK),
        (("Edema.", "end_turn", ""), Status.OK),
    ],
)
def test_statuses_in_their_order_of_precedence(given, status):
    assert status_of(*given, lambda text: text == "no") is status
