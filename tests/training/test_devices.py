# SPDX-License-Identifier: Apache-2.0
"""One training spread over devices: two logical CPUs replace two GPUs."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from m3net_tf.errors import ConfigError
from m3net_tf.training import train

# Devices are fixed once TensorFlow has started, so the trainings run in a separate process.
_TRAIN = """
import json, sys
from m3net_tf.keras import tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from pathlib import Path
from m3net_tf.errors import ConfigError
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
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts == {"groups1": 1, "groups2": 2, "batches1": 1, "batches2": 2}
    one_device, two_devices = _losses(tmp_path / "groups1"), _losses(tmp_path / "groups2")
    assert one_device == pytest.approx(two_devices, rel=1e-4)
    assert _losses(tmp_path / "batches2") != _losses(tmp_path / "batches1")


def test_more_devices_than_there_are(tiny_recipe, tmp_path):
    with pytest.raises(ConfigError, match=r"3 devices were asked for and 1 CPU found: give --dev"):
        train(tiny_recipe(), tmp_path / "run", devices=3)
