"""Vendors: what differs between endpoints that speak the same schema; read from ``vendors.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import yaml

from driftbound.errors import ConfigError

FORMATS = ("PNG", "JPEG", "GIF", "WEBP")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRules:
    """What an endpoint takes as an image; ``None`` where it states no limit."""

    formats: tuple[str, ...] = FORMATS
    largest_bytes: int | None = None
    """Of one file."""
    largest_side: int | None = None
    """Pixels."""
    largest_request: int | None = None
    """Bytes of a whole request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRules:
    """A cheaper queue for files of requests."""

    largest_requests: int
    largest_bytes: int
    price_share: float
    """Of the usual price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One entry of the table; without a name, an endpoint of which nothing special is known."""

    name: str = ""
    base_url: str = ""
    key_env: str = ""
    own_server: bool = False
    images: ImageRules = ImageRules()
    rename: Mapping[str, str] = field(default_factory=dict)
    unsupported: frozenset[str] = frozenset()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    top_logprobs: int = 20
    refusal_codes: frozenset[str] = frozenset({"content_filter"})
    batch: BatchRules | None = None

    def refuse(self, teacher: str, params: Mapping[str, Any]) -> None:
        """Raise ``ConfigError`` for a setting that this endpoint does not take or ignores."""
        place = self.name or "its endpoint"
        for ours, theirs in self.rename.items():
            if theirs in params:
                raise ConfigError(
                    f"{teacher}: {place} calls {ours} {theirs}. Write sampling.{ours} in the place of "
                    f"sampling.extra.{theirs}."
                )
        for key, value in params.items():
            if key in self.unsupported:
                raise ConfigError(
                    f"{teacher}: {place} does not take {key}, or ignores it. "
                    f"Set sampling.{key}: null for this teacher."
                )
            low, high = self.ranges.get(key, (float("-inf"), float("inf")))
            if isinstance(value, int | float) and not low <= value <= high:
                allowed = f"only {low:g}" if low == high else f"{low:g} to {high:g}"
                raise ConfigError(
                    f"{teacher}: {place} takes {allowed} as {key}, not {value:g}. "
                    f"Correct sampling.{key} of this teacher."
                )
        if params.get("logprobs") is not None and params["logprobs"] > self.top_logprobs:
            raise ConfigError(
                f"{teacher}: {place} gives {self.top_logprobs} alternatives per token at most, not "
                f"{params['logprobs']}. Correct sampling.logprobs of this teacher."
            )


def vendor_of(name: str, model: str = "") -> Vendor:
    """The entry of a vendor, as it holds for a model; raises ``ConfigError`` for an unknown one."""
    table = _table()
    if name not in table:
        near = get_close_matches(name, table, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"vendors: {', '.join(table)}."
        raise ConfigError(f"vendor {name!r} is not in the table; {hint} Else give base_url.")
    given = dict(table[name])
    unsupported = set(given.get("unsupported", ()))
    for pattern, other in given.get("models", {}).items():
        if fnmatchcase(model, pattern):
            given |= other
            unsupported |= set(other.get("unsupported", ()))
    return _vendor(name, given | {"unsupported": unsupported})


def hosts() -> frozenset[str]:
    """Hosts of all vendors that are not a server of one's own."""
    urls = (entry["base_url"] for entry in _table().values() if not entry.get("own_server"))
    return frozenset(urlsplit(url).hostname or "" for url in urls)


ELSEWHERE = (
    "openrouter.ai",
    "together.ai",
    "together.xyz",
    "mistral.ai",
    "deepseek.com",
    "groq.com",
    "fireworks.ai",
    "azure.com",
    "amazonaws.com",
    "googleapis.com",
    "huggingface.co",
    "huggingface.cloud",
)
"""Domains of others who serve models to anybody."""


def is_vendors(host: str) -> bool:
    """Whether a host is one of a vendor's, of whatever region, and so no server of one's own.

    >>> is_vendors("eu.api.openai.com"), is_vendors("API.OpenAI.com."), is_vendors("openai.com.example.org")
    (True, True, False)
    """
    name = host.lower().rstrip(".")
    listed = (domain for entry in _table().values() for domain in entry.get("domains", ()))
    domains = (*listed, *ELSEWHERE)
    return name in hosts() or any(name == domain or name.endswith("." + domain) for domain in domains)


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("driftbound.endpoints").joinpath("vendors.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return table


def _vendor(name: str, given: Mapping[str, Any]) -> Vendor:
    images = dict(given["images"])
    batch = given.get("batch")
    codes = given.get("refusal_codes")
    return Vendor(
        name=name,
        base_url=given["base_url"],
        key_env=given["key_env"],
        own_server=given.get("own_server", False),
        images=ImageRules(**images | {"formats": tuple(images["formats"])}),
        rename=given.get("rename", {}),
        unsupported=frozenset(given.get("unsupported", ())),
        ranges={key: (low, high) for key, (low, high) in given.get("ranges", {}).items()},
        top_logprobs=given["top_logprobs"],
        **({} if codes is None else {"refusal_codes": frozenset(codes)}),
        batch=None if batch is None else BatchRules(**batch),
    )
