# SPDX-License-Identifier: Apache-2.0
"""The network as C: ``model.h`` and ``model.cc``, the same bytes for the same input."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path

from m3net_tf.compiler.weights import WeightRule
from m3net_tf.export.operators import resolver_method
from m3net_tf.system.artifacts import sha256_of, write_text
from m3net_tf.system.csource import (
    array,
    blocks,
    c_linkage,
    defines,
    guarded,
    notice,
    string_literal,
)

NOTICE = notice("by the export; do not edit", line_comments=True) + "\n"
"""First lines of the C files that an export generates from the network."""

_PREFIX = "M3NET_MODEL_"


@dataclasses.dataclass(frozen=True)
class CModel:
    """Facts of a network for its C files.

    Attributes:
        name: network and preset.
        tflite: the network.
        labels: class names in the order of the outputs.
        operators: TFLite operators, as :func:`.operators.operators_of` lists them.
        input_bytes: size of the int8 input tensor.
        input_quantization: scale and zero point.
        output_quantization: scale and zero point.
        arena_bytes: memory to give the interpreter.
        arena_source: where ``arena_bytes`` was measured.
        licence: licence of network and training data.
        importance: DiffRes's network that scores frames, which runs before ``tflite``; or empty.
        activation_bits: width of the network's activations, 8 or 16.
        weights_flash_bytes: ``most_bytes`` of :class:`m3net_tf.compiler.weights.WeightRule`.
    """

    name: str
    tflite: bytes
    labels: tuple[str, ...]
    operators: tuple[str, ...]
    input_bytes: int
    input_quantization: tuple[float, int]
    output_quantization: tuple[float, int]
    arena_bytes: int
    arena_source: str
    licence: str
    importance: bytes = b""
    activation_bits: int = 8
    weights_flash_bytes: int = WeightRule.most_bytes

    def write(self, folder: Path) -> None:
        """Write ``model.h`` and ``model.cc``."""
        write_text(folder / "model.h", self.header())
        write_text(folder / "model.cc", self._source())

    def header(self, *, compiled: bool = False) -> str:
        """``model.h``; for the compiled engine without the ``.tflite`` files and their resolver."""
        settings = [
            defines(_PREFIX, self._settings()),
            f"// Measured by: {self.arena_source}.",
            defines(_PREFIX, {"ARENA_BYTES": self.arena_bytes}),
        ]
        declarations = ["extern const char *const m3net_model_labels[M3NET_MODEL_CLASS_COUNT];"]
        if compiled:
            settings.append(defines("M3NET_", {"ENGINE_COMPILED": 1}))
        else:
            methods = " ".join(f"ADD({resolver_method(name)})" for name in self.operators)
            settings += [
                "// Calls ADD once for each operator, by the name of the resolver's method.",
                defines(_PREFIX, {"OPERATORS(ADD)": methods}),
            ]
            names = [f"{name}[{size}];" for name, size, _ in self._arrays()]
            declarations = [f"extern const unsigned char {name}" for name in names] + declarations
        return NOTICE + guarded(
            "M3NET_MODEL_H_",
            "\n".join(settings),
            c_linkage(declarations),
            name_guard_at_end=True,
        )

    def _settings(self) -> dict[str, int | str]:
        """The macros that describe the network, without their prefix."""
        settings: dict[str, int | str] = {
            "NAME": string_literal(self.name),
            "LICENCE": string_literal(self.licence),
            "SHA256": string_literal(sha256_of(self.tflite)),
            "SIZE_BYTES": len(self.tflite),
            "CRC32": f"{zlib.crc32(self.tflite):#010x}u",
            "ACTIVATION_BITS": self.activation_bits,
            "INPUT_BYTES": self.input_bytes,
            "INPUT_SCALE": f"{self.input_quantization[0]!r}f",
            "INPUT_ZERO_POINT": f"({self.input_quantization[1]})",
            "OUTPUT_SCALE": f"{self.output_quantization[0]!r}f",
            "OUTPUT_ZERO_POINT": f"({self.output_quantization[1]})",
            "CLASS_COUNT": len(self.labels),
            "OPERATOR_COUNT": len(self.operators),
        }
        if self.importance:
            settings["IMPORTANCE_SIZE_BYTES"] = len(self.importance)
            settings["IMPORTANCE_CRC32"] = f"{zlib.crc32(self.importance):#010x}u"
        return settings

    def _arrays(self) -> list[tuple[str, str, bytes]]:
        """Name, size and bytes of each network."""
        arrays = [("m3net_model_data", "M3NET_MODEL_SIZE_BYTES", self.tflite)]
        if self.importance:
            size = "M3NET_MODEL_IMPORTANCE_SIZE_BYTES"
            arrays.append(("m3net_importance_data", size, self.importance))
        return arrays

    def _source(self) -> str:
        networks = [
            array(
                f"alignas(16) const unsigned char {name}",
                (f"0x{byte:02x}" for byte in data),
                per_line=16,
                size=size,
            )
            for name, size, data in self._arrays()
        ]
        return NOTICE + blocks('#include "model.h"', *networks, self._labels_array())

    def labels_source(self) -> str:
        """C source of the class names alone."""
        return NOTICE + blocks('#include "model.h"', self._labels_array())

    def _labels_array(self) -> str:
        return array(
            "const char *const m3net_model_labels",
            map(string_literal, self.labels),
            per_line=1,
            size="M3NET_MODEL_CLASS_COUNT",
        )
