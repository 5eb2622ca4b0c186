# SPDX-License-Identifier: Apache-2.0
"""Strict reader of users' YAML: no duplicate keys, bounded nesting and aliases."""

import re
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.system.errors import ConfigError

DEEPEST = 50
"""Most levels of nested lists and mappings; the project's own files need 13."""
MOST_VALUES = 50_000
"""Most values in a file; an alias counts as often as it is used."""
_LONGEST_NUMBER = 64


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: the file cannot be read or is not valid; the message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name a YAML file") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Parse a YAML text into plain values.

    Raises:
        ConfigError: it is not valid YAML, has a duplicate key or a number of too many digits, is
            nested too deeply, or expands to too many values.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as 31 February
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    except _RefusedError as error:
        raise ConfigError(f"{name}: {error}") from None


class _RefusedError(Exception):
    """Valid YAML that this reader refuses."""


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which itself accepts duplicate keys and any alias.

    It reads 2e-3 as a number, as YAML 1.2 does; PyYAML takes it for text.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}  # values of a node and all its descendants

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        self._depth += 1
        if self._depth > DEEPEST:
            raise _RefusedError(
                f"line {line} is nested more than {DEEPEST} levels deep: flatten it"
            )
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if isinstance(event, yaml.AliasEvent):
            if node not in self._sizes:
                raise _RefusedError(f"*{event.anchor} in line {line} refers to itself: remove it")
            return node
        if isinstance(node, yaml.MappingNode):
            self._require_keys_once(node)
        if isinstance(node, yaml.ScalarNode) and re.search(r"[\ud800-\udfff]", node.value):
            raise _RefusedError(f"the text in line {line} has half a character: correct it")
        # Python neither prints integers of thousands of digits nor converts them to floats.
        is_number = node.tag.endswith((":int", ":float")) and isinstance(node, yaml.ScalarNode)
        if is_number and len(node.value) > _LONGEST_NUMBER:
            raise _RefusedError(
                f"the number in line {line} has more than {_LONGEST_NUMBER} characters: shorten it"
            )
        self._sizes[node] = 1 + self._size_below(node)
        if self._sizes[node] > MOST_VALUES:
            raise _RefusedError(
                f"the value in line {line} expands to more than {MOST_VALUES} values with its "
                "aliases: shorten it"
            )
        return node

    def _size_below(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.SequenceNode):
            return sum(self._sizes[item] for item in node.value)
        if isinstance(node, yaml.MappingNode):
            return sum(self._sizes[key] + self._sizes[value] for key, value in node.value)
        return 0

    def _require_keys_once(self, node: yaml.MappingNode) -> None:
        first_lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            # ``<<`` is not a key itself: it merges values that the mapping's own keys override.
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
                continue
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in first_lines:
                first = first_lines[key]
                where = f"lines {first} and {line}" if first != line else f"line {line}"
                raise _RefusedError(f"duplicate key {key!r} in {where}: remove one")
            first_lines[key] = line


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)
