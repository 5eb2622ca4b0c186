# SPDX-License-Identifier: Apache-2.0
"""The container installs what ``make system`` names, as an ordinary user, from a pinned base."""

import re
from pathlib import Path

import pytest
import yaml

from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.builds.boards import Architecture, list_boards, load_board
from m3net_tf.boards.builds.toolchain import TOOLS

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


def test_the_base_image_is_pinned_by_digest(instructions):
    """As are the actions of the workflows: a tag can be moved to another image."""
    base, later = arguments(instructions, "FROM")
    assert re.fullmatch(r"debian:bookworm-\d{8}-slim@sha256:[0-9a-f]{64} AS tools", base)
    assert later == "tools"


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
