# SPDX-License-Identifier: Apache-2.0
"""Limits of the presets ``s``, ``m`` and ``l``: arena, and bytes of the network."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class SizeLimit:
    """Largest sizes of a preset.

    Attributes:
        arena_bytes: tensor arena.
        model_bytes: all ``.tflite`` files of the network.
    """

    arena_bytes: int
    model_bytes: int

    def holds(self, arena_bytes: int, model_bytes: int) -> bool:
        """Whether a network of these sizes keeps to the limit."""
        return arena_bytes <= self.arena_bytes and model_bytes <= self.model_bytes


SIZE_LIMITS = {
    "s": SizeLimit(64 << 10, 200_000),
    "m": SizeLimit(192 << 10, 500_000),
    "l": SizeLimit(512 << 10, 1_500_000),
}


def largest_preset(arena_bytes: int, network_bytes: int) -> str | None:
    """Name of the largest preset of :data:`SIZE_LIMITS` that a board has room for.

    Args:
        arena_bytes: free RAM for the arena.
        network_bytes: free flash for the network.
    """
    fitting = [
        name
        for name, limit in SIZE_LIMITS.items()
        if limit.arena_bytes <= arena_bytes and limit.model_bytes <= network_bytes
    ]
    return fitting[-1] if fitting else None
