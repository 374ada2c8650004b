"""Vendors: the table is complete and read to the last field; what an endpoint refuses is told before."""

import asyncio
import dataclasses
import itertools
import ssl

import pytest
import yaml
from test_collect import PIXEL, chat, make_context, stored, vendor

from driftbound.config import Recipe
from driftbound.endpoints import vendors
from driftbound.endpoints.client import Asked, Endpoint
from driftbound.endpoints.gate import Destination, Gate
from driftbound.endpoints.limiter import Limiter
from driftbound.endpoints.replies import Failure, Reply
from driftbound.endpoints.vendors import BatchRules, ImageRules, Vendor, hosts, is_vendors, vendor_of
from driftbound.errors import ConfigError
from driftbound.stages import collect, roster

REMOTE = ("openai", "gemini", "anthropic", "xai", "dashscope", "zhipu", "moonshot")
OWN = ("vllm", "sglang", "llama.cpp")
TABLE = yaml.safe_load((vendors.files("driftbound.endpoints") / "vendors.yaml").read_text())
OF_A_MODEL = {"unsupported", "ranges", "top_logprobs", "images", "rename", "refusal_codes", "batch"}


@pytest.mark.parametrize("name", [*REMOTE, *OWN])
def test_the_table_is_complete(name):
    one = vendor_of(name)
    assert one.name == name
    assert one.base_url.startswith("https://" if name in REMOTE else "http://127.0.0.1:")
    assert one.own_server is (name in OWN)
    assert one.key_env.endswith("_API_KEY") if name in REMOTE else one.key_env == ""
    assert {"PNG", "JPEG"} <= set(one.images.formats) <= set(vendors.FORMATS)
    assert "content_filter" in one.refusal_codes
    assert 0 <= one.top_logprobs <= 20
    if name in REMOTE:
        assert one.images.largest_bytes > 1_000_000
        assert is_vendors(one.base_url.split("/")[2])
        assert "domains" in TABLE[name]


@pytest.mark.parametrize("name", TABLE)
def test_no_field_of_the_table_is_misspelt(name):
    """Every key is one that the code reads, and the code reads every key as it stands there."""
    given = TABLE[name]
    fields = {field.name for field in dataclasses.fields(Vendor)} - {"name"}
    assert set(given) <= fields | {"models", "domains"}
    assert {"base_url", "key_env", "images", "top_logprobs", "batch"} <= set(given)
    assert set(given["images"]) <= {field.name for field in dataclasses.fields(ImageRules)}
    assert given["batch"] is None or set(given["batch"]) == {f.name for f in dataclasses.fields(BatchRules)}
    for other in given.get("models", {}).values():
        assert set(other) <= OF_A_MODEL
    assert all(len(ends) == 2 and ends[0] <= ends[1] for ends in given.get("ranges", {}).values())
    one = vendor_of(name)
    assert one.images == ImageRules(**given["images"] | {"formats": tuple(given["images"]["formats"])})
    assert one.unsupported == set(given.get("unsupported", ()))
    assert one.ranges == {key: tuple(ends) for key, ends in given.get("ranges", {}).items()}
    assert one.rename == given.get("rename", {})
    assert one.top_logprobs == given["top_logprobs"]
    assert one.batch == (BatchRules(**given["batch"]) if given["batch"] else None)
    assert one.refusal_codes == set(given.get("refusal_codes", ["content_filter"]))


@pytest.mark.parametrize("name", TABLE)
def test_who_gives_no_logprobs_refuses_them(name):
    models = [vendor_of(name), *(vendor_of(name, pattern) for pattern in TABLE[name].get("models", {}))]
    for one in models:
        if one.top_logprobs == 0:
            assert "logprobs" in one.unsupported


def test_hosts_are_those_of_others():
    assert {"api.openai.com", "api.anthropic.com", "api.x.ai", "api.z.ai", "api.moonshot.ai"} <= hosts()
    assert not {"127.0.0.1", "localhost", ""} & hosts()
    assert not is_vendors("127.0.0.1")
    assert not is_vendors("myopenai.com")
    assert not is_vendors("")


def test_an_unknown_vendor_is_told_with_its_neighbour():
    with pytest.raises(ConfigError, match="did you mean 'openai'"):
        vendor_of("opneai")
    with pytest.raises(ConfigError, match=r"vendors: openai, gemini.*Else give base_url"):
        vendor_of("zzz")


# ---- what is refused ----------------------------------------------------------------------------


def recipe_with(name, model="m", **sampling):
    teacher = {"name": "alpha", "model": model, "vendor": name, "sampling": sampling}
    return Recipe.parse({"name": "run", "teachers": [teacher]}, where="test")


@pytest.mark.parametrize(
    ("name", "model", "sampling", "said"),
    [
        ("openai", "gpt-5-mini", {"top_p": 0.9}, "alpha: openai does not take top_p"),
        ("openai", "o3", {"logprobs": 0}, "alpha: openai does not take logprobs"),
        ("openai", "gpt-5", {"temperature": 0.2}, "alpha: openai takes only 1 as temperature, not 0.2"),
        ("gemini", "gemini-2.5-pro", {"logprobs": 3}, "alpha: gemini does not take logprobs"),
        ("anthropic", "claude", {"seed": 1}, "alpha: anthropic does not take seed"),
        ("anthropic", "claude", {"reasoning_effort": "low"}, "does not take reasoning_effort"),
        (
            "anthropic",
            "claude",
            {"temperature": 1.2},
            "alpha: anthropic takes 0 to 1 as temperature, not 1.2",
        ),
        ("xai", "grok-3", {"logprobs": 9}, "alpha: xai gives 8 alternatives per token at most, not 9"),
        ("xai", "grok-4", {"reasoning_effort": "low"}, "alpha: xai does not take reasoning_effort"),
        ("xai", "grok-4-fast-reasoning", {"reasoning_effort": "low"}, "does not take reasoning_effort"),
        ("dashscope", "qwen-vl-max", {"logprobs": 6}, "alpha: dashscope gives 5 alternatives"),
        ("zhipu", "glm-4.5v", {"seed": 3}, "alpha: zhipu does not take seed"),
        ("moonshot", "kimi", {"temperature": 1.5}, "alpha: moonshot takes 0 to 1 as temperature"),
        ("transformers", "m", {"logprobs": 1}, "alpha: transformers does not take logprobs"),
    ],
)
def test_what_an_endpoint_does_not_take_is_refused_before_anything_is_sent(
    tmp_path, name, model, sampling, said
):
    recipe = recipe_with(name, model, **{"temperature": 1.0} | sampling)
    context = dataclasses.replace(make_context(tmp_path, ["scripted"]), recipe=recipe)
    with pytest.raises(ConfigError) as caught:
        collect.run(context)
    line = str(caught.value)
    assert said in line
    assert f"sampling.{next(iter(sampling))}" in line  # the key of the recipe to put right
    assert "\n" not in line
    assert not context.folder.audit.exists()


@pytest.mark.parametrize(
    ("name", "model", "sampling"),
    [
        ("openai", "gpt-4.1", {"top_p": 0.9, "temperature": 0.2, "logprobs": 20}),
        ("openai", "gpt-5", {"temperature": 1.0, "reasoning_effort": "low"}),
        ("anthropic", "claude", {"temperature": 0.0, "top_p": 0.5}),
        ("xai", "grok-3", {"logprobs": 8, "seed": 1}),
        ("xai", "grok-4.3", {"reasoning_effort": "low"}),
        ("vllm", "any", {"temperature": 2.0, "logprobs": 20, "seed": 5}),
    ],
)
def test_what_it_takes_passes(tmp_path, name, model, sampling):
    context = dataclasses.replace(
        make_context(tmp_path, ["scripted"]), recipe=recipe_with(name, model, **sampling)
    )
    roster.check(context, context.recipe.teachers, ["public"], keys=False)


def test_a_seed_is_not_added_where_none_is_taken():
    """Further samples differ by seed, or by chance alone."""
    from driftbound.teachers.preparing import settings_of

    assert settings_of(2, {"temperature": 1.0}, vendor_of("openai")) == {"temperature": 1.0, "seed": 2}
    assert settings_of(2, {"temperature": 1.0}, vendor_of("anthropic")) == {"temperature": 1.0}


def test_limits_without_a_vendor_are_told_too():
    with pytest.raises(ConfigError, match="t: its endpoint gives 20 alternatives"):
        Vendor().refuse("t", {"logprobs": 21})


def test_patterns_of_models_add_up(monkeypatch):
    """By hand: both patterns fit; the last value counts, what is unsupported is so by any of them."""
    entry = {
        "base_url": "https://x.example.com",
        "key_env": "X_KEY",
        "images": {"formats": ["PNG"]},
        "unsupported": ["seed"],
        "top_logprobs": 5,
        "ranges": {"temperature": [0, 2]},
        "batch": None,
        "models": {
            "big*": {"unsupported": ["top_p"], "top_logprobs": 3, "ranges": {"temperature": [0, 1]}},
            "*-thinking": {"unsupported": ["logprobs"], "top_logprobs": 0},
            "Small": {"top_logprobs": 1},
        },
    }
    monkeypatch.setattr(vendors, "_table", lambda: {"x": entry})
    both = vendor_of("x", "big-thinking")
    assert both.unsupported == {"seed", "top_p", "logprobs"}
    assert (both.top_logprobs, both.ranges) == (0, {"temperature": (0, 1)})
    assert vendor_of("x", "other").top_logprobs == 5
    assert vendor_of("x", "small").top_logprobs == 5  # case counts
    assert vendor_of("x", "Small").unsupported == {"seed"}


# ---- what is sent and what comes back -------------------------------------------------------------


def ask(server, one, params=None, image=PIXEL):
    async def once():
        endpoint = Endpoint(
            Destination(purpose="teacher t", url=server.url),
            "m",
            gate=Gate(),
            limiter=Limiter(concurrency=1),
            vendor=one,
            timeout_s=5.0,
            retries=0,
        )
        asked = Asked(question="Look", images=[image], params=params or {}, sensitivity="public", what="h")
        outcome = await endpoint.ask(asked)
        await endpoint.close()
        return outcome

    return asyncio.run(once())


@pytest.mark.parametrize("name", [*REMOTE, *OWN])
def test_settings_arrive_in_the_vendors_words(name):
    one = vendor_of(name)
    given = {"max_tokens": 7, "temperature": 1.0, "top_p": 0.5}
    given |= {} if "seed" in one.unsupported else {"seed": 3}
    given |= {} if "logprobs" in one.unsupported else {"logprobs": 2}
    with vendor(lambda *_: (200, chat())) as server:
        assert isinstance(ask(server, one, given), Reply)
        (body,) = server.requests
    tokens = "max_completion_tokens" if name == "openai" else "max_tokens"
    expected = {tokens: 7, "temperature": 1.0, "top_p": 0.5}
    expected |= {"seed": 3} if "seed" in given else {}
    expected |= {"logprobs": True, "top_logprobs": 2} if "logprobs" in given else {}
    assert {key: value for key, value in body.items() if key not in ("model", "messages")} == expected


CODES = [(name, code) for name in REMOTE for code in sorted(vendor_of(name).refusal_codes)]


@pytest.mark.parametrize(("name", "code"), CODES)
def test_a_vendors_code_of_refusal_is_a_refusal(name, code):
    """In an error body of status 400, as text and as number; another code or status is a failure."""
    forms = [{"error": {"code": code, "message": "no"}}, {"code": code, "message": "no"}]
    forms += [{"error": {"code": int(code), "message": "no"}}] if code.isdecimal() else []
    for body in forms:
        with vendor(lambda *_, body=body: (400, body)) as server:
            outcome = ask(server, vendor_of(name))
        assert isinstance(outcome, Failure)
        assert outcome.refused
    with vendor(lambda *_: (400, {"error": {"code": "invalid_request", "message": "no"}})) as server:
        assert not ask(server, vendor_of(name)).refused
    with vendor(lambda *_: (500, {"error": {"code": code, "message": "no"}})) as server:
        assert not ask(server, vendor_of(name)).refused


def test_a_refusal_by_code_is_an_answer_and_is_not_asked_again(tmp_path):
    said = {"error": {"code": "1301", "message": "sensitive content"}}
    turns = itertools.count()
    with vendor(lambda *_: (400, said) if next(turns) % 2 == 0 else (200, chat())) as server:
        context = make_context(tmp_path, [server.url], n=2, concurrency=1)
        teacher = context.recipe.teachers[0].model_copy(update={"vendor": "vllm"})
        codes = dataclasses.replace(vendor_of("vllm"), refusal_codes=frozenset({"1301"}))
        recipe = context.recipe.model_copy(update={"teachers": (teacher,)})
        context = dataclasses.replace(context, recipe=recipe)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(roster, "vendor_of", lambda *_: codes)
            facts = collect.run(context)
            assert facts["teachers"]["t0"]["answers"] == {"ok": 1, "refused": 1}
            collect.run(context)
        assert len(server.requests) == 2
    (refused,) = [row for row in stored(context).values() if row.status == "refused"]
    assert "sensitive content" in refused.text
    assert refused.finish_reason == "content_filter"


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "HTTPS://api.example.com/v1"])
def test_certificates_are_checked_however_the_address_is_written(url):
    async def go():
        destination = Destination(purpose="teacher a", url=url)
        endpoint = Endpoint(destination, "m", gate=Gate(), limiter=Limiter(concurrency=1))
        pool = endpoint._connected()._client._transport._pool
        await endpoint.close()
        return pool._ssl_context.verify_mode

    assert asyncio.run(go()) is ssl.CERT_REQUIRED


def test_a_vendors_own_word_for_a_setting_does_not_go_past_ours():
    """It would stand in the body in the place of ours, and the budget would reckon with another one."""
    with pytest.raises(ConfigError, match=r"a: openai calls max_tokens max_completion_tokens.*max_tokens"):
        vendor_of("openai").refuse("a", {"max_tokens": 400, "max_completion_tokens": 9000})
