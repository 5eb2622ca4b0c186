# SPDX-License-Identifier: Apache-2.0
"""``make system`` on a bare machine: who gets packages at once, who is asked, who is only told."""

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
#: Programs of the fake machine; ``apt-get`` and ``sudo`` note how they are called.
FAKES = {
    "apt-get": 'echo "$USED_SUDO apt-get $*" >>"$CALLS"; exit "$APT_STATUS"',
    "sudo": '[ "$1" != -n ] || exit "$SUDO_STATUS"; export USED_SUDO=sudo; exec "$@"',
    "id": 'echo "$USER_ID"',
}
REAL = ("env", "make", "mkdir", "touch")


@pytest.fixture()
def machine(tmp_path: Path) -> Callable[..., tuple[int, str, list[str]]]:
    """Calls ``make system``; returns its status, its output and the calls of apt-get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in FAKES.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    for name in REAL:
        (folder / name).symlink_to(shutil.which(name))
    shutil.copyfile(MAKEFILE, tmp_path / "Makefile")
    calls = tmp_path / "calls"

    def call(
        *arguments: str, user: int = 1000, free_sudo: bool = False, apt: int = 0, typed: str = ""
    ) -> tuple[int, str, list[str]]:
        calls.write_text("")
        environment = {
            "PATH": str(folder),
            "CALLS": str(calls),
            "APT_STATUS": str(apt),
            "SUDO_STATUS": "0" if free_sudo else "1",
            "USER_ID": str(user),
        }
        command = ["make", "-s", "system", f"PYTHON={sys.executable}", *arguments]
        ours, theirs = pty.openpty() if typed else (None, subprocess.DEVNULL)
        if ours is not None:
            os.write(ours, typed.encode())
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            stdin=theirs,
            stdout=theirs if typed else subprocess.PIPE,
            stderr=theirs if typed else subprocess.STDOUT,
            timeout=600,
        )
        text = os.read(ours, 65536) if ours is not None else done.stdout
        return done.returncode, text.decode(), calls.read_text().splitlines()

    return call


def test_root_and_free_sudo_get_the_packages_at_once(machine):
    for user, free_sudo, sudo in ((0, False, ""), (1000, True, "sudo")):
        status, _, (update, install) = machine(user=user, free_sudo=free_sudo)
        assert status == 0
        assert update == f"{sudo} apt-get update -q"
        assert install.startswith(f"{sudo} apt-get install -y ")
        assert {"qemu-system-arm", "gcc-arm-none-eabi"} <= {*install.split()}


def test_others_are_asked_on_a_terminal_until_they_decline(machine):
    status, text, calls = machine(typed="n\n")
    assert status == 0 and "?" in text and calls == []
    status, text, calls = machine(typed="y\n")
    assert status == 0 and "?" not in text and calls == []


def test_who_agrees_gets_the_packages_by_sudo(machine):
    status, _, calls = machine(typed="y\n")
    assert status == 0 and calls[1].startswith("sudo apt-get install -y ")


def test_without_a_terminal_one_line_has_the_command(machine):
    status, text, calls = machine()
    assert status == 0 and calls == []
    (line,) = text.splitlines()
    assert "sudo apt-get install git g++ " in line


def test_the_user_decides(machine):
    assert machine("INSTALL_SYSTEM=0", user=0)[2] == []
    assert len(machine("INSTALL_SYSTEM=1")[2]) == 2


def test_a_failed_installation_says_how_to_go_on(machine):
    status, text, _ = machine(user=0, apt=100)
    assert status == 2 and "INSTALL_SYSTEM=0" in text.splitlines()[-2 if "***" in text else -1]
