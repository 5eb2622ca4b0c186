# SPDX-License-Identifier: Apache-2.0
"""The Python of all pages runs, the names of docs/guide/python.md exist, and the import is
light."""

import ast
import inspect
import operator
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from refusals import refuses

import m3net_tf
from m3net_tf.export.from_file import export_file
from m3net_tf.export.reference import read_vectors
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime.desktop import compiled_unavailable_reason
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guide" / "python.md").read_text()
BLOCK = re.compile(r"^```py(?:thon)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.usefixtures("private_cache")


def run_blocks(page: str, values: dict[str, Any]) -> dict[str, Any]:
    """Run a page's Python in order, with variables; returns all variables."""
    for block in BLOCK.findall((ROOT / page).read_text()):
        exec(compile(block, page, "exec"), values)
    return values


#: Pages whose Python is files to save, which tests/test_tutorials.py saves and runs.
FILES = {"docs/design/add_a_dataset.md", "docs/design/add_a_network.md"}


@pytest.fixture
def demo(tiny_run, exported, vectors, write_wav, tmp_path, monkeypatch) -> dict[str, Any]:
    """The working folder has the sound and the run of the pages; returns their variables."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_run, "runs/demo")
    shutil.copytree(exported.folder, "runs/demo/export", dirs_exist_ok=True)
    write_wav(tmp_path / "clip.wav", vectors[0][0])
    return {}


@pytest.fixture
def stream(with_metadata, tmp_path, monkeypatch, vectors) -> dict[str, Any]:
    """An export whose detector has a run for every fourth column."""
    monkeypatch.chdir(tmp_path)
    Path("runs/kws/export").mkdir(parents=True)

    def change(manifest: dict[str, Any]) -> None:
        manifest["detector"]["run_columns"] = 4

    with_metadata(Path("runs/kws/export/model.tflite"), change)
    return {"samples": vectors[0][0]}


@pytest.fixture
def enrol(exported, tmp_path, monkeypatch) -> dict[str, Any]:
    """An export that enrols words."""
    monkeypatch.chdir(tmp_path)
    export_file(exported.folder / "model.tflite", Path("runs/enrol"), enrolment_slots=2)
    for path, pcm in zip(("one.wav", "two.wav"), read_vectors(exported).pcm, strict=False):
        soundfile.write(path, pcm, exported.frontend.sample_rate_hz)
    return {}


@pytest.fixture
def mlperf(exported, tmp_path, monkeypatch) -> dict[str, Any]:
    """Small networks in the place of MLPerf Tiny's."""
    if reason := tflm_unavailable_reason() or compiled_unavailable_reason():
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    folder = Path("tiny/benchmark/training/keywords/trained_models")
    folder.mkdir(parents=True)
    (folder / "kws_ref_model.tflite").write_bytes(exported.tflite)
    inputs = keras.Input((640,))
    network = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(inputs))
    clips = np.random.default_rng(0).integers(-128, 128, (8, 640)).astype(np.int8)
    Path("ad01.tflite").write_bytes(quantize_int8(network, clips))
    return {}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> dict[str, Any]:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return {}


def test_the_readmes_example_runs(demo, exported):
    values = run_blocks("README.md", demo)
    assert set(values["scores"]) == set(exported.labels)
    assert values["network"].output_shape == (None, 4)
    assert values["trained"].count_params() > 0


def test_the_page_of_the_api_runs(demo, exported):
    values = run_blocks("docs/guide/python.md", demo)
    scores = values["scores"]
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert set(scores) == set(exported.labels)
    assert values["model"].output_shape == (None, 4)
    assert len(values["model"].losses) == 1
    assert values["network"].count_params() > 0


def test_the_page_of_layers_runs(folder):
    values = run_blocks("docs/guide/researchers.md", folder)
    assert values["scores"].shape == (2,)
    assert Path("own.tflite").is_file()


#: Other pages, with the fixture that has what they stand in.
OTHERS = {
    "docs/evidence/engine.md": "mlperf",
    "docs/reference/data.md": "folder",
    "docs/reference/on_the_board.md": "enrol",
    "docs/design/streaming.md": "stream",
}


@pytest.mark.parametrize("page", OTHERS)
def test_the_python_of_other_pages_runs(page, request):
    run_blocks(page, request.getfixturevalue(OTHERS[page]))


def test_no_page_has_python_that_is_not_run():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for room in ("docs", "examples", "experiments", "firmware", "m3net_tf"):
        pages += (ROOT / room).rglob("*.md")
    found = {page.relative_to(ROOT).as_posix() for page in pages if BLOCK.search(page.read_text())}
    assert found == {
        "README.md",
        "docs/guide/python.md",
        "docs/guide/researchers.md",
        *OTHERS,
        *FILES,
    }


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


def test_text_and_names_are_enough(demo):
    run = m3net_tf.Run("runs/demo")
    assert run == m3net_tf.Run(Path("runs/demo")) and run.folder == Path("runs/demo")
    assert run.metrics().test["clips"] > 0
    assert m3net_tf.load("m3net-s-keywords").output_shape == (None, 12)
    with refuses(ModelError, "m3net-s-keyword", "m3net-s-keywords"):
        m3net_tf.load("m3net-s-keyword")
    classifier = m3net_tf.Classifier("runs/demo")
    result = classifier.classify("clip.wav")
    assert max(result.scores) == next(iter(classifier.predict("clip.wav").values()))
    with refuses(ConfigError, "sample_rate_hz"):
        classifier.classify("clip.wav", sample_rate_hz=16_000)


@pytest.mark.parametrize("name", ["M3Net", "SpectroMaskNet", "BilateralNetwork"])
def test_a_papers_network_says_what_it_takes(name):
    function = getattr(m3net_tf.models, name)
    _, *arguments = inspect.signature(m3net_tf.models.build_model).parameters.values()
    assert [*inspect.signature(function).parameters.values()] == arguments
    assert function.__name__ == name and "build_model" in inspect.getdoc(function)
