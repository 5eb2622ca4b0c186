# SPDX-License-Identifier: Apache-2.0
"""Write the tables of guide and evidence that are in data already, between their two marks.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. Names:

- ``presets`` and ``cores``;
- ``PAPER/TABLE.SCALE``: what ``m3net table`` wrote, without values that a paper quotes;
- the same followed by ``rows``, ``differences`` or ``folds``: its cells with more columns;
- the same followed by a heading of that page: the table below the heading;
- ``search/NAME``: the front of a search.

Run ``python docs/make_tables.py`` after ``m3net table``, ``m3net lab deployment``, ``m3net lab
search``, ``docs/make_benchmarks.py`` or ``make emulate-all``.
"""

from __future__ import annotations

import csv
import functools
import importlib
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import m3net_tf.networks.presets
from m3net_tf.networks.presets import Preset
from m3net_tf.system.artifacts import write_text

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "experiments" / "results"
MARKED = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- end of table -->)", re.DOTALL)
TITLES = {
    "bc_resnet": "BC-ResNet",
    "bilateral": "bilateral",
    "diffres": "DiffRes",
    "ds_cnn": "DS-CNN",
    "m3net": "M3Net",
    "sparknet": "SparkNet",
    "spectromasknet": "SpectroMaskNet",
    "streaming_ds_cnn": "`streaming_ds_cnn`",
}
#: Label in a table of results -> preset; other presets have their network's title and their name.
LABELS = {"BC-ResNet-1": "bc_resnet/tau1", "DS-CNN": "ds_cnn/mcu", "SparkNet": "sparknet/mcu"}
#: Tables of accuracies on twelve keywords; an earlier one comes first.
ACCURACIES = ("mcu/keywords.small", "mcu/streaming.small", "mcu/presets.small")
CORES = {
    "M3": "mps2_an385",
    "M4F": "mps2_an386",
    "M7": "mps2_an500",
    "M33": "mps2_an505",
    "M55": "mps3_an547",
    "RV32": "qemu_riscv32",
}
#: Columns of the cells of a table, after their labels.
_PARTS = {
    "differences": ("difference", "p", "p, Holm"),
    "rows": ("paper", "ours", "95 %", "difference", "p", "p, Holm", "MACs"),
}
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
_NRF52840_HZ = 64e6
_UNKNOWN = "\N{EN DASH}"


def with_tables(page: str) -> str:
    """A page with its tables as the data have them.

    Raises:
        FileNotFoundError: a mark names no table.
    """
    return MARKED.sub(lambda mark: f"{mark[1]}\n{table(mark[2])}\n{mark[3]}", page)


def table(name: str) -> str:
    """A table by its name in a page, in Markdown."""
    if name == "presets":
        return "".join(_lines(_PRESET_HEAD, _preset_rows()))
    if name == "cores":
        return "".join(_lines(_CORE_HEAD, _core_rows()))
    results, _, part = name.partition(" ")
    if results.startswith("search/"):
        return "".join(_lines(_TRIAL_HEAD, _front(results)))
    if part == "folds":
        return _folds(results)
    if part in _PARTS:
        return _cells(results, _PARTS[part])
    return _summary(results, f"## {part}" if part else "# ")


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield _MINUS.sub("\N{MINUS SIGN}", f"| {' | '.join(row)} |\n")


@functools.cache
def _results(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return values


_PRESET_HEAD = (
    "preset",
    "what it is",
    "accuracy, %",
    "instructions, M",
    "ms, modelled",
    "of a hop",
    "arena, B",
    "of a stream",
)


def _preset_rows() -> Iterator[list[str]]:
    accuracies = _accuracies()
    costs = _costs()
    for name, preset in _presets().items():
        if name in accuracies or name in costs:
            network, _, kind = name.partition("/")
            cost = costs.get(name, {})
            yield [
                f"{TITLES[network]} `{kind}`",
                preset.summary,
                accuracies.get(name, _UNKNOWN),
                _figure(cost.get("instructions"), 1e6, 2),
                _figure(cost.get("cycles_nrf52840"), _NRF52840_HZ / 1e3, 1),
                _figure(cost.get("cycles_nrf52840_hop"), _NRF52840_HZ / 1e3, 1),
                _figure(cost.get("arena_bytes")),
                _figure(cost.get("arena_bytes_stream")),
            ]


def _presets() -> dict[str, Preset]:
    """All presets by ``network/preset``."""
    package = m3net_tf.networks.presets
    return {
        f"{module.name}/{kind}": preset
        for module in pkgutil.iter_modules(package.__path__)
        for kind, preset in importlib.import_module(
            f"{package.__name__}.{module.name}"
        ).PRESETS.items()
    }


def _accuracies() -> dict[str, str]:
    """Float accuracy of each preset that was trained on twelve keywords without a teacher."""
    found: dict[str, str] = {}
    named = {title.lower(): network for network, title in TITLES.items()}
    for name in ACCURACIES:
        for cell in _results(name)["cells"]:
            label = cell["labels"]["Network"]
            ours = cell["ours"]
            title, _, kind = label.partition(" ")
            preset = LABELS.get(label, f"{named.get(title.lower())}/{kind}")
            runs = "" if ours["runs"] > 1 else ", 1 run"
            found.setdefault(preset, f"{ours['mean']:.2f}{runs}")
    return found


def _costs() -> dict[str, dict[str, float]]:
    """Costs of each preset on a Cortex-M4F by the compiled engine."""
    with (DOCS / "evidence" / "preset_costs.csv").open(newline="") as file:
        found = {row.pop("preset"): _numbers(row) for row in csv.DictReader(file)}
    with (DOCS / "evidence" / "benchmarks.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["network"]
            if (row["core"], row["engine"]) == ("cortex-m4f", "compiled") and "/" in name:
                columns = {
                    "instructions": row["instructions"],
                    "cycles_nrf52840": row["modelled cycles, nRF52840"],
                    "arena_bytes": row["arena bytes"],
                }
                found[name] = {**found.get(name, {}), **_numbers(columns)}
    return found


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {key: float(value) for key, value in row.items() if value.isdecimal()}


def _figure(value: float | None, unit: float = 1, digits: int = 0) -> str:
    return _UNKNOWN if value is None else f"{value / unit:,.{digits}f}"


_CORE_HEAD = ("preset `s`", "int8 accuracy", *CORES, "arena, bytes", "flash, bytes")


def _core_rows() -> Iterator[list[str]]:
    costs = json.loads((DOCS.parent / "firmware" / "cost_baselines.json").read_text())
    for cell in _results("mcu/presets.small.deployment")["cells"]:
        network = cell["model"]["name"]
        if cell["model"]["preset"] == "s":
            on_m4f = costs[CORES["M4F"]]["compiled"][network]
            yield [
                TITLES[network],
                f"{cell['summary']['int8']['mean']:.1f} %",
                *(
                    f"{costs[board]['compiled'][network]['instructions'] / 1e6:.2f}"
                    for board in CORES.values()
                ),
                f"{on_m4f['arena_used_bytes']:,}",
                f"{on_m4f['flash_bytes']:,}",
            ]


def _summary(name: str, heading: str) -> str:
    """The first table below a heading of a page of results, without rows that others published."""
    head, rows = _markdown_rows(name, heading)
    own = [row for row in rows if any(cell and not cell.startswith("(") for cell in row[1:])]
    return "".join(_lines(head, own))


def _cells(name: str, wanted: Sequence[str]) -> str:
    """Labels of the cells that have a run of ours, and columns that are not empty."""
    head, rows = _markdown_rows(name, "## Cells")
    own = [dict(zip(head, row, strict=True)) for row in rows]
    own = [row for row in own if row["ours"]]
    if wanted[0] == "difference":
        own = [row for row in own if row["p"]]
    labels = head[: head.index("metric")]
    columns = [*labels, *(column for column in wanted if any(row.get(column) for row in own))]
    return "".join(_lines(columns, ([row[column] for column in columns] for row in own)))


_TRIAL_HEAD = ("trial", "validation, %", "instructions", "arena, B", "flash, B", "choices")


def _front(name: str) -> Iterator[list[str]]:
    """Trials on the front of a search, and the first trial, which is the recipe."""
    results = _results(name)
    trials = {trial["trial"]: trial for trial in results["trials"]}
    for number in dict.fromkeys([*results["front"], 0]):
        trial = trials[number]
        costs = [f"{trial[key]:,}" for key in ("instructions", "arena_bytes", "flash_bytes")]
        yield [str(number), f"{100 * trial['accuracy']:.2f}", *costs, trial["choices"]]


def _folds(name: str) -> str:
    """Figure of each fold, and their mean."""
    cells = [cell for cell in _results(name)["cells"] if len(cell["runs"]) > 1]
    folds = sorted({run["fold"] for cell in cells for run in cell["runs"]})
    rows = []
    for cell in cells:
        values = {run["fold"]: f"{run['value']:.2f}" for run in cell["runs"]}
        mean = f"{cell['ours']['mean']:.2f} ± {cell['ours']['std']:.2f}"
        rows.append([*cell["labels"].values(), *(values[fold] for fold in folds), mean])
    head = [*cells[0]["labels"], *(f"fold {fold}" for fold in folds), "mean"]
    return "".join(_lines(head, rows))


def _markdown_rows(name: str, heading: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the first table below a heading of a page of results."""
    text = (RESULTS / f"{name}.md").read_text().partition(heading)[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return cells[0], cells[2:]


def main() -> None:
    """Write every page with marks."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        written = with_tables(text)
        if written != text:
            write_text(path, written)
            print(path)


if __name__ == "__main__":
    main()
