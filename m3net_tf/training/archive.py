# SPDX-License-Identifier: Apache-2.0
"""Checks a Keras archive before it is loaded: Keras imports any module that an archive names.

Keras refuses lambdas in zip archives only; an HDF5 file under the same name may contain code. For
each object of a zip archive Keras takes a class that any package has registered under the entry's
``registered_name``; without one it imports the module, and takes any class or function from there.
A Lambda layer calls any function of any imported module, so it is refused whatever it contains.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3net_tf.errors import ModelError

_FUNCTIONAL = "tf_keras.src.engine.functional"
_BASES = {
    "keras.constraints": "Constraint",
    "keras.initializers": "Initializer",
    "keras.layers": "Layer",
    "keras.regularizers": "Regularizer",
}
#: Where the objects of this package's networks come from, except its own layers.
KERAS_MODULES = {*_BASES, _FUNCTIONAL}
_CONFIG, _METADATA = "config.json", "metadata.json"
_MOST_BYTES = 16 << 20  # the largest network's has 0.2 MB


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
    from m3net_tf.keras import keras

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
