# SPDX-License-Identifier: Apache-2.0
"""A Keras archive of somebody else runs no code."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from m3net_tf.networks.models import build_model
from m3net_tf.networks.pretrained import FOLDER, pretrained_names
from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run, load
from m3net_tf.training.run.archive import check_archive, write_archive


def finished_run(folder: Path) -> Run:
    """A run that lacks its network only."""
    run = Run(folder)
    recipe = {"dataset": {"name": "synth"}, "model": {"name": "m3net", "preset": "s"}}
    save_recipe(Recipe.from_dict(recipe), run.recipe_path)
    write_json(run.metrics_path, {})
    return run


def save(path: Path, layer: keras.layers.Layer) -> None:
    inputs = keras.Input((4,))
    keras.Model(inputs, layer(inputs)).save(path)


@contextlib.contextmanager
def parts_of(path: Path) -> Iterator[dict[str, bytes]]:
    """The parts of an archive, which may be changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    yield parts
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def replace_config(path: Path, old: str, new: str) -> None:
    """Change the description of the network in an archive."""
    with parts_of(path) as parts:
        config = parts["config.json"].decode()
        assert old in config
        parts["config.json"] = config.replace(old, new).encode()


def refused(run: Run, pattern: str) -> None:
    with pytest.raises(ModelError, match=pattern) as caught:
        run.load_model()
    assert str(run.model_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_lambda_in_an_hdf5_file(tmp_path: Path):
    run = finished_run(tmp_path)
    save(tmp_path / "model.h5", keras.layers.Lambda(lambda x: x + 1))
    (tmp_path / "model.h5").rename(run.model_path)
    keras.models.load_model(run.model_path, compile=False)  # Keras itself accepts the lambda
    refused(run, "cannot be read .BadZipFile.")


def test_a_function_of_any_module(tmp_path: Path):
    """Keras imports the module, which is enough to run a file in Python's search path."""
    run = finished_run(tmp_path)
    save(run.model_path, keras.layers.ReLU())
    assert run.load_model().count_params() == 0
    replace_config(
        run.model_path,
        '"module": "keras.layers", "class_name": "ReLU"',
        '"module": "hostile", "class_name": "ReLU"',
    )
    refused(run, "contains 'ReLU' of module 'hostile'")


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "Dense"},
        {"class_name": "Dense", "module": None},
        {
            "class_name": "TFOpLambda",
            "module": "tf_keras.src.layers.core.tf_op_layer",
            "registered_name": "TFOpLambda",
            "config": {"function": "io.read_file"},
        },
        {"class_name": "get_file", "module": "keras.utils"},
        {"class_name": "function", "module": "builtins", "registered_name": "function"},
        {"class_name": "function", "module": "m3net_tf.a", "registered_name": "m3net_tf>function"},
        {"class_name": "Mirror", "module": "os", "registered_name": "m3net_tf>Mirror"},
        {"class_name": "Path", "module": "m3net_tf.system.artifacts", "registered_name": "Path"},
        {
            "class_name": "Path",
            "module": "m3net_tf.system.artifacts",
            "registered_name": "m3net_tf>Path",
        },
        {"class_name": "Lambda", "module": "keras.layers"},
        {"class_name": "Lambda", "module": "keras.layers", "registered_name": "Lambda"},
        {"class_name": "ReLU", "module": "keras.layers", "registered_name": "other>Disguised"},
        {
            "class_name": "Disguised",
            "module": "m3net_tf.a",
            "registered_name": "m3net_tf>Disguised",
        },
        {"class_name": "StringLookup", "module": "keras.layers"},
        {"class_name": "Dense", "module": "keras.layers"},
        {"class_name": "deserialize", "module": "keras.layers"},
        {"class_name": "InputSpec", "module": "keras.layers"},
        {"class_name": "get", "module": "keras.initializers"},
        {"class_name": "inspect", "module": "tf_keras.src.engine.functional"},
        {"class_name": ["x"] * 10_000, "module": {"keras.layers": 1}},
    ],
)
def test_objects_that_no_network_has(
    tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    for package in ("m3net_tf", "other"):
        name = f"{package}>Disguised"
        monkeypatch.setitem(keras.saving.get_custom_objects(), name, keras.layers.Lambda)
    path = tmp_path / "model.keras"
    allowed = {"class_name": "Add", "module": "keras.layers", "config": {}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps([allowed, {"config": [{"deeper": entry}]}]))
    with pytest.raises(ModelError, match="could run code") as caught:
        check_archive(path)
    assert len(str(caught.value)) < 350 + len(str(path))


def test_a_lambda_of_a_named_function(tmp_path: Path):
    """Keras's safe mode refuses bytecode only: this one would call any function of any module."""
    run = finished_run(tmp_path)
    save(run.model_path, keras.layers.ReLU())
    layer = '"module": "keras.layers", "class_name": '
    replace_config(run.model_path, f'{layer}"ReLU"', f'{layer}"Lambda"')
    refused(run, "contains 'Lambda' of module 'keras.layers'")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras 3 and NumPy
def test_a_network_of_keras_3_is_named_as_such(tmp_path: Path):
    run = finished_run(tmp_path)
    other = pytest.importorskip("keras")
    inputs = other.Input((4,))
    other.Model(inputs, other.layers.Dense(2)(inputs)).save(run.model_path)
    refused(run, r"saved by Keras 3, this project uses Keras 2 \(tf_keras\)")


@pytest.mark.parametrize(
    ("config", "pattern"),
    [
        ("[" * 100_000, "nested too deeply"),
        (" " * (9 << 20), "more than 8388608 bytes"),
        ("9" * 4301, "a number of more than 64 characters"),
        (json.dumps(6000 * [{"class_name": "Add", "module": "keras.layers"}]), "5000 objects"),
    ],
)
def test_bombs(tmp_path: Path, config: str, pattern: str):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
    with pytest.raises(ModelError, match=pattern):
        check_archive(path)


@pytest.fixture
def convolution(tmp_path: Path) -> Run:
    """A run of a network with one convolution."""
    run = finished_run(tmp_path / "run")
    inputs = keras.Input((4, 4, 1))
    network = keras.Model(inputs, keras.layers.Conv2D(8, 3)(inputs))
    write_archive(network, run.model_path)
    return run


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of this computer, as an HDF5 file that others can refer to."""
    with h5py.File(tmp_path / "secret", "w") as file:
        file["x"] = np.ones((3, 3, 1, 8), np.float32)
    return tmp_path / "secret"


def kernel_of(file: h5py.File) -> h5py.Dataset:
    found: list[h5py.Dataset] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return next(item for item in found if item.ndim == 4)


def external(group: h5py.Group, name: str, secret: Path) -> None:
    group.create_dataset(name, (3, 3, 1, 8), "f4", external=[(str(secret), 0, 288)])


def virtual(group: h5py.Group, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((3, 3, 1, 8), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "x", (3, 3, 1, 8))
    group.create_virtual_dataset(name, layout)


def soft_link(group: h5py.Group, name: str, secret: Path) -> None:
    group.file["other"] = np.ones((3, 3, 1, 8), np.float32)
    group[name] = h5py.SoftLink("/other")


def external_link(group: h5py.Group, name: str, secret: Path) -> None:
    group[name] = h5py.ExternalLink(str(secret), "x")


def hard_link(group: h5py.Group, name: str, secret: Path) -> None:
    group[name] = group.file


def two_to_the_40(group: h5py.Group, name: str, secret: Path) -> None:
    group.create_dataset(name, (1 << 40,), "f4", chunks=(1 << 10,))


def unwritten(group: h5py.Group, name: str, secret: Path) -> None:
    group.create_dataset(name, (1 << 40,), "f4")


def compressed(group: h5py.Group, name: str, secret: Path) -> None:
    group.create_dataset(name, data=np.zeros(10_000_000, np.float32), compression=9)


def texts(group: h5py.Group, name: str, secret: Path) -> None:
    group[name] = ["a", "b"]


def missing(group: h5py.Group, name: str, secret: Path) -> None:
    pass


def other_shape(group: h5py.Group, name: str, secret: Path) -> None:
    group[name] = np.ones((3, 3, 8, 1), np.float32)


@pytest.mark.parametrize(
    ("put", "pattern"),
    [
        (external, "has a weight outside of it"),
        (virtual, "has a weight outside of it"),
        (soft_link, "has a link as a weight"),
        (external_link, "has a link as a weight"),
        (hard_link, "has too many or repeated weights"),
        (two_to_the_40, "has a weight outside of it"),
        (unwritten, "has a weight outside of it"),
        (compressed, "has a weight outside of it"),
        (texts, "has a weight outside of it"),
        (missing, "does not have the weights that its network needs"),
        (other_shape, "does not have the weights that its network needs"),
    ],
)
def test_weights_that_are_not_in_the_file(
    convolution: Run, secret: Path, put: Callable[[h5py.Group, str, Path], None], pattern: str
):
    with parts_of(convolution.model_path) as parts:
        weights = io.BytesIO(parts["model.weights.h5"])
        with h5py.File(weights, "r+") as file:
            kernel = kernel_of(file)
            group = kernel.parent
            name = kernel.name.rpartition("/")[2]
            del group[name]
            put(group, name, secret)
        parts["model.weights.h5"] = weights.getvalue()
    refused(convolution, pattern)


@pytest.mark.parametrize("filters", ["100000000000", "1e11", "9000000", "-8", "[8]", '"8"'])
def test_layers_larger_than_the_weights(convolution: Run, filters: str):
    """Keras would draw random numbers for all of them first."""
    replace_config(convolution.model_path, '"filters": 8', f'"filters": {filters}')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(convolution, "has weights for|cannot be read|needs")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000


def test_what_is_not_a_file_is_not_waited_for(convolution: Run):
    convolution.model_path.unlink()
    os.mkfifo(convolution.model_path)
    refused(convolution, "cannot be read")


def test_no_weights(convolution: Run):
    with parts_of(convolution.model_path) as parts:
        parts["model.weights.npz"] = parts.pop("model.weights.h5")
    refused(convolution, "cannot be read")


@pytest.mark.parametrize("name", pretrained_names()[:1])
def test_the_same_network_as_kerass_own_reader_makes(name: str):
    run = Run(FOLDER / name)
    network = run.load_model()
    expected = keras.models.load_model(run.model_path, compile=False)
    assert network.get_config() == expected.get_config()
    for ours, theirs in zip(network.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_sums_and_products_of_the_baselines(tmp_path: Path):
    network = build_model("baselines", "mobilenet_v3_small", input_shape=(32, 32, 1), classes=3)
    write_archive(network, tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    maps = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 1)).astype(np.float32)
    np.testing.assert_array_equal(loaded(maps), network(maps))
