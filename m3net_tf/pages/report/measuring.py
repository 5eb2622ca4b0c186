# SPDX-License-Identifier: Apache-2.0
"""Runs the commands that make what a page lacks."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from m3net_tf.system.progress import Log

#: Commands of m3net in the order in which one needs the other's result.
_ORDER = ("quantize", "export", "emulate", "device", "footprint")


def measuring_commands(commands: Iterable[str]) -> list[str]:
    """Choose the commands that measure a run, each once, in the order to run them."""
    words = {command: shlex.split(command) for command in commands}
    chosen = [
        text for text, [program, name, *_] in words.items() if program == "m3net" and name in _ORDER
    ]
    return sorted(chosen, key=lambda text: _ORDER.index(words[text][1]))


def run_command(command: str, data_dir: Path | None, log: Log) -> None:
    """Run a command of m3net; its lines, and its error if it fails, go to ``log``."""
    log(f"$ {command}")
    environment = {**os.environ, **({"DATA_DIR": str(data_dir)} if data_dir else {})}
    with subprocess.Popen(
        [sys.executable, "-m", "m3net_tf", *shlex.split(command)[1:]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log(line.rstrip("\n"))
