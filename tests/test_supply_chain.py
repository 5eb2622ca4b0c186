# SPDX-License-Identifier: Apache-2.0
"""Packages are installed by hash, data sets are checked, and the bill of materials is complete."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from m3net_tf.audio.datasets import dataset_names
from m3net_tf.audio.datasets.registry import dataset_info

ROOT = Path(__file__).parents[1]
PINNED_FILES = (
    "constraints.txt",
    *(f".ci/{name}.txt" for name in ("sbom", "light_runtime", "esphome", "registry")),
)
REQUIREMENT = re.compile(
    r"[a-z0-9.-]+==[\w.]+"
    r"(?: ; python_full_version (?:<|>=) '3\.1[34]'(?: and platform_machine == 'x86_64')?)?"
    r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
)


@pytest.mark.parametrize("name", PINNED_FILES)
def test_every_package_is_pinned_by_version_and_hash(name: str):
    lines = (ROOT / name).read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("#"))
    assert text and REQUIREMENT.sub("", text) == ""  # no address of an index either


def test_pip_installs_pinned_files_only_with_hashes():
    makefile = (ROOT / "Makefile").read_text()
    installs = re.findall(r"\$\(PIP_INSTALL\) --require-hashes -r (\S+)", makefile)
    assert sorted(installs) == sorted(PINNED_FILES)
    assert re.search(r"^PIP_INSTALL := pip install .*--no-deps$", makefile, re.MULTILINE)
    assert len(re.findall(r"install.* -r |INSTALL.* -r ", makefile)) == len(installs)


def test_every_download_has_a_checksum_where_its_publisher_gives_one():
    """docs/reference/data.md names the others: the first download's checksum counts for them."""
    unchecked = set()
    for name in dataset_names():
        for archive in dataset_info(name).archives:
            if not archive.checksum:
                unchecked.add(name)
                continue
            kind, digits = archive.checksum.split(":")
            assert len(digits) == {"md5": 32, "sha256": 64}[kind] and int(digits, 16)
    assert unchecked == {"biodcase2025", "biodcase2026", "esc10", "esc50", "nsynth"}


@pytest.fixture(scope="module")
def sbom() -> ModuleType:
    """The script that ``make sbom`` runs."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci" / "sbom.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_lists_packages_and_pinned_sources(sbom: ModuleType):
    packages = [
        {
            "name": "m3net_tf",
            "bom-ref": "m3net_tf==1",
            "externalReferences": [{"url": "file:///a"}],
        },
        {"name": "numpy", "bom-ref": "numpy==2"},
    ]
    environment = {
        "metadata": {"tools": {}},
        "components": packages,
        "dependencies": [{"ref": "m3net_tf==1", "dependsOn": ["numpy==2"]}, {"ref": "numpy==2"}],
    }
    lock = tomllib.loads(sbom.LOCK_FILE.read_text())
    bom = sbom.release_bom(environment, lock)
    assert bom["metadata"]["component"] == {
        "name": "m3net_tf",
        "bom-ref": "m3net_tf==1",
        "type": "application",
    }
    parts = {part["bom-ref"]: part for part in bom["components"]}
    assert len(parts) == 1 + len(lock["source"]) + len(lock["package"])
    for entry in lock["source"]:
        owner_and_name = entry["url"].removeprefix("https://github.com/").lower()
        part = parts[f"pkg:github/{owner_and_name}@{entry['commit']}"]
        assert part["licenses"] == [{"license": {"id": entry["licence"]}}]
        assert part["version"] == entry["commit"]
    (package,) = lock["package"]
    (sha256,) = parts[f"pkg:pypi/{package['name']}@{package['version']}"]["hashes"]
    assert sha256 == {"alg": "SHA-256", "content": package["sha256"]}
    (project, *rest) = bom["dependencies"]
    assert set(project["dependsOn"]) == set(parts)
    assert {entry["ref"] for entry in rest} == set(parts)
