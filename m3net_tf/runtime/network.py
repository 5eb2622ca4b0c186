# SPDX-License-Identifier: Apache-2.0
"""The int8 network of a device; quantisation, which needs TensorFlow, creates it."""

import dataclasses
from collections.abc import Callable

from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.warp import WarpConfig, warp_int8


@dataclasses.dataclass(frozen=True)
class Int8Network:
    """The networks of a device: a single one, or two of DiffRes with the warp between them.

    Attributes:
        importance: DiffRes's frame-importance network; empty without DiffRes.
    """

    tflite: bytes
    importance: bytes = b""
    warp: WarpConfig | None = None

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The networks in the order of execution."""
        return (self.importance, self.tflite) if self.importance else (self.tflite,)

    @property
    def size_bytes(self) -> int:
        """Total size of all networks, as in flash."""
        return sum(map(len, self.parts))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts; empty for a single one."""
        return ("importance", "classifier") if self.importance else ("",)

    def inputs(self, runtime: Callable[[bytes, Int8], Int8], features: Int8) -> list[Int8]:
        """Input of each part for some clips; arguments as for :meth:`run`."""
        if not self.warp:
            return [features]
        return [features, warp_int8(self.warp, features, runtime(self.importance, features))]

    def run(self, runtime: Callable[[bytes, Int8], Int8], features: Int8) -> Int8:
        """Run clips.

        Args:
            runtime: runs one network: ``run_reference``, ``run_tflm`` or ``run_compiled``.
            features: int8, shape (clips, bins, frames, channels).

        Returns:
            int8 scores, shape (clips, classes).
        """
        return runtime(self.tflite, self.inputs(runtime, features)[-1])
