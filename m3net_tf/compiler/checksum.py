# SPDX-License-Identifier: Apache-2.0
"""The function by which a compiled network finds damage of its constants in flash.

Weights have another layout on cores with SMLAD (``firmware/engine/engine.h``), so there is a
checksum for each layout.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from m3net_tf.compiler.calls import Array

_CHANNEL = np.dtype([("bias", "<i4"), ("multiplier", "<i4"), ("offset", "<i4"),
                     ("left", "<i2"), ("right", "<i2")])  # fmt: skip
_LANE_BITS = 23  # M3NET_LANE_BITS
_LANES = ((0, 2), (4, 6), (1, 3), (5, 7))  # M3NET_BLOCK: the items of each word, low and high


def array_bytes(array: Array, *, dsp: bool) -> bytes:
    """Bytes of a constant array in the memory of a device.

    Args:
        array: constant of the C source.
        dsp: layout of cores with SMLAD, else that of all others.
    """
    values = array.values
    if array.ctype == "m3net_channel":
        return np.array([tuple(row) for row in values.tolist()], _CHANNEL).tobytes()
    if array.ctype == "m3net_block" and not dsp:
        low, high = values[:, [low for low, _ in _LANES]], values[:, [high for _, high in _LANES]]
        return bytes((low + high * (1 << _LANE_BITS)).astype("<i4").tobytes())
    if array.ctype in ("m3net_block", "m3net_tap"):
        return bytes(values.astype("<i2" if dsp else "i1").tobytes())
    bits = int(array.ctype.removeprefix("int").removesuffix("_t"))
    return bytes(values.astype(f"<i{bits // 8}").tobytes())


def crc32_of(arrays: Mapping[str, Array], *, dsp: bool) -> int:
    """CRC-32 of arrays, one after the other, in a layout of :func:`array_bytes`."""
    crc = 0
    for array in arrays.values():
        crc = zlib.crc32(array_bytes(array, dsp=dsp), crc)
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
    with_dsp, without = (f"{crc32_of(arrays, dsp=dsp):#010x}u" for dsp in (True, False))
    checksum = f"(M3NET_ENGINE_DSP ? {with_dsp} : {without})" if with_dsp != without else without
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
