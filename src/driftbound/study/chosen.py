"""Chosen: the file in which the default arm is written down before the test patients are looked at."""

from dataclasses import dataclass
from pathlib import Path

from driftbound.store.manifest import sha256_file

_KEY = "default:"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the file says; empty where there is none, or none of its lines names an arm."""

    arm: str = ""
    mark: str = ""
    """Content hash. Results of the test keep it, so that a choice that was changed after them shows."""


def read_chosen(path: Path) -> Chosen:
    """The arm in the first line that begins with ``default:``.

    >>> read_chosen(Path("there is no such file"))
    Chosen(arm='', mark='')
    """
    if not path.is_file():
        return Chosen()
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    arm = next((line.removeprefix(_KEY).strip() for line in lines if line.startswith(_KEY)), "")
    return Chosen(arm=arm, mark=sha256_file(path)) if arm else Chosen()


def why_waiting(path: Path, default: str) -> str:
    """Why a phase that comes after the choice does not begin; empty where it may."""
    found = read_chosen(path)
    if not found.arm:
        return f"waits for {path} with a line `default: ARM`: the choice, written down before the test."
    if found.arm != default:
        return f"{path} chooses {found.arm!r}, the study file's default is {default!r}. Make them agree."
    return ""
