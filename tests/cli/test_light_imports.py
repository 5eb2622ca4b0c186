# SPDX-License-Identifier: Apache-2.0
"""Commands that need no training start at once: they import no slow modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("tensorflow", "tf_keras", "librosa", "sklearn", "pandas", "matplotlib", "numba", "scipy")
COMMANDS = (
    "--help",
    "--version",
    "data list",
    "monitor /dev/no_port",
    "monitor /dev/no_port --web --web-port 0",
    "monitor qemu:mps2_an386 --run no_run --play no.wav",
    "device info /dev/no_port",
    "device evaluate qemu:mps2_an386 --run no_run",
    "device profile qemu:mps2_an386 --run no_run",
    "device capture /dev/no_port --label a --folder no_folder",
    "footprint no_run",
    "report no_run",
    "init no_folder",
    "train --from no_run --add no_folder",
    "flash no_run",
    "firmware no_run",
)
# Imports of the commands once they get past their first error.
ROOMS = (
    "m3net_tf.boards.device.capture",
    "m3net_tf.boards.device.evaluate",
    "m3net_tf.boards.measure.layers",
    "m3net_tf.boards.device.monitor",
    "m3net_tf.pages.live_page.command",
    "m3net_tf.boards.builds.flash",
    "m3net_tf.boards.measure.footprint",
    "m3net_tf.boards.starter.project",
    "m3net_tf.training.clips.added",
)
SCRIPT = """
import contextlib, importlib, io, json, sys
from m3net_tf.cli import app

heavy, commands, rooms = json.loads(sys.argv[1])
imported = {}
for command in commands:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception, SystemExit):
        app(command.split(), standalone_mode=False)
    imported[command] = [name for name in heavy if name in sys.modules]
for room in rooms:
    importlib.import_module(room)
    imported[room] = [name for name in heavy if name in sys.modules]
print(json.dumps(imported))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Heavy modules in memory after each command; one process runs all commands in order."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([HEAVY, COMMANDS, ROOMS])],
        cwd=tmp_path_factory.mktemp("empty"),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", [*COMMANDS, *ROOMS])
def test_nothing_heavy_is_imported(imported: dict[str, list[str]], name: str):
    assert imported[name] == []
