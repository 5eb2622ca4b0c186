# SPDX-License-Identifier: Apache-2.0
"""Keras archives: written without a date, and read without trust.

Keras's own writer takes the time of each part from the clock, and fails if that is before 1980.

Keras's own reader believes the file. For each object it takes a class that any package has
registered, or imports a module and takes any class or function from there. A Lambda layer calls any
function of any imported module; other layers read files that they name. The HDF5 file may say that
the bytes of a weight are in another file of this computer. Weights are as large as the file says.
:func:`read_archive` makes only the layers that networks of this package have, with variables no
larger than the weights in the file, and copies weights only from the file itself.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3net_tf.runtime.metadata import stored_archive
from m3net_tf.system.artifacts import (
    MOST_BYTES,
    naming,
    opened_archive,
    parse_json,
    read_file,
    write_bytes,
)
from m3net_tf.system.errors import ModelError, one_line
from m3net_tf.system.locks import scratch_folder
from m3net_tf.system.unfinished import unfinished_prefix

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and checking an archive does not need it
    import h5py

    from m3net_tf.system.keras import keras

_FUNCTIONAL = "tf_keras.src.engine.functional"
_LAYERS = "keras.layers"
_BASES = {
    "keras.constraints": "Constraint",
    "keras.initializers": "Initializer",
    "keras.regularizers": "Regularizer",
}
#: Where the objects of this package's networks come from, except its own layers.
KERAS_MODULES = {*_BASES, _LAYERS, _FUNCTIONAL}
#: Keras's layers in the networks of this package.
KERAS_LAYERS = frozenset(
    "Activation Add AveragePooling2D BatchNormalization Concatenate Conv2D Cropping2D "
    "DepthwiseConv2D Dropout Flatten GlobalAveragePooling2D InputLayer LSTM LayerNormalization "
    "LeakyReLU MaxPooling2D Multiply Normalization Permute ReLU Rescaling Reshape Softmax "
    "SpatialDropout2D ZeroPadding2D".split()
)
_OPERATION = ("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", "TFOpLambda")
_FUNCTIONS = ("__operators__.add", "math.multiply")
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MOST_BYTES = 160 << 20  # the largest network's weights have 95 MB
_MOST_OBJECTS = 5_000  # the largest network has 1,159
_OTHER_VALUES = 100_000
_Form = tuple[tuple[int, ...], Any]  # shape and type


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


def read_archive(path: Path) -> keras.Model:
    """The network of an archive that may come from anybody, uncompiled.

    The layers of this package must be registered.

    Raises:
        ModelError: the archive is refused.
        OSError, ValueError, ...: it is damaged, as :data:`.DAMAGED`, or Keras cannot make the
            network, which may raise anything.
    """
    from m3net_tf.system.keras import keras, tf

    config, content = check_archive(path)
    with scratch_folder("m3net-weights-") as scratch:
        given, own = scratch / _WEIGHTS, scratch / f"own.{_WEIGHTS}"
        given.write_bytes(content)
        del content
        weights = _weights_of(given, path)
        with tf.variable_creator_scope(_Room(path, weights).creator):
            model = keras.saving.deserialize_keras_object(config)
        if not isinstance(model, keras.Model):
            raise _refusal(path, "does not describe a network")
        model.save_weights(own)
        needed = _weights_of(own, path)
        for name, form in needed.items():
            if weights.get(name) != form:
                raise ModelError(
                    f"{path} does not have the weights that its network needs ({name[-60:]}): "
                    "train the network again"
                )
        model.load_weights(given)
    return model


def check_archive(path: Path) -> tuple[dict[str, Any], bytes]:
    """Refuse an archive that names objects which no network of this package has.

    Returns:
        The description of the network, and the HDF5 file of its weights, which is not checked.

    Raises:
        ModelError: the archive is refused.
        OSError: it cannot be read.
        ValueError: it is not a file, or too long.
        zipfile.BadZipFile: it is damaged, or not a zip file.
    """
    with opened_archive(read_file(path, _MOST_BYTES)) as archive:
        config = _json_of(archive, path, _CONFIG)
        metadata = _json_of(archive, path, _METADATA) if _METADATA in archive.namelist() else None
        version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        if str(version).startswith("3."):
            raise ModelError(
                f"{path} was saved by Keras 3, this project uses Keras 2 (tf_keras): train the "
                "network again"
            )
        check_objects(path, config)
        if archive.getinfo(_WEIGHTS).file_size > _MOST_BYTES:
            raise _refusal(path, f"has more than {_MOST_BYTES} bytes of {_WEIGHTS}")
        return config, archive.read(_WEIGHTS)


def _json_of(archive: zipfile.ZipFile, path: Path, name: str) -> Any:
    if archive.getinfo(name).file_size > MOST_BYTES:
        raise _refusal(path, f"has more than {MOST_BYTES} bytes of {name}")
    try:
        return parse_json(archive.read(name))
    except ValueError as error:
        raise _refusal(path, f"has a {name} that cannot be read ({one_line(error)})") from None


def check_objects(path: Path, config: Any) -> None:
    """Refuse the description of a network with objects that no network of this package has.

    Raises:
        ModelError: it is refused.
    """
    for number, entry in enumerate(_objects(config)):
        name = str(entry["class_name"])
        module = str(entry.get("module"))
        if not (_is_operation(entry) or _is_known(name, module, entry.get("registered_name"))):
            raise _refusal(path, f"contains {name[:60]!r} of module {module[:60]!r}")
        if number >= _MOST_OBJECTS:
            raise _refusal(path, f"contains more than {_MOST_OBJECTS} objects")


class _Room:
    """The room for the variables of a network: about as many values as its file has.

    Keras would fill variables of any size with random numbers before it looks at the weights.
    """

    def __init__(self, path: Path, weights: Mapping[str, _Form]) -> None:
        self._path = path
        # Besides the weights, each layer that draws random numbers has a state.
        self._values = _OTHER_VALUES + sum(math.prod(shape) for shape, _ in weights.values())

    def creator(self, create: Any, **settings: Any) -> Any:
        """Create a variable if there is room for it; a creator of TensorFlow."""
        shape = settings.get("shape")
        if shape is None and not callable(settings.get("initial_value")):
            shape = np.shape(settings["initial_value"])
        self._values -= math.prod(shape or ())
        if self._values < 0:
            raise _refusal(self._path, "describes larger layers than it has weights for")
        return create(**settings)


def _weights_of(path: Path, archive: Path) -> dict[str, _Form]:
    """Form of each weight in an HDF5 file, all of whose values must be in the file itself.

    HDF5 can link a name to another file, and take the values of an array from other files, or from
    nowhere: then they cost no byte, however many they are.
    """
    import h5py

    size = path.stat().st_size
    weights = {}
    with h5py.File(path, "r") as file:
        pending: list[tuple[str, h5py.Group]] = [("", file)]
        seen = {h5py.h5o.get_info(file.id).addr}
        while pending:
            prefix, group = pending.pop()
            for name in group:
                full = f"{prefix}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise _refusal(archive, f"has a link as a weight ({full[-60:]})")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen or len(seen) > _MOST_OBJECTS:
                    raise _refusal(archive, f"has too many or repeated weights ({full[-60:]})")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    pending.append((full, item))
                    continue
                if not _is_stored(item, size):
                    raise _refusal(archive, f"has a weight outside of it ({full[-60:]})")
                weights[full] = (item.shape, item.dtype)
    return weights


def _is_stored(item: Any, size: int) -> bool:
    """Whether an object is an array of numbers whose values are all in its file of that size."""
    import h5py

    if not isinstance(item, h5py.Dataset):
        return False
    # In this order: even the shape of a virtual array comes from other files.
    form = item.id.get_create_plist()
    plain = form.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
    if not plain or form.get_external_count() or form.get_nfilters():
        return False
    needed = math.prod(item.shape or ()) * item.dtype.itemsize
    return item.dtype.kind in "fiub" and needed <= size and item.id.get_storage_size() == needed


def _is_operation(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is a sum or a product in the baselines; others could be any TensorFlow."""
    kind = entry["class_name"], entry.get("module"), entry.get("registered_name")
    config = entry.get("config")
    return kind == _OPERATION and isinstance(config, dict) and config.get("function") in _FUNCTIONS


def _is_known(name: str, module: str, registered_name: Any) -> bool:
    """Whether Keras makes a stock object, or one of this package's registered layers, of an entry.

    The class itself decides, not its name: another package may register any name.
    """
    from m3net_tf.system.keras import keras

    registered = keras.saving.get_registered_object
    if module.startswith("m3net_tf."):
        kind = registered(f"m3net_tf>{name}") if registered_name == f"m3net_tf>{name}" else None
        is_layer = isinstance(kind, type) and issubclass(kind, keras.layers.Layer)
        return is_layer and kind.__module__.startswith("m3net_tf.")
    if registered_name not in (None, name) or registered(name):
        return False
    if module == _FUNCTIONAL:
        return name == "Functional"
    if module == _LAYERS:
        return name in KERAS_LAYERS
    if module not in _BASES:
        return False
    stock = getattr(keras, module.partition(".")[2])
    kind = vars(stock).get(name)
    return isinstance(kind, type) and issubclass(kind, getattr(stock, _BASES[module]))


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
        "run code, read other files or exhaust the memory: train the network again"
    )
