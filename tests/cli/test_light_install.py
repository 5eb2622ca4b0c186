# SPDX-License-Identifier: Apache-2.0
"""Outside a source checkout, and without the packages of a full installation: one line each."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from refusals import refuses
from typed_commands import status_of

from m3net_tf.boards.builds import sources  # noqa: F401  (finds the checkout when imported)
from m3net_tf.cli.app import app
from m3net_tf.system import checkout, extras
from m3net_tf.system.artifacts import cache_folder
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.extras import (
    how_to_install,
    missing_with,
    module_of,
    packages_by_extra,
    require_modules,
)

LAB = importlib.util.find_spec("m3net_tf.lab") is not None  # it can be left out
OF_EXPERIMENTS = (
    ["table", "m3net/table4"],
    ["lab", "deployment", "mcu/keywords"],
    ["bench", "table", "m3net/table4"],
)


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """The package as a wheel installs it; the current folder is not a checkout."""
    monkeypatch.delenv(checkout.VARIABLE, raising=False)
    monkeypatch.setattr(checkout, "_PACKAGE_PARENT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_the_lab_the_other_commands_are_there():
    code = "import sys; sys.modules['m3net_tf.lab'] = None; from m3net_tf.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n  train  " in done.stdout and "\n  table  " not in done.stdout


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (["export", "run"], "firmware"),
        (["firmware", "run"], "firmware"),
        (["flash", "run"], "firmware"),
        (["footprint", "run"], "firmware"),
        (["emulate", "run"], "firmware"),
        (["demo", "recipe.yaml"], "firmware"),
        (["matrix"], "firmware"),
        *((words, "experiments") for words in OF_EXPERIMENTS if LAB),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_outside_a_checkout_the_need_is_one_line(outside, m3net, command, needed):
    status, _, error = m3net(*command)
    assert status == 2
    assert error == (
        f"error: this command needs {needed}/ of a source checkout: run it in the checkout's "
        "folder, or set M3NET_SOURCES to that folder\n"
    )
    assert not list(outside.iterdir())


def test_a_checkout_is_named_or_stood_in(outside, monkeypatch):
    root = checkout.Path(__file__).resolve().parents[2]
    with refuses(ConfigError, "experiments/"):
        checkout.require_sources("experiments")
    monkeypatch.setenv(checkout.VARIABLE, str(root))
    assert checkout.require_sources("experiments") == root / "experiments"
    assert checkout.require_sources("firmware") == root / "firmware"
    monkeypatch.setenv(checkout.VARIABLE, str(outside))
    with refuses(ConfigError, "M3NET_SOURCES=", outside):
        checkout.require_sources("firmware")
    monkeypatch.delenv(checkout.VARIABLE)
    monkeypatch.chdir(root)
    assert checkout.require_sources("firmware") == root / "firmware"


def test_the_packages_own_checkout_comes_before_the_current_folder(outside):
    for root in (outside, outside / "site-packages"):
        (root / "firmware").mkdir(parents=True)
        (root / "firmware/third_party.lock").touch()
    assert checkout.find_sources("firmware") == outside / "site-packages/firmware"


@pytest.mark.parametrize("arguments", [["--help"], [], ["train", "x.yaml"], ["data", "list"]])
def test_without_typer_the_install_is_named(m3net, monkeypatch, arguments):
    for name in [name for name in sys.modules if name.startswith("m3net_tf.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delattr("m3net_tf.cli")
    status, _, error = m3net(*arguments)
    assert status == 2 and error.count("\n") == 1
    assert "needs the package typer: pip install -e '" in error


def test_the_install_is_advised_from_where_the_user_stands(outside, monkeypatch):
    root = outside / "site-packages"
    (root / "firmware").mkdir(parents=True)
    (root / "firmware/third_party.lock").touch()
    assert how_to_install("train") == f"pip install -e '{root}[train]'"
    monkeypatch.chdir(root)
    assert how_to_install("train") == "pip install -e '.[train]'"
    assert how_to_install("") == "pip install -e '.'"


class Installed:
    """The package's distribution, as pip installed it from a URL."""

    def __init__(self, url: str) -> None:
        self.metadata = distribution("m3net_tf").metadata
        self._record = json.dumps({"url": url, "dir_info": {}}) if url else None

    def read_text(self, name: str) -> str | None:
        return self._record if name == "direct_url.json" else None


def test_outside_a_checkout_the_advice_can_be_typed(outside, monkeypatch):
    """The project's name is on no index, and anyone may register it there."""
    folder = outside / "a checkout"
    monkeypatch.setattr(extras, "distribution", lambda _: Installed(folder.as_uri()))
    alone = how_to_install("train")
    assert alone.startswith("pip install ") and "m3net" not in alone.replace(str(folder), "")
    assert "'tensorflow<2.22,>=2.21'" in alone and "'tf-keras<2.22,>=2.21'" in alone
    folder.mkdir()  # it is still where it was installed from
    assert how_to_install("train") == f"pip install '{folder}[train]'"
    assert how_to_install("") == f"pip install '{folder}'"
    for url in ("", "https://example.org/m3net_tf.whl"):
        monkeypatch.setattr(extras, "distribution", lambda _, url=url: Installed(url))
        assert how_to_install("train") == alone


def test_all_missing_packages_are_named_at_once(monkeypatch):
    with refuses(ConfigError, "no-such-a", "no-such-b", "pip"):
        require_modules("a page", "web", "json", "no_such_a", "no_such_b", "no_such_a.part")
    for module in ("librosa", "tf_keras"):
        monkeypatch.setitem(sys.modules, module, None)
    extra, packages = missing_with("tensorflow")
    assert extra == "train" and {"librosa", "tf-keras", "tensorflow"} == {*packages}


def test_a_missing_module_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setitem(sys.modules, "m3net_tf.cli.installation", None)
    with pytest.raises(ModuleNotFoundError):
        status_of("doctor")


# --- every command with the light packages alone --------------------------------------------------

TRAIN = "[train]'"
#: Command -> part of its error, or '' if it works.
LIGHT = {
    "init no_sounds": "no_sounds",
    "init sounds": "",
    "train recipe.yaml": TRAIN,
    "evaluate run": TRAIN,
    "quantize run": TRAIN,
    "report run": "pip install",  # the first of two extras that is missing
    "demo --run new": TRAIN,
    "export run": TRAIN,
    "export m3net-s-keywords --layout c --out exported": "",
    "compile run/export/model.tflite --out c": "",
    "firmware run --board no_board": "no_board",
    "emulate run": TRAIN,
    "footprint run --board no_board": "no_board",
    "classify no.wav --model run": "no.wav: does not exist",
    "flash run": "mps2_an386 is not flashed",
    "monitor /dev/no_port": "/dev/no_port",
    "matrix": TRAIN,
    "doctor": "",
    "wake computer": TRAIN,
    "normal sounds": TRAIN,
    "device info /dev/no_port": "/dev/no_port",
    "device evaluate /dev/no_port --run run": "/dev/no_port",
    "device profile /dev/no_port --run run": "/dev/no_port",
    "device enrol /dev/no_port word no.wav": "/dev/no_port",
    "device forget /dev/no_port word": "/dev/no_port",
    "device words /dev/no_port": "/dev/no_port",
    "device calibrate /dev/no_port": "/dev/no_port",
    "device capture /dev/no_port --label a --folder f": "/dev/no_port",
    "device update /dev/no_port --run run": "/dev/no_port",
    "model list": "",
    "model pack run new": "about.yaml needs the keys",
    "model image run": "--updatable",
    "model info m3net": TRAIN,
    "data list": "",
    "data info synth": "",
    "data fetch synth": TRAIN,
    "data subset no_subset --to new": "'no_subset' is unknown",
    "data shard synth --out shards": TRAIN,
    "data check synth": "",
    "data stats synth": "",
}
LAB_LIGHT = {
    "lab search recipe.yaml": "pip install",  # likewise
    "lab body sounds_s --sounds no_sounds --out runs/body": TRAIN,
    "lab list": "",
    "lab recipe m3net/table4 no_cell": "no cell is named",
    "lab latex m3net/table4": "pip install",
    "table m3net/table4": TRAIN,
    "lab pick runs/no_search 0": "no finished trial 0",
    "lab deployment mcu/keywords": TRAIN,
    "lab figure": TRAIN,
    "bench data": TRAIN,
    "bench table m3net/table4": TRAIN,
    "bench engine": TRAIN,
    "bench stream model.tflite": TRAIN,
    "bench wake no_run --recordings b --negatives c": TRAIN,
    "bench enrol no_export --recordings b --negatives c": "no_export",
    "bench body no_network --data esc10=no_data": TRAIN,
    "bench normal --data-dir no_data --body no_network": TRAIN,
    "bench sounds --data-dir no_data --body no_network": "choose from the networks",
    "bench level no_network": "choose from the networks",
    "bench mlperf": TRAIN,
}
if LAB:
    LIGHT |= LAB_LIGHT
ALONE = """
import contextlib, io, json, sys

blocked, commands = json.loads(sys.argv[1])

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in blocked:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path = [Without(finder) for finder in sys.meta_path]
from m3net_tf.__main__ import main

results = {}
for command in commands:
    sys.argv, status = ["m3net", *command.split()], 0
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            status = end.code
    results[command] = status, output.getvalue(), errors.getvalue()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def light(tmp_path_factory, tiny_run) -> dict[str, tuple[int, str, str]]:
    """Status and both outputs of each command; one process without the extras runs them all."""
    folder = tmp_path_factory.mktemp("light")
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(tiny_run, folder / "run")
    shutil.unpack_archive(root / "tests/data/exports/0.1.0.zip", folder / "run/export")
    shutil.copy(tiny_run / "recipe.yaml", folder)
    noise = np.random.default_rng(0).integers(-9000, 9000, (2, 12, 4000)).astype(np.int16)
    for label, clips in zip(("rain", "wind"), noise, strict=True):
        (folder / "sounds" / label).mkdir(parents=True)
        for index, clip in enumerate(clips):
            soundfile.write(folder / "sounds" / label / f"{index}.wav", clip, 16_000)
    extras = packages_by_extra()
    light_packages = {*extras.pop("")}
    names = {name for packages in extras.values() for name in packages} - light_packages
    blocked = sorted({module_of(name) for name in names - {"m3net-tf"}})
    assert {"tensorflow", "librosa", "sklearn", "scipy", "matplotlib", "ray"} <= {*blocked}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps([blocked, list(LIGHT)])],
        cwd=folder,
        env={
            "PATH": "",  # without emulator and compilers, an export takes a second
            "PYTHONPATH": str(root),
            "HOME": str(folder),
            "M3NET_CACHE": str(cache_folder()),  # the doctor looks for a source
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", LIGHT)
def test_the_options_of_the_list_exist(line):
    command, words, context = typer.main.get_command(app), line.split(), None
    while hasattr(command, "commands"):
        command, context = command.commands[words[0]], typer.Context(command, parent=context)
        words = words[1:]
    command.make_context(line, words, parent=context)


def test_the_list_has_every_command():
    def words(group: Any, before: str = "") -> Iterator[str]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from words(command, f"{before}{name} ")
            else:
                yield f"{before}{name}"

    named = tuple(f"{line} " for line in LIGHT)
    for command in words(typer.main.get_command(app)):
        assert any(line.startswith(f"{command} ") for line in named), command


@pytest.mark.slow
@pytest.mark.parametrize("command", LIGHT)
def test_a_light_installation_runs_a_command_or_names_its_extra(light, command):
    status, _, errors = light[command]
    if not LIGHT[command]:
        assert status in (0, 1) and errors == ""  # 1: the doctor finds that something is missing
        return
    last_line = errors.splitlines()[-1]
    assert status == 2 and last_line.startswith("error: ") and LIGHT[command] in last_line
    assert "Traceback" not in errors


def test_init_says_at_its_start_what_training_needs(light):
    _, output, _ = light["init sounds"]
    first, *_, last = output.splitlines()
    assert "m3net train needs the packages" in first and "tensorflow" in first and TRAIN in first
    assert last.startswith("next: m3net train ")
