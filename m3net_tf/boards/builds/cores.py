# SPDX-License-Identifier: Apache-2.0
"""Cores in ``firmware/cmake/cores``: ``<core>.cmake`` has compiler flags, ``<core>.toml`` facts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from m3net_tf.boards.builds.facts import check_table, read_toml
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.system.errors import ConfigError

KERNELS = ("plain", "dsp", "helium")
"""Forms of CMSIS-NN's kernels: for cores with neither, with the DSP extension, with Helium."""


@dataclass(frozen=True)
class Core:
    """The facts of a core.

    Attributes:
        kernels: form of CMSIS-NN's kernels on it, one of :data:`KERNELS`.
        fixed_frontend: whether its front end computes in whole numbers.
    """

    kernels: str
    fixed_frontend: bool


def load_core(name: str) -> Core:
    """Read a core's facts from its TOML file.

    Raises:
        ConfigError: there is no such core, or a key is unknown, missing or of a wrong type.
    """
    file = _folder() / f"{name}.toml"
    if name not in list_cores():
        raise ConfigError(f"unknown core {name!r}; cores that exist: {', '.join(list_cores())}")
    facts = read_toml(file)
    check_table(facts, {"kernels": str, "fixed_frontend": bool}, {}, f"in {file}")
    if facts["kernels"] not in KERNELS:
        raise ConfigError(
            f"key 'kernels' in {file} is {facts['kernels']!r}: choose {', '.join(KERNELS)}"
        )
    return Core(**facts)


def list_cores() -> list[str]:
    """Names of all cores."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def _folder() -> Path:
    return FIRMWARE_DIR / "cmake" / "cores"
