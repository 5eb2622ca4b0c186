# SPDX-License-Identifier: Apache-2.0
"""Pages of the C interface, from the comments of the firmware's headers.

A declaration is documented by the ``///`` lines before it. The ``//`` lines at the top of a header
describe the file.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Declaration:
    """A documented macro, type, variable or function of a header.

    Attributes:
        name: its name.
        comment: lines of its comment, without slashes.
        code: its declaration in C, without the body of a function.
    """

    name: str
    comment: tuple[str, ...]
    code: str


def page(title: str, intro: str, headers: Sequence[Path], root: Path) -> str:
    """Markdown page of some headers, those without documented declarations left out.

    Args:
        title: heading of the page.
        intro: first paragraph.
        headers: the files.
        root: folder that the headings' paths are relative to.
    """
    lines = [f"# {title}", "", intro, ""]
    for path in headers:
        text = path.read_text()
        documented = list(declarations(text))
        if documented:
            lines += [f"## `{path.relative_to(root)}`", "", *_prose(_about(text)), ""]
        for item in documented:
            lines += [f"### `{item.name}`", "", "```c", item.code, "```", ""]
            lines += [*_prose(item.comment), ""]
    return "\n".join(lines)


def declarations(text: str) -> Iterator[Declaration]:
    """The documented declarations of a header, in its order."""
    comment: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("///"):
            comment.append(line[3:].removeprefix(" "))
        elif comment:
            code = _declaration(line, lines)
            yield Declaration(_name(code), tuple(comment), code)
            comment = []


def _about(text: str) -> list[str]:
    """The comment at the top of a header, below the licence."""
    about = []
    for line in text.splitlines()[1:]:
        if not line.startswith("//"):
            break
        about.append(line[2:].removeprefix(" "))
    return about


def _declaration(first: str, rest: Iterator[str]) -> str:
    """A declaration that begins in ``first``; takes its other lines from ``rest``."""
    lines = [first]
    if first.startswith("#"):
        while lines[-1].endswith("\\"):
            lines.append(next(rest))
    elif re.match(r"typedef (struct|enum|union)\b.*\{$", first):
        while not lines[-1].startswith("}"):
            lines.append(next(rest))
    else:
        while not re.search(r"[;{]", lines[-1]):
            lines.append(next(rest))
        lines[-1] = re.sub(r"\s*\{.*$", ";", lines[-1])
    return "\n".join(lines)


def _name(code: str) -> str:
    if code.startswith("#"):
        return code.split()[1].partition("(")[0]
    if code.startswith("typedef"):
        pointer = re.search(r"\(\*(\w+)\)", code)
        return pointer[1] if pointer and "{" not in code else re.findall(r"(\w+);", code)[-1]
    return re.search(r"(\w+)\s*(?:\(|\[|=|;)", code)[1]


def _prose(comment: Sequence[str]) -> list[str]:
    """A comment as Markdown: its parameters and result as a list, other characters literally."""
    lines = []
    for line in comment:
        tag = re.match(r"@(param|return)\s+(?:(?<=param )\s*(\S+)\s+)?", line)
        if tag:
            name = f"`{tag[2]}`" if tag[1] == "param" else "Returns"
            if not (lines and lines[-1].startswith(("-", "  "))):
                lines.append("")
            line = f"- {name}: {_literal(line[tag.end() :])}"
        elif lines and lines[-1].startswith(("- ", "  ")):
            line = "  " + _literal(line.strip())
        else:
            line = _literal(line.strip())
        lines.append(line)
    return lines


def _literal(text: str) -> str:
    """Text whose characters have no meaning in Markdown outside of code between backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_<>\[\]{}$#|~])", r"\\\1", part)
        for part in parts
    )
