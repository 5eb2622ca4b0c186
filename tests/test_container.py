# SPDX-License-Identifier: Apache-2.0
"""The container installs what ``make system`` names, as an ordinary user, from a pinned base."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
from pathlib import Path

import pytest
import yaml

from m3net_tf.boards.builds.boards import Architecture, list_boards, load_board
from m3net_tf.boards.builds.toolchain import TOOLS
from m3net_tf.compiler.engines import DEFAULT_BOARD

ROOT = Path(__file__).parents[1]
#: Package -> package of the Makefile that depends on it.
IMPLIED = {
    "binutils-arm-none-eabi": "gcc-arm-none-eabi",
    "libnewlib-arm-none-eabi": "libstdc++-arm-none-eabi-newlib",
    "binutils-riscv64-unknown-elf": "gcc-riscv64-unknown-elf",
}


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: keyword and arguments."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def arguments(instructions: list[tuple[str, str]], keyword: str) -> list[str]:
    return [" ".join(text.split()) for word, text in instructions if word == keyword]


def system_packages(*, in_ci: bool = False) -> set[str]:
    """Packages that ``make system`` installs for firmware and emulation, or those for CI alone."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    pattern = r"^TOOLS \+= .*\$\(if \$\(CI\),(.*)\)$" if in_ci else r"^TOOLS := (.*)$"
    (prefix,) = re.findall(r"^RISCV := (.*)$", makefile, re.MULTILINE)
    pairs = " ".join(re.findall(pattern, makefile, re.MULTILINE)).replace("$(RISCV)", prefix)
    return {pair.partition(":")[2] for pair in pairs.split()}


def packages_of(architecture: Architecture) -> set[str]:
    """Packages of toolchain and emulator, without those that others depend on."""
    packages = {*architecture.programs.values(), *architecture.libraries.values()}
    packages |= {architecture.emulator.package, *TOOLS.values()}
    return {IMPLIED.get(package, package) for package in packages}


def test_the_makefile_names_what_the_doctor_looks_for():
    architectures = {board.arch: board.architecture for board in map(load_board, list_boards())}
    default = packages_of(architectures.pop(load_board(DEFAULT_BOARD).arch))
    assert default | {"g++"} == system_packages()
    for architecture in architectures.values():
        assert packages_of(architecture) - default <= system_packages(in_ci=True)


def test_the_container_gets_its_tools_from_make_system(instructions):
    install, _user, setup = arguments(instructions, "RUN")
    assert "CI=1 make system &&" in install and setup == "make setup"
    (packages,) = re.findall(r"apt-get install --yes --no-install-recommends ([^&]*)", install)
    assert not {*packages.split()} & system_packages()  # they have one list
    assert install.endswith("rm -rf /var/lib/apt/lists/*")
    assert arguments(instructions, "COPY") == ["Makefile ./", "--chown=m3net:m3net . ."]
    assert not arguments(instructions, "ADD")


def test_the_container_starts_from_a_release_and_runs_as_a_user(instructions):
    base, stage = arguments(instructions, "FROM")
    assert re.fullmatch(r"debian:[a-z]+-slim AS tools", base) and stage == "tools"
    assert arguments(instructions, "USER") == ["m3net"]
    words = [word for word, _ in instructions]
    assert words.index("USER") < max(i for i, word in enumerate(words) if word == "FROM")
    json.loads(arguments(instructions, "CMD")[0])


def test_the_development_container_uses_that_file(instructions):
    path = ROOT / ".devcontainer/devcontainer.json"
    values = json.loads(path.read_text())
    build = values["build"]
    assert (path.parent / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (path.parent / build["context"]).resolve() == ROOT
    assert f"AS {build['target']}" in arguments(instructions, "FROM")[0]
    assert [values["remoteUser"]] == arguments(instructions, "USER")
    assert values["postCreateCommand"] == "make setup"


def test_no_large_folder_goes_into_the_container():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "build", "dist", "runs"} <= {*ignored}


def test_what_the_instructions_name_exists_and_gets_into_the_image(instructions):
    makefile = (ROOT / "Makefile").read_text()
    (read,) = re.findall(r"^\$\(VENV\)/\.ready: ([^|]*)\|", makefile, re.MULTILINE)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    metadata = config["metadata"]
    named = [*read.split(), "setup.py", "m3net_tf", metadata["license_files"].strip()]
    named.append(metadata["long_description"].removeprefix("file: "))
    named += re.search(r"for name in \((.*)\)", (ROOT / "setup.py").read_text())[1].split(", ")
    copied = [text.split()[-2] for text in arguments(instructions, "COPY")]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name in (name.strip('"') for name in [*named, *copied]):
        assert (ROOT / name).exists(), name
        assert not [pattern for pattern in ignored if fnmatch.fnmatch(name, pattern)], name
    commands = " && ".join(["", *arguments(instructions, "RUN")])
    targets = re.findall(r"&& (?:\w+=\S+ )*make ([a-z-]+)", commands)
    assert targets == ["system", "setup"] and {*targets} <= {
        *re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    }


def test_ci_has_each_version_of_python_and_builds_the_container():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    action = yaml.safe_load((ROOT / ".github/actions/prepare/action.yml").read_text())
    versions = {
        action["inputs"]["python-version"]["default"],
        *jobs["python"]["strategy"]["matrix"]["python-version"],
    }
    named = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.cfg").read_text())
    assert versions == {*named} == {"3.11", "3.12", "3.13"}
    runs = [step.get("run", "") for step in jobs["container"]["steps"]]
    assert any(run.startswith("docker build ") for run in runs)
