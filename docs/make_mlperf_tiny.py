# SPDX-License-Identifier: Apache-2.0
"""Reads the published results of MLPerf Tiny for docs/evidence/mlperf_tiny.csv.

``python docs/make_mlperf_tiny.py tiny_results_v0.7 ... tiny_results_v1.3`` takes checkouts of
https://github.com/mlcommons/tiny_results_v1.3 and of the rounds before. A row is a submission to
the closed division for a Cortex-M without an accelerator, with int8 weights. Cycles are the clock
of the system's description divided by the median throughput; of the streaming wake word, duty
times period times clock. Energy is the median of an inference.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

TABLE = Path(__file__).parent / "evidence" / "mlperf_tiny.csv"
#: Part of a results folder's name -> core, chip and clock in MHz, by ``closed/*/systems``.
BOARDS = {
    "G0B1RE": ("cortex-m0+", "STM32G0B1", 64),
    "L4R5ZI": ("cortex-m4f", "STM32L4R5", 120),
    "CY8CPROTO": ("cortex-m4f", "PSoC 62", 150),
    "M467HJ": ("cortex-m4f", "NuMicro M467", 200),
    "NRF5340": ("cortex-m33", "nRF5340", 128),
    "RA6M4": ("cortex-m33", "RA6M4", 200),
    "U385RG": ("cortex-m33", "STM32U385", 96),
    "U575ZI": ("cortex-m33", "STM32U575", 160),
    "U585I": ("cortex-m33", "STM32U585", 160),
    "F746NG": ("cortex-m7", "STM32F746", 216),
    "H7A3ZI": ("cortex-m7", "STM32H7A3", 280),
    "RA8D1": ("cortex-m85", "RA8D1", 480),
}
#: What a folder's path says of the engine -> its name; the first that matches counts.
ENGINES = {
    "X-CUBE-AI|/STMicro": "ST X-CUBE-AI",
    "cmsis.nn": "microTVM with CMSIS-NN",
    "native": "microTVM",
    "plumerai": "Plumerai",
    "bosch": "Bosch HALE",
    "Skymizer|Nuvoton": "ONNC",
    "renesas": "TensorFlow Lite Micro",
}
#: Weights of 32 bits, and another clock for energy alone.
LEFT_OUT = re.compile(r"_float|_\d+MHz")
TASKS = {
    "kws": "keywords",
    "ic": "images",
    "vww": "person",
    "ad": "anomaly",
    "sww": "streaming wake word",
}
COLUMNS = (
    *("round", "submitter", "core", "chip", "MHz", "engine", "version", "folder"),
    *(f"{task}, M cycles" for task in TASKS.values()),
    *(f"{task}, uJ" for task in list(TASKS.values())[:4]),
)
Row = dict[str, str]


def main() -> None:
    """Read the rounds, and write the file."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows = [row for folder in map(Path, sys.argv[1:]) for row in round_of(folder)]
    if not rows:
        sys.exit(f"no results in {', '.join(sys.argv[1:])}: name checkouts of tiny_results_v*")
    boards = [board for board in BOARDS.values()]
    order = [chip for _, chip, _ in boards]
    rows.sort(key=lambda row: (order.index(row["chip"]), row["engine"], row["round"]))
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def round_of(folder: Path) -> list[Row]:
    """Rows of a round, whose number ends the folder's name."""
    number = folder.absolute().name.rpartition("v")[2]
    tasks = sorted(folder.glob("closed/*/results/**/performance/results.txt"))
    systems = dict.fromkeys(task.parents[2] for task in tasks)
    return [row for system in systems if (row := row_of(folder, number, system))]


def row_of(root: Path, number: str, system: Path) -> Row | None:
    """The row of a system's folder; None if it is not for this table."""
    path = f"/{system.relative_to(root / 'closed').as_posix()}"
    board = next((BOARDS[part] for part in BOARDS if part in path.upper()), None)
    if board is None or LEFT_OUT.search(path):
        return None
    core, chip, clock_mhz = board
    engine = next(name for part, name in ENGINES.items() if re.search(part, path, re.I))
    submitter, _, folder = path[1:].partition("/results/")
    row = {"round": number, "submitter": submitter, "core": core, "chip": chip}
    description = root / "closed" / submitter / "systems" / f"{folder}.json"
    row |= {"MHz": str(clock_mhz), "engine": engine, "folder": folder}
    if description.is_file():
        text = description.read_text(encoding="utf-8", errors="replace")
        if version := re.search(
            r'"Inference Framework": "[^"]*?\bv?e?r?s?i?o?n? ?(\d[\w.]*)"', text
        ):
            row["version"] = version[1]
    elif version := re.search(r"X-CUBE-AI-([\d.]+)", folder):
        row["version"] = version[1]
    for part, task in TASKS.items():
        text = _results(system / part, "performance")
        if rate := re.search(r"Median throughput is +([\d.]+) inf", text):
            row[f"{task}, M cycles"] = _figure(clock_mhz / float(rate[1]))
        elif duty := re.search(r"duty cycle: ([\d.]+)\s+.*period: ([\d.]+) s", text):
            row[f"{task}, M cycles"] = _figure(float(duty[1]) * float(duty[2]) * clock_mhz)
        text = _results(system / part, "en*gy")  # a folder of round 1.0 has a name misspelt
        if part != "sww" and (energy := re.search(r"energy cost is ([\d.]+) uJ", text)):
            row[f"{task}, uJ"] = _figure(float(energy[1]))
    return row


def _results(task: Path, mode: str) -> str:
    files = list(task.glob(f"{mode}/results.txt"))
    return files[0].read_text(encoding="utf-8", errors="replace") if files else ""


def _figure(value: float) -> str:
    """Four digits."""
    return f"{float(f'{value:.4g}'):g}" if value < 1e4 else f"{value:.0f}"


if __name__ == "__main__":
    main()
