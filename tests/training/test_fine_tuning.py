# SPDX-License-Identifier: Apache-2.0
"""A finished run as the start of a new one."""

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.networks.models import build_model
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras
from m3net_tf.training import Run, train
from m3net_tf.training.fine_tuning import start_from
from m3net_tf.training.run import load_section
from m3net_tf.training.run_sections import FineTuningSection

pytestmark = pytest.mark.usefixtures("private_cache")

SHAPE = (40, 49, 1)
ONE_EPOCH = {"epochs": 1, "weight_average": 0.0}


def test_fine_tuning_begins_with_the_runs_layers_and_a_new_head(tiny_recipe, tiny_run, tmp_path):
    recipe = tiny_recipe(
        training=ONE_EPOCH, fine_tuning={"run": str(tiny_run), "freeze": ["sfp", "mfp_align"]}
    )
    lines: list[str] = []
    metrics = train(recipe, tmp_path / "run", log=lines.append).values
    facts = metrics["fine_tuning"]
    assert facts["layers_new"] == ["dense"]
    assert facts["layers_frozen"]
    assert facts["parameters_taken"] == metrics["parameters"] - 90  # 8 channels to 10 classes
    assert any(line.startswith(f"{facts['layers_taken']} layers with ") for line in lines)
    before, after = (Run(folder).load_model() for folder in (tiny_run, tmp_path / "run"))
    for layer in after.layers:
        same = [
            np.array_equal(a, b)
            for a, b in zip(
                layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True
            )
        ]
        assert all(same) if layer.name in facts["layers_frozen"] else not all(same) or not same


def begin(tiny_run, tiny_recipe, classes: int = 10, **settings: object) -> dict:
    overrides = tiny_recipe().model.arguments

    def build(count: int) -> keras.Model:
        return build_model("m3net", "mcu", input_shape=SHAPE, classes=count, overrides=overrides)

    section = FineTuningSection(str(tiny_run), **settings)
    dataset = load_section(tiny_recipe().dataset, None)
    return start_from(build(classes), section, dataset, build, lambda _: None)


def test_freezing_what_is_not_there(tiny_run, tiny_recipe):
    with refuses(ConfigError, "'stem'"):
        begin(tiny_run, tiny_recipe, freeze=("stem",))
    with refuses(ConfigError, "freeze"):
        begin(tiny_run, tiny_recipe, freeze=("",))


def test_a_run_of_another_network(tiny_run, tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        model={"name": "ds_cnn", "arguments": {}}, fine_tuning={"run": str(tiny_run)}
    )
    source = Run(tiny_run).load_model()
    for layer in source.layers:
        layer._name = f"other_{layer.name}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "load_model", lambda _: source)
        with refuses(ConfigError, "ds_cnn"):
            train(recipe, tmp_path / "run")


# Lengths, early stopping, learnt figures, TensorBoard
