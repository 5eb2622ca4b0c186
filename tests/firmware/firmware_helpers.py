# SPDX-License-Identifier: Apache-2.0
"""Helpers of the firmware tests in addition to the fixtures."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig, write_c_tables
from m3net_tf.boards.builds.boards import Machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import (
    FIRMWARE_DIR,
    UnreachableError,
    fetch_source,
    read_lock,
    why_sources_unavailable,
)
from m3net_tf.boards.device import Port, open_port
from m3net_tf.export.c_files import CModel
from m3net_tf.export.operators import operators_of
from m3net_tf.runtime.detector_config import DetectorConfig, write_c_header
from m3net_tf.runtime.interpreter import activation_bits

BOARD = "mps2_an386"
#: Applications that only the tests build.
APPS = Path(__file__).parent / "apps"
FRAMES = 49
CLASSES = 6
#: Generous for the small network; the tests of a too small arena use less.
ARENA_BYTES = 48 * 1024
WARNINGS = ("-Wall", "-Wextra", "-Werror")
SANITISERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-static-libasan")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip with a reason, or fail with it where M3NET_REQUIRE_TFLM=1."""
    if os.environ.get("M3NET_REQUIRE_TFLM") == "1":
        pytest.fail(f"M3NET_REQUIRE_TFLM=1, but: {reason}")
    pytest.skip(reason)


def cmsis_dsp() -> Path:
    """Folder of CMSIS-DSP for a build on the host; skips without it or without the tools."""
    missing = [tool for tool in ("cmake", "ninja", "gcc", "git") if shutil.which(tool) is None]
    if missing:
        skip_or_fail("missing: " + " ".join(missing))
    source = next(source for source in read_lock() if source.name == "cmsis-dsp")
    if reason := why_sources_unavailable([source]):
        skip_or_fail(reason)
    return fetch_source(source)


def random_features(count: int, seed: int) -> np.ndarray:
    """int8 feature maps (count, bins, frames)."""
    shape = (count, FrontendConfig().mel_bins, FRAMES)
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def run_tool(*command: object, data: bytes = b"", cwd: Path | None = None) -> bytes:
    """Run a program that must succeed; returns what it prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=data, capture_output=True, cwd=cwd, timeout=600)
    said = done.stdout[-2000:] + done.stderr[-4000:]
    assert done.returncode == 0, said.decode(errors="replace")
    return done.stdout


def compile_for_host(
    program: Path, sources: Iterable[Path], folders: Iterable[Path], *options: str
) -> Path:
    """A program of C sources for this computer, with sanitisers unless an option says otherwise.

    Object files among the sources are linked. Skips without a compiler.
    """
    if shutil.which("gcc") is None:
        skip_or_fail("missing: gcc")
    includes = [f"-I{folder}" for folder in folders]
    settings = ["-std=gnu11", "-O1", "-g", *WARNINGS, *SANITISERS, *includes, *options]
    # A file at a time, because a compiler cache keeps nothing else.
    cache = os.environ.get("CMAKE_C_COMPILER_LAUNCHER")
    compiler = [cache, "gcc"] if cache else ["gcc"]
    folder = program.with_name(f"{program.name}_objects")
    folder.mkdir(exist_ok=True)
    objects = []
    for number, source in enumerate(sources):
        if source.suffix == ".o":
            objects.append(source)
            continue
        objects.append(folder / f"{number}_{source.stem}.o")
        run_tool(*compiler, *settings, "-c", source, "-o", objects[-1])
    run_tool("gcc", *settings, *objects, "-lm", "-o", program)
    return program


def build_with_cmake(build: Path, settings: Iterable[str], target: str) -> Path:
    """A program of ``firmware/host``; a second call for the folder compiles what changed."""
    source = FIRMWARE_DIR / "host"
    run_tool("cmake", "-G", "Ninja", "-S", source, "-B", build, *settings)
    run_tool("ninja", "-C", build, target)
    return build / target


def small_model(
    tflite: bytes, config: FrontendConfig | None = None, *, classes: int = CLASSES, **facts: Any
) -> CModel:
    """An export's network with the facts of the small one; ``facts`` replaces some of them."""
    # Some tests pass bytes that are no network, because they never run them.
    network = tflite[4:8] == b"TFL3"
    small = CModel(
        name="small",
        tflite=tflite,
        labels=labels_of(classes),
        operators=tuple(operators_of(tflite)) if network else ("SOFTMAX",),
        input_bytes=(config or FrontendConfig()).feature_bins * FRAMES,
        input_quantization=(1 / 128, 0),
        output_quantization=(1 / 256, -128),
        arena_bytes=ARENA_BYTES,
        arena_source="the tests",
        licence="Apache-2.0",
        activation_bits=activation_bits(tflite) if network else 8,
    )
    return replace(small, **facts)


def labels_of(classes: int) -> tuple[str, ...]:
    return tuple(f"label{index}" for index in range(classes))


def easy_detector(config: FrontendConfig, **settings: Any) -> DetectorConfig:
    """Settings of all classes by which a network that was never trained makes events."""
    default = DetectorConfig.default(config, FRAMES, labels_of(CLASSES))
    easy = {"hits": 1, "suppression_columns": 10, **settings}
    return replace(default, classes=tuple(replace(each, **easy) for each in default.classes))


def write_bundle(
    folder: Path,
    model: CModel,
    config: FrontendConfig | None = None,
    *,
    frames: int = FRAMES,
    detector: DetectorConfig | None = None,
) -> Path:
    """The files of an export that a firmware build reads."""
    config = config or FrontendConfig()
    folder.mkdir(parents=True, exist_ok=True)
    model.write(folder)
    write_c_tables(config, folder, frames=frames)
    labels = labels_of(model.enrolment_slots or len(model.labels))
    write_c_header(detector or DetectorConfig.default(config, frames, labels), folder)
    return folder


@dataclass(frozen=True)
class BuiltFirmware:
    """The shared firmware, its network and its export."""

    bundle: Path
    image: FirmwareImage
    machine: Machine
    tflite: bytes

    def build(self, board: str, folder: Path, **options: Any) -> FirmwareImage:
        """The network's firmware for a board, with the compiled engine; options of a build.

        Skips where the vendor's headers can be neither found nor fetched.
        """
        try:
            return build_compiled(self.bundle, small_model(self.tflite), board, folder, **options)
        except UnreachableError as error:
            skip_or_fail(str(error))


def with_bytes(elf: Path, target: Path, address: int, data: bytes) -> Path:
    """A copy of a firmware with other bytes at an address of its flash."""
    image = bytearray(elf.read_bytes())
    (table,) = struct.unpack_from("<I", image, 28)
    (entries,) = struct.unpack_from("<H", image, 44)
    for index in range(entries):
        kind, offset, _, start, file_bytes = struct.unpack_from("<5I", image, table + 32 * index)
        if kind == 1 and start <= address < start + file_bytes:
            at = offset + address - start
            image[at : at + len(data)] = data
            target.write_bytes(image)
            return target
    raise AssertionError(f"{elf} has nothing at {address:#x}")


def numbers(line: str) -> dict[str, int]:
    """Numbers of a line of the console, by their names."""
    return {key: int(value, 0) for key, value in re.findall(r"(\w+)=(0x\w+|\d+)\b", line)}


class Console:
    """Direct access to the console of an emulated board."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.seen = ""

    def listen(self, pattern: str, timeout_s: float) -> str | None:
        """The output up to the end of ``pattern``; None if it does not come in time."""
        end_s = time.monotonic() + timeout_s
        while not (match := re.search(pattern, self.seen)):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return None
            self.seen += self.port.read(min(left_s, 1.0)).decode("latin1")
        text = self.seen[: match.end()]
        self.seen = self.seen[match.end() :]
        return text

    def until(self, pattern: str) -> str:
        """The output up to the end of ``pattern``, which must come."""
        text = self.listen(pattern, 600.0)
        assert text is not None, f"no {pattern!r} in {self.seen[-2000:]!r}"
        return text

    def line(self) -> str:
        """The next line."""
        return self.until("\r\n").removesuffix("\r\n")

    def ask(self, command: str) -> dict[str, int]:
        """The numbers of the answer to a command."""
        self.port.write(command.encode() + b"\n")
        answer = self.until(rf"m3net ok {command.split()[0]}[^\r\n]*\r\n")
        return numbers(answer[answer.rindex("m3net ok") :])

    def insist_on(self, command: str) -> dict[str, int]:
        """The answer to a command, repeated until it is no longer lost behind garbage."""
        for _ in range(600):
            self.port.write(f"\n{command}\n".encode())
            if text := self.listen(rf"m3net ok {command} [^\r\n]*\r\n", 1.0):
                return numbers(text[text.rindex("m3net ok") :])
        raise AssertionError(f"no answer to {command}: {self.seen[-2000:]!r}")

    def load_features(self) -> None:
        self.ask("load features")
        features = random_features(1, seed=3).tobytes()
        for at in range(0, len(features), 256):
            piece = features[at : at + 256]
            header = f"block {at} {len(piece)} {zlib.crc32(piece):#x}\n"
            self.port.write(header.encode() + piece)
            self.until(rf"m3net ok block next={at + len(piece)}\r\n")

    def version(self) -> str:
        self.port.write(b"version\n")
        return self.until(r"m3net ok version [^\r\n]*\r\n")


@contextmanager
def console(
    elf: Path, board: str = BOARD, pace: tuple[str, ...] | None = None, sound: bytes | None = None
) -> Iterator[Console]:
    """The console of an emulated board; ``pace`` are the emulator's arguments for its clock."""
    port = open_port(f"qemu:{board}", firmware=lambda _: elf, sound=sound, emulator_arguments=pace)
    try:
        yield Console(port)
    finally:
        port.close()


def function_address(elf: Path, name: str) -> int:
    symbols = run_tool("arm-none-eabi-nm", elf).decode()
    (address,) = re.findall(rf"^(\w+) [tTW] {name}$", symbols, flags=re.MULTILINE)
    return int(address, 16) & ~1


def without_sleep(elf: Path, target: Path) -> Path:
    """A copy of a firmware whose core never sleeps.

    While a core sleeps, QEMU's time follows the host's clock, and jumps if the host is busy.
    Without sleep only executed instructions count.
    """
    nop = b"\x00\xbf"
    after_dsb = 4
    address = function_address(elf, "m3net_board_idle") + after_dsb
    return with_bytes(elf, target, address, nop)
