# SPDX-License-Identifier: Apache-2.0
"""Recognises networks of other forms where a ``.tflite`` is expected."""

from m3net_tf.system.artifacts import opened_archive, parse_json
from m3net_tf.system.errors import DAMAGED, ModelError

_UNREADABLE: tuple[type[Exception], ...] = (*DAMAGED, RecursionError, TypeError)
_METADATA, _MOST_BYTES = "metadata.json", 1 << 16
_HDF5 = b"\x89HDF\r\n\x1a\n"


def refuse_keras(data: bytes) -> None:
    """Refuse a network that Keras saved.

    Raises:
        ModelError: it is one; the message names the release of Keras, and says what to do.
    """
    if data.startswith(b"PK"):
        writer = _keras_release(data)
    else:
        writer = "Keras in HDF5" if data.startswith(_HDF5) else ""
    if writer:
        raise ModelError(
            f"the file is a network of {writer}: convert it to a full-int8 .tflite by "
            "tf.lite.TFLiteConverter with a representative_dataset (docs/deployment.md)"
        )


def _keras_release(data: bytes) -> str:
    """``Keras`` and its release, for a ``.keras`` archive; else ''."""
    try:
        with opened_archive(data) as archive:
            if archive.getinfo(_METADATA).file_size > _MOST_BYTES:
                return ""
            return f"Keras {parse_json(archive.read(_METADATA))['keras_version']}"[:40]
    except _UNREADABLE:
        return ""
