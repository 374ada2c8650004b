"""Uploads to a model hub: through the gate, into a private repository unless it is to be public."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from urllib.parse import urlsplit

from driftbound import __version__
from driftbound.endpoints.gate import Destination, Gate, refuse_proxy, shown
from driftbound.errors import ConfigError, DataUseError, HubError
from driftbound.store.manifest import one_line

TOKEN = "HF_TOKEN"
"""Environment variable of the hub's token; it is looked for nowhere else."""
GUIDELINE = "PhysioNet's guideline on derived data sets and models, 24 April 2024"
_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is to be uploaded."""

    title: str
    """For people: ``runs/demo:aligned``."""
    folder: Path
    files: Sequence[str] = ()
    """Names in the folder; without any, all that is in it."""
    kind: str = "model"
    """Or ``dataset``."""
    sensitivity: str
    sha256: str
    """Of the whole content, for the audit log."""
    size: int
    """Bytes."""


def hub_url(env: Mapping[str, str]) -> str:
    """The hub that huggingface_hub would ask.

    >>> hub_url({}), hub_url({"HF_ENDPOINT": "https://hub.example.com/"})
    ('https://huggingface.co', 'https://hub.example.com')
    """
    return (env.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def upload(given: Upload, repo: str, *, gate: Gate, public: bool = False) -> str:
    """Upload to ``owner/name``, which is created where it is not there; returns its address.

    Raises ``DataUseError`` for what may not go there (nothing credentialed goes into a public repository,
    under whatever acknowledgement), ``ConfigError`` where the token is missing and ``HubError`` for what the
    hub refuses.
    """
    url = hub_url(os.environ)
    if "@" in urlsplit(url).netloc:
        raise ConfigError("HF_ENDPOINT holds a user or password. Give the address alone.")
    if public and given.sensitivity != "public":
        raise DataUseError(
            f"{given.title}: is {given.sensitivity} and may not be made public: models and data that derive "
            f"from such data are to be treated as containing sensitive information ({GUIDELINE}). "
            "Leave out --public. Nothing was sent."
        )
    destination = Destination(purpose=f"upload of {given.title} to {repo}", url=url)
    gate.check(destination, given.sensitivity)
    refuse_proxy(destination, given.sensitivity)
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ConfigError(f"push: environment variable {TOKEN} holds no token. Set it and run again.")
    gate.let_through(destination, given.sensitivity, what=given.sha256, size=given.size)
    if gate.log is not None:
        gate.log.close()
    try:
        return _send(given, repo, url, token, public)
    except DataUseError:
        raise
    except Exception as error:  # the hub's client raises errors of many packages; some repeat the token
        said = one_line(error).replace(token, "***")[:_REASON_LENGTH].rstrip(".")
        raise HubError(
            f"{destination.purpose}: {shown(url)} says: {said}. Put it right and push again."
        ) from None


def _send(given: Upload, repo: str, url: str, token: str, public: bool) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi(endpoint=url, token=token, library_name="driftbound", library_version=__version__)
    address = api.create_repo(repo, repo_type=given.kind, private=not public, exist_ok=True)
    # One that was there before keeps its visibility, whatever was asked for.
    if not public and api.repo_info(repo, repo_type=given.kind).private is not True:
        raise DataUseError(
            f"{given.title}: {repo} is there already and is not private. Make it private or name another. "
            "Nothing of it was uploaded."
        )
    api.upload_folder(
        repo_id=repo,
        repo_type=given.kind,
        folder_path=given.folder,
        allow_patterns=[escape(name) for name in given.files] or None,
        commit_message=f"Uploaded by driftbound {__version__}",
    )
    return str(address)
