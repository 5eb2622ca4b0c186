# SPDX-License-Identifier: Apache-2.0
"""One training spread over devices or worker processes, and over batches of one step.

Two logical CPUs replace two GPUs, two processes of this computer two computers.
"""

import dataclasses
import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from refusals import refuses

from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training import train
from m3net_tf.training.loop import steps
from m3net_tf.training.loop.distribution import current_share, strategy_for
from m3net_tf.training.loop.epochs import xla_errors
from m3net_tf.training.loop.member import Member
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loop.steps import make_step
from m3net_tf.training.network import half_precision

# Devices are fixed once TensorFlow has started, so the trainings run in a separate process.
_TRAIN = """
import json, sys
from m3net_tf.system.keras import tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from pathlib import Path
from m3net_tf.system.errors import ConfigError
from m3net_tf.training import load_recipe, train
folder = Path(sys.argv[1])
found = {}
for name in ("groups", "batches"):
    recipe = load_recipe(folder / f"{name}.yaml")
    for devices in (1, 2):
        run = folder / f"{name}{devices}"
        found[f"{name}{devices}"] = train(recipe, run, devices=devices).values["devices"]
print(json.dumps(found))
"""


def _losses(folder):
    rows = (folder / "history.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    return [float(row.split(",")[column]) for row in rows[1:]]


def _stepped(recipe, steps=2):
    """Weights and losses after some steps on random maps, of a network without statistics."""
    keras.utils.set_random_seed(0)
    with half_precision(recipe.training):
        maps = keras.Input((4, 6, 1))
        hidden = keras.layers.Dense(8, "relu")(keras.layers.Flatten()(maps))
        model = keras.Model(maps, keras.layers.Dense(3, "softmax", dtype="float32")(hidden))
    state = TrainingState(model, recipe.training, 64)
    step = make_step(state, recipe, lambda y, x: tf.reduce_mean(keras.losses.mse(y, x)))
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        size = recipe.training.step_clips
        features = rng.integers(-128, 128, (size, 4, 6)).astype(np.int8)
        batch = {"features": tf.constant(features), "labels": tf.constant(np.arange(size) % 3)}
        seed = tf.constant(rng.integers(2**31, size=2), tf.int32)
        losses.append(float(step(batch, seed, tf.constant(1.0))))
    return [*model.get_weights(), np.array(losses)]


#: Accumulated batches sum in another order; XLA rounds in another way.
_SAME = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        {},
        pytest.param(
            {"mixed_precision": True, "half_precision": "float16"}, marks=pytest.mark.slow
        ),
    ],
)
def test_accumulated_batches_are_one_large_batch(tiny_recipe, values):
    values = {"gradient_norm": 0.1, **values}  # clips the mean, not each batch
    large = _stepped(tiny_recipe(training={"batch_size": 16, **values}))
    small = _stepped(tiny_recipe(training={"batch_size": 4, "accumulate": 4, **values}))
    tolerance = 1e-2 if values.get("mixed_precision") else 1e-4
    for a, b in zip(large, small, strict=True):
        _SAME(a, b, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("stock", [False, True])
def test_stock_layers_are_the_networks_own(tiny_recipe, monkeypatch, stock):
    formed = []
    monkeypatch.setattr(steps, "training_form", lambda model: formed.append(model) or model)
    _stepped(tiny_recipe(training={"stock_layers": stock}), 1)
    assert len(formed) == (not stock)


@pytest.mark.slow
def test_xla_computes_the_same(tiny_recipe):
    plain = tiny_recipe(training={"batch_size": 8, "accumulate": 2})
    compiled = dataclasses.replace(plain, training=dataclasses.replace(plain.training, xla=True))
    for a, b in zip(_stepped(plain, 1), _stepped(compiled, 1), strict=True):
        _SAME(a, b)


def test_what_xla_cannot_compile_names_the_key(tiny_recipe):
    refused = tf.errors.InvalidArgumentError(None, None, "no kernel for Where\nstack")
    message = r"training\.xla is true, but m3net cannot be compiled \(no kernel for Where\): set"
    with pytest.raises(ModelError, match=message), xla_errors(tiny_recipe(training={"xla": True})):
        raise refused
    with pytest.raises(tf.errors.InvalidArgumentError), xla_errors(tiny_recipe()):
        raise refused


def test_a_step_needs_all_its_clips(tiny_recipe, tmp_path, private_cache):
    recipe = tiny_recipe(training={"batch_size": 16, "accumulate": 3})
    with refuses(ConfigError, "accumulate", "3", "16", "40"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run/recipe.yaml").exists()


def test_the_recipe_names_the_half_precision(tiny_recipe):
    for kind in ("float16", "bfloat16"):
        recipe = tiny_recipe(training={"mixed_precision": True, "half_precision": kind})
        with half_precision(recipe.training):
            assert keras.mixed_precision.global_policy().name == f"mixed_{kind}"
    with refuses(ConfigError, "half_precision", "float16", "mixed_precision"):
        tiny_recipe(training={"half_precision": "float16"})


@pytest.mark.slow
def test_two_devices_learn_what_one_does(tiny_recipe, tmp_path):
    masks = {"time_masks": 1, "frequency_masks": 1, "mixup_probability": 0.5}
    small = {"channels": [4, 4], "modules": [1, 1], "strides": [4, 2], "mask": "none"}
    training = {"gradient_norm": 1.0, "weight_average": 0.9, "epochs": 2, "batch_size": 20}
    recipes = {
        # Group normalisation uses one clip at a time, so both ways must agree.
        "groups": tiny_recipe(
            model={"name": "spectromasknet", "preset": "mcu", "arguments": small},
            augmentation=masks,
            training=training,
        ),
        # Batch normalisation, dropout and half precision must run; statistics differ.
        "batches": tiny_recipe(training={**training, "mixed_precision": True}),
    }
    for name, recipe in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe.to_dict()))
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, tmp_path],
        capture_output=True,
        text=True,
        # Half precision follows in the same process, and oneDNN has none for AVX2.
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "ONEDNN_MAX_CPU_ISA": "ALL"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts == {"groups1": 1, "groups2": 2, "batches1": 1, "batches2": 2}
    one_device = _losses(tmp_path / "groups1")
    two_devices = _losses(tmp_path / "groups2")
    assert one_device == pytest.approx(two_devices, rel=1e-4)
    assert _losses(tmp_path / "batches2") != _losses(tmp_path / "batches1")


def test_more_devices_than_there_are(tiny_recipe, tmp_path):
    with refuses(ConfigError, "3", "1", "CPU", "--dev"):
        train(tiny_recipe(), tmp_path / "run", devices=3)


def test_one_worker_is_no_strategy():
    share = current_share()
    assert (share.replicas, share.workers, share.writes) == (1, 1, True)
    assert strategy_for(1, 7) is tf.distribute.get_strategy()


def test_workers_need_gpus_for_devices_and_a_batch_that_divides():
    member = Member(("localhost:1", "localhost:2"), 0)
    with refuses(ConfigError, "2", "GPUs", "--devices"):
        strategy_for(2, 8, member)
    with refuses(ConfigError, "batch_size", "7", "2"):
        strategy_for(1, 7, member)
