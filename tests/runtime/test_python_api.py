# SPDX-License-Identifier: Apache-2.0
"""The names of docs/python.md and the README: their examples run, and the import is light."""

import ast
import operator
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import m3net_tf

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture
def demo(tiny_run, exported, vectors, write_wav, tmp_path, monkeypatch) -> None:
    """The working folder has a sound and a run of the demonstration."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, "runs/demo")
    shutil.copytree(exported.folder, "runs/demo/export", dirs_exist_ok=True)
    write_wav(tmp_path / "clip.wav", vectors[0][0])


def run_blocks(page: Path) -> dict[str, Any]:
    """Run a page's Python in order; returns the variables."""
    values: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page.name, "exec"), values)
    return values


@pytest.mark.usefixtures("demo")
def test_the_readmes_example_runs(exported):
    values = run_blocks(ROOT / "README.md")
    assert set(values["scores"]) == set(exported.labels)
    assert values["network"].output_shape == (None, 4)
    assert values["trained"].count_params() > 0


@pytest.mark.usefixtures("demo")
def test_the_examples_run(exported):
    values = run_blocks(ROOT / "docs" / "python.md")
    scores = values["scores"]
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert set(scores) == set(exported.labels)
    assert values["model"].output_shape == (None, 4)
    assert len(values["model"].losses) == 1
    assert values["network"].count_params() > 0


def test_stub_page_and_package_have_the_same_names():
    stub = ast.parse((ROOT / "m3net_tf" / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    names = {name.asname for node in imports for name in node.names}
    assert names == set(m3net_tf.__all__) - {"__version__"}
    table = PAGE.partition("|---")[2].partition("\n\n")[0]
    rows = "".join(row.split("|")[1] for row in table.split("\n")[1:])
    listed = re.findall(r"`([\w.]+)`", rows)
    assert {name.partition(".")[0] for name in listed} == names
    for name in listed:
        assert operator.attrgetter(name)(m3net_tf), name


def test_the_import_is_light():
    code = "import sys, m3net_tf; m3net_tf.Classifier; print('tensorflow' in sys.modules, 'numpy')"
    alone = "import sys, m3net_tf; print('numpy' in sys.modules)"
    for program, expected in ((alone, "False"), (code, "False numpy")):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr
