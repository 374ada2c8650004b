"""YAML in which keys that stand twice in a table, or that its model does not know, are errors."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from driftbound.errors import ConfigError

_BOOLEAN, _TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"


class TwiceError(yaml.YAMLError):
    """A key that stands twice in one table."""


class StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error; PyYAML would silently take the last.

    Looked at while the table is parsed: later, merge keys (``<<``) have added theirs to it.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag == _BOOLEAN:
                key.tag = _TEXT  # YAML 1.1 takes the key "on" for true
            line = key.start_mark.line + 1
            if key.value in first:
                raise TwiceError(f"line {line}: key {key.value!r} stands in line {first[key.value]} already")
            first[key.value] = line
        return node


def load_table(path: Path, what: str) -> dict[str, Any]:
    """The table of keys that a file holds; ``what`` says what it should be.

    Raises ``ConfigError`` with the file and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Name an existing {what}.") from None
    try:
        given = yaml.load(text, Loader=StrictLoader)
    except TwiceError as error:
        raise ConfigError(f"{path}: {error}. Keep one of them.") from None
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        line = str(error).replace("\n", " ")
        raise ConfigError(f"{path}: not valid YAML ({line}). Correct the file.") from None
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: a {what} is a table of keys. Start from recipes/demo.yaml.")
    return given


def refuse_unknown(model: type[BaseModel], given: dict[str, Any], where: str, table: str) -> None:
    """Raise ``ConfigError`` for a key that the model does not have, with its neighbour."""
    known = model.model_fields
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), list(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}."
            inside = f" in {table!r}" if table else ""
            raise ConfigError(f"{where}: unknown key {key!r}{inside}; {hint}")
        inner = _table_of(known[key].annotation)
        if inner is not None:
            name = f"{table}.{key}" if table else str(key)
            value = given[key]
            if get_origin(known[key].annotation) is dict:
                named = value.items() if isinstance(value, dict) else ()
                items = [(f"{name}.{word}", item) for word, item in named]
            else:
                items = [(name, item) for item in (value if isinstance(value, list) else [value])]
            for place, item in items:
                if isinstance(item, dict):
                    refuse_unknown(inner, item, where, place)


def _table_of(annotation: Any) -> type[BaseModel] | None:
    """The recipe table inside an annotation such as ``tuple[TeacherConfig, ...]``, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (tuple, dict, Union):
        for part in get_args(annotation):
            found = _table_of(part)
            if found is not None:
                return found
    return None
