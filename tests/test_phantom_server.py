"""The scripted teachers over HTTP, asked with the real client."""

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from driftbound.config import DomainConfig
from driftbound.domains.phantom.completions import shortened
from driftbound.domains.phantom.population import population
from driftbound.domains.phantom.reliability import TEACHERS
from driftbound.domains.phantom.server import command
from driftbound.domains.phantom.teachers import answer

CONFIG = DomainConfig(train=6, validation=0, test=3, test_scanner=1)
SEED = 4
PHANTOMS = population(CONFIG, SEED)


def image_of(case_id: str) -> bytes:
    """The server only hashes images; what they show is not its business."""
    return f"the image of {case_id}".encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("run")
    (root / "images").mkdir()
    for phantom in PHANTOMS:
        (root / phantom.case.images[0]).write_bytes(image_of(phantom.case.case_id))
    return root


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [*command(folder, CONFIG, SEED), *more],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def base_url(folder) -> Iterator[str]:
    with serving(folder) as (url, _):
        yield url


@pytest.fixture(scope="module")
def client(base_url) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        yield client


def messages(image: bytes) -> list[dict]:
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


def ask(client: openai.OpenAI, teacher: str, position: int, **more):
    case_id = PHANTOMS[position].case.case_id
    return client.chat.completions.create(model=teacher, messages=messages(image_of(case_id)), **more)


def test_answers_are_the_teachers(client):
    """The text, version and finish of ``answer``, also when sixteen questions run at once."""
    keys = [(teacher, position) for teacher in TEACHERS for position in range(len(PHANTOMS))]
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda key: ask(client, *key), keys))
    for (teacher, position), reply in zip(keys, replies, strict=True):
        text, version, finish = answer(teacher, PHANTOMS[position], position, len(PHANTOMS), SEED)
        assert reply.choices[0].message.content == text
        assert reply.model == version
        assert reply.choices[0].finish_reason == finish == "stop"
    assert len({reply.id for reply in replies}) == len(keys)
    usage = replies[0].usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens >= len(replies[0].choices[0].message.content.split())


def test_the_seed_of_a_request_is_its_sample(client):
    third = ask(client, "grok-4", 2, seed=3).choices[0].message.content
    assert third == answer("grok-4", PHANTOMS[2], 2, len(PHANTOMS), SEED, 3).text
    assert third != ask(client, "grok-4", 2).choices[0].message.content


def test_an_answer_is_cut_at_max_tokens(client):
    """30 tokens at one and a half to a word are 20 words."""
    whole = ask(client, "grok-4", 1).choices[0].message.content
    cut = ask(client, "grok-4", 1, max_tokens=30)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 30
    text = cut.choices[0].message.content
    assert whole.startswith(text)
    assert len(text.split()) == 20


def test_a_cut_keeps_line_ends():
    assert shortened("a\n- b\n- c", 5) == ("a\n- b", True)
    assert shortened("a b", 1) == ("", True)


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == list(TEACHERS)


def test_unknown_image_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError, match="no case of this run") as caught:
        client.chat.completions.create(model="gpt-5", messages=messages(b"something else"))
    assert caught.value.code == "unknown_image"


def test_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="gpt-6") as caught:
        ask(client, "gpt-6", 0)
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not valid JSON"),
        (json.dumps({"model": "gpt-5"}).encode(), "messages"),
        (json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": [3]}]}).encode(), "parts"),
        (json.dumps({"model": "gpt-5", "messages": [{"role": "user", "content": ""}]}).encode(), "One image"),
        (json.dumps({"model": "gpt-5", "messages": [], "seed": -1}).encode(), "seed"),
        (json.dumps({"model": "gpt-5", "messages": [], "stream": True}).encode(), "stream"),
        (json.dumps({"model": ["gpt-5"], "messages": []}).encode(), "does not exist"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_bad_requests_are_told_so_and_the_connection_lives(base_url, body, said):
    connection = http.client.HTTPConnection(base_url.split("/")[2], timeout=60)
    for _ in range(2):
        connection.request("POST", "/v1/chat/completions", body)
        reply = connection.getresponse()
        error = json.loads(reply.read())["error"]
        assert reply.status == (404 if "exist" in said else 400)
        assert said in error["message"]
        assert error["type"] == "invalid_request_error"
    connection.close()


def test_planted_failures_are_retried_by_the_client(folder):
    """Every second question fails: two questions without retries lose one, with retries none."""
    with serving(folder, "--fail-every", "2") as (url, _):
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
            ask(client, "gpt-5", 0)
            with pytest.raises(openai.InternalServerError) as caught:
                ask(client, "gpt-5", 0)
            assert caught.value.status_code == 503
            assert "retry-after" in caught.value.response.headers
        with openai.OpenAI(base_url=url, api_key="none", max_retries=2) as client:
            assert len([ask(client, "gpt-5", position) for position in range(4)]) == 4


def test_it_ends_when_its_parent_lets_go(folder):
    with serving(folder) as (url, process):
        assert url.startswith("http://127.0.0.1:")
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        with pytest.raises(ConnectionRefusedError):
            http.client.HTTPConnection(url.split("/")[2], timeout=60).request("GET", "/v1/models")


def test_a_missing_image_is_one_clear_line(tmp_path):
    done = subprocess.run(command(tmp_path, CONFIG, SEED), capture_output=True, text=True, timeout=240)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert PHANTOMS[0].case.images[0] in done.stderr


def test_the_command_names_what_it_needs(folder):
    line = command(folder, CONFIG, SEED)
    assert line[0] == sys.executable
    assert DomainConfig.model_validate_json(line[line.index("--domain-json") + 1]) == CONFIG
