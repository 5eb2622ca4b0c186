# SPDX-License-Identifier: Apache-2.0
"""Keras archives: written without a date, and checked before they are loaded.

Keras's own writer takes the time of each part from the clock, and fails if that is before 1980.
Its reader refuses lambdas in zip archives only; an HDF5 file under the same name may contain code.
For each object of a zip archive Keras takes a class that any package has registered under the
entry's ``registered_name``; without one it imports the module, and takes any class or function from
there. A Lambda layer calls any function of any imported module, so it is refused whatever it
contains.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3net_tf.runtime.metadata import stored_archive
from m3net_tf.system.artifacts import naming, write_bytes
from m3net_tf.system.errors import ModelError
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.unfinished import unfinished_prefix

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and checking an archive does not need it
    from m3net_tf.system.keras import keras

_FUNCTIONAL = "tf_keras.src.engine.functional"
_BASES = {
    "keras.constraints": "Constraint",
    "keras.initializers": "Initializer",
    "keras.layers": "Layer",
    "keras.regularizers": "Regularizer",
}
#: Where the objects of this package's networks come from, except its own layers.
KERAS_MODULES = {*_BASES, _FUNCTIONAL}
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MOST_BYTES = 16 << 20  # the largest network's has 0.2 MB


def write_archive(model: keras.Model, path: Path) -> None:
    """Write a network as Keras does, but without a date: equal networks give equal bytes.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    from m3net_tf.system.keras import keras

    with naming(path), scratch_folder(unfinished_prefix(path.name), path.parent) as scratch:
        model.save_weights(scratch / _WEIGHTS)
        weights = (scratch / _WEIGHTS).read_bytes()
    description = keras.saving.serialize_keras_object(model)
    files = {
        _METADATA: json.dumps({"keras_version": keras.__version__}).encode(),
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
        config = _json_of(archive, path, _CONFIG)
        metadata = _json_of(archive, path, _METADATA) if _METADATA in archive.namelist() else None
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if str(version).startswith("3."):
        raise ModelError(
            f"{path} was saved by Keras 3, this project uses Keras 2 (tf_keras): train the network "
            "again"
        )
    for entry in _objects(config):
        name, module = str(entry["class_name"]), str(entry.get("module"))
        if not _is_known(name, module, entry.get("registered_name")):
            raise _refusal(path, f"contains {name[:60]!r} of module {module[:60]!r}")


def _json_of(archive: zipfile.ZipFile, path: Path, name: str) -> Any:
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise _refusal(path, f"has more than {_MOST_BYTES} bytes of {name}")
    try:
        return json.loads(archive.read(name))
    except RecursionError:
        raise _refusal(path, f"has a {name} that is nested too deeply") from None


def _is_known(name: str, module: str, registered_name: Any) -> bool:
    """Whether Keras makes a stock object, or one of this package's registered layers, of an entry.

    The class itself decides, not its name: another package may register any name.
    """
    from m3net_tf.system.keras import keras

    registered = keras.saving.get_registered_object
    if module == _FUNCTIONAL:
        return name == "Functional" and registered_name in (None, name) and not registered(name)
    if module in _BASES:
        stock = getattr(keras, module.partition(".")[2])
        base, kind = getattr(stock, _BASES[module]), vars(stock).get(name)
        if registered_name not in (None, name) or registered(name):
            return False
    elif module.startswith("m3net_tf.") and registered_name == f"m3net_tf>{name}":
        base, kind = keras.layers.Layer, registered(registered_name)
    else:
        return False
    is_lambda = isinstance(kind, type) and issubclass(kind, keras.layers.Lambda)
    return isinstance(kind, type) and issubclass(kind, base) and not is_lambda


def _objects(config: Any) -> Iterator[dict[str, object]]:
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
