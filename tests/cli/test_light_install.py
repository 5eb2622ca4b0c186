# SPDX-License-Identifier: Apache-2.0
"""Outside a source checkout, and without the packages of a full installation: one line each."""

import subprocess
import sys

import pytest

from m3net_tf import __main__ as entry
from m3net_tf import checkout
from m3net_tf.errors import ConfigError
from m3net_tf.firmware import sources  # noqa: F401  (finds the checkout when imported)
from m3net_tf.studies.grid_file import find_grid


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """The package as a wheel installs it; the current folder is not a checkout."""
    monkeypatch.delenv(checkout.VARIABLE, raising=False)
    monkeypatch.setattr(checkout, "_PACKAGE_PARENT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["m3net", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (["export", "run"], "firmware"),
        (["firmware", "run"], "firmware"),
        (["flash", "run"], "firmware"),
        (["fit", "run"], "firmware"),
        (["emulate", "run"], "firmware"),
        (["demo", "recipe.yaml"], "firmware"),
        (["matrix"], "firmware"),
        (["table", "m3net/table4"], "experiments"),
        (["deployment", "mcu/keywords"], "experiments"),
        (["bench", "table", "m3net/table4"], "experiments"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_outside_a_checkout_the_need_is_one_line(outside, monkeypatch, capsys, command, needed):
    status, error = run(monkeypatch, capsys, *command)
    assert status == 2
    assert error == (
        f"error: this command needs {needed}/ of a source checkout: run it in the checkout's "
        "folder, or set M3NET_SOURCES to that folder\n"
    )
    assert not list(outside.iterdir())


def test_a_checkout_is_named_or_stood_in(outside, monkeypatch):
    root = checkout.Path(__file__).resolve().parents[2]
    with pytest.raises(ConfigError, match="needs experiments/"):
        find_grid("m3net/table4")
    monkeypatch.setenv(checkout.VARIABLE, str(root))
    assert find_grid("m3net/table4") == root / "experiments/m3net/table4.yaml"
    assert checkout.require_sources("firmware") == root / "firmware"
    monkeypatch.setenv(checkout.VARIABLE, str(outside))
    with pytest.raises(ConfigError, match=rf"M3NET_SOURCES={outside} is no source checkout"):
        checkout.require_sources("firmware")
    monkeypatch.delenv(checkout.VARIABLE)
    monkeypatch.chdir(root)
    assert checkout.require_sources("firmware") == root / "firmware"


def test_the_packages_own_checkout_comes_before_the_current_folder(outside, monkeypatch):
    for root in (outside, outside / "site-packages"):
        (root / "firmware").mkdir(parents=True)
        (root / "firmware/third_party.lock").touch()
    assert checkout.find_sources("firmware") == outside / "site-packages/firmware"


@pytest.mark.parametrize("arguments", [["--help"], [], ["train", "x.yaml"], ["data", "list"]])
def test_without_typer_the_install_is_named(monkeypatch, capsys, arguments):
    for name in [name for name in sys.modules if name.startswith("m3net_tf.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delattr("m3net_tf.cli")
    status, error = run(monkeypatch, capsys, *arguments)
    assert status == 2 and error.count("\n") == 1
    assert (
        "needs the Python package typer: run pip install 'm3net_tf', or pip install -e '.'" in error
    )


def test_without_tensorflow_the_install_is_named():
    code = (
        "import sys; sys.modules['tensorflow'] = None; from m3net_tf.__main__ import main; "
        "sys.argv = ['m3net', 'model', 'info', 'm3net']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "needs the Python package tensorflow: run pip install 'm3net_tf[train]'" in done.stderr


def test_a_missing_module_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["m3net", "data", "list"])
    monkeypatch.setitem(sys.modules, "m3net_tf.datasets.report", None)
    with pytest.raises(ModuleNotFoundError):
        entry.main()
