# SPDX-License-Identifier: Apache-2.0
"""The tutorials that extend the package, typed as they stand into a copy of the tree."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from m3net_tf.audio.datasets import SPLITS, registry
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.training.recipe import load_recipe

ROOT = Path(__file__).parents[1]
PAGES = {
    name: (ROOT / "docs" / "design" / name).read_text()
    for name in ("add_a_network.md", "add_a_dataset.md")
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that looks like the repository, in which new files change nothing outside."""
    for name in ("tests", "experiments", "firmware", "setup.cfg"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(
        ROOT / "m3net_tf",
        tmp_path / "m3net_tf",
        copy_function=os.symlink,
    )
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in (("m3net", "-m m3net_tf"), ("pytest", "-m pytest"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (tools / name).chmod(0o755)
    return tmp_path


def follow(page: str, tree: Path) -> str:
    """Save the files that a page shows and run its commands; returns what they print."""
    save_files(page, tree)
    path = f"{tree / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tree)}
    printed = ""
    for commands in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        done = subprocess.run(
            ["bash", "-e", "-c", commands],
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        printed += done.stdout
    return printed


def save_files(page: str, tree: Path) -> list[Path]:
    shown = re.findall(r"Save this\b[^`]* as `([^`]+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL)
    for name, text in shown:
        (tree / name).write_text(text)
    return [tree / name for name, _ in shown]


def module_of(source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(source.stem, source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_network_costs_what_its_preset_says(tmp_path):
    for room in ("models", "presets"):
        (tmp_path / "m3net_tf" / "networks" / room).mkdir(parents=True)
    source, presets, recipe = save_files(PAGES["add_a_network.md"], tmp_path)
    network = module_of(source)
    chosen = module_of(presets).PRESETS["mcu"]
    model = network.build(chosen.input_shape, chosen.classes, network.Design())
    assert model.count_params() == chosen.parameters
    assert count_macs(model) == chosen.macs
    assert load_recipe(recipe).model.arguments == {"filters": 16}


@pytest.mark.long
@pytest.mark.slow
def test_a_network_trains(tree):
    page = PAGES["add_a_network.md"]
    few = page.replace("  name: synth\n", "  name: synth\n  options: {clips_per_class: 20}\n")
    assert few != page
    printed = follow(few, tree)
    assert re.search(r"tiny_cnn\s+mcu\s+40 x 101 x 1\s+404 ", printed)
    assert "5 passed" in printed
    assert (tree / "runs" / "tiny_cnn" / "export" / "model.tflite").is_file()


def test_a_data_set_is_split_by_machine(tmp_path, monkeypatch):
    (tmp_path / "m3net_tf" / "audio" / "datasets").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    registry.dataset_names()  # registers the package's data sets
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    make_sounds, source = save_files(PAGES["add_a_dataset.md"], tmp_path)
    module_of(make_sounds)
    module_of(source)
    pumps = registry.load_dataset("pumps", "recordings")
    assert [len(pumps.split(split)) for split in SPLITS] == [12, 4, 4]
    assert pumps.leak() == 0
    assert pumps.load(pumps.clips[0]).shape == (16_000,)


@pytest.mark.long
@pytest.mark.slow
def test_a_data_set_trains(tree):
    printed = follow(PAGES["add_a_dataset.md"], tree)
    assert re.search(r"clips +12 +4 +4 +20\n", printed)
    assert (tree / "runs" / "pumps" / "metrics.json").is_file()
