# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of several rooms: a tiny recipe, its trained run, a private cache."""

import errno
import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from browser import Page, find_chromium, opened_browser
from hypothesis import settings
from typed_commands import status_of

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.cli import output
from m3net_tf.export import Bundle
from m3net_tf.export.manifest import (
    Arena,
    Calibration,
    DatasetFacts,
    Manifest,
    NetworkFacts,
    Quantization,
)
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.system import progress
from m3net_tf.system.locks import locked
from m3net_tf.system.progress import silent
from m3net_tf.system.yaml_files import read_yaml
from m3net_tf.training.recipe import Recipe

settings.register_profile("m3net", deadline=None)  # the computer may be busy
settings.load_profile("m3net")
gc.disable()  # until all tests are collected

for _option in ("BOARD", "DATA_DIR", "ENGINE"):  # make exports them; m3net reads them as options
    os.environ.pop(_option, None)
os.environ.pop("COLUMNS", None)  # of pytest-xdist's controller
os.unsetenv("COLUMNS")  # readline, which pytest imports, sets it without a trace in os.environ
# Some tests compute in half precision, which oneDNN does not have for AVX2, the trainings' limit.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "ALL")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")  # as the commands set it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long tests first, so that no worker of pytest-xdist ends alone with one."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Exclude TensorFlow's hundreds of thousands of objects from garbage collection.

    Its collection takes a tenth of the tests' time, and a third of the time to collect the tests.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Sets the umask of this process."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session that all pytest-xdist workers share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A tab of a headless Chromium, for tests of pages."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium here: sudo apt-get install chromium")
    with opened_browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache folder of all tests that ask for :func:`private_cache`."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def private_cache(session_cache: Path) -> Iterator[Path]:
    """Point M3NET_CACHE at a temporary folder while a module's tests run.

    By request only (``pytestmark = pytest.mark.usefixtures("private_cache")``): tests of the
    firmware need the user's cache, which contains third-party sources and compiled libraries.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M3NET_CACHE", str(session_cache))
        yield session_cache


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    """Make the manifest of an export that does not exist; keyword arguments are its entries."""

    def make(**changes: object) -> Manifest:
        labels = changes.get("labels", ("a", "b"))
        values = {
            "arena": Arena(1024, "the tests"),
            "calibration": Calibration(("a/1.wav",), "cd" * 32),
            "dataset": DatasetFacts("synth", "generated-split", None),
            "detector": DetectorConfig.default(FrontendConfig(), 49, labels),
            "engine": "tflm",
            "frontend": FrontendConfig(),
            "git_commit": "none",
            "labels": labels,
            "licence": "Apache-2.0",
            "model": NetworkFacts(
                name="m3net-mcu",
                sha256="ab" * 32,
                bytes=5,
                input_shape=(40, 49, 1),
                input_quantization=(1 / 128, 0),
                output_quantization=(1 / 256, -128),
            ),
            "operators": ("ADD",),
            "quantization": Quantization("ptq", chosen=False),
            "trained_model_sha256": "ef" * 32,
            "versions": {},
        }
        return Manifest(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    """Make the recipe of ``tiny.yaml``; keyword arguments change keys of its sections."""

    def make(**sections: dict) -> Recipe:
        values = read_yaml(Path(__file__).with_name("tiny.yaml"))
        for name, changes in sections.items():
            values[name] = {**values.get(name, {}), **changes}
        return Recipe.from_dict(values)

    return make


@pytest.fixture(scope="session")
def tiny_run(
    tiny_recipe: Callable[..., Recipe],
    session_cache: Path,
    common_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of a finished run of :func:`tiny_recipe`; do not write into it.

    The first pytest-xdist worker trains it; each has its own copy, because commands lock a run.
    """
    from m3net_tf.training import train

    trained = common_folder / "tiny"
    with locked(common_folder / "tiny.lock", "the tests' run", silent):
        if not (trained / "metrics.json").is_file():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("M3NET_CACHE", str(session_cache))
                train(tiny_recipe(), trained)
    return Path(shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "tiny"))


@pytest.fixture(scope="session")
def exported_run(
    tiny_run: Path,
    session_cache: Path,
    common_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of :func:`tiny_run` with its export for the compiled engine; do not write into it.

    Tests that change or damage a run or its export make a copy. The first pytest-xdist worker
    exports it; each has its own copy, as of :func:`tiny_run`.
    """
    from m3net_tf.export import export_run
    from m3net_tf.training import Run

    export = common_folder / "exported"
    with locked(common_folder / "exported.lock", "the tests' export", silent):
        if not (export / "manifest.json").is_file():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("M3NET_CACHE", str(session_cache))
                export_run(Run(tiny_run), None, export)
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("exported") / "tiny"))
    shutil.copytree(export, run / "export")
    return run


@pytest.fixture(scope="session")
def exported(exported_run: Path) -> Bundle:
    """The export of :func:`exported_run`; do not write into it."""
    return Bundle.load(exported_run / "export")


class Typed(NamedTuple):
    """What a command ended with: its exit status, output and error output."""

    status: int
    out: str
    err: str


@pytest.fixture
def m3net(capsys: pytest.CaptureFixture[str]) -> Callable[..., Typed]:
    """Run ``m3net WORDS``."""

    def call(*words: object) -> Typed:
        return Typed(status_of(*words), *capsys.readouterr())

    return call


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The progress lines of each step, none of which is left out; its ``append`` is the log."""
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    return []


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands print on 80 columns."""
    monkeypatch.setattr(output.console, "width", 80)


@pytest.fixture
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> str:
    """No QEMU is installed; the package that brings it."""
    which = shutil.which
    monkeypatch.setattr(
        "shutil.which", lambda tool: None if tool == "qemu-system-arm" else which(tool)
    )
    return "qemu-system-arm"


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system has no locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def no_tflm(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow Lite Micro's package is not installed."""
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro", None)


@pytest.fixture
def eager() -> Iterator[None]:
    """Functions run eagerly, for a few steps: tracing takes longer; other tests cover the graph."""
    from m3net_tf.system.keras import keras, tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
    keras.backend.clear_session()


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP has its default action; nohup would have it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def sounds() -> np.ndarray:
    """Eight seconds of 16 kHz sound, one a row: tones, noise, clicks, silence, full scale."""
    rng = np.random.default_rng(0)
    time_s = np.arange(16_000) / 16_000
    rows = [
        0.5 * np.sin(2 * np.pi * 440 * time_s),
        0.9 * np.sin(2 * np.pi * (200 + 3000 * time_s) * time_s),
        0.1 * rng.standard_normal(16_000),
        1e-3 * rng.standard_normal(16_000),
        (np.arange(16_000) % 1000 == 0).astype(float),
        np.zeros(16_000),
        np.sign(np.sin(2 * np.pi * 100.5 * time_s)),
        0.3 * rng.standard_normal(16_000) * np.exp(-5 * time_s),
    ]
    pcm = np.clip(np.floor(32768 * np.array(rows) + 0.5), -32768, 32767)
    return (pcm / 32768).astype(np.float32)


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of an unpacked subset: in $M3NET_TEST_DATA, or unpacked from ../shared/data."""
    packed = Path(__file__).parents[2] / "shared" / "data"

    def find(name: str) -> Path:
        folder = os.environ.get("M3NET_TEST_DATA")
        if folder and (Path(folder) / name).is_dir():
            return Path(folder) / name
        if not (packed / f"{name}.tar").is_file():
            pytest.skip(f"no real data: set M3NET_TEST_DATA to a folder with {name}/")
        target = tmp_path_factory.getbasetemp() / "real" / name
        subprocess.run([sys.executable, packed / "unpack", name, target], check=True)
        return target / name if (target / name).is_dir() else target

    return find
