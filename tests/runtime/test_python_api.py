# SPDX-License-Identifier: Apache-2.0
"""The names of docs/python.md: its examples run, and importing the package loads nothing large."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import m3net_tf

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


def test_the_examples_run(tiny_run, exported, vectors, write_wav, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, "runs/demo")
    shutil.copytree(exported.folder, "runs/demo/export", dirs_exist_ok=True)
    write_wav(tmp_path / "clip.wav", vectors[0][0])
    values: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), values)
    scores = values["scores"]
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert set(scores) == set(exported.labels)
    assert values["model"].output_shape == (None, 4)
    assert values["fewer_frames"].shape == (None, 64, 50, 3)
    assert values["network"].count_params() > 0


def test_stub_page_and_package_have_the_same_names():
    stub = ast.parse((ROOT / "m3net_tf" / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    names = {name.asname for node in imports for name in node.names}
    table = PAGE.partition("|---")[2].partition("\n\n")[0]
    listed = set(
        re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.split("\n")[1:]))
    )
    assert names == set(m3net_tf.__all__) - {"__version__"} == listed
    assert all(getattr(m3net_tf, name) for name in names)


def test_the_import_is_light():
    code = "import sys, m3net_tf; m3net_tf.Classifier; print('tensorflow' in sys.modules, 'numpy')"
    alone = "import sys, m3net_tf; print('numpy' in sys.modules)"
    for program, expected in ((alone, "False"), (code, "False numpy")):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr
