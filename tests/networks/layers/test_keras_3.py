# SPDX-License-Identifier: Apache-2.0
"""Objects of Keras 3 are refused in one line: they cannot be mixed with objects of Keras 2."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from refusals import refuses

from m3net_tf import load, models
from m3net_tf.networks.layers import DiffRes, Mirror, MirrorAttention
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras

keras_3 = pytest.importorskip("keras", minversion="3")


def refused(call: Callable[[], Any]) -> None:
    with refuses(ConfigError, "Keras 2") as caught:
        call()
    text = str(caught.value)
    assert "from m3net_tf import keras" in text and "Keras 3" in text and "\n" not in text


def test_at_the_entries():
    inputs = keras_3.Input((40, 49, 1))
    refused(lambda: DiffRes(0.5)(inputs))
    refused(lambda: DiffRes(0.5)([inputs]))
    refused(lambda: MirrorAttention()(inputs))
    refused(lambda: DiffRes(0.5, dtype=keras_3.DTypePolicy("float32")))
    refused(lambda: models.M3Net("s", input_shape=inputs))
    refused(lambda: load(keras_3.Model(inputs, keras_3.layers.Dense(2)(inputs))))


@pytest.mark.parametrize(
    "kind", ["Dense", "Conv2D", "GlobalAveragePooling2D", "BatchNormalization"]
)
def test_no_layer_of_keras_3_takes_our_tensor(kind: str):
    """Its weights would be neither trained nor saved."""
    arguments = {"Dense": (4,), "Conv2D": (4, 3)}.get(kind, ())
    tensors = [DiffRes(0.5)(keras.Input((40, 20, 1)))]
    network = models.M3Net("s", input_shape=(40, 49, 1), classes=4)
    tensors += network.outputs if kind == "Dense" else []
    for tensor in tensors:
        refused(lambda tensor=tensor: getattr(keras_3.layers, kind)(*arguments)(tensor))
        getattr(keras.layers, kind)(*arguments)(tensor)


def test_keras_3_alone_and_operations_of_tensorflow_stay_as_they_are():
    DiffRes(0.5)
    layer = keras_3.layers.Dense(3)
    assert layer(np.ones((2, 4), np.float32)).shape == (2, 3)
    assert layer(keras_3.Input((4,))).shape == (None, 3)
    assert (keras.Input((4,)) * 2.0 + 1.0).shape == (None, 4)


def test_diffres_refuses_other_arguments_at_construction():
    with refuses(ConfigError, "paper", "released"):
        DiffRes(0.5, reading="mine")
    with refuses(ConfigError, "guide_weight", "-1"):
        DiffRes(0.5, guide_weight=-1)
    with pytest.raises(TypeError, match="unknown"):
        DiffRes(0.5, unknown=1)


@pytest.mark.parametrize(
    "shape", [(64, 100), (100,), (64, None, 1), (None, 100, 1)], ids=lambda shape: str(shape)
)
@pytest.mark.parametrize("layer", [lambda: DiffRes(0.5), MirrorAttention])
def test_a_map_of_another_form_is_refused_in_one_line(layer, shape):
    with refuses(ConfigError, "(batch, bins, frames, ", str(shape[-1])):
        layer()(keras.Input(shape))


def test_layers_for_maps_refuse_several_inputs_and_a_waveform():
    with refuses(ConfigError, "DiffRes", "not one map"):
        DiffRes(0.5)([keras.Input((64, 100, 1))] * 2)
    with refuses(ConfigError, "Mirror", "(None, 100)"):
        Mirror(time=True)(keras.Input((100,)))
    with refuses(ConfigError, "(40, 49)", "(bins, frames, channels)"):
        models.M3Net("s", input_shape=(40, 49))
