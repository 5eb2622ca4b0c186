# SPDX-License-Identifier: Apache-2.0
"""The function with which a compiled network checks its constants in flash for damage.

The layout of weights depends on the target (``firmware/engine/weights.h``), so there is a checksum
for each layout.
"""

import re
import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from m3net_tf.compiler.structures import CHANNEL_PAIR, ITEM_STRUCTURES, TAPS, Array, row_parts
from m3net_tf.compiler.weights import BLOCKS, PAIR, PLAIN_BLOCK, WINOGRAD_BLOCK, winograd_items

#: Layouts of weights: for Helium, for the DSP extension, for RISC-V of 32 bits, and for all other
#: targets.
LAYOUTS = ("helium", "dsp", "rv32", "portable")
_TWIN_BITS = 8  # M3NET_TWIN_BITS
_LANE_BITS = {"rv32": 16, "portable": 23}  # M3NET_LANE_BITS
_LANES = ((0, 2), (4, 6), (1, 3), (5, 7))  # M3NET_BLOCK: the items of each word, low and high
#: M3NET_COLUMNS: the tap of each byte; tap 9 is zero.
_COLUMNS = {
    "m3net_column_tap": [0, 6, 3, 7, 1, 7, 4, 9, 2, 8, 5, 8],
    "m3net_row_tap": [0, 2, 1, 5, 3, 5, 4, 9, 6, 8, 7, 8],
}
_VECTOR = 16  # M3NET_VECTOR_BYTES
_ZEROS = 56  # M3NET_TAPS_END

Items = npt.NDArray[np.int64]


def array_bytes(array: Array, layout: str) -> bytes:
    """Bytes of a constant array in the memory of a device with one of :data:`LAYOUTS`."""
    if array.ctype in ITEM_STRUCTURES:
        usual, brief = row_parts(array)
        chosen = brief if brief is not None and layout == "dsp" else usual
        if array.ctype == CHANNEL_PAIR and layout == "dsp":
            return _channel_bytes(chosen)
        rows = [tuple(row) for row in chosen.tolist()]
        return np.array(rows, ITEM_STRUCTURES[array.ctype].row_type()).tobytes()
    if array.ctype == WINOGRAD_BLOCK and layout == "dsp":
        return bytes(winograd_items(array.values).astype("<i2").tobytes())
    if array.ctype in BLOCKS:
        return _block_bytes(array.values, layout, plain=array.ctype == PLAIN_BLOCK)
    if array.ctype in TAPS:
        return _tap_bytes(array, layout)
    number = re.fullmatch(r"(u?)int(\d+)_t", array.ctype)
    assert number, array.ctype
    kind = f"<{'u' if number[1] else 'i'}{int(number[2]) // 8}"
    return bytes(array.values.astype(kind).tobytes())


def _channel_bytes(rows: Items) -> bytes:
    """Rows of channels, as M3NET_CHANNELS lays them out with the DSP extension."""
    bias, multiplier, offset, left, right = rows.T
    words = np.stack([bias, left + (right << 16), multiplier, offset], axis=1)
    return bytes(words.reshape(-1, 2, 2, 2).transpose(0, 2, 1, 3).astype("<i4").tobytes())


def _block_bytes(groups: Items, layout: str, *, plain: bool) -> bytes:
    """Weights of a convolution, groups of shape (4, items), as M3NET_BLOCKS_* lays them out.

    With ``plain`` it is M3NET_PLAIN_BLOCKS_*, which differs except for Helium.
    """
    count, channels, items = groups.shape
    if layout == "helium":
        padded = np.pad(groups, ((0, 0), (0, 0), (0, -items % _VECTOR)))
        vectors = padded.reshape(count, channels, -1, _VECTOR).transpose(0, 2, 1, 3)
        return bytes(vectors.astype("<i1").tobytes())
    pairs = groups.reshape(count, channels, items // PAIR, PAIR).transpose(0, 2, 1, 3)
    if plain:
        words = groups.reshape(count, channels, items // 4, 4).transpose(0, 2, 1, 3)
        return bytes(words.astype("<i1").tobytes())
    if layout == "dsp":  # of four items, the first and the third one, then the others
        halves = groups.reshape(count, channels, items // 4, 2, PAIR).transpose(0, 2, 4, 1, 3)
        twins = halves[..., 0::2, :] + (halves[..., 1::2, :] << _TWIN_BITS)
        return bytes(twins.astype("<i2").tobytes())
    rows = pairs.reshape(-1, channels * PAIR)
    low, high = rows[:, [low for low, _ in _LANES]], rows[:, [high for _, high in _LANES]]
    return bytes((low + high * (1 << _LANE_BITS[layout])).astype("<i4").tobytes())


def _tap_bytes(array: Array, layout: str) -> bytes:
    """Weights of a depthwise convolution, as the macros of their type lay them out."""
    groups: Items = array.values
    if layout == "dsp" and array.ctype in _COLUMNS:
        return bytes(groups[..., _COLUMNS[array.ctype]].astype("<i1").tobytes())
    end = bytes(_ZEROS if layout == "helium" else 0)
    return groups.transpose(0, 2, 1).astype("<i1").tobytes() + end


def crc32_of(arrays: Mapping[str, Array], layout: str) -> int:
    """CRC-32 of arrays, one after the other, in one of :data:`LAYOUTS`."""
    crc = 0
    for array in arrays.values():
        crc = zlib.crc32(array_bytes(array, layout), crc)
    return crc


def intact_declaration(name: str) -> str:
    """C declaration of the checking function of a network with this name."""
    return f"""\
/// Whether weights, tables and other constant arrays are as exported.
///
/// @param crc32  continues the CRC-32 of earlier bytes, which starts with 0, as zlib's does.
int {name}_intact(uint32_t (*crc32)(uint32_t crc, const void *bytes, size_t count));"""


def intact_definition(name: str, arrays: Mapping[str, Array]) -> str:
    """C definition of the checking function of a network with this name and these arrays."""
    helium, dsp, rv32, portable = (f"{crc32_of(arrays, layout):#010x}u" for layout in LAYOUTS)
    others = portable if rv32 == portable else f"M3NET_ENGINE_RV32 ? {rv32} : {portable}"
    checksum = f"(M3NET_ENGINE_HELIUM ? {helium} : M3NET_ENGINE_DSP ? {dsp} : {others})"
    if helium == dsp == portable:
        checksum = portable
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
