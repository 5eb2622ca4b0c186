# SPDX-License-Identifier: Apache-2.0
"""A library whose names in C begin with a name of its own, so that a program may have several.

The parts of such a library are folders of ``src``. A part has the same bytes in all libraries of a
release that have it, so a program needs it once:

- ``m3net``: the kernels and all else that no export changes;
- ``m3net_frontend_HASH``: the front end, by its settings;
- ``m3net_tables_HASH``: its tables, which front ends with another hop have, too;
- the library's own, named like it: network, labels, detector and all else whose structures have
  sizes that the export decides. The sizes are constants, as in a library without a name, so that a
  library takes the same instructions with and without one.

Applications compare front ends by ``NAME_FRONTEND_ID``.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.names import require_name
from m3net_tf.system.artifacts import sha256_of
from m3net_tf.system.errors import ConfigError

SHARED = "m3net"
"""The part that no export changes, and the folder of all files of a library without a name."""

_SHARED_FILES = frozenset(
    """
    crc32.c crc32.h platform.h platform_defaults.c port.c status.c status.h warp.c warp.h
    """.split()
)
_FRONTEND_FILES = frozenset("frontend.c frontend.h frontend_fixed.h frontend_waveform.h".split())
_CONFIG = "frontend_config.h"
_TABLES = "frontend_tables.c"
_NAME = re.compile(r"\b(?:m3net|M3NET)_\w+")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_INCLUDE = re.compile(r'#include "(.+)"')
_FRAMES = re.compile(r"^#define M3NET_FRONTEND_FRAMES .*\n", re.M)  # of the network
_DIGITS = 8  # of a hash in a name

Texts = Mapping[str, str]


class PrefixedLibrary:
    """The code of a library with a name of its own.

    Args:
        name: start of all names, one that :func:`require_prefix` takes.
        code: texts of the same library without a name, by the file's name in its only folder.

    Attributes:
        files: texts of this library, by path in ``src``.
    """

    def __init__(self, name: str, code: Texts) -> None:
        self._name = name
        shared_files = _SHARED_FILES | {path.name for path in engine_folder().iterdir()}
        self._shared = {path: text for path, text in code.items() if path in shared_files}
        frontend = {path: code[path] for path in _FRONTEND_FILES}
        frontend[_CONFIG] = _FRAMES.sub("", code[_CONFIG])
        tables = code[_TABLES].replace(f'#include "{_CONFIG}"', "#include <stdint.h>")

        self._shared_names = {"m3net_tf", *_names(self._shared.values())}
        self._frontend_names = _names(frontend.values()) - self._shared_names
        self._settings = set(re.findall(r"#define (M3NET_\w+)", code[_CONFIG]))
        self._arrays = set(re.findall(r"\bm3net_\w+(?=\[)", tables))
        self._tables = f"m3net_tables_{_hash([tables])}"
        self._frontend = f"m3net_frontend_{_hash([self._tables, *sorted(frontend.values())])}"

        own = code.keys() - self._shared.keys() - _FRONTEND_FILES - {_TABLES}
        parts = {
            SHARED: self._shared,
            self._frontend: self._written(frontend, self._frontend_name),
            self._tables: self._written({_TABLES: tables}, self._frontend_name),
            name: self._written({path: code[path] for path in sorted(own)}, self._own_name),
        }
        guard = f"#define {name.upper()}_FRONTEND_CONFIG_H_\n"
        frontend_id = f"\n#define {name.upper()}_FRONTEND_ID 0x{self._frontend[-_DIGITS:]}u\n"
        parts[name][_CONFIG] = parts[name][_CONFIG].replace(guard, guard + frontend_id)
        files = {f"{part}/{path}": text for part in parts for path, text in parts[part].items()}
        self.files = dict(sorted(files.items()))

    def application(self, text: str) -> str:
        """A text for applications, such as the library's header or an example, with its names."""
        text = re.sub(r"\bm3net(?=\.h\b|/)", self._name, text)
        return _renamed(text, self._own_name)

    def _written(self, files: Texts, rename: Callable[[str], str]) -> dict[str, str]:
        """Files of a part with its names, and with the folders of other parts in includes."""
        written = {}
        for path, text in files.items():
            lines = [
                self._include(line, files)
                if line.startswith("#include")
                else _renamed(line, rename)
                for line in text.split("\n")
            ]
            written[path] = "\n".join(lines)
        return written

    def _include(self, line: str, files: Texts) -> str:
        """A line that includes a header, for a file beside some others."""
        found = _INCLUDE.fullmatch(line)
        if found is None or found[1] in files:
            return line
        if found[1] in self._shared:
            return f'#include "{SHARED}/{found[1]}"'
        return f'#include "{self._frontend}/{found[1]}"' if found[1] in _FRONTEND_FILES else line

    def _own_name(self, name: str) -> str:
        """A name of the library's own part, which has a copy of the front end's settings."""
        if name in self._shared_names:
            return name
        if name in self._frontend_names and name not in self._settings:
            return self._frontend_name(name)
        prefix = self._name.upper() if name.startswith("M3NET") else self._name
        return prefix + name[len("m3net") :]

    def _frontend_name(self, name: str) -> str:
        """A name of the front end or its tables."""
        if name in self._shared_names:
            return name
        if name in self._arrays:
            return name.replace("m3net_frontend", self._tables, 1)
        hashed = self._frontend.removeprefix("m3net_")
        return name.replace("frontend", hashed, 1).replace("FRONTEND", hashed.upper(), 1)


def require_prefix(name: str) -> None:
    """Refuse a name that cannot start a library's names in C.

    Raises:
        ConfigError: the message says why, and how a name can be.
    """
    require_name(name)
    if name.lower().startswith(SHARED):
        raise ConfigError(f"--name: {name!r} starts as shared code does: take another one")


def _renamed(text: str, rename: Callable[[str], str]) -> str:
    """A text with other names, outside strings: a label may look like a name."""
    either = re.compile(f"{_STRING.pattern}|{_NAME.pattern}")
    return either.sub(lambda found: found[0] if found[0][0] == '"' else rename(found[0]), text)


def _names(texts: Iterable[str]) -> set[str]:
    return {name for text in texts for name in _NAME.findall(text)}


def _hash(texts: Iterable[str]) -> str:
    return sha256_of("\0".join(texts).encode())[:_DIGITS]
