# SPDX-License-Identifier: Apache-2.0
"""The figures of ``make demo`` are the same wherever the tree quotes them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "docs" / "evidence" / "results" / "board.md").read_text()
#: Row of README's table -> row of the results page.
ROWS = {
    "accuracy, float": "accuracy on 400 held-out clips, float",
    "accuracy, int8 on the desktop": "int8 on the desktop, in TFLite Micro on the host, on the "
    "emulated Cortex-M4",
    "accuracy, TFLite Micro on the host": "int8 on the desktop, in TFLite Micro on the host, on "
    "the emulated Cortex-M4",
    "accuracy, emulated mps2_an386": "int8 on the desktop, in TFLite Micro on the host, on the "
    "emulated Cortex-M4",
    "accuracy from sound to label on the board": "accuracy from sound to label on the board",
    "same output bytes in all three": "same output bytes in all three",
    "int8 features within 1 LSB of Python's": "int8 features within one step of Python's",
    "flash, bytes": "flash",
    "tensor arena, bytes": "tensor arena",
    "instructions per frame, front end": "instructions per frame, front end",
    "instructions per run, network": "instructions per inference, network",
    "instructions per hop (4 frames)": "instructions per hop of 4 frames",
    "bytes of 2,000 hops": "bytes of 2,000 hops",
    "parameters": "parameters",
}
FLASH, ARENA = "flash, bytes", "tensor arena, bytes"
NETWORK, FRAME = "instructions per run, network", "instructions per frame, front end"


def rows(text: str, border: str) -> dict[str, list[str]]:
    """First cell of each row of a table -> its other cells."""
    lines = [line for line in text.splitlines() if line.startswith(border)]
    cells = [[cell.strip() for cell in line.strip(border).split(border)] for line in lines]
    return {first: rest for first, *rest in cells}


def section(page: str, title: str) -> str:
    return page.partition(f"\n{title}\n")[2].partition("\n## ")[0]


def figure(cell: str) -> float:
    return float(re.sub(r"[^\d.]", "", cell))


@pytest.fixture(scope="module")
def demo() -> dict[str, str]:
    """README's table."""
    return {name: cells[0] for name, cells in rows(README, "│").items()}


def test_the_results_page_has_readmes_figures(demo):
    results = rows(section(RESULTS, "## Demonstration"), "|")
    assert {*ROWS} | {"same label there as on the desktop"} == {*demo}
    for name, other in ROWS.items():
        value = results[other][0].removesuffix(" each").removesuffix(" B")
        assert value == demo[name], name


def test_the_picture_has_readmes_figures(demo):
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", (ROOT / "docs/chain.svg").read_text())
    assert {
        demo["accuracy, emulated mps2_an386"],
        f"{figure(demo[NETWORK]) / 1e6:.2f} M instructions",
        f"{figure(demo[ARENA]) / 1e3:.1f} kB arena",
        f"{figure(demo[FLASH]) / 1e3:.0f} kB flash",
    } <= {*texts}


def test_the_page_on_boards_has_readmes_figures(demo):
    page = (ROOT / "docs/guide/footprint.md").read_text()
    memory, time, _ = re.findall(r"^ +mps2_an386 .*", page, re.MULTILINE)
    assert demo[ARENA] in memory.split() and demo[FLASH] in memory.split()
    _, ms, _, inferences, share, *_ = time.split()
    assert figure(ms) == round(figure(demo[NETWORK]) / 25e3, 1)  # a clock of 25 MHz
    # A front end of 20 ms per frame.
    per_second = 50 * figure(demo[FRAME]) + figure(inferences) * figure(demo[NETWORK])
    assert figure(share) == round(100 * per_second / 25e6, 1)


def test_renodes_instructions_are_qemus_for_the_same_firmware():
    """Up to the steps of 40 in which the firmware counts in QEMU; another core, other code."""
    text = section(RESULTS, "## Emulators")
    qemu = re.search(r"QEMU's for the same firmware \(([\d,]+) and ([\d,]+);", text)
    assert qemu
    boards = {name: cells for name, cells in rows(text, "|").items() if name.startswith("`")}
    assert len(boards) == 3
    for name, cells in boards.items():
        tolerance = 0.02 if name == "`nucleo_h753zi`" else 5e-5
        for cell, counted in zip(cells, qemu.groups(), strict=True):
            for end in cell.split(" to "):
                assert figure(end) == pytest.approx(figure(counted), rel=tolerance), name
