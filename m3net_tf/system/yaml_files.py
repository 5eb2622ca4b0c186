# SPDX-License-Identifier: Apache-2.0
"""Strict reader of users' YAML: plain values only, no duplicate keys, bounded size and nesting."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

import yaml

from m3net_tf.system.artifacts import HALF_CHARACTER, LONGEST_NUMBER, read_file
from m3net_tf.system.errors import ConfigError

DEEPEST = 50
"""Most levels of nested lists and mappings; the project's own files need 13."""
MOST_VALUES = 50_000
"""Most values in a file; an alias counts as often as it is used."""
_MOST_BYTES = 2 << 20
_TAG = "tag:yaml.org,2002:"
_TAGS = {
    yaml.ScalarNode: ("bool", "float", "int", "merge", "null", "str"),
    yaml.SequenceNode: ("seq",),
    yaml.MappingNode: ("map",),
}


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ConfigError: the file cannot be read or is not valid; the message names file and line.
    """
    try:
        text = read_file(path, _MOST_BYTES).decode()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): name a YAML file") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Parse a YAML text into plain values.

    Raises:
        ConfigError: it is not valid YAML, has a duplicate key, a tag of something else than plain
            values or a number of too many digits, is nested too deeply, or has too many values.
    """
    try:
        return copy.deepcopy(_parsed(text))  # the caller may change its values
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    except _RefusedError as error:
        raise ConfigError(f"{name}: {error}") from None


# A table reads the recipe of each of its runs many times, and parsing takes most of that time.
@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    return yaml.load(text, _StrictLoader)


class _RefusedError(Exception):
    """Valid YAML that this reader refuses."""


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which itself accepts duplicate keys and any alias.

    As YAML 1.2 does, it reads 2e-3 as a number, which PyYAML takes for text, and a date as text.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._count = 0
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
        self._require_plain(node, line)
        if isinstance(node, yaml.MappingNode):
            self._require_keys_once(node)
        self._count += 1
        self._sizes[node] = 1 + self._size_below(node)
        if max(self._count, self._sizes[node]) > MOST_VALUES:
            raise _RefusedError(
                f"the file has, up to line {line}, more than {MOST_VALUES} values with its "
                "aliases: shorten it"
            )
        return node

    def _require_plain(self, node: yaml.Node, line: int) -> None:
        if node.tag not in [_TAG + name for name in _TAGS[type(node)]]:
            raise _RefusedError(
                f"the value in line {line} has the tag {node.tag[:80]!r}, which a plain value "
                "does not need: remove it"
            )
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":merge"):
            return
        if HALF_CHARACTER.search(node.value):
            raise _RefusedError(f"the text in line {line} has half a character: correct it")
        # Python neither prints integers of thousands of digits nor converts them to floats.
        if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
            raise _RefusedError(
                f"the number in line {line} has more than {LONGEST_NUMBER} characters: shorten it"
            )
        try:
            self.construct_object(node)
        except (ValueError, LookupError):  # such as !!int '' and !!bool x
            kind = node.tag.rpartition(":")[2]
            raise _RefusedError(
                f"{node.value[:LONGEST_NUMBER]!r} in line {line} is not a valid {kind}: correct it"
            ) from None

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
            key = self.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if key in first_lines:
                first = first_lines[key]
                where = f"lines {first} and {line}" if first != line else f"line {line}"
                raise _RefusedError(f"duplicate key {key!r} in {where}: remove one")
            first_lines[key] = line


_StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":value"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)
