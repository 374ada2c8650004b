"""Two servers that others wrote, asked through collect; and what docs/servers.md says that they do."""

import json
import sys
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from benchmarks import real_servers, text_server
from driftbound.endpoints.images import data_url
from driftbound.endpoints.vendors import vendor_of
from driftbound.errors import TeacherError
from driftbound.phantom_base import PHANTOM_BASE, resolve_base
from driftbound.records import Status, Trajectory
from driftbound.store.folder import RunFolder
from driftbound.store.tables import read_cases

CASES = 6
QUESTION = "What does this chest radiograph show?"


def needs(name):
    """Skips a test where a server's packages are missing, and names them."""
    absent = real_servers.missing([real_servers.SERVERS[name]])
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


class Served:
    """A server that is up, what collect brought back from it, and a way to ask it past our client."""

    def __init__(self, name, url, folder):
        self.server = real_servers.SERVERS[name]
        self.url = url
        self.answers = real_servers.collect([self.server], [url], folder)[name]
        self.run = RunFolder(folder / real_servers.RUN)
        self.cases = sorted(read_cases(self.run.cases), key=lambda case: case.case_id)

    def image(self, n=0):
        return self.run.root / self.cases[n].images[0]

    def post(self, text=QUESTION, *, image=None, **fields):
        """HTTP status and body of an answer, whatever they are."""
        content = [{"type": "text", "text": text}]
        if image is not None:
            content.append({"type": "image_url", "image_url": {"url": data_url(image.read_bytes())}})
        body = {"model": self.server.model, "messages": [{"role": "user", "content": content}]}
        asked = Request(
            f"{self.url}/v1/chat/completions",
            data=json.dumps(body | {"max_tokens": 8} | fields).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urlopen(asked, timeout=60) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, error.read().decode()

    def text(self, *args, **fields):
        status, body = self.post(*args, **fields)
        assert status == 200, body
        (choice,) = body["choices"]
        return choice["message"]["content"]


def serve(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    with real_servers.serving(real_servers.SERVERS[name], folder) as (url, _):
        yield Served(name, url, folder)


@pytest.fixture(scope="module")
def transformers(tmp_path_factory):
    yield from serve("transformers", tmp_path_factory)


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    yield from serve("llama.cpp", tmp_path_factory)


@needs("transformers")
class TestTransformers:
    """``transformers serve`` with the student that ships, and images."""

    def test_answers_are_those_that_the_student_gives_in_process(self, transformers):
        """The same weights, question and pixels: neither way on nor way back changed anything."""
        from driftbound.learning.policy import LocalPolicy

        policy = LocalPolicy.load(resolve_base(PHANTOM_BASE), threads=1)
        expected = [
            policy.generate([case.prompt], [[transformers.image(n)]], max_new_tokens=real_servers.MAX_TOKENS)[
                0
            ][0]
            for n, case in enumerate(transformers.cases)
        ]
        assert [answer.text for answer in transformers.answers] == expected
        assert len(expected) == CASES
        assert len({*expected}) > 1  # the question is always the same: the images made the difference

    def test_what_is_stored(self, transformers):
        for answer in transformers.answers:
            assert answer.status is Status.OK
            assert answer.finish_reason == "stop"
            assert answer.version == "phantom-student@main"
            assert answer.prompt_tokens == 64 + 10  # image_seq_length of the checkpoint, and the question
            assert answer.completion_tokens > 1

    def test_what_it_ignores_without_a_word(self, transformers):
        image = transformers.image()
        plain = transformers.text(image=image, temperature=0)
        status, body = transformers.post(image=image, n=3, logprobs=True, top_logprobs=2)
        assert status == 200
        (choice,) = body["choices"]  # one, not three
        assert "logprobs" not in choice
        assert vendor_of("transformers").top_logprobs == 0
        assert "system_fingerprint" not in body
        # the checkpoint's generation_config says do_sample: false, and no temperature changes that
        assert {transformers.text(image=image, temperature=50.0) for _ in range(3)} == {plain}

    @pytest.mark.parametrize(
        ("fields", "status", "said"),
        [
            ({"top_k": 3}, 422, "Unexpected fields in the request: {'top_k'}"),
            ({"model": "other"}, 400, "Server is pinned to 'phantom-student'; requested 'other'."),
            ({"stop": ["."]}, 500, "Internal Server Error"),
        ],
    )
    def test_what_it_refuses(self, transformers, fields, status, said):
        got, body = transformers.post(image=transformers.image(), **fields)
        assert got == status
        assert said in body


@needs("llama.cpp")
class TestLlamaCpp:
    """llama.cpp's server with a random model that reads text only."""

    def test_what_is_stored(self, llama_cpp):
        assert len(llama_cpp.answers) == CASES
        for answer in llama_cpp.answers:
            assert answer.status is Status.TRUNCATED  # the model never comes to an end
            assert answer.finish_reason == "length"
            assert answer.version == text_server.NAME
            assert answer.completion_tokens == real_servers.MAX_TOKENS
            assert answer.prompt_tokens > len(QUESTION)  # a token per byte
            assert len(answer.text.split()) == real_servers.MAX_TOKENS
            assert {*answer.text.split()} <= {*text_server.WORDS}

    def test_gives_log_probabilities(self, llama_cpp):
        status, body = llama_cpp.post(logprobs=True, top_logprobs=2, max_tokens=3)
        assert status == 200
        said = body["choices"][0]["logprobs"]["content"]
        assert "".join(token["token"] for token in said) == body["choices"][0]["message"]["content"]
        assert all(token["logprob"] <= 0 and len(token["top_logprobs"]) == 2 for token in said)

    def test_takes_any_name_and_any_field(self, llama_cpp):
        assert llama_cpp.text(temperature=0, model="other", no_such_field=1) == llama_cpp.text(temperature=0)

    def test_what_it_refuses(self, llama_cpp):
        status, body = llama_cpp.post(image=llama_cpp.image())
        assert (status, "image input is not supported" in body) == (500, True)
        status, body = llama_cpp.post(n=2)
        assert (status, "Field 'n'" in body) == (400, True)
        status, body = llama_cpp.post("word " * text_server.CONTEXT)
        assert (status, "exceed_context_size_error" in body) == (400, True)


@needs("llama.cpp")
def test_the_model_is_the_same_for_the_same_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        text_server.write_model(tmp_path / name, seed=seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c


HEALTHY = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def script(code):
    """A server that is a few lines of Python."""
    return replace(
        real_servers.SERVERS["transformers"], prepare=lambda folder: [sys.executable, "-c", code], needs=()
    )


def test_a_server_is_stopped_whatever_happens(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        real_servers.serving(script(HEALTHY), tmp_path) as (url, _),
    ):
        raise ZeroDivisionError
    with pytest.raises(OSError, match="refused"):
        urlopen(f"{url}/health", timeout=2)


def test_a_server_that_does_not_come_up_says_why(tmp_path):
    dying = script("raise SystemExit('no such model')")
    with (
        pytest.raises(TeacherError, match=r"transformers: did not come up \(no such model\)"),
        real_servers.serving(dying, tmp_path),
    ):
        pass


def test_missing_packages_are_one_line_and_status_2(monkeypatch, capsys):
    monkeypatch.setattr(real_servers, "find_spec", lambda module: None)
    with pytest.raises(SystemExit) as left:
        real_servers.main(["--server", "llama.cpp"])
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        "not installed: xllamacpp, gguf. Run pip install 'driftbound[servers]'.\n"
    )


def test_a_run_is_not_overwritten(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        real_servers.main(["--runs", str(tmp_path)])
    assert left.value.code == 2
    assert "is there already" in capsys.readouterr().err


def test_the_table_adds_up(monkeypatch, capsys):
    server = real_servers.SERVERS["transformers"]
    answers = tuple(
        Trajectory(
            case_id=str(n),
            teacher=server.name,
            status=status,
            version="v1",
            prompt_tokens=70 + n,
            completion_tokens=n,
            latency_s=0.5 * n,
        )
        for n, status in enumerate((Status.OK, Status.TRUNCATED, Status.OK))
    )
    monkeypatch.setattr(real_servers, "missing", lambda servers: [])
    monkeypatch.setattr(
        real_servers,
        "collect_from",
        lambda servers, folder: [real_servers.Asked(each, 3.21, answers) for each in servers],
    )
    real_servers.main(["--server", "transformers"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(" transformers"))
    assert line.split("  ")[0].startswith(" transformers (transformers ")
    assert "2 ok, 1 truncated" in line
    assert line.split()[-5:] == ["v1", "213", "3", "0.50", "3.2"]


@needs("transformers")
@needs("llama.cpp")
def test_the_command(tmp_path, capsys):
    """Both at once, from one recipe; llama.cpp would have refused the images that the other one saw."""
    real_servers.main(["--runs", str(tmp_path / "kept")])
    said = capsys.readouterr().out
    assert "6 ok" in said
    assert "6 truncated" in said
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept >= {real_servers.RUN, "recipe.yaml", "llama.cpp.log", "transformers.log"}
