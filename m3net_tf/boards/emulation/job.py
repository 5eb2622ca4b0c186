# SPDX-License-Identifier: Apache-2.0
"""The job image: clips in the format that the firmware reads from the board's memory.

Little endian: magic ``M3NJ``, u16 version, u16 kind, u32 clip count, u32 bytes of one clip,
u32 CRC-32 of the payload, u32 flags, two reserved u32; then the clips.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from m3net_tf.system.errors import FirmwareError

MAGIC = b"M3NJ"
VERSION = 1
KIND_FEATURES = 0
KIND_PCM = 1
KIND_STREAM = 2
FLAG_FEATURES = 1
FLAG_INSTRUCTIONS = 2
HEADER = struct.Struct("<4sHHIIII2I")


def clip_kind(clips: np.ndarray) -> int:
    """Kind of job for an array of clips.

    Raises:
        FirmwareError: the array is neither int8 features nor int16 PCM, or has no clips.
    """
    kinds = {np.dtype(np.int8): KIND_FEATURES, np.dtype(np.int16): KIND_PCM}
    if clips.dtype not in kinds:
        raise FirmwareError(
            f"clips are {clips.dtype}: give int8 features or int16 samples (n, values)"
        )
    if clips.ndim < 2 or clips.shape[0] == 0 or clips[0].size == 0:
        raise FirmwareError(f"clips have shape {clips.shape}: give at least one clip (n, values)")
    return kinds[clips.dtype]


def job_image(clips: np.ndarray, *, report_features: bool, report_instructions: bool) -> bytes:
    """The image of clips, shape (n, ...), int8 features or int16 PCM.

    Raises:
        FirmwareError: as :func:`clip_kind`.
    """
    kind = clip_kind(clips)
    payload = np.ascontiguousarray(clips, dtype=clips.dtype.newbyteorder("<")).tobytes()
    flags = FLAG_FEATURES * report_features + FLAG_INSTRUCTIONS * report_instructions
    clip_bytes = len(payload) // len(clips)
    header = HEADER.pack(
        MAGIC, VERSION, kind, len(clips), clip_bytes, zlib.crc32(payload), flags, 0, 0
    )
    return header + payload


def stream_image(samples: bytes, capacity_bytes: int) -> bytes:
    """The image of a long sound, the input of an emulated board's microphone.

    Args:
        samples: little-endian int16 samples.
        capacity_bytes: size of the board's job memory.

    Raises:
        FirmwareError: the sound is empty, ends within a sample, or does not fit.
    """
    if not samples or len(samples) % 2:
        raise FirmwareError("the sound has no whole 16-bit samples: give int16 PCM")
    if HEADER.size + len(samples) > capacity_bytes:
        raise FirmwareError(
            f"a sound of {len(samples)} bytes exceeds the board's job memory of {capacity_bytes} "
            "bytes; shorten it"
        )
    crc = zlib.crc32(samples)
    return HEADER.pack(MAGIC, VERSION, KIND_STREAM, 1, len(samples), crc, 0, 0, 0) + samples


def split_clips(clips: np.ndarray, capacity_bytes: int) -> list[np.ndarray]:
    """Split clips into batches whose images fit ``capacity_bytes``.

    Raises:
        FirmwareError: a single clip does not fit, or as :func:`clip_kind`.
    """
    clip_kind(clips)
    per_image = (capacity_bytes - HEADER.size) // clips[0].nbytes
    if per_image < 1:
        raise FirmwareError(
            f"a clip of {clips[0].nbytes} bytes exceeds the board's job memory of "
            f"{capacity_bytes} bytes; shorten the clip"
        )
    return [clips[start : start + per_image] for start in range(0, len(clips), per_image)]
