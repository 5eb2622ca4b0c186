# SPDX-License-Identifier: Apache-2.0
"""docs/design/porting.md matches the tree: its blocks are files, its table names the boards."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from m3net_tf.boards.builds import boards
from m3net_tf.boards.builds.sources import FIRMWARE_DIR

ROOT = FIRMWARE_DIR.parent
PAGE = (ROOT / "docs" / "design" / "porting.md").read_text()
BLOCKS = re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "text"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_blocks_are_the_files_of_the_board_that_was_ported(name: str, text: str):
    file = (ROOT / name).read_text()
    assert file == text if name.startswith("firmware/") else text in file


def test_the_page_shows_the_whole_folder():
    shown = {Path(name).name for name, _ in BLOCKS if "boards/mps2_an500/" in name}
    assert shown == {path.name for path in (FIRMWARE_DIR / "boards" / "mps2_an500").iterdir()}
    assert "firmware/boards/mps2.toml" in dict(BLOCKS)


def test_the_page_describes_every_key_of_a_board():
    rows = PAGE.partition("| key | what |")[2].partition("\n\n")[0].splitlines()[2:]
    described = {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert described == {field.name for field in dataclasses.fields(boards.BoardFacts)}


def test_the_table_names_every_board():
    table = PAGE.partition("## Boards that exist")[2]
    named = re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)
    assert sorted(named) == boards.list_boards()


def test_variables_and_functions_that_it_names_exist():
    code = "".join(
        path.read_text()
        for path in FIRMWARE_DIR.rglob("*")
        if path.suffix in {".h", ".c", ".cmake", ".txt"}
    )
    names = set(re.findall(r"`(BOARD_\w+|m3net_\w+(?=\(\)))", PAGE))
    assert len(names) > 20
    assert not [name for name in names if name not in code]
