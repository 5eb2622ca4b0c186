# SPDX-License-Identifier: Apache-2.0
"""Compare the figures of README and guide with what the commands beside them print.

``make demo emulate-all``, then ``python docs/check_figures.py``: one line for each figure that is
stale, and exit status 1. Figures of boards that cannot be built here are named as not compared.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOOTPRINT = ROOT / "docs" / "guide" / "footprint.md"
NETWORKS = ROOT / "docs" / "evidence" / "results" / "presets.md"
DEMO, MATRIX = ROOT / "runs" / "demo", ROOT / "runs" / "matrix" / "matrix.json"
#: Column of the table of networks -> the board whose instructions it has.
CORES = {
    "M3": "mps2_an385",
    "M4F": "mps2_an386",
    "M7": "mps2_an500",
    "M33": "mps2_an505",
    "M55": "mps3_an547",
    "RV32": "qemu_riscv32",
}


def printed_by(*words: object) -> list[str]:
    """Lines that ``m3net WORDS`` prints, with single spaces."""
    command = [sys.executable, "-m", "m3net_tf", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"m3net {' '.join(map(str, words))}: {done.stderr}")
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def block_after(page: Path, sentence: str) -> list[str]:
    """Lines of the code that follows a sentence of a page, with single spaces."""
    text = page.read_text().partition(f"{sentence}\n\n")[2]
    fenced = text.startswith("```")
    end = re.search(r"^```$" if fenced else r"^\S", text[3 * fenced :], re.MULTILINE)
    assert end, f"{page}: no code after {sentence!r}"
    lines = text[3 * fenced :][: end.start()].splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


def stale_demonstration() -> Iterator[str]:
    """Lines below README's ``make demo`` that it does not print."""
    printed = printed_by("demo", "--run", DEMO)
    for line in block_after(README, "`make demo` ends with"):
        if line not in printed:
            yield f"README.md: make demo does not print {line!r}"


def stale_footprint() -> Iterator[str]:
    """Lines of the example of ``m3net footprint`` that it does not print."""
    shown = block_after(FOOTPRINT, "For the demonstration's network and three of the boards:")
    figures = [line for line in shown if not line.startswith(("board ", "─"))]
    boards = sorted({line.split()[0] for line in figures})
    printed = printed_by("footprint", DEMO, *(f"--board={board}" for board in boards))
    only_arena = [line.split()[0] for line in printed if len(line.split()) == 2]
    absent = {board for board in boards if board in only_arena}
    for board in sorted(absent):
        print(f"docs/guide/footprint.md: {board} cannot be built here, so nothing is compared")
    for line in figures:
        if line not in printed and line.split()[0] not in absent:
            yield f"docs/guide/footprint.md: m3net footprint does not print {line!r}"


def stale_networks() -> Iterator[str]:
    """Cells of the evidence's table of networks that differ from the matrix of boards."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in NETWORKS.read_text()
        .partition("## On emulated cores")[2]
        .partition("\n## ")[0]
        .splitlines()
        if line.startswith("|")
    ]
    head, table = rows[0], {row[0].lower(): row for row in rows[2:]}
    for cell in json.loads(MATRIX.read_text())["cells"]:
        if cell["engine"] != "compiled":
            continue
        figures = {
            core: f"{cell['instructions'] / 1e6:.2f}"
            for core, board in CORES.items()
            if board == cell["board"]
        }
        if "M4F" in figures:
            figures["arena, bytes"] = f"{cell['arena_used_bytes']:,}"
            figures["flash, bytes"] = f"{cell['flash_bytes']:,}"
        for column, figure in figures.items():
            shown = table[cell["network"]][head.index(column)]
            if shown != figure:
                yield f"{NETWORKS.name}: {cell['network']}, {column}: {shown} is {figure} today"


if __name__ == "__main__":
    stale = [*stale_demonstration(), *stale_footprint(), *stale_networks()]
    print("\n".join(stale) or "README and guide have the figures of their commands")
    raise SystemExit(bool(stale))
