# SPDX-License-Identifier: Apache-2.0
"""Networks of whole windows as networks that keep earlier columns in variables."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from refusals import refuses

from m3net_tf.networks.models import build_model
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras
from m3net_tf.tflite.stateful import stateful_network

BINS, COLUMNS, CLASSES, KEPT = 12, 58, 3, 1
SCALE = 0.1


def window_network(name: str = "streaming_ds_cnn", head: str = "sigmoid", **arguments) -> bytes:
    """An int8 network of whole windows with random weights."""
    preset = {"streaming_ds_cnn": "wake", "ds_cnn": "mcu"}[name]
    shape = (BINS, COLUMNS, 1)
    keras.utils.set_random_seed(0)
    model = build_model(
        name, preset, input_shape=shape, classes=CLASSES, head=head, overrides=arguments
    )
    *others, kernel, bias = model.get_weights()
    model.set_weights([*others, 400 * kernel, bias])  # outputs that differ
    maps = np.random.default_rng(0).integers(-128, 128, (20, *shape)).astype(np.int8)
    return quantize_int8(model, maps)


@pytest.fixture(scope="module", params=[(), (6, 4)], ids=["bins as channels", "stem"])
def window(request) -> bytes:
    """A network with a stride of 4 and lines of different lengths."""
    return window_network(filters=8, kernels=(10, 3, 5), stride=4, features=6, stem=request.param)


def run(interpreter: Interpreter, features: np.ndarray) -> np.ndarray:
    """The outputs of one run."""
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], features)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


@pytest.mark.parametrize("columns", [4, 8, 12])
def test_runs_of_new_columns_give_the_bytes_of_whole_windows(window, columns):
    tflite = stateful_network(window, columns=columns, output=KEPT, input_scale=SCALE)
    stateful, whole = Interpreter(model_content=tflite), Interpreter(model_content=window)
    stateful.allocate_tensors()
    whole.allocate_tensors()
    (source,), (probability,) = stateful.get_input_details(), stateful.get_output_details()
    assert source["shape"].tolist() == [1, columns, BINS] and source["dtype"] == np.int8
    assert source["quantization"] == (pytest.approx(SCALE), -128)
    assert probability["shape"].tolist() == [1, 1] and probability["dtype"] == np.uint8
    assert probability["quantization"] == (1 / 256, 0)
    rng = np.random.default_rng(1)
    levels = rng.uniform(-100, 100, COLUMNS + 20 * columns).repeat(5)[: COLUMNS + 20 * columns]
    sound = np.clip(rng.normal(levels, 40, (BINS, len(levels))), -128, 127).astype(np.int8)
    compared = []
    for end in range(columns, sound.shape[1] + 1, columns):
        (given,) = run(stateful, sound[:, end - columns : end].T[None].copy())
        if end >= COLUMNS:
            expected = run(whole, sound[None, :, end - COLUMNS : end, None].copy())
            compared.append((int(given), int(expected[KEPT]) + 128))
    assert len(compared) >= 20 and len({given for given, _ in compared}) > 5
    assert [given for given, _ in compared] == [expected for _, expected in compared]


def test_other_networks_are_refused(window):
    def attempt(tflite: bytes, columns: int = 4) -> None:
        stateful_network(tflite, columns=columns, output=0, input_scale=SCALE)

    with refuses(ModelError, "6", "4"):
        attempt(window, columns=6)
    with refuses(ModelError, "80", "more than"):
        attempt(window, columns=80)
    with refuses(ModelError, "streaming_ds_cnn", "binary_cross_entropy"):
        attempt(window_network(head="softmax", filters=8, kernels=(10, 3), stride=4))
    with refuses(ModelError, "streaming_ds_cnn"):
        attempt(window_network("ds_cnn"))
    with refuses(ModelError, str(COLUMNS)):
        attempt(window_network(filters=8, kernels=(9, 3), stride=4))
    with refuses(ModelError, "damaged"):
        attempt(window[: len(window) // 2])
