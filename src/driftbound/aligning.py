"""Aligning without a pipeline: reads a file of rows, and trains a checkpoint to prefer the chosen answers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftbound.config import AlignConfig, LoraConfig
from driftbound.errors import CaseError, ConfigError, StoreError, boundary
from driftbound.phantom_base import resolve_base
from driftbound.store.exchange import sensitivity_beside
from driftbound.store.manifest import sha256_file

KINDS = (".jsonl", ".json", ".parquet")
SETTINGS = "settings.json"
"""In the folder: what it is being trained with; going on with anything else is refused."""


def settings(lora: int = 0, **given: Any) -> AlignConfig:
    """Settings of a training from rows, as the recipe's ``align`` has them; ``lora`` is a rank, 0 for none.

    Raises ``ConfigError`` naming the option that is impossible.
    """
    if lora:  # the paper's ratio of 32 to 8
        given |= {"tuner": "lora", "lora": LoraConfig(rank=lora, alpha=4 * lora)}
    try:
        return AlignConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise ConfigError(f"{said}.") from None
        name = str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{name} is {first['input']}: {said}. Give another.") from None


def align(groups: Path, base: str, out: Path, config: AlignConfig) -> None:
    """Train ``base`` on the rows of ``groups`` and leave an ordinary checkpoint in ``out``.

    Killed, it goes on from its last checkpoint. Every row is checked before the model is loaded.
    What the manifest beside ``groups`` says of its sensitivity the checkpoint says too. Raises
    ``CaseError`` for what is wrong with the file, ``ConfigError`` for a folder that is taken.
    """
    rows, sensitivity = read_rows(groups), sensitivity_beside(groups)
    begun = {"groups": sha256_file(groups), "base": base, **config.model_dump(mode="json")}
    _look_at(out, begun)
    from driftbound.learning.row_training import train_on_rows

    def claim() -> None:
        with boundary(StoreError, f"writing {out}", then="Check disk space and permissions."):
            out.mkdir(parents=True, exist_ok=True)
            (out / SETTINGS).write_text(json.dumps(begun, indent=2) + "\n", encoding="utf-8")

    train_on_rows(rows, groups.name, resolve_base(base), out, config, sensitivity=sensitivity, claim=claim)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL, JSON (a list) or Parquet file; image paths in it are relative to the file."""
    if path.suffix not in KINDS:
        raise CaseError(f"{path}: is no file of rows. Give one that ends in {', '.join(KINDS)}.")
    with boundary(CaseError, f"reading {path}", then="Check the path and the file."):
        if path.suffix == ".parquet":
            from pyarrow import parquet

            found = parquet.read_table(path).to_pylist()
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:  # a text may hold other breaks, such as U+2028
                found = [_parse(line, path, n) for n, line in enumerate(lines, start=1) if line.strip()]
        else:
            found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise CaseError(f"{path}: is no list of rows. Give tables with prompt, chosen, rejected and images.")
    return [_placed(row, path.parent) for row in found]


def _parse(line: str, path: Path, n: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise CaseError(f"{path}, line {n}: is no JSON ({error}). Correct the line.") from None


def _placed(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The row with its image paths made whole."""

    def whole(image: Any) -> Any:
        if isinstance(image, Mapping) and image.get("bytes") is None:
            image = image.get("path")
        return folder / image if isinstance(image, str) else image

    changed = dict(row)
    for column in ("images", "image"):
        given = row.get(column)
        if given is not None:
            changed[column] = [whole(each) for each in given] if isinstance(given, list) else whole(given)
    return changed


def _look_at(out: Path, settings: dict[str, Any]) -> None:
    """Raise ``ConfigError`` unless the folder is new, or was begun with these settings and not finished."""
    path = out / SETTINGS
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file. Choose another --out.")
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise ConfigError(f"{out}: is not empty. Choose another --out.")
        return
    with boundary(StoreError, f"reading {path}", then="Remove the folder, or choose another --out."):
        before = json.loads(path.read_text(encoding="utf-8"))
    if (out / "README.md").exists():  # written last
        raise ConfigError(f"{out}: holds a finished student. Choose another --out, or remove the folder.")
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        raise ConfigError(f"{out}: was begun with another {changed[0]}. Give the same, or another --out.")
