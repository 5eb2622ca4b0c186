# SPDX-License-Identifier: Apache-2.0
"""Write the tables of guide and evidence that are in data already, between their two marks.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. Names:

- ``presets`` and ``cores``;
- ``benchmarks CORE`` and ``benchmarks ratios``: the compiled engine, and what it is of TensorFlow
  Lite Micro, of ``docs/evidence/benchmarks.csv``; ``benchmarks mlperf``, ``energy``, ``open`` and
  ``checks``: beside published results of ``docs/evidence/mlperf_tiny.csv``;
- ``streams`` and ``streams always``: windows and hops, or front end and hops of a microphone that
  never stops, of ``docs/evidence/streams.json``;
- ``bodies DATASET`` and ``bodies cost``: accuracy after some clips of each class, and the cost of a
  second of sound, of ``docs/evidence/bodies.json``; ``bodies nothing``: without a body, of
  ``docs/evidence/bodies_from_nothing.json``;
- ``enrolled`` and ``normal``: accuracy of enrolled sounds, and how well faults are told from normal
  sounds, of ``docs/evidence/enrolled_sounds.json`` and ``docs/evidence/normal_sounds.json``;
- ``levels``: accuracy by the gain of a microphone, of ``docs/evidence/levels.json``;
- ``PAPER/TABLE.SCALE``: what ``m3net table`` wrote, without values that a paper quotes;
- the same followed by ``rows`` or ``folds``: its cells with more columns, or each fold;
- the same followed by ``leak``: the accuracy by two splits, paired by seed;
- the same followed by ``controls PREFIX``: differences to the reference, for the splits whose
  labels begin with PREFIX, beside the paper's;
- the same followed by ``step LABEL``: the difference of one model to the reference;
- the same followed by ``between FAMILY``: the differences of a family of experiments/families.yaml;
- the same followed by ``paired OTHER``: the difference of each draw, beside another result's;
- ``claims``: what the papers claim, of ``docs/evidence/claims.yaml``, with our verdicts;
- the same followed by ``signals``: what a figure says about its data;
- the same followed by another heading of that page: the table below the heading;
- ``search/NAME``: the front of a search.

Run ``python docs/make_tables.py`` after ``m3net table``, ``m3net lab deployment``, ``m3net lab
search``, ``m3net bench stream``, ``m3net bench body``, ``m3net bench sounds``, ``m3net bench
normal``, ``m3net bench level``, ``docs/make_benchmarks.py`` or ``make emulate-all``.
"""

from __future__ import annotations

import csv
import functools
import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import m3net_tf.networks.presets
from m3net_tf.lab.studies.families import (
    VERDICTS,
    Verdict,
    cell_verdicts,
    family_verdicts,
    rule,
)
from m3net_tf.lab.studies.grid_file import load_grid
from m3net_tf.lab.studies.report_files import markdown
from m3net_tf.lab.studies.statistics import paired_values
from m3net_tf.lab.studies.table_record import TableReport, read_table
from m3net_tf.lab.studies.table_views import table_page
from m3net_tf.networks.presets import Preset
from m3net_tf.system.artifacts import write_text
from m3net_tf.system.yaml_files import read_yaml

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
_COLUMNS = ("paper", "ours", "95 %", "difference", "p", "p, Holm", "MACs")
#: The paper's tables that a control of the mirrors comes from, and its label there.
_CONTROLS = {
    "identity": ("m3net/table5.small", "+ ECA"),
    "w/o MA": ("m3net/table3.small", "w/o MA"),
    "w/o SFP": ("m3net/table3.small", "w/o SFP"),
    "w/o MFP": ("m3net/table4.small", "w/o MFP"),
    "w/o DFP": ("m3net/table4.small", "w/o DFP"),
    "identity, w/o ECA": ("m3net/table5.small", "none"),
    "+ ECA + CSF": ("m3net/table5.small", "+ ECA + CSF"),
    "+ ECA + CSF + VMF": ("m3net/table5.small", "+ ECA + CSF + VMF"),
}
#: Networks whose products differ less than this are not told apart by them.
_ALIKE = 1.2
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
_NRF52840_HZ = 64e6
_UNKNOWN = "\N{EN DASH}"
_YAMNET = "yamnet global_average_pooling2d/Mean"

#: Head and rows.
Table = tuple[Sequence[str], Iterable[Sequence[str]]]


def with_tables(page: str) -> str:
    """A page with its tables as the data have them.

    Raises:
        FileNotFoundError: a mark names no table.
    """
    return MARKED.sub(lambda mark: f"{mark[1]}\n{table(mark[2])}\n{mark[3]}", page)


def table(name: str) -> str:
    """A table by its name in a page, in Markdown."""
    kind, _, part = name.partition(" ")
    if kind in _WHOLE:
        head, rows = _WHOLE[kind](part)
        return "".join(_lines(head, rows))
    if kind.startswith("search/"):
        return "".join(_lines(_TRIAL_HEAD, _front(kind)))
    view, _, argument = part.partition(" ")
    if view in _VIEWS:
        head, rows = _VIEWS[view](kind, argument)
        return "".join(_lines(head, rows))
    return _summary(kind, f"## {part}" if part else "# ")


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |\n"
    yield f"|{'---|' * len(head)}\n"
    for row in rows:
        yield _MINUS.sub("\N{MINUS SIGN}", f"| {' | '.join(row)} |\n")


@functools.cache
def _results(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return values


@functools.cache
def _report(name: str) -> TableReport:
    return read_table(RESULTS / f"{name}.json")


@functools.cache
def _verdicts(name: str) -> list[Verdict | None]:
    return cell_verdicts(_report(name), RESULTS / name)


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
            cost = costs.get(name, {})
            yield [
                _title(name),
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
    found: dict[str, dict[str, float]] = {}
    for name, cost in _streams().items():
        found[name] = {
            "instructions": cost["window_instructions"],
            "cycles_nrf52840": cost["window_modelled"]["cycles"]["nRF52840"],
            "cycles_nrf52840_hop": cost["hop_modelled"]["cycles"]["nRF52840"],
            "arena_bytes": cost["window_arena_bytes"],
            "arena_bytes_stream": cost["arena_bytes"],
        }
    for row in _benchmarks():
        name = row["network"]
        if (row["core"], row["engine"]) == ("cortex-m4f", "compiled") and "/" in name:
            columns = {
                "instructions": row["instructions"],
                "cycles_nrf52840": row["modelled cycles, nRF52840"],
                "arena_bytes": row["arena bytes"],
            }
            found[name] = {**found.get(name, {}), **_numbers(columns)}
    return found


def _streams() -> dict[str, Any]:
    """Costs of the presets that stream, on a Cortex-M4F."""
    costs: dict[str, Any] = _stream_costs()["streams"]
    return costs


@functools.cache
def _stream_costs() -> dict[str, Any]:
    """What ``m3net bench stream`` measured on a Cortex-M4F."""
    result = json.loads((DOCS / "evidence" / "streams.json").read_text())
    costs: dict[str, Any] = result["boards"][CORES["M4F"]]
    return costs


def _benchmarks() -> list[dict[str, str]]:
    with (DOCS / "evidence" / "benchmarks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _benchmark_table(part: str) -> Table:
    """The compiled engine on a core, both on cores that differ, or published ones beside it."""
    if part == "ratios":
        return _ratios()
    if part == "mlperf":
        return _mlperf()
    if part == "energy":
        return _mlperf_energy()
    if part == "checks":
        return _mlperf_checks()
    if part == "open":
        return _open_engines()
    rows = [row for row in _benchmarks() if (row["core"], row["engine"]) == (part, "compiled")]
    named = ("core", "engine")
    head = [
        column for column in rows[0] if column not in named and any(row[column] for row in rows)
    ]
    return head, (
        [f"{int(row[key]):,}" if row[key].isdecimal() else row[key] for key in head] for row in rows
    )


def _ratios() -> Table:
    """Compiled divided by TensorFlow Lite Micro, on cores whose kernels differ."""
    costs = {(row["core"], row["network"], row["engine"]): row for row in _benchmarks()}
    cores = ("cortex-m4f", "cortex-m3", "cortex-m55")
    networks = list(dict.fromkeys(network for _, network, _ in costs))
    wanted = [("instructions", core) for core in cores]
    wanted += [("flash bytes", core) for core in cores]
    wanted += [("arena bytes", cores[0])]
    names = {"instructions": "instructions", "flash bytes": "flash", "arena bytes": "arena"}
    head = ["network", *(f"{names[key]}, {core.partition('-')[2].upper()}" for key, core in wanted)]
    rows = []
    for network in networks:
        row = [network]
        for key, core in wanted:
            ours, theirs = (costs[core, network, engine][key] for engine in ("compiled", "tflm"))
            row.append(f"{int(ours) / int(theirs):.2f}")
        rows.append(row)
    return head, rows


#: Networks of MLPerf Tiny by the names of its tasks.
_MLPERF = {
    "keywords": "DS-CNN",
    "images": "ResNet-8",
    "person": "MobileNetV1 0.25",
    "anomaly": "autoencoder",
    "streaming wake word": "streaming wake word",
}
#: What is modelled of ours for a core that others published results of.
_MLPERF_COLUMNS = {
    "cortex-m4f": {
        "modelled cycles, 0 wait states": "ours, modelled, no wait states",
        "modelled cycles, STM32F4": "ours, modelled, flash of an STM32F4",
    },
    "cortex-m33": {
        "modelled cycles, 0 wait states": "ours, modelled, no wait states",
        "modelled cycles, STM32U575": "ours, modelled, flash of an STM32U575",
    },
    "cortex-m7": {
        "modelled cycles, best case": "ours, modelled, best case",
        "modelled cycles, worst case": "ours, modelled, worst case, flash of an STM32H7A3",
    },
}


def _published() -> list[dict[str, str]]:
    with (DOCS / "evidence" / "mlperf_tiny.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _modelled_mlperf(core: str, column: str, engine: str = "compiled") -> list[float]:
    """Modelled millions of cycles of each task; none where they are not modelled."""
    own = {(row["core"], row["network"]): row for row in _benchmarks() if row["engine"] == engine}
    counts = [own[core, network][column] for network in _MLPERF.values()]
    return [int(count) / 1e6 for count in counts] if all(counts) else []


def _fewest(chip: str, engine: str) -> list[dict[str, str] | None]:
    """For each task the submission of an engine with the fewest cycles on a chip."""
    tried = [row for row in _published() if (row["chip"], row["engine"]) == (chip, engine)]
    best: list[dict[str, str] | None] = []
    for task in _MLPERF:
        rows = [row for row in tried if row[f"{task}, M cycles"]]
        best.append(min(rows, key=lambda row: float(row[f"{task}, M cycles"]), default=None))
    return best


def _fewest_cycles(chip: str, engine: str) -> list[float | None]:
    """The millions of cycles there."""
    return [
        float(row[f"{task}, M cycles"]) if row else None
        for task, row in zip(_MLPERF, _fewest(chip, engine), strict=True)
    ]


def _mlperf() -> Table:
    """Published cycles of MLPerf Tiny's tasks, each engine's fewest, and ours below; millions."""
    published = _published()
    rows = []
    for core in dict.fromkeys(row["core"] for row in published):
        of_core = [row for row in published if row["core"] == core]
        for chip, clock, engine in dict.fromkeys(
            (row["chip"], row["MHz"], row["engine"]) for row in of_core
        ):
            rounds = ", ".join(sorted({row["round"] for row in _fewest(chip, engine) if row}))
            cells = [
                "" if count is None else _millions(count) for count in _fewest_cycles(chip, engine)
            ]
            rows.append([f"{_core_title(core)}, {chip} at {clock} MHz", engine, rounds, *cells])
        for column, name in _MLPERF_COLUMNS.get(core, {}).items():
            counts = map(_millions, _modelled_mlperf(core, column))
            rows.append([_core_title(core), name, "", *counts])
    return ("core", "engine", "rounds", *_MLPERF), rows


def _open_engines() -> Table:
    """Millions of cycles of open engines on a Cortex-M33: published, and modelled."""
    rows = []
    for chip, engine in (
        ("RA6M4", "TensorFlow Lite Micro"),
        ("nRF5340", "microTVM with CMSIS-NN"),
    ):
        rounds = ", ".join(sorted({row["round"] for row in _fewest(chip, engine) if row}))
        counts = _fewest_cycles(chip, engine)
        cells = ["" if count is None else _millions(count) for count in counts]
        rows.append([f"{engine}, {chip}, published in {rounds}", *cells])
    for column in _MLPERF_COLUMNS["cortex-m33"]:
        modelled = _modelled_mlperf("cortex-m33", column, "tflm")
        name = "TensorFlow Lite Micro with CMSIS-NN, modelled"
        setting = column.removeprefix("modelled cycles, ")
        rows.append([f"{name}, {setting}", *map(_millions, modelled)])
    return ("engine", *_MLPERF), rows


def _mlperf_checks() -> Table:
    """Cycles on other cores divided by a Cortex-M4's: published and modelled."""
    chips = {
        "cortex-m33": {
            "ST X-CUBE-AI": "STM32U575",
            "Plumerai": "STM32U575",
            "Bosch HALE": "STM32U575",
            "microTVM with CMSIS-NN": "nRF5340",
        },
        "cortex-m7": dict.fromkeys(("ST X-CUBE-AI", "Plumerai", "Bosch HALE"), "STM32H7A3"),
    }
    engines = {"tflm": "TensorFlow Lite Micro with CMSIS-NN", "compiled": "ours"}
    rows = []
    for core, of_engines in chips.items():
        title = f"{_core_title(core)} / Cortex-M4"
        for engine, chip in of_engines.items():
            pairs = zip(
                _fewest_cycles(chip, engine), _fewest_cycles("STM32L4R5", engine), strict=True
            )
            ratios = [f"{count / base:.2f}" if count and base else "" for count, base in pairs]
            rows.append([title, f"{engine}, {chip} / STM32L4R5", *ratios])
        for engine, name in engines.items():
            base = _modelled_mlperf("cortex-m4f", "modelled cycles, 0 wait states", engine)
            for column in _MLPERF_COLUMNS[core]:
                counts = _modelled_mlperf(core, column, engine)
                # TensorFlow Lite Micro on a Cortex-M7 has none; the M4's flash is not a U575's.
                if not counts or column.endswith("STM32U575"):
                    continue
                cells = [f"{count / m4:.2f}" for count, m4 in zip(counts, base, strict=True)]
                setting = column.removeprefix("modelled cycles, ")
                rows.append([title, f"{name}, modelled, {setting}", *cells])
    return ("cores", "engine", *_MLPERF), rows


def _core_title(core: str) -> str:
    return core.replace("cortex-m", "Cortex-M").replace("M4f", "M4")


def _millions(count: float) -> str:
    return f"{count:.{1 if count >= 100 else 2 if count >= 1 else 3}f}"


def _mlperf_energy() -> Table:
    """Published energy of a cycle, and what our modelled cycles would take; microjoules."""
    tasks = list(_MLPERF)[:4]
    rows = []
    published = [row for row in _published() if row["core"] in _MLPERF_COLUMNS]
    for core, chip in dict.fromkeys((row["core"], row["chip"]) for row in published):
        of_chip = [row for row in published if row["chip"] == chip and row["keywords, uJ"]]
        if not of_chip:
            continue
        energies = [
            float(row[f"{task}, uJ"]) / float(row[f"{task}, M cycles"])
            for row in of_chip
            for task in tasks
            if row[f"{task}, uJ"]
        ]
        least, most = min(energies), max(energies)
        modelled = [_modelled_mlperf(core, column) for column in _MLPERF_COLUMNS[core]]
        best = [
            min(float(row[f"{task}, uJ"]) for row in of_chip if row[f"{task}, uJ"])
            for task in tasks
        ]
        rounds = ", ".join(sorted({row["round"] for row in of_chip}))
        title = f"{_core_title(core)}, {chip}"
        rows.append([title, "published, least", rounds, "", *(f"{energy:,.0f}" for energy in best)])
        bands = [
            f"{least * min(counts):,.0f} to {most * max(counts):,.0f}"
            for counts in zip(*modelled, strict=True)
        ]
        pj_a_cycle = f"{least:.0f} to {most:.0f}"
        rows.append([title, "ours, modelled cycles", "", pj_a_cycle, *bands[: len(tasks)]])
    return ("chip", "engine", "rounds", "pJ a cycle", *tasks), rows


def _stream_table(part: str) -> Table:
    """Hop, share of the products, memory and state of the presets that stream."""
    if part == "always":
        return _always_on()
    head = ["preset", "hop", "share of MACs", "arena of a window", "of a stream", "of it state"]
    head += ["instructions of a window", "of a hop"]
    rows = [
        [
            _title(name),
            f"{cost['hop']} of {cost['window']}",
            f"{cost['hop_macs'] / cost['window_macs']:.3f}",
            *(
                f"{cost[key]:,}"
                for key in (
                    *("window_arena_bytes", "arena_bytes", "state_bytes"),
                    *("window_instructions", "hop_instructions"),
                )
            ),
        ]
        for name, cost in _streams().items()
    ]
    return head, sorted(rows, key=lambda row: float(row[2]))


def _body_table(part: str) -> Table:
    """Bodies for sounds: accuracy by clips of each class, or what a second of sound costs."""
    file = "bodies_from_nothing.json" if part == "nothing" else "bodies.json"
    result = json.loads((DOCS / "evidence" / file).read_text())
    if part == "cost":
        head = ["body", "network, M cycles/s", "front end, M instructions/s"]
        head += ["arena, bytes", "weights and tables, bytes"]
        costs = {name: body["cost"] for name, body in result["bodies"].items() if "cost" in body}
        return head, [
            [
                f"`{name}`",
                f"{costs[name]['cycles_per_second']['0 wait states'] / 1e6:.1f}",
                f"{costs[name]['frontend_instructions_per_second'] / 1e6:.1f}",
                f"{costs[name]['arena_bytes']:,}",
                f"{costs[name]['network_flash_bytes']:,}",
            ]
            for name in sorted(costs, reverse=True)
        ]
    accuracy = result["data"]["esc10" if part == "nothing" else part]["accuracy"]
    shots = sorted(next(iter(accuracy.values())), key=lambda each: (each == "all", each.zfill(3)))
    if part == "nothing":
        cells = [_share_with_interval(accuracy["from nothing"][shot]["int8"]) for shot in shots]
        return ["network", *shots], [["from nothing", *cells]]
    rows = []
    for name in (*sorted((each for each in accuracy if " " not in each), reverse=True), _YAMNET):
        kind = "int8" if "int8" in accuracy[name]["5"] else "float"
        cells = [_share_with_interval(accuracy[name][shot][kind]) for shot in shots]
        rows.append([f"`{name.partition(' ')[0]}`", kind, *cells])
    return ["body", "classifier", *shots], rows


def _enrolled_table(_: str) -> Table:
    """Accuracy of enrolled sounds by body, with and without whitening."""
    results = json.loads((DOCS / "evidence" / "enrolled_sounds.json").read_text())
    rows = [
        [
            f"`{result['body']}`",
            "yes" if result["background"] else "no",
            _share_with_interval(result),
            " to ".join(f"{100 * share:.1f}" for share in result["draw_accuracy"]),
            *_ends(result["by_class"]),
        ]
        for result in results
    ]
    return ["body", "whitened", "accuracy, %", "of the draws, %", "worst class", "best class"], rows


def _ends(shares: Mapping[str, float]) -> list[str]:
    """The names with the lowest and the highest share."""
    names = sorted(shares, key=lambda name: shares[name])
    return [f"{name} {100 * shares[name]:.1f}" for name in (names[0], names[-1])]


def _normal_table(_: str) -> Table:
    """AUC of faults by their level, by body."""
    results = json.loads((DOCS / "evidence" / "normal_sounds.json").read_text())
    levels = sorted(results[0]["levels"], key=int)
    rows = []
    for result in results:
        figures = [result["levels"][level] for level in levels]
        aucs = [
            "{:.3f} ({:.3f} to {:.3f})".format(each["auc"], *each["auc_95"]) for each in figures
        ]
        learnt = "half of each" if result.get("own") else "others"
        rows.append([f"`{result['body']}`", learnt, *aucs])
    columns = [f"{level} dB".replace("-", "\N{MINUS SIGN}") for level in levels]
    return ["body", "recordings learnt", *columns], rows


def _level_table(_: str) -> Table:
    """Accuracy by the gain of a microphone, without and with the automatic gain."""
    results = json.loads((DOCS / "evidence" / "levels.json").read_text())
    gains = sorted(results[0]["levels"], key=int)
    rows = []
    for result in results:
        for title, key in (("no", "accuracy"), ("yes", "automatic")):
            shares = (f"{100 * result['levels'][gain][key]:.1f}" for gain in gains)
            rows.append([f"`{result['network']}`", title, *shares])
        raised = (str(result["levels"][gain]["gain_db"]) for gain in gains)
        rows.append([f"`{result['network']}`", "mean gain, dB", *raised])
    columns = [f"{gain} dB".replace("-", "\N{MINUS SIGN}") for gain in gains]
    return ["network", "automatic gain", *columns], rows


def _share_with_interval(figures: Mapping[str, Any]) -> str:
    low, high = figures["accuracy_95"]
    return f"{100 * figures['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


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
    columns = [index for index in range(len(head)) if _tells([row[index] for row in own])]
    return "".join(
        _lines(
            [head[index] for index in columns], ([row[index] for index in columns] for row in own)
        )
    )


def _tells(cells: Sequence[str]) -> bool:
    """Whether a column has figures, or says more than the same word in each row."""
    return len(set(cells)) > 1 or any(character.isdecimal() for character in cells[0])


def _always_on() -> Table:
    """Instructions of a second of sound: front end and hops, or whole windows."""
    head = ["preset", "decisions a second", "front end, a frame", "with a hop"]
    head += ["a second", "whole windows, a second"]
    rows = []
    for name, cost in _stream_costs()["always_on"].items():
        frame = cost["frontend_instructions"]
        rate = cost["decisions_per_second"]
        stream = _streams()[name]
        hop = frame + stream["hop_instructions"]
        windows = rate * (frame + stream["window_instructions"])
        row = [_title(name), f"{rate:g}", f"{frame:,}", f"{hop:,}"]
        rows.append([*row, f"{cost['instructions'] / 1e6:.2f} M", f"{windows / 1e6:.1f} M"])
    return head, rows


def _title(name: str) -> str:
    """``network/preset`` as tables name it."""
    network, _, kind = name.partition("/")
    return f"{TITLES[network]} `{kind}`"


def _cells(name: str, _: str) -> Table:
    """Labels of the cells that have a run of ours, and columns that tell them apart."""
    head, rows = _markdown_rows(name, "## Cells")
    own = [dict(zip(head, row, strict=True)) for row in rows]
    own = [row for row in own if row["ours"]]
    # With one pair of runs a test says nothing; with Holm's correction the other p is not needed.
    corrected = any(row.get("p, Holm") for row in own)
    single = all(
        row.get("p", "").endswith("(\N{GREATER-THAN OR EQUAL TO} 1)") for row in own if row.get("p")
    )
    hidden = {"p"} if corrected or single else set()
    work = [int(row["MACs"].replace(",", "")) for row in own if row.get("MACs")]
    if not work or max(work) < _ALIKE * min(work):
        hidden.add("MACs")
    if any("(" in row.get("difference", "") for row in own):
        hidden.add("95 %")  # the difference has its own
    labels = head[: head.index("metric")]
    labels = [label for label in labels if len({row[label] for row in own}) > 1] or labels[:1]
    shown = [column for column in _COLUMNS if column not in hidden]
    columns = [*labels, *(column for column in shown if any(row.get(column) for row in own))]
    return columns, ([row[column] for column in columns] for row in own)


def _leak(name: str, _: str) -> Table:
    """Accuracy by a split that leaks and by one that does not, for each network."""
    verdicts = {
        cell["labels"]["Network"]: verdict
        for cell, verdict in zip(_report(name)["cells"], _verdicts(name), strict=True)
        if verdict
    }
    by_network: dict[str, dict[bool, Any]] = {}
    for cell in _report(name)["cells"]:
        by_network.setdefault(cell["labels"]["Network"], {})[cell["facts"]["leaking"]] = cell
    rows = []
    for network, both in by_network.items():
        own, other, _places = paired_values(both[True], both[False])
        each = [one - two for one, two in zip(own, other, strict=True)]
        means = [_with_interval(both[leaking]["ours"]) for leaking in (True, False)]
        test = verdicts[network]
        wide = _turned(test, "wide_low", "wide_high").partition(" (")[2].rstrip(")")
        row = [network, *means, _turned(test, "low", "high"), wide]
        p = "< 0.001" if test["p"] < 0.001 else f"{test['p']:.3f}"
        rows.append([*row, f"{min(each):.1f}, {max(each):.1f}", p, test["verdict"]])
    head = ("network", "random split", "grouped", "difference", "overlapping draws")
    return (*head, "smallest, largest", "p, Holm", "verdict"), rows


def _turned(test: Verdict, low: str, high: str) -> str:
    """A difference with the other sign, and its interval."""
    ends: Mapping[str, Any] = test
    if ends[low] is None:
        return _UNKNOWN
    return f"{-test['difference']:.1f} ({-ends[high]:.1f} to {-ends[low]:.1f})"


def _with_interval(spread: Mapping[str, float]) -> str:
    return f"{spread['mean']:.1f} ({spread['low']:.1f} to {spread['high']:.1f})"


def _controls(name: str, prefix: str) -> Table:
    """Accuracy of each model, and its difference to the reference, by two splits."""
    cells: dict[tuple[str, str], Any] = {}
    verdicts = {}
    for cell, verdict in zip(_report(name)["cells"], _verdicts(name), strict=True):
        split = cell["labels"]["Split"]
        if split.startswith(prefix) and "folds" not in split and cell["ours"]:
            place = cell["labels"]["Model"], split
            cells[place] = cell
            verdicts[place] = verdict
    splits = sorted({split for _, split in cells}, key=lambda split: "random" not in split)
    models = list(dict.fromkeys(model for model, _ in cells))
    head = ["network", "parameters"]
    for split in splits:
        head += [split.removeprefix(f"{prefix}, "), "to M3Net"]
    rows = []
    for model in models:
        facts = next(cells[model, split]["facts"] for split in splits if (model, split) in cells)
        row = [model, f"{facts['parameters']:,}"]
        for split in splits:
            cell = cells[model, split]
            row += [f"{cell['ours']['mean']:.2f}", _to_reference(verdicts[model, split])]
        rows.append([*row, _paper_difference(model, prefix)])
    return [*head, "paper: to M3Net"], rows


def _to_reference(test: Verdict | None) -> str:
    """A difference with its intervals, the one for overlapping draws last; bold if it counts."""
    if test is None:
        return ""
    text = f"{test['difference']:+.2f} ({test['low']:+.2f} to {test['high']:+.2f}"
    if test["wide_low"] is not None:
        text += f"; {test['wide_low']:+.2f} to {test['wide_high']:+.2f}"
    return f"**{text})**" if test["p"] < rule().level else f"{text})"


def _paper_difference(model: str, prefix: str) -> str:
    """What the paper says; its whole network in brackets."""
    table_name, label = _CONTROLS.get(model, ("m3net/table5.small", model))
    paper = {
        cell["labels"]["Model"]: cell["paper"]
        for cell in _results(table_name)["cells"]
        if cell["labels"]["Data set"].startswith(prefix)
    }
    if label not in paper:
        return ""
    if label == "M3Net":
        return f"({paper[label]:.2f})"
    return f"{paper[label] - paper['M3Net']:+.2f}"


def _step(name: str, label: str) -> Table:
    """The difference of one model to the reference for each data set, and the paper's."""
    report = _report(name)
    cells: dict[tuple[str, str], Any] = {
        (cell["labels"]["Data set"], cell["labels"]["Model"]): cell for cell in report["cells"]
    }
    rows = []
    for cell, verdict in zip(report["cells"], _verdicts(name), strict=True):
        data = cell["labels"]["Data set"]
        if cell["labels"]["Model"] == label:
            paper = cells[data, label]["paper"] - cells[data, "M3Net"]["paper"]
            leaking = cell["facts"]["leaking"]  # as the paper's split
            own = _to_reference(verdict)
            rows.append([data, own, f"{paper:+.2f}" if leaking else ""])
    return ("data", f"{label} to M3Net (95 %)", "paper"), rows


def _between(name: str, family: str) -> Table:
    """The difference of a family that does not compare with the reference, for each network."""
    rows = []
    for cell, test in zip(
        _report(name)["cells"], family_verdicts(_report(name), family), strict=True
    ):
        if test:
            narrow = f"{test['difference']:.1f} ({test['low']:.1f} to {test['high']:.1f})"
            wide = f"{test['wide_low']:.1f} to {test['wide_high']:.1f}"
            rows.append(
                [cell["labels"]["Model"], narrow, wide, f"{test['p']:.2g}", test["verdict"]]
            )
    return ("network", "difference", "overlapping draws", "p, Holm", "verdict"), rows


def _paired(name: str, other: str) -> Table:
    """Differences to the reference of each draw, in a table; in the same cells of another."""
    rows: list[list[str]] = []
    draws: list[str] = []
    for cell in _report(name)["cells"]:
        if cell["ours"] and cell["against_reference"]:
            own, others = (_differences(each, cell["labels"]) for each in (name, other))
            draws = max(draws, [*own], key=len)
            pairs = [(own[draw], others[draw]) for draw in own]
            means = tuple(sum(values) / len(pairs) for values in zip(*pairs, strict=True))
            shown = [f"{one:+.2f}; {two:+.2f}" for one, two in (means, *pairs)]
            rows.append([cell["labels"]["Model"], *shown])
    table = [row + [""] * (len(draws) + 2 - len(row)) for row in rows]
    return ("network", "mean", *(f"draw {draw}" for draw in draws)), table


def _differences(name: str, labels: Mapping[str, str]) -> dict[str, float]:
    """Draw of the split -> difference of a cell to the reference."""
    report = _report(name)
    wanted = (labels, {**labels, **report["reference"]})
    cell, reference = (
        next(cell for cell in report["cells"] if cell["labels"] == each) for each in wanted
    )
    own, others, data = paired_values(cell, reference)
    return {str(draw): one - two for one, two, (_, draw) in zip(own, others, data, strict=True)}


def _claims(_: str) -> Table:
    """What the papers claim, and the verdict on each comparison that can tell."""
    rows = []
    papers = read_yaml(DOCS / "evidence" / "claims.yaml")
    for paper, claims in papers.items():
        for number, claim in enumerate(claims):
            text = claim["claim"] if number else f"**{paper}:** {claim['claim']}"
            if "verdict" in claim:
                if claim["verdict"] not in VERDICTS:
                    raise ValueError(f"{text}: there is no verdict {claim['verdict']!r}")
                rows.append([text, claim["because"], "", "", claim["verdict"]])
                text = ""
            for compared in claim.get("compared", ()):
                rows.append([text, *_comparison(compared)])
                text = ""
    return ("claim", "compared", "family, size, pairs", "points, 95 %", "verdict"), rows


def _comparison(compared: Mapping[str, Any]) -> list[str]:
    """A comparison of the claims, with the interval that its verdict takes."""
    name = compared["table"]
    labels = compared["cell"]
    report = _report(name)
    family = compared.get("family")
    verdicts = family_verdicts(report, family) if family else _verdicts(name)
    (test,) = (
        verdict
        for cell, verdict in zip(report["cells"], verdicts, strict=True)
        if verdict and set(labels) <= set(cell["labels"].values())
    )
    page = f"[{', '.join(labels)}](../../experiments/results/{name}.md)"
    ends = [test["low"], test["high"]]
    if test["wide_low"] is not None:
        ends = [test["wide_low"], test["wide_high"]]
    interval = " to ".join(f"{end:+.1f}" for end in ends if end is not None)
    place = f"{test['family']}, {test['size']}, {test['pairs']}"
    return [page, place, f"{test['difference']:+.1f} ({interval})", test["verdict"]]


def _signals(name: str, _: str) -> Table:
    """Entropy and sign changes of each data set: mean and deviation over the clips."""
    rows = [
        [
            data,
            f"{signal['clips']:,}",
            f"{signal['entropy_bits']:.2f} ± {signal['entropy_bits_std']:.2f}",
            f"{signal['zero_crossings_hz']:,.0f} ± {signal['zero_crossings_hz_std']:,.0f}",
        ]
        for data, signal in _results(name)["signals"].items()
    ]
    return ("data", "clips", "entropy, bits/symbol", "sign changes per second"), rows


_TRIAL_HEAD = ("trial", "validation, %", "instructions", "arena, B", "flash, B", "choices")


def _front(name: str) -> Iterator[list[str]]:
    """Trials on the front of a search, and the first trial, which is the recipe."""
    results = _results(name)
    trials = {trial["trial"]: trial for trial in results["trials"]}
    for number in dict.fromkeys([*results["front"], 0]):
        trial = trials[number]
        costs = [f"{trial[key]:,}" for key in ("instructions", "arena_bytes", "flash_bytes")]
        yield [str(number), f"{100 * trial['accuracy']:.2f}", *costs, trial["choices"]]


def _folds(name: str, _: str) -> Table:
    """Figure of each fold, and their mean."""
    cells = [cell for cell in _results(name)["cells"] if len(cell["runs"]) > 1]
    folds = sorted({run["fold"] for cell in cells for run in cell["runs"]})
    rows = []
    for cell in cells:
        values = {run["fold"]: f"{run['value']:.2f}" for run in cell["runs"]}
        ours = cell["ours"]
        mean = f"{ours['mean']:.2f} ({ours['low']:.1f} to {ours['high']:.1f})"
        rows.append([*cell["labels"].values(), *(values[fold] for fold in folds), mean])
    return [*cells[0]["labels"], *(f"fold {fold}" for fold in folds), "mean (95 %)"], rows


def _markdown_rows(name: str, heading: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the first table below a heading of a page of results."""
    text = (RESULTS / f"{name}.md").read_text().partition(heading)[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return cells[0], cells[2:]


#: Tables that are not of one result, and views of one result.
_WHOLE: Mapping[str, Callable[[str], Table]] = {
    "presets": lambda _: (_PRESET_HEAD, _preset_rows()),
    "cores": lambda _: (_CORE_HEAD, _core_rows()),
    "benchmarks": _benchmark_table,
    "streams": _stream_table,
    "bodies": _body_table,
    "claims": _claims,
    "enrolled": _enrolled_table,
    "levels": _level_table,
    "normal": _normal_table,
}
_VIEWS: Mapping[str, Callable[[str, str], Table]] = {
    "rows": _cells,
    "folds": _folds,
    "leak": _leak,
    "controls": _controls,
    "step": _step,
    "between": _between,
    "paired": _paired,
    "signals": _signals,
}


def result_pages() -> Iterator[tuple[Path, str]]:
    """The page of each written table, without the cells that its grid has no more."""
    for path in sorted(RESULTS.glob("*/*.json")):
        if "paper_table" not in json.loads(path.read_text()):
            continue  # a figure's, or costs of boards
        report = read_table(path)
        stem = path.with_suffix("")
        _, scale, *overlaid = stem.name.split(".")
        overlay = RESULTS.parent / f"{overlaid[0]}.yaml" if overlaid else None
        grid = load_grid(report["table"], scale, overlay)
        places = [cell.labels for cell in grid.cells]
        report["cells"] = [cell for cell in report["cells"] if cell["labels"] in places]
        report["axes"] = {axis: list(labels) for axis, labels in grid.axes.items()}
        if overlay and "--overlay" not in report["command"]:
            report["command"] += f" --overlay experiments/{overlay.name}"
        yield stem.with_suffix(f"{stem.suffix}.md"), markdown(table_page(report, grid.path, stem))


def main() -> None:
    """Write the pages of results, then every page with marks."""
    for path, text in result_pages():
        write_text(path, text)
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        written = with_tables(text)
        if written != text:
            write_text(path, written)
            print(path)


if __name__ == "__main__":
    main()
