# SPDX-License-Identifier: Apache-2.0
"""The share of a computer that one run reserves."""

from __future__ import annotations

import dataclasses
import re

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

    Raises:
        ConfigError: several GPUs, but not a whole number.
    """

    cpus: int | None = None
    gpus: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise ConfigError(
                f"gpus is {self.gpus}: give a whole number, or a share between 0 and 1"
            )

    def over(self, defaults: Resources) -> Resources:
        """These resources, with ``defaults`` where they are None."""
        pairs = ((key, getattr(self, key)) for key in ("cpus", "gpus", "memory"))
        return dataclasses.replace(
            defaults, **{key: value for key, value in pairs if value is not None}
        )


def memory_bytes(text: str, key: str) -> int:
    """Bytes from text such as ``4GB`` (decimal units).

    Args:
        key: its name, for the message.

    Raises:
        ConfigError: it is not a size of memory.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise ConfigError(f"{key} is {text!r}: give bytes, or such as 500MB or 4GB")
    return int(float(match[1]) * _UNITS[match[2]])
