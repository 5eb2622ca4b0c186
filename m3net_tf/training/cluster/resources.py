# SPDX-License-Identifier: Apache-2.0
"""The share of a computer that one run reserves."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from m3net_tf.system.errors import ConfigError, require_known_keys

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?")


@dataclasses.dataclass(frozen=True)
class Resources:
    """Resources of a run; None leaves the choice to the pool.

    Attributes:
        cpus: processor cores; ``training.threads`` of the recipe says how many an operation uses.
        gpus: GPUs; a share below 1 lets several runs use one.
        memory: bytes of main memory.
    """

    cpus: int | None = None
    gpus: float | None = None
    memory: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Resources:
        """From ``cpus``, ``gpus`` and ``memory`` (bytes, or text such as ``4GB``).

        Args:
            where: their location, such as ``in resources of a table``.

        Raises:
            ConfigError: a key is unknown or its value is not possible.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"resources are {values!r} {where}: give cpus, gpus or memory")
        require_known_keys(values, (field.name for field in dataclasses.fields(cls)), where)
        cpus, gpus, memory = (values.get(key) for key in ("cpus", "gpus", "memory"))
        if cpus is not None and (type(cpus) is not int or cpus < 1):
            raise ConfigError(f"cpus is {cpus!r} {where}: give a whole number from 1")
        if gpus is not None and not _share(gpus):
            raise ConfigError(
                f"gpus is {gpus!r} {where}: give a whole number, or a share between 0 and 1"
            )
        return cls(
            cpus,
            None if gpus is None else float(gpus),
            None if memory is None else memory_bytes(memory, where),
        )

    def over(self, defaults: Resources) -> Resources:
        """These resources, with ``defaults`` where they are None."""
        pairs = ((key, getattr(self, key)) for key in ("cpus", "gpus", "memory"))
        return dataclasses.replace(
            defaults, **{key: value for key, value in pairs if value is not None}
        )


UNSET = Resources()
"""The pool chooses."""


def memory_bytes(value: Any, where: str) -> int:
    """Bytes from a number or text such as ``4GB`` (decimal units).

    Raises:
        ConfigError: it is neither.
    """
    match = _MEMORY.fullmatch(str(value).strip())
    if match is None or not float(match[1]):
        raise ConfigError(f"memory is {value!r} {where}: give bytes, or such as 500MB or 4GB")
    return int(float(match[1]) * _UNITS[match[2]])


def _share(gpus: Any) -> bool:
    if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not math.isfinite(gpus):
        return False
    return 0 <= gpus <= 1 or (gpus > 1 and gpus == int(gpus))
