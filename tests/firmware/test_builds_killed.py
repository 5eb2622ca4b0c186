# SPDX-License-Identifier: Apache-2.0
"""Stopped builds and emulations leave nothing behind, at the latest after the next one."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.boards.builds import build, library
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.emulation.qemu import run_image
from m3net_tf.system.errors import FirmwareError, InUseError
from m3net_tf.system.locks import LOCK_NAME, locked
from m3net_tf.system.processes import ends_cleanly

CORE = "cortex-m4f"


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def stop_once_started(monkeypatch):
    """Send this process SIGTERM when it polls a program that has printed its process id."""

    def arrange(method: str, pid: Path) -> None:
        look = getattr(subprocess.Popen, method)

        def stop(*arguments: object, **options: object) -> object:
            monkeypatch.setattr(subprocess.Popen, method, look)
            while not pid.exists() or not pid.read_text().endswith("\n"):
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGTERM)
            return look(*arguments, **options)

        monkeypatch.setattr(subprocess.Popen, method, stop)

    return arrange


def test_a_stopped_emulation_leaves_nothing(tmp_path, temporary, stop_once_started):
    elf = tmp_path / "firmware.elf"
    elf.touch()
    emulator = script(tmp_path / "emulator", f"echo $$ > {tmp_path}/pid", "exec sleep 60")
    stop_once_started("poll", tmp_path / "pid")
    machine = dataclasses.replace(find_machine("mps2_an386"), emulator=str(emulator))
    with pytest.raises(SystemExit) as caught, ends_cleanly():
        run_image(elf, machine, b"job")
    assert caught.value.code == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_silent_emulation_is_stopped_with_its_last_words(tmp_path, temporary):
    elf = tmp_path / "firmware.elf"
    elf.touch()
    emulator = script(
        tmp_path / "emulator",
        f"echo $$ > {tmp_path}/pid",
        'for word; do case $word in file:*) printf "half a li" > "${word#file:}" ;; esac; done',
        "exec sleep 600",
    )
    machine = find_machine("mps2_an386")
    impatient = dataclasses.replace(machine, emulator=str(emulator), stall_timeout_s=2.0)
    with refuses(FirmwareError, machine.board, "silent for 2 s", "half a li"):
        run_image(elf, impatient, b"job")
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_emulation_removes_what_killed_ones_left(tmp_path, temporary):
    elf = tmp_path / "firmware.elf"
    elf.touch()
    (temporary / "m3net-emulation-left").mkdir()
    (temporary / "m3net-emulation-left" / "job.bin").touch()
    machine = dataclasses.replace(find_machine("mps2_an386"), emulator="false")
    with refuses(FirmwareError, "false", "status 1"):
        run_image(elf, machine, b"job")
    assert list(temporary.iterdir()) == []


@pytest.fixture
def library_of_nothing(tmp_path, monkeypatch):
    """Let a library build run without compiler: ninja is a shell script."""
    monkeypatch.setattr(library, "check_toolchain", lambda _: None)
    monkeypatch.setattr(library, "fetch_sources", lambda **_: {})
    monkeypatch.setattr(library, "library_key", lambda _: "key")
    monkeypatch.setattr(library, "cmake_command", lambda _, __, folder, *___: ["mkdir", folder])
    (tmp_path / "programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "programs"), prepend=os.pathsep)
    return tmp_path / "programs" / "ninja"


def test_a_library_build_removes_what_killed_ones_left(tmp_path, library_of_nothing):
    script(library_of_nothing, f"touch $2/{library._LIBRARY_FILE}")
    libraries = tmp_path / "libraries"
    (libraries / f".{CORE}-left" / "build").mkdir(parents=True)
    (libraries / f".{CORE}.lock").touch()
    path = library.build_library(CORE, tmp_path)
    assert path.is_file()
    assert {path.name for path in libraries.iterdir()} == {f"{CORE}-key", f"{CORE}.log"}


def test_a_stopped_library_build_stops_its_compilers(
    tmp_path, library_of_nothing, stop_once_started, monkeypatch
):
    """The compiler is not our child, so only the end of ninja can end it."""
    pid = tmp_path / "pid"
    script(
        library_of_nothing,
        "sleep 60 &",
        f"trap 'kill $!; touch {tmp_path}/told; exit 2' TERM",
        f"echo $! > {pid}",
        "wait",
    )
    run = library.run_step

    def run_step(command: list, *rest: object) -> None:
        if command[0] == "ninja":
            stop_once_started("wait", pid)
        run(command, *rest)

    monkeypatch.setattr(library, "run_step", run_step)
    with pytest.raises(SystemExit), ends_cleanly():
        library.build_library(CORE, tmp_path)
    assert (tmp_path / "told").exists()
    assert not Path(f"/proc/{pid.read_text().strip()}/exe").exists()
    assert {path.name for path in (tmp_path / "libraries").iterdir()} == {f"{CORE}.log"}


def test_a_second_library_build_says_that_it_waits(tmp_path, library_of_nothing, monkeypatch):
    lines: list[str] = []
    path = library.library_path(CORE, tmp_path)

    def flock(handle: int, operation: int) -> None:
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError
        path.parent.mkdir()
        path.touch()  # the other process has compiled it meanwhile

    monkeypatch.setattr(fcntl, "flock", flock)
    assert library.build_library(CORE, tmp_path, lines.append) == path
    assert lines == [f"the library for {CORE} is in use by another process: waiting for it"]


def test_a_build_folder_in_use_is_one_line(tmp_path):
    folder = tmp_path / "build"
    folder.mkdir()
    with locked(folder / LOCK_NAME, "it"), pytest.raises(InUseError) as caught:
        build.build_firmware(tmp_path, "mps2_an386", folder)
    error = str(caught.value)
    assert "\n" not in error
    assert error.startswith(f"{folder} is in use by process {os.getpid()} (")
