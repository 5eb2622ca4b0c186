# SPDX-License-Identifier: Apache-2.0
"""The plan of the wings: permitted imports, and their picture in the documents."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "m3net_tf/lab").is_dir(), reason="setup.cfg and the picture have the lab, too"
)


def test_each_wing_imports_only_wings_below_it():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_tests_of_the_other_wings_load_without_the_lab():
    tests = ROOT / "tests"
    for path in {*tests.rglob("*.py")} - {*(tests / "lab").rglob("*.py")}:
        assert not re.search(r"(?m)^(from|import) m3net_tf\.lab\b", path.read_text()), path


def test_one_wing_reads_networks():
    package = ROOT / "m3net_tf"
    using = {
        path.parent
        for path in package.rglob("*.py")
        if re.search(r"(?m)^ *(from|import) .*(flatbuffers|schema_py_generated)", path.read_text())
    }
    assert using == {package / "tflite"}


def test_one_function_reads_json_and_one_reads_yaml():
    readers = {
        r"\bjson\.loads?\(": "system/artifacts.py",
        r"\byaml\.(safe_|full_|unsafe_)?load(_all)?\(": "system/yaml_files.py",
        r"\bh5py\.File\(": "training/run/archive.py",
    }
    package = ROOT / "m3net_tf"
    for pattern, reader in readers.items():
        using = {path for path in package.rglob("*.py") if re.search(pattern, path.read_text())}
        assert using == {package / reader}


def test_the_picture_shows_the_table_of_setup_cfg():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_rooms.py"))
    assert drawing["PICTURE"].read_text() == drawing["draw"](), "run python docs/draw_rooms.py"


def test_the_picture_of_annotated_recordings_is_what_becomes_of_them():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_annotated.py"))
    assert drawing["PICTURE"].read_text() == drawing["draw"](), "run python docs/draw_annotated.py"


@pytest.mark.slow
def test_the_picture_of_kept_lines_is_of_these_networks():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_kept_lines.py"))
    assert drawing["PICTURE"].read_text() == drawing["draw"](), "run python docs/draw_kept_lines.py"
