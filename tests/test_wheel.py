# SPDX-License-Identifier: Apache-2.0
"""The wheel works alone: it contains what its commands read, and asks for few packages."""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

LAB = importlib.util.find_spec("m3net_tf.lab") is not None  # it can be left out
ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "librosa", "scikit-learn", "matplotlib", "pandas", "scipy", "ray")
KEYWORDS = "site/m3net_tf/networks/pretrained/m3net-s-keywords/model.tflite"
# Python 3.12 tries to import _wmi, which only Windows has, and does not list it.
STANDARD = sys.stdlib_module_names | {"_wmi"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout's source distribution, as in a release."""
    folder = tmp_path_factory.mktemp("sdist")
    setup = [sys.executable, "setup.py", "-q"]
    to_archive = ["egg_info", "--egg-base", folder, "sdist", "--formats=zip", "-d", folder]
    subprocess.run([*setup, *to_archive], cwd=ROOT, check=True)
    (archive,) = folder.glob("*.zip")
    zipfile.ZipFile(archive).extractall(folder)
    subprocess.run([*setup, "bdist_wheel", "-d", folder], cwd=archive.with_suffix(""), check=True)
    (path,) = folder.glob("*.whl")
    assert path.stat().st_size < 12_000_000  # the limit that docs/evidence/results/speed.md names
    return zipfile.ZipFile(path)


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (["-c", "import m3net_tf"], set()),
        (
            ["-c", "import m3net_tf.compiler.folder, m3net_tf.compiler.streaming.network"],
            {"ai_edge_litert", "ai_edge_litert_sdk_intel", "flatbuffers", "numpy"},
        ),
        (
            ["-m", "m3net_tf", "--help"],
            {"rich", "typer", "shellingham", "annotated_doc", "click"},
        ),
        (
            ["-c", "import m3net_tf.runtime"],
            {"ai_edge_litert", "ai_edge_litert_sdk_intel", "msgspec", "numpy", "typing_extensions"},
        ),
    ],
)
def test_light_commands_import_few_packages(arguments, packages):
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE)
    imported = {name.partition(".")[0] for name in modules} - STANDARD
    # The system imports some before any program, Debian's apport_python_hook among them.
    own = {"m3net_tf", "_distutils_hack", "sitecustomize", "org", "apport_python_hook"}
    assert {name for name in imported if not name.startswith("__editable__")} - own <= packages
    assert "m3net_tf" in imported


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
    assert files and files <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]


def test_a_light_installation_asks_for_no_training_package(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("METADATA"))
    lines = wheel.read(name).decode().splitlines()
    base = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert base and not [line for line in base if any(package in line for package in HEAVY)]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        *(
            [
                pytest.param(
                    "lab recipe m3net/table4 nothing",
                    "no cell is named 'nothing'",
                    marks=pytest.mark.slow,
                )
            ]
            if LAB
            else []
        ),
        (f"compile {KEYWORDS} --out c", "c/model.c"),
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
