# SPDX-License-Identifier: Apache-2.0
"""MACs of each TFLite operator, and the table of a profile."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console
from stateful_networks import random_stateful

from m3net_tf.boards.device.messages import Message, Reply
from m3net_tf.boards.measure.layers import (
    Profile,
    calls_in_order,
    operators_in_order,
    profile,
    profile_table,
)
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.system.errors import FirmwareError


@pytest.fixture(scope="module")
def network():
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = layers.Input((12, 10, 1))
    x = layers.Conv2D(6, (5, 3), strides=2, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Softmax()(layers.Dense(5)(x))
    return keras.Model(inputs, outputs)


@pytest.fixture(scope="module")
def tflite(network) -> bytes:
    rng = np.random.default_rng(0)
    return quantize_int8(network, rng.integers(-128, 128, (8, 12, 10, 1)).astype(np.int8))


def test_macs_follow_from_the_shapes(tflite: bytes):
    operators = operators_in_order(tflite)
    macs = {operator.name: operator.macs for operator in operators if operator.macs}
    assert macs == {
        "CONV_2D": 6 * 5 * 6 * (5 * 3),
        "DEPTHWISE_CONV_2D": 6 * 5 * 6 * (3 * 3),
        "TRANSPOSE_CONV": 6 * 5 * 6 * (3 * 3 * 4),
        "FULLY_CONNECTED": 4 * 5,
    }
    assert operators[-1].name == "SOFTMAX" and operators[-1].output == (1, 5)


def test_operators_that_assign_variables_have_no_output():
    operators = operators_in_order(random_stateful(0))
    assigning = [operator for operator in operators if operator.name == "ASSIGN_VARIABLE"]
    assert assigning and all(operator.output == () for operator in assigning)


class Board:
    """Answers ``profile`` from a list of operators."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.port = type("Port", (), {"name": "here"})

    def request(self, command: str, timeout_s: float) -> Reply:
        assert command == "profile"
        lines = [
            Message("layer", f"{index} op={name} cost={1000 * (index + 1)}")
            for index, name in enumerate(self.names)
        ]
        return Reply(Message("ok", "profile total=123456 unit=cycles"), lines)

    def info(self):
        return type("Info", (), {"board": "fast_one"})


def test_profile_has_cost_beside_macs(tflite: bytes):
    names = [operator.name for operator in operators_in_order(tflite)]
    measured = profile(Board(names), tflite)  # type: ignore[arg-type]
    assert json.loads(json.dumps(measured)) == measured
    assert measured["board"] == "fast_one" and measured["engine"] == "tflm"
    assert measured["unit"] == "cycles" and measured["total"] == 123_456
    layers = measured["layers"]
    assert [(row["operator"], row["cost"]) for row in layers] == [
        (name, 1000 * (i + 1)) for i, name in enumerate(names)
    ]
    assert layers[0]["output"] == [1, 6, 5, 6]
    assert measured["macs"] == sum(row["macs"] for row in layers) > 0
    console = Console(record=True, width=120)
    console.print(profile_table(measured))
    text = console.export_text()
    assert "one run on fast_one" in text and "123,456" in text and "CONV_2D" in text


def test_a_compiled_network_is_listed_by_its_calls():
    from m3net_tf.system.keras import keras

    layers = keras.layers
    inputs = layers.Input((12, 10, 1))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = layers.Cropping2D((2, 1))(x)  # not a call of a kernel
    x = layers.Conv2D(5, 1, name="last")(x)
    network = keras.Model(inputs, layers.Flatten()(layers.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(0)
    tflite = quantize_int8(network, rng.integers(-128, 128, (8, 12, 10, 1)).astype(np.int8))
    calls = calls_in_order(tflite)
    operators = operators_in_order(tflite)
    assert [call.name for call in calls] != [operator.name for operator in operators]
    assert sum(call.macs for call in calls) == sum(operator.macs for operator in operators) > 0
    measured = profile(Board([call.name for call in calls]), tflite)  # type: ignore[arg-type]
    assert measured["engine"] == "compiled"
    rows = measured["layers"]
    assert "first" in rows[0]["layer"] and rows[0]["output"] == [1, 10, 8, 4]
    console = Console(record=True, width=120)
    console.print(profile_table(measured))
    text = console.export_text()
    assert "engine compiled" in text and rows[0]["layer"] in text


def test_names_and_figures_are_whole_at_80_columns():
    name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    layer = {
        "operator": name,
        "layer": "",
        "output": [1, 125, 40, 172],
        "macs": 12_345_678,
        "cost": 123_456_789,
    }
    measured: Profile = {
        "board": "some_board",
        "engine": "compiled",
        "unit": "instructions",
        "total": 1,
        "macs": 11 * 12_345_678,
        "layers": [layer] * 11,
    }
    console = Console(record=True, width=80)
    console.print(profile_table(measured))
    text = console.export_text()
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines() if "12,345,678" in line]
    assert all(row[0] == str(index) for index, row in enumerate(rows[:11]))
    for figure in ("125 x 40 x 172", "123,456,789", "9.1 %", "10.00"):
        assert text.count(figure) == 11
    # Fields that do not fit are printed below.
    folded = [line.split() for line in text.splitlines()]
    assert "".join(rows[0][1] + folded[folded.index(rows[0]) + 1][0]) == name


def test_profile_of_another_network(tflite: bytes):
    with pytest.raises(FirmwareError, match="the run's network does not have"):
        profile(Board(["CONV_2D", "SOFTMAX"]), tflite)  # type: ignore[arg-type]
