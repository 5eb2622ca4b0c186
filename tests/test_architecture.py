# SPDX-License-Identifier: Apache-2.0
"""The plan of the rooms: permitted imports, and their picture in the documents."""

import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
