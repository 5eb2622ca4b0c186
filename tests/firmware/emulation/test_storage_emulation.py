# SPDX-License-Identifier: Apache-2.0
"""The nRF52840's storage on QEMU's flash controller of an nRF51, which has the same registers."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from firmware_helpers import APPS, run_tool, skip_or_fail

from m3net_tf.boards.builds import boards
from m3net_tf.boards.builds.generated import write_generated
from m3net_tf.boards.builds.sources import (
    FIRMWARE_DIR,
    fetch_source,
    read_lock,
    why_sources_unavailable,
)

#: Two of the nRF51's pages, at the end of its 256 KB.
STORAGE = boards.Storage(start=0x3_F800, sector_bytes=0x400, sectors=2, word_bytes=4)
MEMORY = {"flash": boards.Memory(0, 0x4_0000), "ram": boards.Memory(0x2000_0000, 0x4000)}
CORE = ("core/record_log.c", "core/crc32.c")
CODE = ("boards/nrf52840dk/storage.c", "arch/interrupts.c", *CORE)


@pytest.fixture()
def includes(arm_emulation: None) -> list[str]:
    """Compiler options for the folders with headers of the chip and of the firmware."""
    sources = [source for source in read_lock() if source.name in ("cmsis-6", "nrfx")]
    if reason := why_sources_unavailable(sources):
        skip_or_fail(reason)
    folders = {source.name: fetch_source(source) for source in sources}
    chip = [folders["nrfx"] / "bsp/stable/mdk", folders["cmsis-6"] / "CMSIS/Core/Include"]
    own = [FIRMWARE_DIR / path for path in ("core", "arch", "arch/cortex_m", "boards/nrf52840dk")]
    return [*(f"-isystem{path}" for path in chip), *(f"-I{path}" for path in own)]


def test_records_go_around_both_pages_and_outlast_a_reset(includes: list[str], tmp_path: Path):
    nrf = dataclasses.replace(boards.load_board("nrf52840dk"), pdm=False, uf2=None)
    board = dataclasses.replace(nrf, storage=STORAGE, memory=MEMORY, stack_bytes=4096)
    generated = write_generated(board, tmp_path)
    elf = tmp_path / "nvmc.elf"
    flags = ["-mcpu=cortex-m0", "-mthumb", "-O2", "-Wall", "-Werror", "-ffunction-sections"]
    flags += ["-DNRF52840_XXAA", "-DM3NET_HAS_STORAGE", f"-I{generated}", *includes]
    flags += ["-nostartfiles", "-Wl,--gc-sections", f"-L{FIRMWARE_DIR / 'arch'}"]
    code = [APPS / "nvmc" / "main.c", *(FIRMWARE_DIR / name for name in CODE)]
    link = [f"-T{generated / 'board.ld'}", "-o", elf]
    run_tool("arm-none-eabi-gcc", *flags, *code, *link)
    machine = ["qemu-system-arm", "-M", "microbit", "-kernel", elf, "-semihosting"]
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    run = subprocess.run([*machine, *quiet], capture_output=True, text=True, timeout=600)
    assert run.stderr + run.stdout == "kept\n"
