# SPDX-License-Identifier: Apache-2.0
"""A library whose names in C begin with a name of its own, so that several link into one program.

The parts of such a library are folders of ``src``. Parts of the same name have the same bytes in all
libraries of a release, so a program has them once:

- ``m3net``: the kernels and what else no export changes;
- ``m3net_frontend_HASH``: the front end, by its settings;
- ``m3net_tables_HASH``: its tables, which front ends with another hop share;
- the library's own, named like it: ``NAME_FRONTEND_ID``, by which applications compare front ends, network, labels, detector and all whose structures have sizes
  that the export decides. These sizes are constants, as in a library without a name, so that
  features, scores, events and the instructions that they take stay the same.
"""

import hashlib
import re
from collections.abc import Callable, Mapping

from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.names import require_name
from m3net_tf.system.errors import ConfigError

SHARED = "m3net"
"""Part of what is the same in all exports, and folder of all files of a library without a name."""

_SHARED_FILES = frozenset(
    """
    crc32.c crc32.h platform.h platform_defaults.c port.c status.c status.h warp.c warp.h
    """.split()
)
_TABLES = "frontend_tables.c"
_CONFIG = "frontend_config.h"
_FRONTEND = ("frontend.c", "frontend.h", "frontend_fixed.h", "frontend_waveform.h")
_NAME = re.compile(r"\b(?:m3net|M3NET)_\w+")
_INCLUDE = re.compile(r'(#include ")([^"]+)(")')
_FRAMES = re.compile(r"^#define M3NET_FRONTEND_FRAMES .*\n", re.M)  # the network's, not its front end's
_DIGITS = 8  # of a hash

Texts = Mapping[str, str]


class PrefixedLibrary:
    """The names and files of a library with a name of its own.

    Args:
        name: start of all names, and name of the header that applications include.
        code: the texts of a library without a name, by name in its folder.

    Raises:
        ConfigError: the name does not fit.
    """

    def __init__(self, name: str, code: Texts) -> None:
        require_name(name)
        if name.lower().startswith("m3net_"):
            raise ConfigError(f"--name: {name!r} is as names of shared code: take another one")
        self.name = name
        shared_files = {path.name for path in engine_folder().iterdir()} | _SHARED_FILES
        self._shared = {path: text for path, text in code.items() if path in shared_files}
        self._config = code[_CONFIG]
        own = {
            path: text
            for path, text in code.items()
            if path not in {*self._shared, *_FRONTEND, _TABLES}
        }
        self._shared_names = {"m3net_tf", *_names(self._shared.values())}
        self._settings = set(re.findall(r"#define (M3NET_\w+)", self._config))

        tables = code[_TABLES].replace(f'#include "{_CONFIG}"', "#include <stdint.h>")
        self._arrays = set(re.findall(r"\bm3net_\w+(?=\[)", tables))
        self.tables = f"m3net_tables_{_hash(tables)}"
        frontend = {path: code[path] for path in _FRONTEND}
        frontend[_CONFIG] = _FRAMES.sub("", self._config)
        self._frontend_names = set(_names(frontend.values())) - self._shared_names
        # The tables belong to the front end: other tables make another one.
        self.frontend = f"m3net_frontend_{_hash(self.tables, *frontend.values())}"
        parts = {
            SHARED: self._shared,
            self.frontend: self._written(frontend, self._frontend_name),
            self.tables: self._written({_TABLES: tables}, self._frontend_name),
            name: self._written(own, self._own_name),
        }
        guard = f"#define {name.upper()}_FRONTEND_CONFIG_H_\n"
        same = f"\n#define {name.upper()}_FRONTEND_ID 0x{self.frontend[-_DIGITS:]}u\n"
        parts[name][_CONFIG] = parts[name][_CONFIG].replace(guard, guard + same)
        self.files = {
            f"{part}/{path}": text for part, files in parts.items() for path, text in files.items()
        }

    @property
    def shared_hash(self) -> str:
        """Hash of the part that all exports of a release share."""
        return _hash(*self._shared.values())

    def application(self, text: str) -> str:
        """A text for applications, such as the library's header or an example, with its names."""
        text = re.sub(r"\bm3net(?=\.h\b|/)", self.name, text)
        return _NAME.sub(lambda found: self._own_name(found[0]), text)

    def _written(self, files: Texts, rename: Callable[[str], str]) -> dict[str, str]:
        """Files of one part: their names renamed, and includes of other parts found."""
        written = {}
        for path, text in files.items():
            lines = [
                _INCLUDE.sub(lambda found: f"{found[1]}{self._place(found[2], files)}{found[3]}", line)
                if line.startswith("#include")
                else _NAME.sub(lambda found: rename(found[0]), line)
                for line in text.split("\n")
            ]
            written[path] = "\n".join(lines)
        return written

    def _place(self, header: str, files: Texts) -> str:
        """A header as a file of some part includes it."""
        if header in files:
            return header
        if header in self._shared:
            return f"{SHARED}/{header}"
        return f"{self.frontend}/{header}" if header in _FRONTEND else header

    def _own_name(self, name: str) -> str:
        if name in self._shared_names:
            return name
        if name in self._frontend_names and name not in self._settings:
            return self._frontend_name(name)
        prefix = self.name.upper() if name.startswith("M3NET") else self.name
        return prefix + name[len("m3net") :]

    def _frontend_name(self, name: str) -> str:
        if name in self._shared_names:
            return name
        if name in self._arrays:
            return name.replace("m3net_frontend", self.tables, 1)
        hashed = self.frontend.removeprefix("m3net_frontend")
        if name.startswith("M3NET"):
            return name.replace("FRONTEND", f"FRONTEND{hashed.upper()}", 1)
        return name.replace("m3net_frontend", self.frontend, 1)


def _names(texts: object) -> set[str]:
    return {name for text in texts for name in _NAME.findall(text)}


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:_DIGITS]
