# SPDX-License-Identifier: Apache-2.0
"""The function by which a compiled network finds damage of its constants in flash.

The layout of weights depends on the code path (``firmware/engine/weights.h``), so each path has its
checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from m3net_tf.compiler.calls import Array
from m3net_tf.compiler.weights import BLOCKS, BYTE_BLOCK, Weights

CodePath = Literal["helium", "dsp", "other"]
"""Code path of the kernels."""

_CHANNEL = np.dtype([("bias", "<i4"), ("multiplier", "<i4"), ("offset", "<i4"),
                     ("left", "<i2"), ("right", "<i2")])  # fmt: skip
_LANE_BITS = 23  # M3NET_LANE_BITS
_VECTOR = 16  # M3NET_VECTOR_BYTES
_TAPS_END = 56  # zeros of M3NET_TAPS_END
_WIDENED = [0, 2, 1, 3]  # order in which SXTB16 widens the bytes of a word


def array_bytes(array: Array, path: CodePath) -> bytes:
    """Bytes of a constant array in the memory of a device.

    Args:
        array: constant of the C source.
        path: code path that reads it.
    """
    values = array.values
    if array.ctype == "m3net_channel":
        return np.array([tuple(row) for row in values.tolist()], _CHANNEL).tobytes()
    if array.ctype in BLOCKS:
        return _block_bytes(values, path, in_bytes=array.ctype == BYTE_BLOCK)
    if array.ctype == "m3net_tap":
        return _tap_bytes(values, path)
    bits = int(array.ctype.removeprefix("int").removesuffix("_t"))
    return bytes(values.astype(f"<i{bits // 8}").tobytes())


def _block_bytes(values: Weights, path: CodePath, *, in_bytes: bool) -> bytes:
    """Weights of shape (groups, 4, items) as the macros M3NET_BLOCKS or M3NET_BYTE_BLOCKS."""
    if path == "other":
        words = values[:, 0::2] + values[:, 1::2] * (1 << _LANE_BITS)
        return bytes(words.transpose(0, 2, 1).astype("<i4").tobytes())
    if path == "helium":
        missing = -values.shape[2] % _VECTOR
        padded = np.pad(values, ((0, 0), (0, 0), (0, missing)))
        return bytes(_parts(padded, _VECTOR).astype("i1").tobytes())
    if in_bytes:
        return bytes(_parts(values, 4)[..., _WIDENED].astype("i1").tobytes())
    return bytes(_parts(values, 2).astype("<i2").tobytes())


def _tap_bytes(values: Weights, path: CodePath) -> bytes:
    """Weights of shape (groups, 4, taps) as the macro M3NET_TAPS."""
    if path == "helium":
        return bytes(values.transpose(0, 2, 1).astype("i1").tobytes()) + bytes(_TAPS_END)
    pairs = _parts(values[:, _WIDENED], 2)
    return bytes(pairs.astype("<i2" if path == "dsp" else "i1").tobytes())


def _parts(values: Weights, items: int) -> Weights:
    """Weights (groups, 4, items) in parts of few items: (groups, parts, 4, items of a part)."""
    groups, channels, total = values.shape
    return values.reshape(groups, channels, total // items, items).transpose(0, 2, 1, 3)


def crc32_of(arrays: Mapping[str, Array], path: CodePath) -> int:
    """CRC-32 of arrays, one after the other, as :func:`array_bytes` has them."""
    crc = 0
    for array in arrays.values():
        crc = zlib.crc32(array_bytes(array, path), crc)
    return crc


def intact_declaration(name: str) -> str:
    """C declaration of the function of a network with this name."""
    return f"""\
/// Whether weights, tables and other constant arrays are those of the export.
///
/// @param crc32  continues the CRC-32 of earlier bytes, which starts with 0, as zlib's does.
int {name}_intact(uint32_t (*crc32)(uint32_t crc, const void *bytes, size_t count));"""


def intact_definition(name: str, arrays: Mapping[str, Array]) -> str:
    """C definition of the function.

    Args:
        name: start of the network's names of C.
        arrays: all constant arrays by name.
    """
    helium, dsp, others = (f"{crc32_of(arrays, path):#010x}u" for path in get_args(CodePath))
    checksum = others
    if {helium, dsp} != {others}:
        checksum = f"(M3NET_ENGINE_HELIUM ? {helium} : M3NET_ENGINE_DSP ? {dsp} : {others})"
    parameters = "uint32_t (*crc32)(uint32_t crc, const void *bytes, size_t count)"
    function = f"int {name}_intact({parameters})"
    if not arrays:
        return f"{function} {{\n  (void)crc32;\n  return 1;\n}}"
    parts = "\n".join(f"    {{{array}, sizeof({array})}}," for array in arrays)
    return f"""\
static const struct {{
  const void *bytes;
  uint32_t count;
}} {name}_parts[] = {{
{parts}
}};

{function} {{
  uint32_t crc = 0;
  for (uint32_t i = 0; i < sizeof({name}_parts) / sizeof({name}_parts[0]); ++i) {{
    crc = crc32(crc, {name}_parts[i].bytes, {name}_parts[i].count);
  }}
  return crc == {checksum};
}}"""
