"""Data set folder: answers as Parquet shards by split, as the Hub lays them out; whole or not there."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from driftbound.errors import StoreError
from driftbound.store.exchange import MARK, TRAJECTORY_SCHEMA
from driftbound.store.manifest import one_line
from driftbound.store.rowfiles import write_table

DATA, CARD = "data", "README.md"
_IMAGES = pa.list_(pa.string())
_PICTURES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
"""As the Hub's viewers read images."""
MOST, MOST_PICTURED = 50_000, 2_000
"""Rows of a shard, at most; with images fewer."""


def schema_of(sensitivity: str, *, pictured: bool) -> pa.Schema:
    """Columns of a shard: a trajectory's, and those of its case; the file itself says how sensitive it is."""
    fields = [*TRAJECTORY_SCHEMA]
    fields += [(name, pa.string()) for name in ("split", "cluster", "question", "film", "sensitivity")]
    fields.append(("images", _PICTURES if pictured else _IMAGES))
    mark = {MARK: json.dumps({"sensitivity": sensitivity})}
    if pictured:
        info = {"info": {"features": _features(fields)}}
        mark["huggingface"] = json.dumps(info)
    return pa.schema(fields, metadata=mark)


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A hidden folder beside ``folder`` that takes its name when the block ends well.

    Raises ``StoreError`` where something of the name is there already, and for what the file system refuses.
    """
    if folder.exists() or folder.is_symlink():
        raise StoreError(f"{folder}: is there already. Choose another --out, or remove it.")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({one_line(error)}). Check space and rights."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_shards(
    folder: Path, split: str, rows: Iterable[Mapping[str, Any]], schema: pa.Schema, *, most: int
) -> list[str]:
    """Write the rows of a split as ``data/SPLIT-00000-of-0000N.parquet``; returns the names below ``folder``.

    No rows make no file. Raises ``StoreError``.
    """
    left = iter(rows)
    made: list[Path] = []
    while (first := next(left, None)) is not None:
        path = folder / DATA / f"{split}-{len(made):05d}.parquet"
        write_table(path, chain([first], islice(left, most - 1)), schema)
        made.append(path)
    for path in made:
        path.rename(path.with_name(f"{path.stem}-of-{len(made):05d}.parquet"))
    return [f"{DATA}/{path.stem}-of-{len(made):05d}.parquet" for path in made]


def _features(fields: list[Any]) -> dict[str, Any]:
    """What the Hub's library takes the columns for: it guesses all but images."""
    schema = pa.schema(fields)
    plain = {
        field.name: {"dtype": str(field.type).replace("double", "float64"), "_type": "Value"}
        for field in schema
        if field.name != "images"
    }
    return plain | {"images": {"feature": {"_type": "Image"}, "_type": "List"}}
