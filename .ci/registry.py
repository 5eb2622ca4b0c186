# SPDX-License-Identifier: Apache-2.0
"""Checks a library against the rules of Arduino's index; ``make registry`` calls this.

The rules are of arduino-lint 1.3 (https://arduino.github.io/arduino-lint/latest/rules/library): all
that a new library must keep and that need neither Git nor the network. Some are errors there only
in its strict mode; a name in the index cannot change, so all are errors here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

REQUIRED = (
    "name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url",
    "architectures", "includes",
)  # fmt: skip
CATEGORIES = (
    "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing",
    "Data Storage", "Data Processing", "Other",
)  # fmt: skip
FILE_NAME = re.compile(r"\w[\w.-]{0,62}", re.ASCII)
VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")


def broken_rules(library: Path) -> list[str]:
    """What is wrong with a library's folder, one sentence a rule; empty if nothing is."""
    path = library / "library.properties"
    if not path.is_file():
        return [f"LP001: {path} is missing"]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if odd := [line for line in lines if "=" not in line]:
        return [f"LP005: {path}: not KEY=VALUE: {odd[0]!r}"]
    properties = dict(line.split("=", 1) for line in lines)
    empty = [key for key in REQUIRED if not properties.get(key)]
    if empty:
        return [f"LP007 to LP056: {path}: {', '.join(empty)} missing or empty"]
    return [*_of_properties(properties), *_of_files(library, properties)]


def _of_properties(properties: dict[str, str]) -> Iterator[str]:
    name = properties["name"]
    if len(name) > 32 or not FILE_NAME.fullmatch(name) or not re.search("[a-zA-Z]", name):
        yield f"LP010, LP011, LP015: name {name!r} is longer than 32 or has other characters"
    for word in ("arduino", "library"):
        if word in name.lower():
            yield f"LP014, LP016: name {name!r} contains {word!r}"
    if not VERSION.fullmatch(properties["version"]):
        yield f"LP021: version {properties['version']!r} is not of semantic versioning"
    if "arduino" in properties["maintainer"].lower():
        yield "LP057: only Arduino's own maintainer may contain 'Arduino'"
    if properties["sentence"].rstrip(".").lower() in properties["paragraph"].lower():
        yield "LP036: paragraph repeats sentence"
    if properties["category"] not in CATEGORIES:
        yield f"LP038: category {properties['category']!r} is not one of {', '.join(CATEGORIES)}"
    url = urlsplit(properties["url"])
    if url.scheme not in ("http", "https") or not url.hostname:
        yield f"LP041: url {properties['url']!r} is not one of a page"
    if properties.get("dot_a_linkage", "true") not in ("true", "false"):
        yield "LP049: dot_a_linkage is neither true nor false"


def _of_files(library: Path, properties: dict[str, str]) -> Iterator[str]:
    name = properties["name"]
    if not FILE_NAME.fullmatch(library.name):
        yield f"LS002, LS003: folder name {library.name!r}"
    if properties["includes"] != f"{name}.h" or not (library / "src" / f"{name}.h").is_file():
        yield f"LS008, LP052: includes is not src/{name}.h"
    for path in sorted(library.rglob("*")):
        if path.is_symlink() or path.suffix.lower() == ".exe":
            yield f"LS005, LS007: {path} is a link or has the ending .exe"
        if path.name in (".development", ".gitmodules") or not FILE_NAME.fullmatch(path.name):
            yield f"LS004, LS006, SS002: {path} has a name that is not allowed"
    for title in ("README.md", "LICENSE"):
        if not (library / title).is_file():
            yield f"LD001, LD002: {title} is missing"
    sketches = sorted((library / "examples").glob("*/*.ino"))
    if not sketches or sketches != sorted(library.rglob("*.ino")):
        yield "LD003, LD004: sketches are not all in examples/, or there is none"
    yield from (f"SS001: {path}: other name than its folder" for path in sketches
                if path.stem != path.parent.name)  # fmt: skip


if __name__ == "__main__":
    found = broken_rules(Path(sys.argv[1]))
    print("\n".join(found))
    sys.exit(bool(found))
