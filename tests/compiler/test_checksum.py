# SPDX-License-Identifier: Apache-2.0
"""A compiled network finds damage of its constants, whatever the layout of its weights."""

import ctypes
import subprocess
import zlib

import numpy as np
import pytest
from single_operators import MAKERS
from test_weights import extreme_convolution
from test_winograd import ROOM, largest_convolution

from m3net_tf.compiler.checksum import LAYOUTS
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.host import engine_folder
from m3net_tf.compiler.network import compile_network

KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX", "LOGISTIC", "ADD")
CRC32 = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)


def build(folder, source: str, header: str, layout: str) -> ctypes.CDLL:
    """The network alone, as a library; its kernels are missing and are not called."""
    (folder / "one.c").write_text(source)
    (folder / "one.h").write_text(header)
    library = folder / f"{len(list(folder.iterdir()))}.so"
    defines = {name.upper(): layout == name for name in LAYOUTS if name != "portable"}
    command = ["gcc", "-std=c11", "-shared", "-fPIC"]
    command += [f"-DM3NET_ENGINE_{name}={int(chosen)}" for name, chosen in defines.items()]
    command += [f"-I{engine_folder()}", str(folder / "one.c"), "-Wl,-z,lazy", "-o", str(library)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library), mode=1)  # RTLD_LAZY


def intact(library: ctypes.CDLL, bit: int | None = None) -> tuple[int, int]:
    """What the network says, and how many bytes it has read; one bit of them may be flipped."""
    count = 0

    def crc32(crc, address, size):
        nonlocal count
        data = bytearray(ctypes.string_at(address, size))
        if bit is not None and count <= bit // 8 < count + size:
            data[bit // 8 - count] ^= 1 << bit % 8
        count += size
        return zlib.crc32(data, crc)

    return library.one_intact(CRC32(crc32)), count


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_its_checksum(layout, tmp_path):
    files = {kind: MAKERS[kind](np.random.default_rng(3)) for kind in KINDS}
    files["plain weights"] = extreme_convolution()
    networks = {kind: compile_network(tflite) for kind, tflite in files.items()}
    networks["Winograd"] = compile_network(largest_convolution(-1), goal=ROOM)
    for kind, network in networks.items():
        source = emit(network, "one")
        library = build(tmp_path, source.source, source.header, layout)
        answer, count = intact(library)
        assert answer == 1, kind
        if count:
            for bit in (0, 4 * count, 8 * count - 1):
                assert intact(library, bit)[0] == 0, (kind, bit)
