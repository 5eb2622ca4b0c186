# SPDX-License-Identifier: Apache-2.0
"""The share of a computer that one run reserves."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from m3net_tf.system.conversion import AtLeastOne, NotNegative, from_plain
from m3net_tf.system.errors import ConfigError

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

    cpus: AtLeastOne | None = None
    gpus: NotNegative | None = None
    memory: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Resources:
        """From ``cpus``, ``gpus`` and ``memory`` (bytes, or text such as ``4GB``).

        Args:
            where: their location, such as ``options``.

        Raises:
            ConfigError: a key is unknown or its value is not possible.
        """
        if isinstance(values, Mapping) and values.get("memory") is not None:
            values = {**values, "memory": memory_bytes(values["memory"], f"{where}.memory")}
        resources = from_plain(cls, values, where)
        gpus = resources.gpus or 0
        if gpus > 1 and gpus != int(gpus):
            raise ConfigError(
                f"{where}.gpus is {gpus}: give a whole number, or a share between 0 and 1"
            )
        return resources

    def over(self, defaults: Resources) -> Resources:
        """These resources, with ``defaults`` where they are None."""
        pairs = ((key, getattr(self, key)) for key in ("cpus", "gpus", "memory"))
        return dataclasses.replace(
            defaults, **{key: value for key, value in pairs if value is not None}
        )


UNSET = Resources()
"""The pool chooses."""


def memory_bytes(value: Any, key: str) -> int:
    """Bytes from a number or text such as ``4GB`` (decimal units).

    Args:
        key: its name, for the message.

    Raises:
        ConfigError: it is neither.
    """
    match = _MEMORY.fullmatch(str(value).strip())
    if match is None or not float(match[1]):
        raise ConfigError(f"{key} is {value!r}: give bytes, or such as 500MB or 4GB")
    return int(float(match[1]) * _UNITS[match[2]])
