# SPDX-License-Identifier: Apache-2.0
"""Compare the figures of README and guide with what the commands beside them print.

``make demo``, then ``python docs/check_figures.py``: one line for each figure that is
stale, and exit status 1. Figures of boards that cannot be built here are named as not compared.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FOOTPRINT = ROOT / "docs" / "guide" / "footprint.md"
DEMO = ROOT / "runs" / "demo"


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


if __name__ == "__main__":
    stale = [*stale_demonstration(), *stale_footprint()]
    print("\n".join(stale) or "README and guide have the figures of their commands")
    raise SystemExit(bool(stale))
