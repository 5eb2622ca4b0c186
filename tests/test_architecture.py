# SPDX-License-Identifier: Apache-2.0
"""The plan of the rooms: permitted imports, and their picture in the documents."""

import ast
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST_FILE, LONGEST_FUNCTION = 400, 60  # lines
REPEATED = 6  # lines that may not stand twice
CODE = "m3net_tf tests firmware examples docs .ci".split()
#: Languages by suffix, with what is no code in them: documentation, comments, imports.
LANGUAGES = {
    ".py": r'(?m)^\s*([rf]?"""(?s:.*?)"""|#.*|(from \S+ )?import (\([^)]*\)|.*))',
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".ino"), r"(?m)//.*|^#include .*"),
    **dict.fromkeys((".js", ".css", ".html"), r"(?m)/\*(?s:.*?)\*/|^\s*//.*"),
    ".cmake": "(?m)#.*",
}


def test_each_room_imports_only_rooms_below_it():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_picture_shows_the_table_of_setup_cfg():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))
    assert drawing["PICTURE"].read_text() == drawing["draw"](), "run python docs/draw_rooms.py"


def test_the_design_names_every_room():
    design = (ROOT / "docs" / "design.md").read_text()
    rooms = [path.parent for path in sorted((ROOT / "m3net_tf").glob("*/__init__.py"))]
    modules = [path for path in (ROOT / "m3net_tf").glob("*.py") if not path.name.startswith("__")]
    assert [room.name for room in rooms if f"`m3net_tf/{room.name}/`" not in design] == []
    assert [path.name for path in modules if f"`{path.name}`" not in design] == []


def test_files_and_functions_are_of_a_size_that_one_reads():
    too_long = []
    for path in sorted((ROOT / "m3net_tf").rglob("*.py")):
        source = path.read_text()
        if source.count("\n") > LONGEST_FILE:
            too_long.append(f"{path.relative_to(ROOT)}: {source.count(chr(10))} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    too_long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert too_long == []


def blocks(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each run of lines that may not stand twice, with the number of its first line."""

    def blank(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    text = re.sub(LANGUAGES[path.suffix], blank, path.read_text())
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if re.search(r"\w", line)]
    for start in range(len(lines) - REPEATED + 1):
        block = lines[start : start + REPEATED]
        yield block[0][0], tuple(line for _, line in block)


def test_no_block_of_code_stands_twice():
    """Of tables, a value that is repeated line by line may."""
    places = defaultdict(list)
    for path in sorted(path for folder in CODE for path in (ROOT / folder).rglob("*")):
        if path.suffix in LANGUAGES:
            for number, block in blocks(path):
                if len(set(block)) > 1:
                    places[block].append(f"{path.relative_to(ROOT)}:{number}")
    assert [" = ".join(found) for found in places.values() if len(found) > 1] == []
