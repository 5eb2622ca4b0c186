# SPDX-License-Identifier: Apache-2.0
"""Keras archives: written without a date, and checked before they are loaded.

Keras's own writer takes the time of each part from the clock, and fails if that is before 1980.
Its reader imports any module that an archive names. Keras refuses lambdas in zip archives only; an
HDF5 file under the same name may contain code. For each object of a zip archive Keras imports the
module, and takes any class or function from there.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3net_tf.artifacts import naming, write_bytes
from m3net_tf.errors import ModelError
from m3net_tf.locks import scratch_folder
from m3net_tf.runtime.metadata import stored_archive
from m3net_tf.unfinished import unfinished_prefix

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and checking an archive does not need it
    from m3net_tf.keras import keras

#: Where the objects of this package's networks come from, except its own layers.
KERAS_MODULES = {
    "keras.constraints",
    "keras.initializers",
    "keras.layers",
    "keras.regularizers",
    "tf_keras.src.engine.functional",
}
_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_MOST_BYTES = 16 << 20  # the largest network's has 0.2 MB


def write_archive(model: keras.Model, path: Path) -> None:
    """Write a network as Keras does, but without a date: equal networks give equal bytes.

    Args:
        model: the network.
        path: a ``.keras`` file, replaced atomically.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    from m3net_tf.keras import keras

    with naming(path), scratch_folder(unfinished_prefix(path.name), path.parent) as scratch:
        model.save_weights(scratch / _WEIGHTS)
        weights = (scratch / _WEIGHTS).read_bytes()
    description = keras.saving.serialize_keras_object(model)
    files = {
        "metadata.json": json.dumps({"keras_version": keras.__version__}).encode(),
        _CONFIG: json.dumps(description).encode(),
        _WEIGHTS: weights,
    }
    write_bytes(path, stored_archive(files))


def check_archive(path: Path) -> None:
    """Refuse an archive that names objects which no network of this package has.

    Raises:
        ModelError: the archive is refused.
        OSError: it cannot be read.
        zipfile.BadZipFile: it is damaged, or not a zip file.
    """
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(_CONFIG).file_size > _MOST_BYTES:
            raise _refusal(path, f"has more than {_MOST_BYTES} bytes of {_CONFIG}")
        try:
            config = json.loads(archive.read(_CONFIG))
        except RecursionError:
            raise _refusal(path, f"has a {_CONFIG} that is nested too deeply") from None
    for entry in _objects(config):
        name, module = str(entry["class_name"]), str(entry.get("module"))
        registered = name != "function" and entry.get("registered_name") == f"m3net_tf>{name}"
        if module not in KERAS_MODULES and not (registered and module.startswith("m3net_tf.")):
            raise _refusal(path, f"contains {name[:60]!r} of module {module[:60]!r}")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """All entries from which Keras makes an object."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _refusal(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} {reason}, which no network of this package does; it is not loaded, since it could "
        "run code: train the network again"
    )
