# SPDX-License-Identifier: Apache-2.0
"""Objects of Keras 3 are refused in one line: they cannot be mixed with objects of Keras 2."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from refusals import refuses

from m3net_tf import load, models
from m3net_tf.networks.layers import DiffRes
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
