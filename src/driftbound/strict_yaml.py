"""YAML in which a key that stands twice in one table is an error."""

from typing import Any

import yaml


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
            line = key.start_mark.line + 1
            if key.value in first:
                raise TwiceError(f"line {line}: key {key.value!r} stands in line {first[key.value]} already")
            first[key.value] = line
        return node
