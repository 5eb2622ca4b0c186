# SPDX-License-Identifier: Apache-2.0
"""The wheel works alone: it contains what its commands read, and asks for few packages."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LARGEST_WHEEL_BYTES = 5_000_000
HEAVY = ("tensorflow", "librosa", "scikit-learn", "matplotlib", "scipy", "ray")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder)]
    command += ["build", "--build-base", str(folder / "build")]
    command += ["bdist_wheel", "--bdist-dir", str(folder / "files"), "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    assert path.stat().st_size < LARGEST_WHEEL_BYTES
    return zipfile.ZipFile(path)


def test_it_contains_all_files_that_commands_read(wheel):
    names = set(wheel.namelist())
    assert "m3net_tf/sources/LICENSE" in names  # goes into exported libraries
    for name in ("examples", "experiments", "firmware"):
        sources = {path for path in (ROOT / name).rglob("*") if path.is_file()}
        wanted = {
            f"m3net_tf/sources/{path.relative_to(ROOT).as_posix()}"
            for path in sources
            if "__pycache__" not in path.parts
        }
        assert wanted <= names
    trained = (ROOT / "m3net_tf" / "pretrained").glob("*-*/*")
    files = {path.relative_to(ROOT).as_posix() for path in trained}
    assert len(files) == 21 and files <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_a_light_installation_asks_for_no_training_package(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    lines = wheel.read(name).decode().splitlines()
    base = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert base and not [line for line in base if any(package in line for package in HEAVY)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("table m3net/table4 --print-recipe nothing", "no cell is named 'nothing'"),
        ("fit no_run", "no_run has no export"),
    ],
)
def test_commands_find_the_copies_of_the_wheel(wheel, tmp_path, command, expected):
    wheel.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "m3net_tf", *command.split()],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected in done.stdout + done.stderr
