"""Manifests and atomic writes: a file is there whole or not at all, and says what made it."""

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import driftbound
from driftbound.errors import StoreError

NAME = "manifest.json"
PARTIAL = ".partial"
"""Ending of a file that is still being written; it never counts."""
_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "tokenizers",
    "openai",
    "numpy",
    "scipy",
    "pyarrow",
)
_SPACE = "Free some space or choose another folder, then run again: what is finished stays."


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Beside every artifact: what made it, from what, and with which code."""

    stage: str
    config: dict[str, Any]
    """The part of the recipe that decides what comes out; JSON values only."""
    inputs: dict[str, str]
    """Name -> content hash of what was read."""
    seed: int
    outputs: dict[str, str] = field(default_factory=dict)
    """Path relative to the folder -> sha256."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Counts worth saying."""
    sensitivity: str = "public"
    code: str = ""
    """``version+commit`` of driftbound; ``-dirty`` when the working tree was changed."""
    packages: dict[str, str] = field(default_factory=dict)
    finished_at: str = ""
    """UTC, ISO 8601."""

    @classmethod
    def of(
        cls,
        stage: str,
        *,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        seed: int,
        outputs: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
        sensitivity: str = "public",
    ) -> "Manifest":
        """A manifest that also names the running code, its packages and the present time."""
        return cls(
            stage=stage,
            config=dict(config),
            inputs=dict(inputs),
            seed=seed,
            outputs=dict(outputs or {}),
            facts=dict(facts or {}),
            sensitivity=sensitivity,
            code=code_version(),
            packages=package_versions(),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def fingerprint(self) -> str:
        """Identity of what was asked for: stage, config, inputs and seed; neither results nor time.

        >>> a = Manifest(stage="measure", config={"steps": 5}, inputs={}, seed=0)
        >>> b = Manifest(stage="measure", config={"steps": 5}, inputs={}, seed=0, finished_at="now")
        >>> a.fingerprint() == b.fingerprint()
        True
        """
        asked = [self.stage, self.config, self.inputs, self.seed]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` into ``folder``, whole or not at all. Raises ``StoreError``."""
        atomic_write_text(folder / NAME, self.as_text())

    def as_text(self) -> str:
        """What a manifest's file holds."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """The manifest of a folder, or ``None`` where nothing was finished.

        Raises ``StoreError`` when there is one that cannot be read.
        """
        path = folder / NAME
        cure = "Delete the file to do the stage again."
        try:
            given = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read ({one_line(error)}). {cure}") from error
        if not isinstance(given, dict) or set(given) != {each.name for each in fields(cls)}:
            raise StoreError(f"{path}: not a manifest of this version of driftbound. {cure}")
        return cls(**given)


def code_version() -> str:
    """``0.1.0+3f2a91c`` in a checkout (``-dirty`` when changed), else ``0.1.0``."""
    commit = _commit()
    version = metadata.version("driftbound")
    return f"{version}+{commit}" if commit else version


def _commit() -> str:
    """Short commit of the checkout that holds this very package; empty outside of one."""
    package = Path(driftbound.__file__).resolve().parent
    if not (package.parent.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def package_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, without importing them."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def sha256_file(path: Path) -> str:
    """Content hash of a file. Raises ``StoreError`` when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({one_line(error)}). Restore the file.") from error


def sha256_tree(folder: Path) -> str:
    """Hash over names and contents of all files below a folder, hidden partial files left out.

    Independent of time and of the order in which the file system lists them. Raises ``StoreError``.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: no such folder. Run the stage that writes it.")
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda each: each.relative_to(folder).as_posix()):
        if path.is_file() and not path.name.endswith(PARTIAL):
            whole.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return whole.hexdigest()


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all. Raises ``StoreError``."""
    atomic_write_bytes(path, text.encode())


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, whole or not at all. Raises ``StoreError``."""
    with replacing(path) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    The folder is created. Raises ``StoreError`` for whatever the file system refuses; then the
    old file, if any, is untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({one_line(error)}). {_SPACE}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def one_line(error: BaseException) -> str:
    """What an error says, in one line.

    >>> one_line(OSError(28, "No space left on device"))
    'No space left on device'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
