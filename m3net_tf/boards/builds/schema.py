# SPDX-License-Identifier: Apache-2.0
"""TFLite's schema without its object API, for firmware builds that take half the time.

The generated header also defines a C++ object for each of its tables, with functions that convert
to and from it. TensorFlow Lite Micro calls none of them, but a compiler instantiates their
templates in every file that includes the header. Code from the shorter header is the same.
"""

from __future__ import annotations

import re
from pathlib import Path

from m3net_tf.system.artifacts import update_text

_HEADER = Path("tensorflow", "lite", "schema", "schema_generated.h")
#: First line of a definition that belongs to the object API; it ends with a brace in column 0.
_OBJECT_API = re.compile(
    r"struct \w+T : public ::flatbuffers::NativeTable"
    r"|struct \w+Union \{"
    r"|inline .*(\w+T::|\w+Union::|\bUnPack|\bPack\(|const \w+T \*_o)"
)


def without_object_api(header: str) -> str:
    """A header that ``flatc`` generated, without the definitions of its object API."""
    kept = ["#pragma GCC system_header\n"]  # not our code: no warnings
    dropping = False
    for line in header.splitlines(keepends=True):
        dropping = dropping or _OBJECT_API.match(line) is not None
        if not dropping:
            kept.append(line)
        ends = line.startswith("}") or (not line.startswith(" ") and line.rstrip().endswith("}"))
        dropping = dropping and not ends
    return "".join(kept)


def schema_flags(tflite_micro: Path, folder: Path) -> str:
    """Write the shorter schema below ``folder``; returns the flags that put it before the full one.

    Args:
        tflite_micro: checkout of TensorFlow Lite Micro.
        folder: a build's folder; a header there that is up to date stays untouched.
    """
    text = without_object_api((tflite_micro / _HEADER).read_text(encoding="utf-8"))
    path = folder / _HEADER
    path.parent.mkdir(parents=True, exist_ok=True)
    update_text(path, text)
    return f'-iquote "{folder}"'
