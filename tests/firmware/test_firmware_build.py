# SPDX-License-Identifier: Apache-2.0
"""Building firmware: its contents, and the errors when it cannot be built."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from firmware_helpers import BOARD, BuiltFirmware, run_tool, small_model, write_bundle
from refusals import refuses

from m3net_tf.boards.builds import boards, build, cmake, image, library, toolchain
from m3net_tf.boards.builds.boards import list_boards, load_board, machines
from m3net_tf.boards.builds.sources import FIRMWARE_DIR, UnreachableError, fetch_sources
from m3net_tf.compiler.micro import TFLM_OPERATORS
from m3net_tf.export.operators import resolver_method
from m3net_tf.system.errors import FirmwareError


def symbols(elf: Path) -> str:
    return run_tool("arm-none-eabi-nm", "-C", elf).decode()


def test_the_emulated_boards():
    names = ["mps2_an385", "mps2_an386", "mps2_an500", "mps2_an505", "mps3_an547", "qemu_riscv32"]
    assert [machine.board for machine in machines()] == names
    qemu = [machine for name in list_boards() if (machine := load_board(name).machine)]
    assert [machine.board for machine in qemu if machine.partial] == ["stm32f4_discovery"]


def test_portable_code_names_no_board():
    words = [*boards.list_boards(), "mps2", "board.h", "board_config.h", "cmsdk"]
    for path in [*(FIRMWARE_DIR / "core").iterdir(), *(FIRMWARE_DIR / "app").iterdir()]:
        text = path.read_text().lower()
        assert not [word for word in words if word in text], path


def test_unknown_board_lists_the_known_ones(tmp_path):
    with refuses(FirmwareError, "'toaster'", BOARD):
        build.build_firmware(tmp_path, "toaster", tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_cmake_says_what_writes_the_files_of_a_board(tmp_path, tflm_possible):
    settings = ["-DM3NET_ENGINE=tflm"]
    architecture = load_board(BOARD).architecture
    folders = fetch_sources()
    command = cmake.cmake_command(architecture, FIRMWARE_DIR, tmp_path, settings, folders)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    words = " ".join(done.stderr.split())
    assert "has no board.cmake: m3net firmware RUN --board <name> writes it" in words


def test_incomplete_bundle_names_the_file(tmp_path, tflm_possible):
    (tmp_path / "bundle").mkdir()
    with refuses(FirmwareError, "model.h") as caught:
        build.build_firmware(tmp_path / "bundle", BOARD, tmp_path / "build")
    assert "\n" not in str(caught.value)


def test_missing_tools_name_their_packages(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    for board, package in ((BOARD, "gcc-arm-none-eabi"), ("qemu_riscv32", "gcc-riscv64-unknown")):
        with pytest.raises(FirmwareError) as caught:
            toolchain.check_toolchain(load_board(board).architecture)
        assert f"apt-get install {package}" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_engine_that_an_architecture_lacks_is_refused(tmp_path):
    with pytest.raises(FirmwareError) as caught:
        build.build_firmware(tmp_path, "qemu_riscv32", tmp_path / "build")
    assert str(caught.value) == (
        "qemu_riscv32 has no --engine tflm, which is for other cores than its rv32imac: choose "
        "compiled"
    )


@pytest.mark.parametrize(("board", "works"), [(BOARD, True), ("nrf52840dk", False)])
def test_without_sources_the_other_engine_is_named(board, works, monkeypatch, tmp_path):
    def unreachable(*_):
        raise UnreachableError("cannot fetch tflite-micro")

    monkeypatch.setattr(build, "check_tools", lambda *_, **__: None)
    monkeypatch.setattr(build, "build_library", unreachable)
    with pytest.raises(FirmwareError) as caught:
        build.build_firmware(tmp_path, board, tmp_path / "build")
    hint = "; or use --engine compiled, which needs none of these sources" if works else ""
    assert str(caught.value) == f"cannot fetch tflite-micro{hint}"


def test_compile_error_is_one_line(tmp_path, built: BuiltFirmware, small_tflite):
    bundle = write_bundle(tmp_path / "bundle", small_model(small_tflite))
    with (bundle / "frontend_config.h").open("a") as stream:
        stream.write("#error broken on purpose\n")
    with pytest.raises(FirmwareError, match="broken on purpose") as caught:
        dataclasses.replace(built, bundle=bundle).build(BOARD, tmp_path / "build")
    assert "\n" not in str(caught.value) and "build.log" in str(caught.value)


def test_not_an_elf(tmp_path, firmware_possible):
    path = tmp_path / "x.elf"
    path.write_text("no")
    with pytest.raises(FirmwareError, match="ELF"):
        image.inspect_elf(path, BOARD)


def test_sizes(built_tflm: BuiltFirmware):
    image = built_tflm.image
    assert image.flash_bytes == image.sections[".text"] + image.sections[".data"]
    assert len(built_tflm.tflite) < image.flash_bytes < len(built_tflm.tflite) + 150_000
    assert image.sections[".stack"] == 8192
    # Arena 48 kB, a second of sound for the monitor 32 kB, queues of live detection 12 kB.
    assert image.ram_bytes < 120_000


def test_only_what_the_model_needs_is_linked(built_tflm: BuiltFirmware):
    names = symbols(built_tflm.image.elf)
    assert "arm_convolve_wrapper_s8" in names
    absent = ("Register_TRANSPOSE", "Register_SVDF", "arm_svdf_s8", "LSTM", "malloc", "printf")
    assert not [symbol for symbol in absent if symbol in names]
    assert set(re.findall(r"twiddleCoef_\w+", names)) == {"twiddleCoef_256"}


def test_library_is_reused(built_tflm: BuiltFirmware):
    path = library.library_path("cortex-m4f")
    before = path.stat().st_mtime_ns
    lines: list[str] = []
    assert library.build_library("cortex-m4f", report=lines.append) == path
    assert path.stat().st_mtime_ns == before and lines == []


@pytest.mark.slow
def test_a_moved_build_folder_is_configured_again(tmp_path, built: BuiltFirmware):
    """CMake refuses a cache of another folder, as it does one of another checkout."""
    moved = tmp_path / "moved"
    shutil.copytree(built.image.elf.parent, moved)
    again = built.build(BOARD, moved)
    assert again.elf == moved / built.image.elf.name
    assert again.flash_bytes == built.image.flash_bytes


def test_exporter_knows_what_the_pinned_resolver_can_register(tflm_possible):
    """The operator table of the exporter is TFLM's own, method by method."""
    header = fetch_sources()["tflite-micro"] / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    pairs = re.findall(
        r"TfLiteStatus Add(\w+)\([^{]*\{[^}]*?BuiltinOperator_(\w+)", header.read_text()
    )
    methods = {operator: method for method, operator in pairs}
    assert set(methods) >= TFLM_OPERATORS
    assert {name: resolver_method(name) for name in TFLM_OPERATORS} == {
        name: methods[name] for name in TFLM_OPERATORS
    }
