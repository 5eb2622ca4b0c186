# SPDX-License-Identifier: Apache-2.0
"""The wheel works alone: it contains what its commands read, and asks for few packages."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from m3net_tf.lab.bench import package
from m3net_tf.lab.bench.package import COMMANDS, build_wheel, run_bench_package
from m3net_tf.lab.bench.start_up import imported_packages
from m3net_tf.system.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("tensorflow", "librosa", "scikit-learn", "matplotlib", "pandas", "scipy", "ray")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout's source distribution, as in a release."""
    folder = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder)]
    subprocess.run([*command, "sdist", "--formats=zip", "-d", str(folder)], cwd=ROOT, check=True)
    (archive,) = folder.glob("*.zip")
    zipfile.ZipFile(archive).extractall(folder)
    source = archive.with_suffix("")
    return zipfile.ZipFile(build_wheel(source, tmp_path_factory.mktemp("wheel")))


def test_its_size_and_the_starts_are_measured(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "COMMANDS", {"import m3net_tf": COMMANDS["import m3net_tf"]})
    path = Path(wheel.filename)
    result = run_bench_package(path, starts=1)
    assert result["wheel_bytes"] == path.stat().st_size < result["wheel_limit_bytes"]
    (start,) = result["commands"].values()
    assert start["cpu_s"] > 0 and start["limit_s"] == package.IMPORT_LIMIT_S
    monkeypatch.setattr(package, "WHEEL_LIMIT_BYTES", 1000)
    assert not run_bench_package(path, starts=1)["within_limits"]
    monkeypatch.setattr(package, "build_wheel", lambda checkout, folder: path)
    assert package._wheel_bytes(None) == result["wheel_bytes"]
    monkeypatch.setattr(package, "require_sources", lambda _: tmp_path / "firmware")
    assert package._wheel_bytes(None) is None  # an installed wheel has no setup.py
    with pytest.raises(ConfigError, match="no such file"):
        run_bench_package(tmp_path / "none.whl")
    with pytest.raises(ConfigError, match="the wheel cannot be built"):
        build_wheel(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("command", "packages"),
    [
        ("import m3net_tf", set()),
        ("m3net --help", {"rich", "typer", "shellingham", "annotated_doc", "click"}),
        (
            "m3net classify --help",
            {"ai_edge_litert", "ai_edge_litert_sdk_intel", "msgspec", "numpy", "typing_extensions"},
        ),
    ],
)
def test_light_commands_import_few_packages(command, packages):
    imported = imported_packages(COMMANDS[command])
    # The system imports some before any program, Debian's apport_python_hook among them.
    own = {"m3net_tf", "_distutils_hack", "sitecustomize", "org", "apport_python_hook"}
    assert {name for name in imported if not name.startswith("__editable__")} - own <= packages


def test_it_contains_all_files_that_commands_read(wheel):
    names = set(wheel.namelist())
    assert "m3net_tf/sources/LICENSE" in names  # goes into exported libraries
    for name in ("examples", "experiments", "firmware"):
        sources = {path for path in (ROOT / name).rglob("*") if path.is_file()}
        wanted = {
            f"m3net_tf/sources/{path.relative_to(ROOT).as_posix()}"
            for path in sources
            if "__pycache__" not in path.parts and path.suffix != ".png"  # pictures of results
        }
        assert wanted <= names
    trained = (ROOT / "m3net_tf" / "networks" / "pretrained").glob("*-*/*")
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
