# SPDX-License-Identifier: Apache-2.0
"""MLPerf Tiny's networks as firmware, measured by MLPerf Tiny's own runner.

Runner and networks come from https://github.com/mlcommons/tiny at a pinned commit. The runner
measures a board at a serial port, or an emulated one at a pty. An emulated board counts a
nanosecond for each instruction, so its throughput is instructions, not time.

The fifth network, the streaming wake word, is left out: the runner measures it with an interface
board that plays a recording over I2S, and marks detections by a pin.
"""

import contextlib
import dataclasses
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
from rich import box
from rich.table import Table

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled, mlperf_settings
from m3net_tf.boards.builds.flash import flash_image, flash_way
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import Source, fetch_source
from m3net_tf.boards.device.ports import DEFAULT_BAUD
from m3net_tf.boards.emulation.qemu import console_command
from m3net_tf.lab.bench import mlperf_runner
from m3net_tf.lab.bench.engine import network_of_file
from m3net_tf.lab.bench.untrained import Quantizations, write_untrained
from m3net_tf.runtime.interpreter import Int8, run_tflm
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.artifacts import Provenance, provenance, read_json, write_text
from m3net_tf.system.errors import ConfigError, FirmwareError
from m3net_tf.system.progress import Log, silent
from m3net_tf.tflite.read import read_graph

_TRAINING = "benchmark/training"
_RUNNER = "benchmark/runner"
_RUNNER_FILES = (
    *("datasets.py", "device_manager.py", "device_under_test.py", "interface_device.py"),
    *("io_manager.py", "io_manager_enhanced.py", "main.py", "power_manager", "runner_utils.py"),
    *("script.py", "serial_device.py", "streaming_ww_utils.py"),
    *("tests_accuracy.yaml", "tests_performance.yaml", "tests_energy.yaml"),
)
MADE_FILES = 5
"""Files that are made for each network: the runner measures five in performance mode."""
MODES = {"performance": "p", "accuracy": "a"}
"""The runner's modes that need no meter -> its option."""
ENERGY = "energy"
"""The mode with a meter, for which only the firmware is built."""
_LABELS = "y_labels.csv"
_SESSION_TIMEOUT_S = 7200.0
_WINDOW_S = 11.0  # the benchmark's rules ask for ten seconds
_MOST_RUNS = 10_000  # of a command of the firmware
_TOLERANCE = 1.5e-3  # of a distance, which is cut off to thousandths: the board sums floats
_PTY = re.compile(rb"/dev/\S+")


@dataclasses.dataclass(frozen=True)
class Task:
    """A network of the benchmark.

    Attributes:
        path: its file, below ``benchmark/training``.
        kind: what a file of its data holds: ``bytes`` of the tensor, ``pixels`` or ``floats``.
    """

    path: str
    kind: str = "bytes"


TASKS = {
    "kws01": Task("keyword_spotting/trained_models/kws_ref_model.tflite"),
    "ic01": Task("image_classification/trained_models/pretrainedResnet_quant.tflite", "pixels"),
    "vww01": Task("visual_wake_words/trained_models/vww_96_int8.tflite", "pixels"),
    "ad01": Task("anomaly_detection/trained_models/ad01_int8.tflite", "floats"),
}
"""Networks by the benchmark's id."""
BENCHMARK = Source(
    name="mlperf-tiny",
    url="https://github.com/mlcommons/tiny",
    commit="1afd2c9820f795965a6134facd0b4dfae41ef23f",
    licence="Apache-2.0",
    folders=(
        *(f"{_RUNNER}/{name}" for name in _RUNNER_FILES),
        *(f"{_TRAINING}/{task.path}" for task in TASKS.values()),
    ),
)
"""The benchmark's repository, of which only these files are fetched."""


class TaskResult(TypedDict):
    """What the runner says of a network.

    Attributes:
        inferences_per_s: median throughput.
        instructions: of an inference; only of emulated boards.
        top1: percent of the files; of made files it means nothing.
        auc: area under the curve, likewise.
        files: inputs that the runner sent in accuracy mode.
        equal: for how many of them TensorFlow Lite Micro has the same results on this computer.
        sessions: the runner's folder of each mode, with ``results.txt`` and ``log.txt``.
        energy_firmware: ELF that starts in energy mode.
    """

    inferences_per_s: NotRequired[float]
    instructions: NotRequired[int]
    top1: NotRequired[float]
    auc: NotRequired[float]
    files: NotRequired[int]
    equal: NotRequired[int]
    sessions: dict[str, str]
    energy_firmware: NotRequired[str]


class MlperfResult(Provenance):
    """The runner's results by network."""

    board: str
    emulated: bool
    made_data: bool
    tasks: dict[str, TaskResult]


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A network, what its numbers mean, and its firmware."""

    name: str
    task: Task
    network: Int8Network
    shape: tuple[int, ...]
    classes: int
    ends: Quantizations
    image: FirmwareImage

    @property
    def file_bytes(self) -> int:
        """Bytes of one input in a file of the benchmark."""
        return int(np.prod(self.shape)) * (4 if self.task.kind == "floats" else 1)


def run_bench_mlperf(
    board: str,
    out: Path,
    tasks: Sequence[str] = (),
    modes: Sequence[str] = (),
    data: Path | None = None,
    port: str | None = None,
    log: Log = silent,
) -> MlperfResult:
    """Build the firmware of the benchmark's networks and let the runner measure it.

    Args:
        board: an emulated board, or any board with ``port``.
        out: folder for firmware, made data and the runner's sessions.
        tasks: names of :data:`TASKS`; default: all.
        modes: names of :data:`MODES`, or :data:`ENERGY`; default: all :data:`MODES`.
        data: the benchmark's data, a folder with one folder for each network; default: made files.
        port: serial device of a board, to which each firmware is flashed first.

    Raises:
        ConfigError: an unknown network or mode, or data are missing.
        FirmwareError: a firmware cannot be built, or the runner stops.
    """
    all_modes = (*MODES, ENERGY)
    for names, known, kind in ((tasks, TASKS, "network"), (modes, all_modes, "mode")):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"the benchmark has no {kind} {name!r} here: choose from {', '.join(known)}"
                )
    for name in tasks or TASKS:
        if data and not (data / name / _LABELS).is_file():
            raise ConfigError(f"{data / name} has no {_LABELS}: give the folder that has {name}/")
    if port is not None:
        flash_way(board)
    elif ENERGY not in modes:
        find_machine(board)
    checkout = fetch_source(BENCHMARK)
    result: dict[str, TaskResult] = {}
    for name in tasks or TASKS:
        result[name] = {"sessions": {}}
        if ENERGY in modes:
            log(f"{name}: building for {board}, energy mode")
            image = build_task(checkout, name, board, out / name / ENERGY, ENERGY).image
            result[name]["energy_firmware"] = str(image.elf)
            log(f"{name}: {image.elf}")
        if measured := [mode for mode in modes or MODES if mode in MODES]:
            log(f"{name}: building for {board}")
            subject = build_task(checkout, name, board, out / name)
            folder = data / name if data else make_data(subject, out / "data" / name)
            session = _Session(checkout, board, port, folder, out / name, log)
            for mode in measured:
                session.measure(subject, mode, result[name])
    return {
        "board": board,
        "emulated": port is None,
        "made_data": data is None,
        "tasks": result,
        **provenance(),
    }


def _rate(rows: Sequence[dict[str, Any]]) -> float:
    """Median throughput of the runner's windows, in inferences a second."""
    rates = [float(row["infer"]["throughput"]) for row in rows if "infer" in row]
    return statistics.median(rates)


def _performance_script(name: str, runs: int) -> str:
    """The benchmark's script for performance, with another number of inferences."""
    return (
        f"{name}:\n  name: {name}\n  model: {name}\n  truth_file: {_LABELS}\n"
        f"  script:\n    - loop 5:\n      - download\n      - infer {runs} 10\n"
    )


@dataclasses.dataclass(frozen=True)
class _Session:
    """Where the runner measures: a board, its data, and a folder for a folder of each mode."""

    checkout: Path
    board: str
    port: str | None
    data: Path
    out: Path
    log: Log

    def measure(self, subject: _Subject, mode: str, result: TaskResult) -> None:
        """Let the runner measure a network in a mode, and add what it says."""
        name, folder = subject.name, self.out / mode
        self.log(f"{name}: {mode} by the benchmark's runner")
        with _connected(subject.image, self.board, self.port, self.log) as device:
            place = (self.checkout, device, self.board, mode, self.data.parent, folder)
            rows = run_session(*place)
            if self.port is not None and mode == "performance":
                runs = min(_MOST_RUNS, math.ceil(_WINDOW_S * _rate(rows)))
                self.log(f"{name}: again with {runs} inferences, which take ten seconds")
                rows = run_session(*place, script=_performance_script(name, runs))
        result["sessions"][mode] = str(folder)
        if mode == "accuracy":
            accuracy_of(subject, self.data, folder, rows, result)
            return
        result["inferences_per_s"] = rate = _rate(rows)
        if self.port is None:
            result["instructions"] = round(1e9 / rate)


def build_task(
    checkout: Path, name: str, board: str, folder: Path, mode: str = "performance"
) -> _Subject:
    """The firmware of a network of the benchmark.

    Raises:
        ModelError, FirmwareError: it cannot be built.
    """
    task = TASKS[name]
    network, noise, classes = network_of_file(checkout / _TRAINING / task.path)
    graph = read_graph(network.tflite)
    ends = Quantizations(
        *((float(end.scale), int(end.zero_point)) for end in (graph.inputs[0], graph.outputs[0]))
    )
    bundle = folder / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    model, _ = write_untrained(network, noise, classes, bundle, ends=ends)
    settings = mlperf_settings(mode, name)
    image = build_compiled(bundle, model, board, folder / board, settings=settings)
    return _Subject(name, task, network, noise.shape[1:], classes, ends, image)


def make_data(subject: _Subject, folder: Path) -> Path:
    """Random files in the benchmark's layout; each class has one or more.

    Returns:
        The folder, named as the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    floats = subject.task.kind == "floats"
    classes = 2 if floats else subject.classes
    for index in range(max(MADE_FILES, classes)):
        name = f"made_{index:02d}.bin"
        if floats:
            scale, zero = subject.ends.input
            # Two windows of a file, the second one a fifth later.
            stride = subject.file_bytes // 5
            values = (rng.uniform(-128, 127, (subject.file_bytes + stride) // 4) - zero) * scale
            data = values.astype("<f4").tobytes()
            lines.append(f"{name},2,{index % 2},{subject.file_bytes},{stride}")
        else:
            data = rng.integers(0, 256, subject.file_bytes).astype(np.uint8).tobytes()
            lines.append(f"{name},{classes},{index % classes}")
        (folder / name).write_bytes(data)
    write_text(folder / _LABELS, "\n".join(lines) + "\n")
    return folder


@contextlib.contextmanager
def _connected(image: FirmwareImage, board: str, port: str | None, log: Log) -> Iterator[str]:
    """The port of a board that runs a firmware."""
    if port is not None:
        flash_image(image, log)
        yield port
        return
    process = subprocess.Popen(
        console_command(image.elf, find_machine(board), "pty"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = _PTY.search(said)
        if found is None:
            raise FirmwareError(f"{board}: the emulator has no pty ({said.decode().strip()})")
        yield found[0].decode()
    finally:
        process.kill()
        process.communicate()


def run_session(
    checkout: Path,
    port: str,
    board: str,
    mode: str,
    data: Path,
    folder: Path,
    script: str = "",
) -> list[dict[str, Any]]:
    """Let the runner measure a board.

    Args:
        folder: gets the runner's files.
        script: replaces the benchmark's own for the mode.

    Returns:
        The runner's record of each loop.

    Raises:
        FirmwareError: the runner stops, or has no results.
        DataError: its results are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vendor, product = mlperf_runner.USB_IDS
    devices = f"- name: {board}\n  type: dut\n  baud: {DEFAULT_BAUD}\n"
    write_text(folder / "devices.yaml", f"{devices}  usb:\n    {vendor}: {product}\n")
    runner = checkout / _RUNNER
    test_script = runner / f"tests_{mode}.yaml"
    if script:
        test_script = folder.absolute() / "script.yaml"
        write_text(test_script, script)
    command = [sys.executable, mlperf_runner.__file__, str(runner), port]
    command += ["--device_list", "devices.yaml", "--mode", MODES[mode]]
    command += ["--test_script", str(test_script)]
    command += ["--dataset_path", str(data.absolute())]
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_SESSION_TIMEOUT_S,
    )
    sessions = sorted((folder / "sessions").glob("*/results.json"))
    if done.returncode != 0 or not sessions:
        last = " ".join(done.stdout.split())[-300:]
        raise FirmwareError(f"{board}: the benchmark's runner stopped: {last}")
    rows: list[dict[str, Any]] = read_json(sessions[-1], list[dict[str, Any]])
    return rows


def accuracy_of(
    subject: _Subject,
    data: Path,
    session: Path,
    rows: Sequence[dict[str, Any]],
    result: TaskResult,
) -> None:
    """Add what the runner says of the accuracy, and how many results are the desktop's.

    Raises:
        FirmwareError: the runner found no accuracy, or left out files.
    """
    found = sorted((session / "sessions").glob("*/results.txt"))[-1].read_text(encoding="utf-8")
    top1 = re.search(r"Top 1% = ([\d.]+)", found)
    auc = re.search(r"AUC = ([\d.]+|nan)", found)
    if top1 is None or auc is None:
        raise FirmwareError(f"{session}: the benchmark's runner found no accuracy: {found.strip()}")
    expected = expected_results(subject, data)
    results = np.array([row["infer"]["results"] for row in rows if "infer" in row])
    if results.shape != expected.shape:
        raise FirmwareError(
            f"{session}: {len(results)} results instead of {len(expected)}: see its log.txt"
        )
    tolerance = _TOLERANCE if subject.task.kind == "floats" else 1e-6
    equal = np.isclose(results, expected, rtol=0, atol=tolerance).all(axis=1)
    result["top1"], result["auc"] = float(top1[1]), float(auc[1])
    result["files"], result["equal"] = len(results), int(equal.sum())


def expected_results(subject: _Subject, data: Path) -> npt.NDArray[np.float64]:
    """The results of TensorFlow Lite Micro on this computer as the board prints them.

    Returns:
        Shape (inputs, results), cut off to thousandths.
    """
    rows = []
    for line in (data / _LABELS).read_text(encoding="utf-8").splitlines():
        name, *facts = map(str.strip, line.split(","))
        content = (data / name).read_bytes()
        size, stride = subject.file_bytes, int(facts[3]) if len(facts) > 3 else len(content)
        for start in range(0, len(content) - size + 1, stride):
            rows.append(content[start : start + size])
    raw = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    scale, zero = subject.ends.output
    if subject.task.kind == "floats":
        values = raw.view("<f4")
        steps = values / np.float32(subject.ends.input[0])
        whole = np.trunc(steps + np.where(steps < 0, -0.5, 0.5)) + subject.ends.input[1]
        outputs = _outputs(subject, np.clip(whole, -128, 127).astype(np.int8))
        differences = (outputs - zero) * scale - values.astype(np.float64)
        distances = np.square(differences).mean(axis=1, keepdims=True)
        cut: npt.NDArray[np.float64] = np.floor(distances * 1000) / 1000
        return cut
    if subject.task.kind == "pixels":
        raw = raw ^ np.uint8(128)
    outputs = _outputs(subject, raw.view(np.int8))
    real = (outputs - zero).astype(np.float32) * np.float32(scale)
    thousandths: npt.NDArray[np.float64] = np.trunc(real * np.float32(1000)) / 1000
    return thousandths


def _outputs(subject: _Subject, inputs: Int8) -> npt.NDArray[np.int64]:
    """Outputs of TensorFlow Lite Micro, shape (inputs, classes)."""
    clips = inputs.reshape(len(inputs), *subject.shape)
    return subject.network.run(run_tflm, clips).reshape(len(inputs), -1).astype(np.int64)


def mlperf_table(result: MlperfResult) -> Table:
    """The results for the terminal."""
    counted = any("instructions" in row for row in result["tasks"].values())
    clock = ", an instruction a nanosecond" if counted else ""
    title = f"MLPerf Tiny's runner on {result['board']}{clock}"
    table = Table("network", title=title, box=box.SIMPLE_HEAD, show_edge=False)
    for column in ("inferences/s", "instructions", "top 1, %", "AUC", "as the desktop"):
        table.add_column(column, justify="right")
    for name, row in result["tasks"].items():
        rate, count = row.get("inferences_per_s"), row.get("instructions")
        accuracy = ("", "", "")
        if "files" in row:
            share = f"{row['equal']} of {row['files']}"
            accuracy = (f"{row['top1']:.1f}", f"{row['auc']:.3f}", share)
            if result["made_data"]:
                accuracy = ("made data", "", share)
        table.add_row(
            name,
            f"{rate:,.2f}" if rate else "",
            f"{count:,}" if count else "",
            *accuracy,
        )
    return table
