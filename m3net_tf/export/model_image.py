# SPDX-License-Identifier: Apache-2.0
"""A model as a file that replaces the one of a board without a new firmware.

An image has what differs between two trainings of one network: weights, biases, factors and tables,
class names and thresholds. ``firmware/core/model_slots.h`` describes its bytes. All the rest is
code, of which the image has the hash: a board takes only images of its firmware's structure.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from m3net_tf.compiler.checksum import LAYOUTS
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.parts import PART_ALIGNMENT, part_bytes
from m3net_tf.compiler.structures import round_up
from m3net_tf.export.bundle import Bundle
from m3net_tf.export.c_files import compile_model, kernels_sha256
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.system.artifacts import read_file, sha256_of
from m3net_tf.system.errors import ModelError

FORMAT = b"M3D1"
"""Format of images, raised when a firmware would misread them."""
HEADER = struct.Struct("<4s3I32s3I")
"""Format, CRC-32, bytes, layout, structure; CRC-32 of the test's scores, parts, bytes of texts."""
_BEHIND_CRC = 8
_SLOT_HEAD_BYTES = 256  # before the image: HEAD_BYTES of model_slots.c
_NAME_BYTES = 32  # of the run and of each class, for which slots have room at least
_SHA256_BYTES = 65  # in hexadecimal digits, with the end

_OWN = re.compile(
    r"^#define M3NET_MODEL_"
    r"(NAME|LICENCE|SHA256|SIZE_BYTES|CRC32|IMPORTANCE_SIZE_BYTES|IMPORTANCE_CRC32) .*\n",
    flags=re.MULTILINE,
)
"""Macros of ``model.h`` that belong to one training."""
_THRESHOLDS = re.compile(r"\{\d+, \d+, ")
_TABLES = ("frontend_config.h", "frontend_tables.c", "warp_config.h", "warp_tables.c")


def structure_of(folder: Path, code: Mapping[str, str]) -> str:
    """SHA-256 of all C of an export but what an image has, in hexadecimal digits.

    Args:
        folder: of the export, with the tables of front end and detector.
        code: the files of a build, as of :meth:`.Bundle.code`.
    """
    detector = (folder / "detector_config.h").read_text(encoding="utf-8")
    texts = [
        kernels_sha256(),
        *re.findall(r"_STRUCTURE (\"\w+\")", "".join(code[name] for name in sorted(code))),
        _OWN.sub("", code["model.h"]),
        " ".join(_THRESHOLDS.sub("{", detector).replace("\\", "").split()),
    ]
    tables = [folder / name for name in _TABLES]
    texts += [path.read_text(encoding="utf-8") for path in tables if path.is_file()]
    texts = [re.sub(r"\s*//.*", "", text) for text in texts]
    return sha256_of("\0".join(texts).encode())


def structure_header(structure: str) -> str:
    """``model_structure.h``, which a firmware compares with an image."""
    numbers = ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(structure))
    return f"#define M3NET_MODEL_STRUCTURE {{{numbers}}}\n"


def slot_bytes(code: Mapping[str, str], labels: tuple[str, ...], layout: str) -> int:
    """Bytes of flash that a slot needs for the images of a firmware with this code."""
    text = "".join(code.values())
    parts = sum(map(int, re.findall(r"_PARTS (\d+)", text)))
    sizes = re.findall(r"_PARTS_BYTES \{(.*)\}", text)
    bytes_of_parts = sum(int(each.split(",")[LAYOUTS.index(layout)]) for each in sizes)
    texts = max(len(_texts(labels)), _NAME_BYTES * len(labels)) + _NAME_BYTES + _SHA256_BYTES
    return (
        _SLOT_HEAD_BYTES
        + HEADER.size
        + 4 * (len(labels) + parts)
        + round_up(texts, PART_ALIGNMENT)
        + bytes_of_parts
    )


def model_image(bundle: Bundle, layout: str) -> bytes:
    """The image of an export.

    Args:
        layout: order of the weights, one of :data:`m3net_tf.compiler.checksum.LAYOUTS`.

    Raises:
        ModelError: the export is not updatable, or its C has changed.
    """
    if not bundle.manifest.updatable:
        raise ModelError(f"{bundle.folder} has its weights in its code: export it with --updatable")
    model = bundle.c_model
    networks = compile_model(model).items()
    sources = [emit(network, name, apart=True) for name, network in networks]
    return pack_image(
        LAYOUTS.index(layout),
        structure_of(bundle.folder, bundle.code()),
        [(each.threshold_units, each.release_units) for each in bundle.detector.classes],
        (model.name, bundle.manifest.model.sha256, *model.labels),
        [part_bytes(part, layout) for source in sources for part in source.parts],
        _test_crc(bundle),
    )


def pack_image(
    layout: int,
    structure: str,
    thresholds: Iterable[tuple[int, int]],
    texts: Iterable[str],
    parts: Sequence[bytes],
    test_crc: int,
) -> bytes:
    """The bytes of an image.

    Args:
        layout: as ``m3net_model_layout()``.
        structure: SHA-256 in hexadecimal digits.
        thresholds: threshold and release of each class, in 65536ths.
        texts: name, SHA-256 of the network, and classes.
        test_crc: CRC-32 of the scores of :func:`known_features`.
    """
    limits = b"".join(struct.pack("<2H", *each) for each in thresholds)
    named = _texts(texts)
    place = HEADER.size + len(limits) + 4 * len(parts) + len(named)
    offsets = []
    for part in parts:
        place = round_up(place, PART_ALIGNMENT)
        offsets.append(place)
        place += len(part)
    content = limits + struct.pack(f"<{len(offsets)}I", *offsets) + named
    for offset, part in zip(offsets, parts, strict=True):
        content = content.ljust(offset - HEADER.size, b"\0") + part
    size = HEADER.size + len(content)
    facts = bytes.fromhex(structure), test_crc, len(parts), len(named)
    image = HEADER.pack(FORMAT, 0, size, layout, *facts) + content
    crc = zlib.crc32(image[_BEHIND_CRC:])
    return image[:4] + struct.pack("<I", crc) + image[_BEHIND_CRC:]


def read_image(path: Path) -> bytes:
    """An image from its file.

    Raises:
        ModelError: it is not an image, or it is damaged.
    """
    image = read_file(path)
    if len(image) < HEADER.size or image[:4] != FORMAT:
        raise ModelError(f"{path} is not a model image: write one by m3net model image")
    _, crc, size, *_ = HEADER.unpack_from(image)
    if size != len(image) or crc != zlib.crc32(image[_BEHIND_CRC:]):
        raise ModelError(f"{path} is damaged: write it again by m3net model image")
    return image


def image_facts(image: bytes) -> tuple[str, str, str]:
    """Layout, structure and SHA-256 of the network of an image."""
    _, _, _, layout, structure, _, _, text_bytes = HEADER.unpack_from(image)
    match = re.search(rb"\0([0-9a-f]{64})\0", image)
    assert match is not None and text_bytes
    return LAYOUTS[layout], structure.hex(), match[1].decode()


def known_features(count: int) -> Int8:
    """Input of the test that a board runs before it takes an image; int8, shape (count,)."""
    value, values = 1, bytearray()
    for _ in range(count):
        value = (value * 1664525 + 1013904223) % (1 << 32)
        values.append(value >> 24)
    return np.frombuffer(bytes(values), np.int8)


def _test_crc(bundle: Bundle) -> int:
    shape = bundle.manifest.model.input_shape
    features = known_features(int(np.prod(shape))).reshape(1, *shape)
    return zlib.crc32(np.ascontiguousarray(bundle.run_reference(features)).tobytes())


def _texts(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\0" for text in texts).encode()
