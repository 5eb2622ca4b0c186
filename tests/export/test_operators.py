# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refuses
from single_operators import Item, write_model

from m3net_tf.compiler.goals import DEFAULT_GOAL
from m3net_tf.compiler.micro import TFLM_OPERATORS
from m3net_tf.export.c_files import compile_model
from m3net_tf.export.operators import operators_of, require_in_micro
from m3net_tf.networks.layers import Mirror, classifier, conv_block, ds_conv
from m3net_tf.networks.layers.channel_attention import EfficientChannelAttention
from m3net_tf.quantization.ptq import converter_of, quantize_int8
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras, tf


def convert(function, *, flex: bool = False) -> bytes:
    """Float ``.tflite`` of a network with one peculiar layer, called ``odd_one``."""
    inputs = keras.Input((8, 4))
    odd_one = keras.layers.Lambda(function, name="odd_one")(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(odd_one))
    converter = converter_of(model, (1, 8, 4))
    if flex:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]
    return converter.convert()


@pytest.mark.parametrize(
    ("function", "flex", "operator"),
    [
        (lambda x: tf.reverse_sequence(x, [3], 1, 0), False, "REVERSE_SEQUENCE"),
        (lambda x: tf.math.atan2(x, x + 1), False, "ATAN2"),
        (tf.math.erf, True, "CUSTOM FlexErf"),
    ],
)
def test_an_operator_that_tflite_micro_lacks(function, flex, operator):
    tflite = convert(function, flex=flex)
    assert operator in operators_of(tflite)
    with refuses(ModelError, "odd_one", operator, "compiled") as e:
        require_in_micro([tflite])
    assert "\n" not in str(e.value)


def test_operators_of_our_layers():
    inputs = keras.Input((8, 10, 1))
    x = ds_conv(conv_block(inputs, 4), 4, (3, 3), (2, 2))
    x = Mirror(time=True)(Mirror(frequency=True)(x)) + EfficientChannelAttention()(x)
    model = keras.Model(inputs, classifier(x, 3))
    rng = np.random.default_rng(0)
    tflite = quantize_int8(model, rng.integers(-128, 128, (8, 8, 10, 1)).astype(np.int8))
    operators = operators_of(tflite)
    assert operators == sorted(set(operators))
    assert set(operators) <= TFLM_OPERATORS
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "REVERSE_V2", "AVERAGE_POOL_2D", "SOFTMAX"} <= set(
        operators
    )


@pytest.mark.parametrize("cut", [0, 4, 8, 20, 200])
def test_what_is_no_network(cut):
    whole = convert(tf.nn.relu)
    assert operators_of(whole)
    with pytest.raises(ModelError, match="export or convert it again"):
        operators_of(whole[:cut])
    with pytest.raises(ModelError, match="export or convert it again"):
        operators_of(b"nonsense" * 99)


@pytest.mark.parametrize(("kind", "is_advised"), [("SQRT", False), ("ZEROS_LIKE", True)])
def test_another_engine_is_advised_where_it_runs_the_network(kind, is_advised):
    """Both are in TFLite Micro's list; its SQRT takes float alone."""
    item = {"shape": (1, 4), "scale": 0.1, "zero_point": 3}
    tflite = write_model(kind, [Item(**item)], [Item(**item)])
    model = SimpleNamespace(
        name="odd",
        tflite=tflite,
        importance=None,
        optimise=DEFAULT_GOAL,
        weights_in_ram=0,
        updatable=False,
        push_columns=None,
    )
    with refuses(ModelError, "odd", kind) as error:
        compile_model(model)
    assert ("--engine tflm" in str(error.value)) == is_advised
