# SPDX-License-Identifier: Apache-2.0
"""A Keras archive of somebody else runs no code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from m3net_tf.system.artifacts import write_json
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.training.archive import check_archive
from m3net_tf.training.recipe import Recipe, save_recipe
from m3net_tf.training.run import Run


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


def replace_config(path: Path, old: str, new: str) -> None:
    """Change the description of the network in an archive."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = parts["config.json"].decode()
    assert old in config
    parts["config.json"] = config.replace(old, new).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


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
        {"class_name": "TFOpLambda", "module": "tf_keras.src.layers.core.tf_op_layer"},
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
    assert len(str(caught.value)) < 300 + len(str(path))


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
    [("[" * 100_000, "nested too deeply"), (" " * (17 << 20), "more than 16777216 bytes")],
)
def test_bombs(tmp_path: Path, config: str, pattern: str):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
    with pytest.raises(ModelError, match=pattern):
        check_archive(path)
