# SPDX-License-Identifier: Apache-2.0
"""Networks of the forms of MLPerf Tiny's references and of public files, with random weights."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from reference import random_inputs, run_micro
from single_operators import Item, write_network
from wide_operators import widen

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

RELU = 1
INPUTS = 4

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


class Builder:
    """Operators of a network, each on the latest tensor unless it says otherwise."""

    def __init__(self, shape):
        self.rng = np.random.default_rng(len(shape))
        self.steps = []
        self.latest = Item(shape, 1 / 128, 0)

    def add(self, kind, inputs, shape, scale, zero, options=None):
        self.latest = Item(shape, scale, zero)
        self.steps.append((kind, inputs, [self.latest], options))
        return self.latest

    def weights(self, shape, axis, channels):
        scales = self.rng.uniform(0.002, 0.01, channels) if channels else 0.01
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        bias = self.rng.integers(-900, 900, shape[axis]).astype(np.int32)
        return Item(shape, scales, values=values, axis=axis), Item(bias.shape, values=bias)

    def convolution(self, channels, window, stride=1, source=None, activation=RELU):
        source = source or self.latest
        options = schema.Conv2DOptionsT(
            strideH=stride,
            strideW=stride,
            padding=schema.Padding.SAME,
            fusedActivationFunction=activation,
        )
        filters = self.weights((channels, window, window, source.shape[3]), 0, channels)
        rows, columns = (-(-size // stride) for size in source.shape[1:3])
        zero = -128 if activation else 7
        shape = (1, rows, columns, channels)
        return self.add("CONV_2D", [source, *filters], shape, 0.04, zero, options)

    def depthwise(self, stride):
        source = self.latest
        options = schema.DepthwiseConv2DOptionsT(
            strideH=stride,
            strideW=stride,
            depthMultiplier=1,
            padding=schema.Padding.SAME,
            fusedActivationFunction=RELU,
        )
        channels = source.shape[3]
        filters = self.weights((1, 3, 3, channels), 3, channels)
        rows, columns = (-(-size // stride) for size in source.shape[1:3])
        shape = (1, rows, columns, channels)
        return self.add("DEPTHWISE_CONV_2D", [source, *filters], shape, 0.04, -128, options)

    def sum(self, first, second):
        options = schema.AddOptionsT(fusedActivationFunction=RELU)
        return self.add("ADD", [first, second], first.shape, 0.06, -128, options)

    def average(self):
        source = self.latest
        options = schema.Pool2DOptionsT()
        options.filterHeight, options.filterWidth = source.shape[1:3]
        options.strideH, options.strideW = source.shape[1:3]
        options.padding = schema.Padding.VALID
        options.fusedActivationFunction = 0
        shape = (1, 1, 1, source.shape[3])
        return self.add(
            "AVERAGE_POOL_2D", [source], shape, source.scale, source.zero_point, options
        )

    def dense(self, channels, activation=0):
        source = self.latest
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=activation)
        filters, bias = self.weights((channels, source.shape[-1]), 0, None)
        bias.scale = source.scale * 0.01
        zero = -128 if activation else 7
        return self.add(
            "FULLY_CONNECTED", [source, filters, bias], (1, channels), 0.1, zero, options
        )

    def classify(self, classes):
        self.average()
        source = self.latest
        flat = np.array([1, source.shape[3]], np.int32)
        inputs = [source, Item((2,), values=flat)]
        self.add("RESHAPE", inputs, tuple(flat), source.scale, source.zero_point)
        self.dense(classes)
        options = schema.SoftmaxOptionsT(beta=1.0)
        self.add("SOFTMAX", [self.latest], (1, classes), 1 / 256, -128, options)


def residual():
    """As ResNet-8: sums of a block and its input, which a 1x1 convolution strides over."""
    net = Builder((1, 16, 16, 3))
    net.convolution(8, 3)
    for channels, stride in ((8, 1), (12, 2), (16, 2)):
        start = net.latest
        net.convolution(channels, 3, stride)
        block = net.convolution(channels, 3, activation=0)
        if stride > 1:
            start = net.convolution(channels, 1, stride, start, activation=0)
        net.sum(start, block)
    net.classify(10)
    return write_network(net.steps)


def separable():
    """As MobileNetV1: a stride in every other depthwise layer."""
    net = Builder((1, 24, 24, 3))
    net.convolution(4, 3, 2)
    for channels, stride in ((8, 1), (12, 2), (12, 1), (24, 2), (24, 1)):
        net.depthwise(stride)
        net.convolution(channels, 1)
    net.classify(2)
    return write_network(net.steps)


def autoencoder():
    """As the anomaly detector: fully connected layers through a bottleneck of eight."""
    net = Builder((1, 160))
    for channels in (32, 32, 8, 32, 32):
        net.dense(channels, RELU)
    net.dense(160)
    return write_network(net.steps)


def flattened_image():
    """Two items of more channels than an image can have."""
    network = Builder((2, 40_000))
    filters = network.weights((3, 40_000), 0, 0)
    options = schema.FullyConnectedOptionsT()
    network.add("FULLY_CONNECTED", [network.latest, *filters], (2, 3), 0.5, 4, options)
    return write_network(network.steps)


def moved_without_a_scale():
    """Items that are only moved need no scale."""
    options = schema.ConcatenationOptionsT(axis=1)
    items = Item((2, 3)), Item((2, 1))
    return write_network([("CONCATENATION", [*items], [Item((2, 4))], options)])


FORMS = {
    "residual": residual,
    "separable": separable,
    "autoencoder": autoencoder,
    "flattened_image": flattened_image,
    "moved_without_a_scale": moved_without_a_scale,
}


def test_published_forms_give_the_bytes_of_tflite_micro(tmp_path):
    models = {name: make() for name, make in FORMS.items()}
    models |= {f"wide_{name}": widen(tflite) for name, tflite in models.items()}
    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    hosts = build_host(networks, tmp_path)
    rng = np.random.default_rng(3)
    for name, tflite in models.items():
        answers = set()
        for _ in range(INPUTS):
            inputs = random_inputs(rng, networks[name])
            expected = run_micro(tflite, inputs, 1)[0]
            output = hosts[name].run(*inputs)[0]
            np.testing.assert_array_equal(output, expected, name)
            answers.add(output.tobytes())
        assert len(answers) == INPUTS, name
        assert networks[name].plan.ratio <= 1.02, name
