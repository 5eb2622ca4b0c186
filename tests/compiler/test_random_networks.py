# SPDX-License-Identifier: Apache-2.0
"""Random networks of many operators: views, shared memory and rewrites together."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from emulated import Case, run_checked
from reference import random_inputs, run_micro
from single_operators import Item, write_network
from test_rewrites import concatenate, conv, depthwise, indices, like, reverse

from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

FEW, MANY = 40, 1000

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def table(rng, source):
    kind = rng.choice(["LOGISTIC", "TANH", "RELU", "LEAKY_RELU", "QUANTIZE"])
    ends = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
    scale, zero = ends.get(kind, (0.07, int(rng.integers(-20, 20))))
    options = None
    if kind == "LEAKY_RELU":
        options = schema.LeakyReluOptionsT(alpha=0.1)
    output = Item(source.shape, scale, zero)
    return (str(kind), [source], [output], options), output


def combine(rng, first, second):
    kind, options = ("ADD", schema.AddOptionsT()) if rng.random() < 0.5 else ("MUL", None)
    options = options or schema.MulOptionsT()
    options.fusedActivationFunction = int(rng.choice([0, 1]))
    output = Item(np.broadcast_shapes(first.shape, second.shape), 0.3, -11)
    return (kind, [first, second], [output], options), output


def pad(rng, source):
    amounts = np.zeros((4, 2), np.int32)
    amounts[1:3] = rng.integers(0, 3, (2, 2))
    shape = [size + int(sum(pair)) for size, pair in zip(source.shape, amounts, strict=True)]
    output = like(source, shape)
    inputs = [source, Item((4, 2), values=amounts)]
    return ("PAD", inputs, [output], schema.PadOptionsT()), output


def part(rng, source):
    start = [0, *(int(rng.integers(0, max(size // 2, 1))) for size in source.shape[1:])]
    sizes = [int(rng.integers(1, n - at + 1)) for n, at in zip(source.shape, start, strict=True)]
    output = like(source, sizes)
    inputs = [source, indices(*start), indices(*sizes)]
    return ("SLICE", inputs, [output], schema.SliceOptionsT()), output


def pool(rng, source):
    options = schema.Pool2DOptionsT(strideH=1, strideW=1)
    options.filterHeight, options.filterWidth = source.shape[1:3]
    options.padding = schema.Padding.VALID
    options.fusedActivationFunction = 0
    output = like(source, (1, 1, 1, source.shape[3]))
    kind = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
    return (kind, [source], [output], options), output


def join(rng, source, tensors):
    """A concatenation of tensors that fit; their scales must be equal."""
    axis = int(rng.integers(1, 4))
    others = [
        tensor
        for tensor in tensors
        if (tensor.scale, tensor.zero_point) == (source.scale, source.zero_point)
        and all(
            a == b
            for i, (a, b) in enumerate(zip(tensor.shape, source.shape, strict=True))
            if i != axis
        )
    ]
    chosen = [others[int(i)] for i in rng.integers(0, len(others), 2)]
    return concatenate([source, *chosen], axis)


def random_network(seed):
    """A file of ten operators that mostly read the latest tensors."""
    rng = np.random.default_rng(seed)
    sizes = (1, int(rng.integers(2, 8)), int(rng.integers(2, 8)), int(rng.integers(1, 10)))
    tensors = [Item(sizes, 0.05, -4)]
    steps = []
    for _ in range(10):
        source = tensors[-1 - int(rng.integers(0, min(3, len(tensors))))]
        fitting = [t for t in tensors if t.shape == source.shape or tuple(t.shape[:3]) == (1, 1, 1)]
        fitting = [t for t in fitting if t.shape[3] == source.shape[3]]
        makers = [
            lambda s=source: conv(s, int(rng.integers(1, 10)), rng=rng),
            lambda s=source: conv(s, int(rng.integers(1, 10)), window=3, rng=rng),
            lambda s=source: depthwise(s, window=int(rng.integers(1, 4))),
            lambda s=source: table(rng, s),
            lambda s=source, f=fitting: combine(rng, s, f[int(rng.integers(0, len(f)))]),
            lambda s=source: pad(rng, s),
            lambda s=source: part(rng, s),
            lambda s=source: pool(rng, s),
            lambda s=source: reverse(s, int(rng.integers(1, 4))),
            lambda s=source: join(rng, s, tensors),
        ]
        step, output = makers[int(rng.integers(0, len(makers)))]()
        output.shape = tuple(int(size) for size in output.shape)
        if max(output.shape) > 40:
            continue
        steps.append(step)
        tensors.append(output)
    read = {id(item) for _, inputs, _, _ in steps for item in inputs}
    return write_network(steps, [item for item in tensors[1:] if id(item) not in read])


def compare(seeds, folder):
    models = {f"network_{seed}": random_network(seed) for seed in seeds}
    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    hosts = build_host(networks, folder)
    different = []
    for name, tflite in models.items():
        inputs = random_inputs(np.random.default_rng(7), networks[name])
        expected = run_micro(tflite, inputs, len(networks[name].outputs))
        for mine, theirs in zip(hosts[name].run(*inputs), expected, strict=True):
            if not np.array_equal(mine, theirs):
                different.append(name)
    return different, networks


def test_random_networks_give_the_bytes_of_tflite_micro(tmp_path):
    different, networks = compare(range(FEW), tmp_path)
    assert different == []
    assert all(
        network.plan.lower_bound <= network.plan.arena_bytes for network in networks.values()
    )
    saved = {name for network in networks.values() for name, n in network.saved.items() if n}
    assert len(saved) >= 5


@pytest.mark.exhaustive
def test_many_random_networks(tmp_path):
    assert compare(range(FEW, MANY), tmp_path)[0] == []


def test_random_networks_are_clean_under_sanitizers(tmp_path):
    rng = np.random.default_rng(1)
    cases = []
    for seed in range(20):
        network = compile_network(random_network(seed))
        cases.append(Case(f"network_{seed}", network, random_inputs(rng, network)))
    outputs = run_checked(cases, tmp_path / "checked")
    hosts = build_host({case.name: case.network for case in cases}, tmp_path / "host")
    for case, output in zip(cases, outputs, strict=True):
        np.testing.assert_array_equal(output, hosts[case.name].run(*case.inputs)[0].reshape(-1))
