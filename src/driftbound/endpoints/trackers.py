"""Trackers: where the metrics of a training would go, and the gate before them."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from urllib.parse import urlsplit

from driftbound.endpoints.gate import OWN, Destination, Gate, host_of, refuse_proxy, shown
from driftbound.endpoints.uploads import hub_url
from driftbound.errors import ConfigError, DataUseError

_OFF = ("", "0", "false", "no")
"""What switches a variable of theirs off."""


@dataclass(frozen=True, slots=True)
class Tracker:
    """One of those that ``report_to`` can name."""

    packages: tuple[str, ...]
    """Any one of them will do."""
    address: Callable[[Mapping[str, str]], str]
    """Environment -> where it sends; empty where it writes files on this machine and sends nothing."""
    pinned: str = ""
    """Variable that is set to the address, so that no file of settings leads elsewhere."""
    weights: str = ""
    """Variable that makes it send the student's weights too."""
    quiet: str = ""
    """Variable that is set so that it does not send what is said on standard error: lines may name cases."""


def _tensorboard(env: Mapping[str, str]) -> str:
    folder = env.get("TENSORBOARD_LOGGING_DIR", "")
    return folder if "://" in folder else ""


def _mlflow(env: Mapping[str, str]) -> str:
    given = env.get("MLFLOW_TRACKING_URI", "")
    scheme = urlsplit(given).scheme
    here = scheme in ("file", "sqlite") and not host_of(given)
    return "" if here or (not scheme and given != "databricks") else given


def _trackio(env: Mapping[str, str]) -> str:
    if any(env.get(f"TRACKIO_{what}_ID") for what in ("SPACE", "DATASET", "BUCKET")):
        return hub_url(env)
    return env.get("TRACKIO_SERVER_URL", "")


def _wandb(env: Mapping[str, str]) -> str:
    if env.get("WANDB_MODE") in ("offline", "disabled"):
        return ""
    return env.get("WANDB_BASE_URL") or "https://api.wandb.ai"


TRACKERS: Mapping[str, Tracker] = {
    "tensorboard": Tracker(("tensorboard", "tensorboardX"), _tensorboard),
    "mlflow": Tracker(("mlflow",), _mlflow, weights="HF_MLFLOW_LOG_ARTIFACTS"),
    "trackio": Tracker(("trackio",), _trackio),
    "wandb": Tracker(
        ("wandb",), _wandb, pinned="WANDB_BASE_URL", weights="WANDB_LOG_MODEL", quiet="WANDB_CONSOLE"
    ),
}
"""Those of transformers of which it can be told where they send."""


def check(names: Iterable[str], verb: str, gate: Gate, sensitivity: str) -> list[Destination]:
    """Where metrics of a stage will be sent, if anywhere; nothing is sent.

    Raises ``ConfigError`` for a tracker that is not installed or an address that is none, and
    ``DataUseError`` where what is made of such data may not go there.
    """
    found = []
    for name in names:
        tracker, place = TRACKERS[name], f"{verb}.report_to: {name}"
        if not any(find_spec(package) for package in tracker.packages):
            raise ConfigError(f"{place} is not installed. Install it: pip install {tracker.packages[0]}.")
        url = tracker.address(os.environ)
        if not url:
            continue
        if not host_of(url):
            raise ConfigError(f"{place} would send to {shown(url)!r}, which names no host. Give its URL.")
        destination = Destination(purpose=f"metrics of {verb} by {name}", url=url)
        under = gate.check(destination, sensitivity)
        refuse_proxy(destination, sensitivity)
        if sensitivity != "public" and under != OWN and _set(tracker.weights):
            raise DataUseError(
                f"{place}: {tracker.weights} would send the student itself, which is {sensitivity}. Unset "
                "it; driftbound push uploads a student. Nothing was sent."
            )
        found.append(destination)
    return found


def begin(names: Iterable[str], verb: str, gate: Gate, sensitivity: str) -> None:
    """Check once more, write down that metrics begin to leave, and hold the trackers to what was checked."""
    names = tuple(names)
    for destination in check(names, verb, gate, sensitivity):
        gate.let_through(destination, sensitivity, what=f"metrics of {verb}", size=0)
    for tracker in (TRACKERS[name] for name in names):
        if tracker.pinned and (url := tracker.address(os.environ)):
            os.environ[tracker.pinned] = url
        if tracker.quiet:
            os.environ[tracker.quiet] = "off"
    if gate.log is not None:
        gate.log.close()


def _set(variable: str) -> bool:
    return bool(variable) and os.environ.get(variable, "").strip().lower() not in _OFF
