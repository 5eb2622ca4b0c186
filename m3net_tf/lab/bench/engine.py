# SPDX-License-Identifier: Apache-2.0
"""The compiled engine compared with TensorFlow Lite Micro on emulated boards.

Both run the same ``.tflite`` in the real firmware. The networks are presets with random weights,
as cost depends only on their structure, or given files. The compiled engine runs additional
inputs, random and extreme ones, whose output bytes are compared with TensorFlow Lite Micro's on
this machine.
"""

import collections
import dataclasses
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from m3net_tf.boards.builds.boards import find_machine, load_board
from m3net_tf.boards.builds.build import build_compiled, build_firmware
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation.cycles import (
    TIMINGS,
    Cycles,
    require_cycles_packages,
    run_cycles,
)
from m3net_tf.boards.emulation.qemu import EmulationResult, run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.measure.layers import ModelledLayer, kernels_of, modelled_layers
from m3net_tf.compiler.engines import COMPILED, ENGINES, TFLM, Engine
from m3net_tf.compiler.goals import DEFAULT_GOAL, GoalName
from m3net_tf.compiler.network import compile_network
from m3net_tf.export.c_files import CModel, compile_model
from m3net_tf.export.untrained import quantize_untrained
from m3net_tf.lab.bench.untrained import write_untrained
from m3net_tf.networks.models import build_model, presets_of
from m3net_tf.runtime.interpreter import Int8, run_tflm, tflm_unavailable_reason
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import Provenance, provenance
from m3net_tf.system.errors import ConfigError, FirmwareError, ModelError
from m3net_tf.system.keras import keras
from m3net_tf.system.progress import Log, silent
from m3net_tf.tflite.ends import int8_network
from m3net_tf.tflite.model_file import read_model_file

INPUTS = 10
"""Inputs whose output bytes are compared by default."""
_CLIPS, _CALIBRATION_CLIPS = 2, 8
# It starts with doubles, which Unicorn does not execute on this core.
_NOT_MODELLED = (TFLM, "cortex-m7")
_NAMES = {"arena_bytes": "arena", "flash_bytes": "flash"}
"""Figure -> its name in the table."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A preset, and the largest ratios of the compiled engine to TFLite Micro on a Cortex-M4."""

    name: str
    preset: str
    instructions: float
    arena_bytes: float
    flash_bytes: float = 0.625

    @property
    def label(self) -> str:
        """Network and preset."""
        return f"{self.name}/{self.preset}"


SUBJECTS = (
    Subject("ds_cnn", "mcu", 0.5, 0.5),
    Subject("m3net", "s", 0.5, 0.5),
    Subject("spectromasknet", "s", 0.55, 0.6, 0.64),
    Subject("bilateral", "s", 0.5, 0.6),
    Subject("diffres", "s", 0.55, 0.6),
)
CORE_TARGETS = {"mps2_an385": 0.6, "mps2_an505": 0.6, "mps3_an547": 0.65}
"""Largest ratio of instructions on boards whose core is no Cortex-M4 or M7."""


class EngineCost(TypedDict):
    """Cost of one run of a network with an engine.

    Attributes:
        instructions: instructions of one run, for the most expensive clip.
        arena_bytes: memory of the network.
        flash_bytes: network and runtime in flash, without front end and application; where both
            engines are measured, with the objects of the compiler's libraries that only this one
            needs.
        stack_bytes: high-water mark of the firmware's stack.
        ram_bytes: RAM of the whole firmware, with its stack.
        modelled: modelled cycles of one run; only on request, on boards with a core of
            :data:`.cycles.TIMINGS`, and of TensorFlow Lite Micro not on a Cortex-M7.
        layers: the same by layer, of the compiled engine.
    """

    instructions: int
    arena_bytes: int
    flash_bytes: int
    stack_bytes: int
    ram_bytes: int
    modelled: NotRequired[Cycles]
    layers: NotRequired[list[ModelledLayer]]


class EngineComparison(TypedDict):
    """A network on a board.

    Attributes:
        engines: cost by engine; without those that cannot be built here.
        ratios: compiled engine to TensorFlow Lite Micro, by figure; empty without both.
        targets: largest ratio of each; empty for a file.
        bytes_equal: whether the compiled engine gives the output bytes of TensorFlow Lite Micro;
            None if that runs neither on the board nor on this machine.
        inputs: number of inputs whose output bytes were compared.
    """

    engines: dict[str, EngineCost]
    ratios: dict[str, float]
    targets: dict[str, float]
    bytes_equal: bool | None
    inputs: int


class EngineResult(Provenance):
    """Networks by board; ``missing`` says by board and engine what cannot be built here."""

    boards: dict[str, dict[str, EngineComparison]]
    missing: dict[str, dict[str, str]]


def run_bench_engine(
    boards: Sequence[str],
    labels: Sequence[str] = (),
    inputs: int = INPUTS,
    log: Log = silent,
    *,
    cycles: bool = False,
    optimise: GoalName = DEFAULT_GOAL,
    weights_in_ram: int = 0,
    updatable: bool = False,
    engines: Sequence[Engine] = ENGINES,
    ended: Callable[[EngineResult, str, str], None] = lambda *_: None,
) -> EngineResult:
    """Measure both engines.

    Args:
        labels: labels of :data:`SUBJECTS`, or paths of ``.tflite`` files; default: all subjects.
        inputs: number of inputs whose output bytes are compared; at least two.
        cycles: also model the cycles of one run.
        optimise: what the compiled engine aims at, a name of :data:`.goals.GOALS`.
        weights_in_ram: bytes of RAM that the compiled engine may take for weights.
        updatable: as in :class:`.CModel`.
        engines: the compiled engine, or both.
        ended: gets all results so far, a board and a label each time an engine has run that
            network on that board.

    Raises:
        ConfigError: an unknown label, the compiled engine cannot be emulated, or Unicorn is
            missing for the model of cycles.
        ModelError: a file is missing, or a network that the firmware cannot run.
        FirmwareError: there is no such emulated board.
    """
    known = {subject.label: subject for subject in SUBJECTS}
    for label in labels:
        if label not in known and not label.endswith(".tflite"):
            raise ConfigError(
                f"there is no network {label!r} to measure: name a .tflite file, or choose from "
                f"{', '.join(known)}"
            )
    if cycles:
        check_cycles(boards)
    missing: dict[str, dict[str, str]] = {
        board: {engine: reason for engine in engines if (reason := why_no_emulation(board, engine))}
        for board in boards
    }
    for board, reasons in missing.items():
        if COMPILED in reasons:
            raise ConfigError(f"{board} cannot be emulated ({reasons[COMPILED]}): name another")
    results: dict[str, dict[str, EngineComparison]] = {board: {} for board in boards}
    result: EngineResult = {"boards": results, "missing": missing, **provenance()}
    tflm = not tflm_unavailable_reason()
    with tempfile.TemporaryDirectory() as scratch:
        for label in labels or known:
            subject = known.get(label)
            if subject:
                log(f"{label}: building and quantising")
            network, noise, classes = (
                untrained_preset(subject.name, subject.preset)
                if subject
                else network_of_file(Path(label))
            )
            clips = varied_inputs(noise[:_CLIPS], inputs)
            expected = network.run(run_tflm, clips).reshape(len(clips), -1) if tflm else None
            for board in boards:
                here = [engine for engine in engines if engine not in missing[board]]
                folder = Path(scratch) / board
                job = _Job(network, clips, classes, cycles, optimise, weights_in_ram, updatable)
                for answers in _measure(job, board, here, folder, log):
                    results[board][label] = compare_engines(subject, board, answers, expected)
                    ended(result, board, label)
    return result


def check_cycles(boards: Sequence[str]) -> None:
    """Check that cycles can be modelled.

    Raises:
        ConfigError: a board has a core without a model, or Unicorn is missing.
    """
    require_cycles_packages()
    for board in boards:
        if load_board(board).core not in TIMINGS:
            cores = ", ".join(TIMINGS)
            raise ConfigError(f"cycles are modelled for {cores}; {board} has another core")


def untrained_preset(name: str, preset: str) -> tuple[Int8Network, Int8, int]:
    """A preset in int8, its normalisations settled on noise; the noise; number of classes."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = build_model(name, preset)
    rng = np.random.default_rng(0)
    shape = presets_of(name)[preset].input_shape
    noise = rng.normal(0, 40, (_CALIBRATION_CLIPS, *shape))
    maps = np.clip(np.round(noise), -128, 127).astype(np.int8)
    return quantize_untrained(model, maps), maps, int(model.output_shape[1])


def network_of_file(path: Path) -> tuple[Int8Network, Int8, int]:
    """The network of a file, noise for it, and the number of its outputs.

    Raises:
        ModelError: the file is missing, or has no single int8 input and output of batch 1.
    """
    if not path.is_file():
        raise ModelError(f"{path} does not exist: name a .tflite file")
    try:
        tflite, _ = int8_network(read_model_file(path))
        graph = compile_network(tflite).graph
        ends = [*graph.inputs, *graph.outputs]
        if len(ends) != 2 or any(end.dtype != "int8" or end.shape[:1] != (1,) for end in ends):
            raise ModelError("the firmware takes one int8 input and one int8 output, of batch 1")
    except ModelError as error:
        raise ModelError(f"{path} cannot be measured: {error}") from None
    shape = (_CLIPS, *ends[0].shape[1:])
    noise = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    return Int8Network(tflite), noise, ends[1].size


def varied_inputs(first: Int8, count: int) -> Int8:
    """Inputs of a network: given ones, then extreme values, then noise of any loudness.

    Args:
        first: int8, shape (clips, bins, frames, channels).
        count: number of inputs, at least the clips of ``first``.

    Returns:
        int8, shape (count, bins, frames, channels).
    """
    shape = first.shape[1:]
    rng = np.random.default_rng(1)
    extremes = rng.choice(np.array([-128, 127], np.int8), (2, *shape))
    extremes[0] = np.where(np.arange(extremes[0].size).reshape(shape) % 2, 127, -128)
    constant = [np.full((1, *shape), value, np.int8) for value in (-128, 127, 0)]
    loudness = np.random.default_rng(2).uniform(1, 130, (max(count, 1), *[1] * len(shape)))
    noise = np.clip(np.round(rng.normal(0, 1, (len(loudness), *shape)) * loudness), -128, 127)
    return np.concatenate([first, *constant, extremes, noise.astype(np.int8)])[:count]


@dataclasses.dataclass(frozen=True)
class _Job:
    """What each engine runs, and how it is compiled and measured."""

    network: Int8Network
    clips: Int8
    classes: int
    cycles: bool
    optimise: GoalName
    weights_in_ram: int
    updatable: bool


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an engine costs, and its outputs: int8, shape (inputs, classes)."""

    cost: EngineCost
    outputs: Int8


def _measure(
    job: _Job,
    board: str,
    engines: Sequence[Engine],
    folder: Path,
    log: Log,
) -> Iterator[dict[str, Answer]]:
    """Build the firmware with each engine and run the clips, with TFLM the first ones.

    In the folder of another network only what depends on the network is compiled again.

    Yields:
        The engines that have ended, after each.
    """
    bundle = folder / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    model, columns = write_untrained(
        job.network,
        job.clips,
        job.classes,
        bundle,
        optimise=job.optimise,
        weights_in_ram=job.weights_in_ram,
    )
    model = dataclasses.replace(model, updatable=job.updatable)
    results: dict[Engine, EmulationResult] = {}
    linked: dict[Engine, Mapping[str, int]] = {}
    images: dict[Engine, FirmwareImage] = {}
    modelled: dict[Engine, Cycles] = {}
    # A network that scores frames runs first.
    networks = [*reversed(compile_model(model).values())] if job.cycles else []
    kernels = [kernel for network in networks for kernel in kernels_of(network)]
    in_ram = {key for network in networks for key in network.in_ram}
    layers: list[ModelledLayer] = []
    for engine in engines:
        log(f"{board}, {engine}: building and running")
        images[engine] = image = _build(engine)(bundle, model, board, folder / engine)
        linker_map = image.elf.with_suffix(".map").read_text(encoding="utf-8", errors="replace")
        linked[engine] = flash_by_object(linker_map)
        part = columns if engine == COMPILED else columns[:_CLIPS]
        results[engine] = run_job(image.elf, find_machine(board), part)
        if job.cycles and (engine, load_board(board).core) != _NOT_MODELLED:
            log(f"{board}, {engine}: modelling cycles")
            calls = [name for _, name in kernels] if engine == COMPILED else []
            modelled[engine], output = run_cycles(image.elf, board, columns[:1], kernels=calls)
            if output != results[engine].outputs[0].tobytes():
                raise FirmwareError(f"{image.elf}: QEMU and Unicorn give different outputs")
            if "calls" in modelled[engine]:
                layers = modelled_layers(kernels, modelled[engine].pop("calls"), in_ram)
        answers: dict[str, Answer] = {}
        for engine, result in results.items():
            cost: EngineCost = {
                "instructions": int(result.clip_model_instructions[:_CLIPS].max()),
                "arena_bytes": result.arena_used_bytes,
                "flash_bytes": flash_of_engine(linked, engine),
                "stack_bytes": result.stack_used_bytes,
                "ram_bytes": images[engine].ram_bytes,
            }
            if engine == COMPILED and layers:
                cost["layers"] = layers
            if engine in modelled:
                cost["modelled"] = modelled[engine]
            answers[engine] = Answer(cost, result.outputs)
        yield answers


def _build(engine: Engine) -> Callable[[Path, CModel, str, Path], FirmwareImage]:
    if engine == COMPILED:
        return build_compiled
    return lambda bundle, _, board, folder: build_firmware(bundle, board, folder)


_OBJECTS = {
    COMPILED: r"/engine/\w+\.c\.obj|compiled/inference\.c\.obj|/m3net_(network|importance)\.c\.obj"
    r"|/model_labels\.c\.obj",
    TFLM: r"/model\.cc\.obj|core/(inference|runtime_log)\.cc\.obj|libm3net_thirdparty\.a\(",
}
"""Object files of network and runtime."""
_OF_BOTH = r"core/warp\.c\.obj|/warp_tables\.c\.obj"
_FRONTEND = r"arm_(bitreversal|cfft|rfft|common_tables|const_structs|mve_tables|fir)"
_LIBRARIES = re.compile(r"/lib(c|m|gcc|nosys|stdc\+\+|supc\+\+)(_nano)?\.a\(")
_SECTION = re.compile(r"^ \.(?:text|rodata|data)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S.*)$", re.M)


def flash_by_object(linker_map: str) -> dict[str, int]:
    """Bytes in flash of each object file, by the map that GNU ld wrote."""
    sizes = collections.Counter[str]()
    for size, path in _SECTION.findall(linker_map.partition("Linker script and memory map")[2]):
        sizes[path] += int(size, 16)
    return dict(sizes)


def flash_of_engine(linked: Mapping[Engine, Mapping[str, int]], engine: Engine) -> int:
    """Bytes of network and runtime in flash.

    Objects of the compiler's libraries belong to the runtime if only its firmware links them, as
    application and front end are the same.

    Args:
        linked: :func:`flash_by_object` of both firmwares.
        engine: one of them.
    """
    parts = re.compile(f"{_OBJECTS[engine]}|{_OF_BOTH}")
    others = {path for other, sizes in linked.items() if other != engine for path in sizes}
    return sum(
        size
        for path, size in linked[engine].items()
        if (parts.search(path) and not re.search(_FRONTEND, path))
        or (_LIBRARIES.search(path) and others and path not in others)
    )


def compare_engines(
    subject: Subject | None,
    board: str,
    answers: dict[str, Answer],
    expected: Int8 | None = None,
) -> EngineComparison:
    """Compare the engines with each other and with what is expected of the outputs.

    Args:
        subject: the network with its targets; None for a file.
    """
    costs = {engine: answer.cost for engine, answer in answers.items()}
    comparison: EngineComparison = {
        "engines": costs,
        "ratios": {},
        "targets": _targets(subject, board) if subject else {},
        "bytes_equal": None,
        "inputs": 0,
    }
    compiled = answers[COMPILED]
    references = [] if expected is None else [expected]
    if TFLM in answers:
        interpreted = answers[TFLM]
        references.append(interpreted.outputs)
        ours, theirs = _figures(compiled.cost), _figures(interpreted.cost)
        both = [name for name in ours if name in theirs]
        comparison["ratios"] = {name: round(ours[name] / theirs[name], 3) for name in both}
    if references:
        comparison["inputs"] = max(map(len, references))
        comparison["bytes_equal"] = all(
            np.array_equal(compiled.outputs[: len(outputs)], outputs) for outputs in references
        )
    return comparison


def _figures(cost: EngineCost) -> dict[str, int]:
    """The compared figures by name."""
    figures = {
        "instructions": cost["instructions"],
        "arena_bytes": cost["arena_bytes"],
        "flash_bytes": cost["flash_bytes"],
    }
    if modelled := cost.get("modelled"):
        figures |= {f"cycles, {name}": count for name, count in modelled["cycles"].items()}
        figures["flash reads"] = modelled["flash_reads"]
    return figures


def _targets(subject: Subject, board: str) -> dict[str, float]:
    return {
        "instructions": CORE_TARGETS.get(board, subject.instructions),
        "arena_bytes": subject.arena_bytes,
        "flash_bytes": subject.flash_bytes,
    }


def engine_table(title: str, network: EngineComparison) -> Table:
    """A network on a board for the terminal; a ratio above its target is red."""
    table = figures_table(title, "compiled", "TFLite Micro", "ratio", "target")
    costs = {engine: _figures(cost) for engine, cost in network["engines"].items()}
    for name in costs[COMPILED]:
        ratio = network["ratios"].get(name)
        target = network["targets"].get(name)
        above = ratio is not None and target is not None and ratio > target
        table.add_row(
            _NAMES.get(name, name),
            *(
                f"{costs[engine][name]:,}" if name in costs.get(engine, ()) else ""
                for engine in ENGINES
            ),
            Text("" if ratio is None else f"{ratio:.3f}", style="red" if above else ""),
            "" if target is None else f"{target:.3f}",
        )
    if network["bytes_equal"] is not None:
        table.add_row(*bytes_row(network["bytes_equal"], f"{network['inputs']:,} inputs"))
    return table


def figures_table(title: str, *columns: str) -> Table:
    """An empty table for the terminal, whose rows are a figure's name and its values."""
    table = Table("figure", title=title, box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def bytes_row(equal: bool, compared: str) -> tuple[str, str, str]:
    """The row of such a table on the output bytes, and what was compared."""
    return "output bytes", "equal" if equal else "DIFFERENT", compared
