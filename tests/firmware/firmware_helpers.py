# SPDX-License-Identifier: Apache-2.0
"""Helpers of the firmware tests in addition to the fixtures."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig, write_c_tables
from m3net_tf.boards.builds.boards import Machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import (
    UnreachableError,
    fetch_source,
    read_lock,
    why_sources_unavailable,
)
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


def small_model(
    tflite: bytes,
    config: FrontendConfig | None = None,
    arena_bytes: int = ARENA_BYTES,
    operators: tuple[str, ...] | None = None,
    classes: int = CLASSES,
    output_scale: float = 1 / 256,
    enrolment_slots: int | None = None,
) -> CModel:
    """An export's network and its facts."""
    config = config or FrontendConfig()
    return CModel(
        name="small",
        tflite=tflite,
        labels=tuple(f"label{index}" for index in range(classes)),
        operators=operators or tuple(operators_of(tflite)),
        input_bytes=config.feature_bins * FRAMES,
        input_quantization=(1 / 128, 0),
        output_quantization=(output_scale, -128),
        arena_bytes=arena_bytes,
        arena_source="the tests",
        licence="Apache-2.0",
        enrolment_slots=enrolment_slots,
        # Some tests pass bytes that are no network, because they never run them.
        activation_bits=activation_bits(tflite) if tflite[4:8] == b"TFL3" else 8,
    )


def write_bundle(
    folder: Path,
    tflite: bytes,
    config: FrontendConfig | None = None,
    *,
    classes: int = CLASSES,
    enrolment_slots: int | None = None,
    **facts: Any,
) -> Path:
    """The files of an export that a firmware build reads; ``facts`` as of :func:`small_model`."""
    config = config or FrontendConfig()
    folder.mkdir(parents=True, exist_ok=True)
    model = small_model(tflite, config, classes=classes, enrolment_slots=enrolment_slots, **facts)
    model.write(folder)
    write_c_tables(config, folder, frames=FRAMES)
    labels = [f"label{index}" for index in range(enrolment_slots or classes)]
    write_c_header(DetectorConfig.default(config, FRAMES, labels), folder)
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


def function_address(elf: Path, name: str) -> int:
    symbols = subprocess.run(
        ["arm-none-eabi-nm", elf], capture_output=True, text=True, check=True
    ).stdout
    (address,) = re.findall(rf"^(\w+) [tTW] {name}$", symbols, flags=re.MULTILINE)
    return int(address, 16) & ~1


def without_sleep(elf: Path, target: Path) -> Path:
    """A copy of a firmware whose core never sleeps.

    While a core sleeps, QEMU's time follows the host's clock. A busy host then makes it jump over
    samples of the microphone; without sleep only executed instructions count.
    """
    nop, after_dsb = b"\x00\xbf", 4
    address = function_address(elf, "m3net_board_idle") + after_dsb
    return with_bytes(elf, target, address, nop)
