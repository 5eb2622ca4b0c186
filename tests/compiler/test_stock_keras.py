# SPDX-License-Identifier: Apache-2.0
"""Models of Keras 3, with an unknown batch size, by the converter's ``from_keras_model``.

TFLite Micro takes the sizes that the file leaves open to be 1, or refuses the file. It is compared
on the same operators with the shapes that LiteRT finds at run time.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from open_sizes import frozen, interpreter_of
from reference import random_inputs, run_micro
from refusals import refuses
from single_operators import Item, write_model

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ModelError

INPUTS = 4

# Tests of the operators' forms have open sizes, too, and need no second Keras.
pytestmark = pytest.mark.slow

with_micro = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def blocks():
    """SPACE_TO_BATCH_ND without a convolution behind it."""
    source = Item((2, 5, 4, 3), 0.1, -9)
    block, pads = (np.array(values, np.int32) for values in ([2, 3], [[1, 2], [0, 2]]))
    places = [Item(block.shape, values=block), Item(pads.shape, values=pads)]
    batches = dataclasses.replace(source, shape=(12, 4, 2, 3))
    options = schema.SpaceToBatchNDOptionsT()
    return write_model("SPACE_TO_BATCH_ND", [source, *places], [batches], options)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The files by name."""
    folder = tmp_path_factory.mktemp("keras")
    program = Path(__file__).with_name("stock_keras.py")
    subprocess.run([sys.executable, program, folder], check=True, capture_output=True)
    files = {path.stem: path.read_bytes() for path in sorted(folder.iterdir())}
    return files | {"blocks": blocks()}


@pytest.fixture(scope="module")
def networks(models):
    return {
        name: compile_network(tflite)
        for name, tflite in models.items()
        if name != "wide_reset_before"
    }


@pytest.fixture(scope="module")
def hosts(networks, tmp_path_factory):
    return build_host(networks, tmp_path_factory.mktemp("stock"))


@with_micro
@pytest.mark.parametrize("name", ["convolutions", "attention", "normalizations", "recurrent"])
def test_a_model_of_unknown_batch_size_gives_the_bytes_of_tflite_micro(
    name, models, networks, hosts
):
    assert networks[name].saved["operators of constants computed"] > 0
    rng = np.random.default_rng(0)
    answers = set()
    for _ in range(INPUTS):
        (values,) = random_inputs(rng, networks[name])
        (output,) = hosts[name].run(values)
        expected = run_micro(frozen(models[name], values), [values], 1)[0]
        np.testing.assert_array_equal(output, expected)
        answers.add(output.tobytes())
    assert len(answers) > 1


@pytest.mark.parametrize(
    "name", ["activations", "blocks", "convolutions", "wide_convolutions", "reset_before"]
)
def test_what_tflite_micro_refuses_gives_the_bytes_of_litert(name, models, networks, hosts):
    """TFLite Micro has no GELU, no int8 EXP, no SPACE_TO_BATCH_ND of int16, none that pads with the
    zero point, and no split of a float tensor into empty parts.
    """
    rng = np.random.default_rng(0)
    for _ in range(INPUTS):
        (values,) = random_inputs(rng, networks[name])
        interpreter = interpreter_of(models[name], values)
        expected = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_array_equal(hosts[name].run(values)[0], expected)


@pytest.mark.parametrize("name", ["convolutions", "wide_convolutions"])
def test_dilated_convolutions_are_put_together(name, networks):
    assert networks[name].saved["dilated convolutions put together"] == 4


def test_int16_of_unknown_batch_size_says_what_to_do(models):
    """The converter gives the state before the first step, which is zero, the scale 0."""
    with refuses(ModelError, "batch_size=1"):
        compile_network(models["wide_reset_before"])
