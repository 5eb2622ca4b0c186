# SPDX-License-Identifier: Apache-2.0
"""m3net firmware and m3net flash: the choices passed to a build, and the report of its result."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench import Bench, Build
from firmware_helpers import BuiltFirmware
from refusals import refuses

from m3net_tf.boards.builds.image import FirmwareImage, image_files, memory_bytes, summary_lines
from m3net_tf.boards.emulation import starting
from m3net_tf.export import Bundle
from m3net_tf.export.c_files import tflm_arena
from m3net_tf.system.errors import FirmwareError

EXPORTED_BYTES, LEAST_BYTES = 20_000, 24_000  # of an arena
MAP = """
Archive member included to satisfy reference by file (symbol)

Memory Configuration

Name             Origin             Length             Attributes
FLASH            0x0000000008000000 0x0000000000200000 xr
RAM              0x0000000024000000 0x0000000000050000 xrw
DMA              0x0000000030000000 0x0000000000008000 rw
*default*        0x0000000000000000 0xffffffffffffffff

Linker script and memory map

OTHER            0x0000000000000000 0x1
"""


def write_image(folder: Path, board: str, forms: Sequence[str] = ("elf", "hex", "bin")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for size, form in enumerate(forms):
        (folder / f"m3net_firmware.{form}").write_bytes(bytes(1000 + size))
    (folder / "m3net_firmware.map").write_text(MAP)
    return folder / "m3net_firmware.elf"


@pytest.fixture()
def bench(monkeypatch: pytest.MonkeyPatch, exported: Bundle, tmp_path: Path) -> Bench:
    """Builds of the run in the folder ``a_run``, whose export is for the compiled engine.

    The first tool that writes hardware is installed, and does nothing.
    """
    shutil.copytree(exported.folder, tmp_path / "a_run" / "export")
    monkeypatch.chdir(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "openocd").write_text("#!/bin/sh\n")
    (tools / "openocd").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)

    def build(made: Build) -> FirmwareImage:
        return FirmwareImage(write_image(made.folder, made.board), made.board, {}, 186_848, 95_296)

    def run_clips(made: Build, _clips: object) -> object:
        if (made.arena_bytes or EXPORTED_BYTES) < LEAST_BYTES:
            raise FirmwareError("the arena is too small")
        return SimpleNamespace(arena_used_bytes=LEAST_BYTES)

    return Bench(build, run_clips, monkeypatch)


ENERGY = "M3NET_EEMBC_MODE=energy"


@pytest.mark.parametrize(
    ("options", "environment", "folder", "settings"),
    [
        ([], "", "", []),
        (["--mlperf-mode", "performance"], "", "", []),
        (["--mlperf-mode", "energy"], "", "-custom", [ENERGY]),
        (["--mlperf-model-id", "ic01"], "", "-custom", ["M3NET_EEMBC_MODEL_ID=ic01"]),
        (
            ["--define", "M3NET_MICROPHONE=analog", "--mlperf-mode", "energy", "--define", "A=b c"],
            "",
            "-custom",
            [ENERGY, "M3NET_MICROPHONE=analog", "A=b c"],
        ),
        (["--engine", "compiled"], "", "", []),
        ([], "tflm", "-tflm", []),
        (["--engine", "tflm", "--define", "A=b"], "", "-tflm-custom", ["A=b"]),
    ],
)
@pytest.mark.parametrize("command", ["firmware", "flash"])
def test_choices_reach_the_build(
    m3net,
    monkeypatch,
    bench: Bench,
    exported: Bundle,
    command: str,
    options: list[str],
    environment: str,
    folder: str,
    settings: list[str],
):
    """A build with choices has its own folder: other commands build the plain one again."""
    if environment:
        monkeypatch.setenv("ENGINE", environment)
    assert m3net(command, "a_run", "--board", "nucleo_h753zi", *options).status == 0
    (made,) = bench.built
    assert made.folder == Path(f"a_run/firmware/nucleo_h753zi{folder}")
    assert made.settings == settings
    engine = "tflm" if "tflm" in folder else "compiled"
    # The export's arena is not TensorFlow Lite Micro's.
    arena = tflm_arena(exported.network) if engine == "tflm" else exported.manifest.arena
    assert (made.engine, made.arena_bytes) == (engine, arena.bytes)


def test_an_unknown_engine_is_refused(m3net, bench: Bench):
    status, _, error = m3net("firmware", "a_run", "--engine", "steam")
    assert status == 2 and "steam" in error and "compiled" in error and not bench.built


@pytest.mark.parametrize("options", [[], ["--define", "A=b"]])
def test_an_emulated_board_gets_an_arena_that_the_network_starts_with(
    m3net, bench: Bench, options: list[str]
):
    """The export's arena was measured on another board; this one's kernels need more."""
    bundle = Bundle.load(Path("a_run/export"))
    bundle.set_engine("tflm")
    bundle.set_arena(EXPORTED_BYTES, "TFLite Micro on mps2_an386")
    for _ in range(2):  # the second build uses the arena that the first one measured
        assert m3net("firmware", "a_run", "--board", "mps3_an547", *options).status == 0
    settings = options[1:]
    spare = EXPORTED_BYTES + starting.ARENA_SLACK_BYTES
    assert [(made.arena_bytes, made.settings) for made in bench.built] == [
        (size, settings) for size in (None, spare, LEAST_BYTES, LEAST_BYTES)
    ]


def test_firmware_names_each_file_and_the_share_of_each_memory(m3net, bench: Bench):
    status, output, _ = m3net("firmware", "a_run", "--board", "nucleo_h753zi")
    folder = "a_run/firmware/nucleo_h753zi"
    assert status == 0 and output.splitlines() == [
        "fetching CMSIS-DSP",
        f"{folder}/m3net_firmware.elf: 1,000 bytes",
        f"{folder}/m3net_firmware.hex: 1,001 bytes",
        f"{folder}/m3net_firmware.bin: 1,002 bytes",
        "flash: 186,848 of 2,097,152 bytes (8.9 %)",
        "RAM: 95,296 of 360,448 bytes (26.4 %)",
    ]


@pytest.mark.parametrize("command", ["firmware", "flash"])
def test_an_image_in_json(m3net, bench: Bench, command: str):
    caught = m3net(command, "a_run", "--board", "nucleo_h753zi", "--json")
    assert caught.status == 0
    facts = json.loads(caught.out)
    stem = "a_run/firmware/nucleo_h753zi/m3net_firmware"
    assert facts["files"] == {form: f"{stem}.{form}" for form in ("elf", "hex", "bin")}
    assert (facts["board"], facts["flash_bytes"]) == ("nucleo_h753zi", 186_848)
    assert facts["memories"]["FLASH"] == 2_097_152
    lines = ["fetching CMSIS-DSP"]
    if command == "flash":
        lines += [f"writing {stem}.elf to nucleo_h753zi with openocd"]
        lines += ["nucleo_h753zi has the firmware"]
    assert caught.err.splitlines() == lines


@pytest.mark.parametrize("behind", [False, True])
def test_an_image_below_a_uf2_boot_loader_says_why_it_has_no_uf2(tmp_path: Path, behind: bool):
    forms = ["elf", "hex", "bin", *["uf2"] * behind]
    elf = write_image(tmp_path / "nrf52840dk", "nrf52840dk", forms)
    image = FirmwareImage(elf, "nrf52840dk", {}, 1, 1)
    assert list(image_files(image)) == forms
    lines = summary_lines(image)
    assert any(line.endswith(".uf2: 1,003 bytes") for line in lines) == behind
    note = "\n".join(lines[lines.index(f"RAM: 1 of {0x58000:,} bytes (0.0 %)") + 1 :])
    assert note.startswith("no .uf2: ") == ("--define M3NET_FLASH_START=0x" in note) == (not behind)


def test_memories_are_those_of_the_linker(built: BuiltFirmware, tmp_path: Path):
    assert memory_bytes(built.image) == {"FLASH": 4 << 20, "RAM": 4 << 20}
    elsewhere = FirmwareImage(tmp_path / "m3net_firmware.elf", "mps2_an386", {}, 1, 1)
    with refuses(FirmwareError, "m3net_firmware.map"):
        memory_bytes(elsewhere)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["firmware", "a_run", "--mlperf-mode", "slow"],
            "MLPerf Tiny has no mode 'slow': choose one of performance, energy",
        ),
        (
            ["flash", "a_run", "--board", "nrf52840dk"],
            "no tool that writes nrf52840dk is installed; install one of: nrfjprog, pyocd, openocd",
        ),
    ],
)
def test_what_cannot_work_is_said_before_the_build(
    m3net, monkeypatch, bench: Bench, tmp_path: Path, words: list[str], message: str
):
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, error = m3net(*words)
    assert status == 2 and error.startswith(f"error: {message}")
    assert bench.built == []
