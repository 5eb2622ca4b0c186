# SPDX-License-Identifier: Apache-2.0
"""Libraries that Arduino's index and Espressif's registry accept, once the project has a page.

The variable ``COMPOTE`` names Espressif's tool; ``make registry-tests`` installs it. arduino-lint
is in none of the indexes that packages come from: ``.ci/registry.py`` has its rules.
"""

from __future__ import annotations

import configparser
import importlib.util
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from firmware_helpers import run_tool

from m3net_tf import __version__
from m3net_tf.boards.builds import layouts
from m3net_tf.boards.builds.layouts import write_layout

ROOT = Path(__file__).parents[2]
NAME = "keywords_m3net"


@pytest.fixture(scope="module")
def broken_rules() -> Callable[[Path], list[str]]:
    spec = importlib.util.spec_from_file_location("registry", ROOT / ".ci" / "registry.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.broken_rules


@pytest.fixture
def page(monkeypatch) -> str:
    """A page of the project as setup.cfg may give it."""
    url = "https://github.com/someone/m3net_tf"
    monkeypatch.setattr(layouts, "project_url", lambda: url)
    return url


@pytest.fixture
def arduino(library_bundle, page, tmp_path) -> Path:
    write_layout(library_bundle, "arduino", tmp_path, NAME)
    return tmp_path / "arduino" / NAME


def test_setup_cfg_is_the_source_of_page_and_licence(library_bundle, tmp_path):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert layouts.project_url() == setup["metadata"].get("url", "").rstrip("/")
    folder = write_layout(library_bundle, "esp-idf", tmp_path)
    manifest = yaml.safe_load((folder / "idf_component.yml").read_text())
    assert manifest["license"] == setup["metadata"]["license"]
    folder = write_layout(library_bundle, "platformio", tmp_path)
    described = json.loads((folder / "library.json").read_text())
    assert described["license"] == setup["metadata"]["license"]


def test_a_library_keeps_the_rules_of_arduinos_index(arduino, page, broken_rules):
    assert broken_rules(arduino) == []
    text = (arduino / "library.properties").read_text()
    properties = dict(line.split("=", 1) for line in text.splitlines())
    assert (properties["name"], properties["version"]) == (NAME, __version__)
    assert properties["url"] == page and "Classes: yes, no, up & down" in properties["paragraph"]


@pytest.mark.parametrize(
    ("line", "other", "rule"),
    [
        ("url=https://github.com/someone/m3net_tf", "url=", "LP007 to LP056"),
        ("url=https://github.com/someone/m3net_tf", "url=github.com", "LP041"),
        (f"name={NAME}", "name=Arduino keywords", "LP014"),
        (f"name={NAME}", "name=Keywörds", "LP011"),
        ("category=Data Processing", "category=Sound", "LP038"),
        (f"version={__version__}", "version=1.0", "LP021"),
        (f"includes={NAME}.h", "includes=m3net.h", "LP052"),
        ("architectures=*", "architectures", "LP005"),
        ("maintainer=m3net_tf", "maintainer=Arduino", "LP057"),
    ],
)
def test_each_broken_rule_is_found(arduino, broken_rules, line, other, rule):
    path = arduino / "library.properties"
    path.write_text(path.read_text().replace(f"{line}\n", f"{other}\n"))
    assert any(rule in found for found in broken_rules(arduino))


def test_files_that_keep_a_library_out_of_the_index_are_found(arduino, broken_rules):
    (arduino / "tool.exe").touch()
    (arduino / "link").symlink_to("README.md")
    (arduino / ".development").touch()
    (arduino / "stray.ino").touch()
    (arduino / "LICENSE").unlink()
    (arduino / "examples/listen/listen.ino").rename(arduino / "examples/listen/other.ino")
    found = "\n".join(broken_rules(arduino))
    for rule in ("LS005", "LS006", "LS007", "LD002", "LD003", "SS001"):
        assert rule in found, rule
    shutil.rmtree(arduino)
    assert "LP001" in broken_rules(arduino)[0]


def test_the_example_of_a_component_is_complete_apart_from_it(library_bundle, page, tmp_path):
    folder = write_layout(library_bundle, "esp-idf", tmp_path, NAME)
    example = folder / "examples/listen"
    manifest = yaml.safe_load((example / "main/idf_component.yml").read_text())
    ((component, source),) = manifest["dependencies"].items()
    assert component == f"someone/{NAME}" and source["version"] == f"^{__version__}"
    assert (example / "main" / source["override_path"]).resolve() == folder.resolve()
    assert "EXTRA_COMPONENT_DIRS" not in (example / "CMakeLists.txt").read_text()


def test_espressifs_tool_packs_the_component(library_bundle, page, tmp_path):
    if (compote := os.environ.get("COMPOTE")) is None:
        pytest.skip("COMPOTE names no tool: make registry-tests")
    folder = write_layout(library_bundle, "esp-idf", tmp_path, NAME)
    pack = ("--warnings-as-errors", "component", "pack", "--name", NAME, "--dest-dir", tmp_path)
    run_tool(compote, *pack, "--project-dir", folder)
    with tarfile.open(tmp_path / f"{NAME}_{__version__}.tgz") as archive:
        packed = {name.removeprefix("./") for name in archive.getnames()}
        manifest = yaml.safe_load(archive.extractfile("./idf_component.yml"))
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written <= packed
    assert (manifest["url"], manifest["repository"]) == (page, f"{page}.git")
    example = folder / "examples/listen/main"
    run_tool(compote, "component", "pack", "--name", "listen", "--version", "1.0.0",
             "--dest-dir", tmp_path / "example", "--project-dir", example)  # fmt: skip
    manifest = folder / "idf_component.yml"
    manifest.write_text(manifest.read_text().replace("https://", "page of "))
    with pytest.raises(AssertionError, match="url"):
        run_tool(compote, *pack, "--project-dir", folder)
