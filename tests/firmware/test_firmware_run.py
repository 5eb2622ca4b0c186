# SPDX-License-Identifier: Apache-2.0
"""m3net firmware and m3net flash: the choices passed to a build, and the report of its result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from firmware_helpers import BuiltFirmware
from refusals import refuses

from m3net_tf.boards.builds import flash
from m3net_tf.boards.builds.image import FirmwareImage, image_files, memory_bytes, summary_lines
from m3net_tf.boards.emulation import starting
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import Arena
from m3net_tf.system.errors import FirmwareError

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
def built_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Path, list[str]]]:
    """Folder and choices of each build of an export for the compiled engine."""
    calls: list[tuple[Path, list[str]]] = []

    def build(bundle, board, folder, log, *, settings, emulated=False):
        calls.append((folder, list(settings)))
        log("compiling")
        return FirmwareImage(write_image(folder, board), board, {}, 186_848, 95_296)

    def build_tflm(bundle, board, folder, arena_bytes, *, settings, report, emulated=False):
        assert arena_bytes == 54_321  # the export's is not TensorFlow Lite Micro's
        return build(bundle, board, folder, report, settings=settings)

    monkeypatch.setattr(starting, "compiled_firmware", build)
    monkeypatch.setattr(starting, "build_firmware", build_tflm)
    monkeypatch.setattr(starting, "tflm_arena", lambda _: Arena(54_321, "TFLite Micro"))
    monkeypatch.setattr(Bundle, "network", None)
    monkeypatch.setattr(Bundle, "c_folder", lambda self, log: self.folder)
    manifest = SimpleNamespace(engine="compiled")
    monkeypatch.setattr(Bundle, "load", lambda folder: Bundle(folder, manifest))
    monkeypatch.chdir(tmp_path)
    return calls


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
    built_with,
    command: str,
    options: list[str],
    environment: str,
    folder: str,
    settings: list[str],
):
    """A build with choices has its own folder: other commands build the plain one again."""
    monkeypatch.setattr(flash, "flash_image", lambda image, report: None)
    monkeypatch.setattr(flash, "flash_way", lambda board: ["tool"])
    if environment:
        monkeypatch.setenv("ENGINE", environment)
    assert m3net(command, "a_run", "--board", "nucleo_h753zi", *options).status == 0
    assert built_with == [(Path(f"a_run/firmware/nucleo_h753zi{folder}"), settings)]


def test_an_unknown_engine_is_refused(m3net, built_with):
    status, _, error = m3net("firmware", "a_run", "--engine", "steam")
    assert status == 2 and "steam" in error and "compiled" in error and not built_with


@pytest.mark.parametrize("options", [[], ["--define", "A=b"]])
def test_an_emulated_board_gets_an_arena_that_the_network_starts_with(
    m3net, monkeypatch, tmp_path: Path, options: list[str], make_manifest
):
    """The export's arena was measured on another board; this one's kernels need more."""
    manifest = make_manifest(arena=Arena(20_000, "TFLite Micro on mps2_an386"))
    least_bytes = 24_000
    builds: list[tuple[int | None, list[str]]] = []

    def build(bundle, board, folder, arena_bytes=None, *, settings, report, emulated=False):
        builds.append((arena_bytes, list(settings)))
        return FirmwareImage(write_image(folder, board), board, {}, 1, 1)

    def run_job(elf, machine, clips):
        if (builds[-1][0] or 20_000) < least_bytes:
            raise FirmwareError("the arena is too small")
        return SimpleNamespace(arena_used_bytes=least_bytes)

    monkeypatch.setattr(starting, "build_firmware", build)
    monkeypatch.setattr(starting, "run_job", run_job)
    monkeypatch.setattr(starting, "library_path", lambda core: tmp_path / core / "lib.a")
    monkeypatch.setattr(shutil, "which", lambda program: program)
    monkeypatch.setattr(Bundle, "c_folder", lambda self, log: self.folder)
    monkeypatch.setattr(Bundle, "load", lambda folder: Bundle(folder, manifest))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second build uses the arena that the first one measured
        assert m3net("firmware", "a_run", "--board", "mps3_an547", *options).status == 0
    settings = options[1:]
    spare = 20_000 + starting.ARENA_SLACK_BYTES
    assert builds == [(size, settings) for size in (None, spare, least_bytes, least_bytes)]


def test_firmware_names_each_file_and_the_share_of_each_memory(m3net, built_with):
    status, output, _ = m3net("firmware", "a_run", "--board", "nucleo_h753zi")
    folder = "a_run/firmware/nucleo_h753zi"
    assert status == 0 and output.splitlines() == [
        "compiling",
        f"{folder}/m3net_firmware.elf: 1,000 bytes",
        f"{folder}/m3net_firmware.hex: 1,001 bytes",
        f"{folder}/m3net_firmware.bin: 1,002 bytes",
        "flash: 186,848 of 2,097,152 bytes (8.9 %)",
        "RAM: 95,296 of 360,448 bytes (26.4 %)",
    ]


@pytest.mark.parametrize("command", ["firmware", "flash"])
def test_an_image_in_json(m3net, monkeypatch, built_with, command: str):
    monkeypatch.setattr(flash, "flash_image", lambda image, report: report("written"))
    monkeypatch.setattr(flash, "flash_way", lambda board: ["tool"])
    caught = m3net(command, "a_run", "--board", "nucleo_h753zi", "--json")
    assert caught.status == 0
    facts = json.loads(caught.out)
    stem = "a_run/firmware/nucleo_h753zi/m3net_firmware"
    assert facts["files"] == {form: f"{stem}.{form}" for form in ("elf", "hex", "bin")}
    assert (facts["board"], facts["flash_bytes"]) == ("nucleo_h753zi", 186_848)
    assert facts["memories"]["FLASH"] == 2_097_152
    assert caught.err.splitlines() == ["compiling", *["written"] * (command == "flash")]


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
    m3net, monkeypatch, built_with, tmp_path: Path, words: list[str], message: str
):
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, error = m3net(*words)
    assert status == 2 and error.startswith(f"error: {message}")
    assert built_with == []
