# SPDX-License-Identifier: Apache-2.0
"""Channels that are constant or unread go, and no byte changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from dead_channels import compile_all_channels, dead_network, store
from emulated import Case, run_checked
from reference import assert_equals_micro, random_inputs, run_micro
from single_operators import Item, Step, pack_model, write_network
from test_rewrites import IMAGE, concatenate, conv, depthwise, indices, like, reverse

from m3net_tf.compiler import limits
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.folder import network_facts, report_lines
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import CompiledNetwork, compile_network
from m3net_tf.compiler.passes import REMOVED
from m3net_tf.compiler.streaming.flow import products
from m3net_tf.networks import pretrained
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.tflite.graph import Removed

FEW, CHECKED, MANY = 40, 20, 10_000
BATCH = 200
NETWORKS = Path(pretrained.__file__).parent
DEAD = (0, 2, 3, 7)  # of eight: half of the channels stay, a whole group

needs_micro = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


def constant(step: Step, value: int, channels=DEAD) -> Step:
    """Give output channels of a layer one value: weights of zero, and its bias."""
    kind, (source, filters, bias), (output,), _ = step
    where = (..., list(channels)) if kind == "DEPTHWISE_CONV_2D" else list(channels)
    filters.values[where] = 0
    scale = source.scale * filters.scale[0]
    bias.values[list(channels)] = round((value - output.zero_point) * output.scale / scale)
    return step


def unread(step: Step, channels=DEAD) -> Step:
    """Give a layer weights of zero for channels of its input."""
    step[1][1].values[..., list(channels)] = 0
    return step


def pair(kind: str, first: Item, second: Item) -> tuple[Step, Item]:
    output = Item(first.shape, 0.2, 5)
    options = getattr(schema, f"{kind.title()}OptionsT")()
    return (kind, [first, second], [output], options), output


def two() -> tuple[Step, Item, Step, Item]:
    first, a = conv(IMAGE, 8)
    second, b = conv(IMAGE, 8, rng=np.random.default_rng(99))
    return first, a, second, b


def behind(value: int | None, **options) -> list[Step]:
    """A layer with constant channels and its reader."""
    first, a = conv(IMAGE, 8)
    if value is None:  # weights stay, and the bias is beyond their reach
        first[1][2].values[list(DEAD)] = 1 << 24
    else:
        constant(first, value)
    return [first, conv(a, 6, **options)[0]]


def strided(value: int) -> list[Step]:
    first, a = conv(IMAGE, 8)
    last, output = conv(a, 6, window=3)
    last[3].strideH = last[3].strideW = 2
    output.shape = (1, 3, 3, 6)
    return [constant(first, value), last]


def second_reader() -> list[Step]:
    """What one reader leaves, the other one reads."""
    first, a = conv(IMAGE, 12)
    second, b = conv(a, 6)
    third, c = conv(a, 6, window=3)
    unread(second, range(8))
    unread(third, range(4, 12))
    return [first, second, third, pair("ADD", b, c)[0]]


def spread(value: int, where: str) -> list[Step]:
    """A depthwise layer with padding, whose input or output is constant."""
    first, a = conv(IMAGE, 8)
    second, b = depthwise(a)
    constant(second if where == "after" else first, value)
    return [first, second, conv(b, 6)[0]]


def joined(kind: str, value: int, other: int | None, channels=DEAD) -> list[Step]:
    first, a, second, b = two()
    constant(first, value)
    if other is not None:
        constant(second, other, channels)
    step, total = pair(kind, a, b)
    return [first, second, step, conv(total, 6)[0]]


def concatenated() -> list[Step]:
    first, a = conv(IMAGE, 8)
    second, b = conv(IMAGE, 4)
    joint, c = concatenate([a, b])
    return [constant(first, 30), constant(second, 9, (1,)), joint, conv(c, 6)[0]]


def averaged(kind: str) -> list[Step]:
    first, a = conv(IMAGE, 8)
    b = Item((1, 1, 1, 8), 0.1, -9)
    if kind == "MEAN":
        options = schema.ReducerOptionsT(keepDims=True)
        step = (kind, [a, indices(1, 2)], [b], options)
    else:
        options = schema.Pool2DOptionsT(strideH=1, strideW=1, filterHeight=6, filterWidth=5)
        options.padding = schema.Padding.VALID
        b = like(a, (1, 1, 1, 8))
        step = (kind, [a], [b], options)
    return [constant(first, 30), step, conv(b, 6)[0]]


def behind_a_table() -> list[Step]:
    first, a = conv(IMAGE, 8)
    b = Item(a.shape, 1 / 256, -128)
    return [constant(first, 30), ("LOGISTIC", [a], [b], None), conv(b, 6)[0]]


def reversed_channels() -> list[Step]:
    """An operator that no channel passes."""
    first, a = conv(IMAGE, 8)
    step, b = reverse(a, 3)
    return [constant(first, 5), step, conv(b, 6)[0]]


def branch(kind: str) -> list[Step]:
    """A branch that is constant as a whole, and its layers before."""
    first, a, second, b = two()
    third, c = conv(b, 8)
    constant(third, 30, range(8))
    step, total = pair(kind, a, c)
    return [first, second, third, step, conv(total, 6)[0]]


def unread_layer() -> list[Step]:
    first, a = conv(IMAGE, 8)
    return [first, unread(conv(a, 6, window=3)[0])]


def constant_layer() -> list[Step]:
    first, a = conv(IMAGE, 8)
    return [constant(first, 30, range(8)), conv(a, 6)[0]]


def chained() -> list[Step]:
    """Each layer uses some channels only for channels that go themselves."""
    steps = []
    here = IMAGE
    for _ in range(4):
        step, here = conv(here, 8)
        steps.append(step)
    live = [channel for channel in range(8) if channel not in DEAD]
    for step in steps[1:]:
        step[1][1].values[np.ix_(live, [0], [0], DEAD)] = 0
    return [*steps, unread(conv(here, 6)[0])]


#: Networks of layers, and how many channels of layers go.
NETWORK: dict[str, tuple[Callable[[], list[Step]], int]] = {
    "a constant becomes part of the bias": (lambda: behind(40), 4),
    "a constant by a clamp": (lambda: behind(None), 4),
    "padding takes the zero point": (lambda: behind(5, window=3), 4),
    "padding takes no other constant": (lambda: behind(40, window=3), 0),
    "a window without padding takes any": (
        lambda: behind(40, window=3, padding=schema.Padding.VALID),
        4,
    ),
    "strides": (lambda: strided(5), 4),
    "what no layer reads": (unread_layer, 4),
    "a second reader": (second_reader, 4),
    "a depthwise layer between": (lambda: spread(5, "before"), 8),
    "a depthwise layer whose edge differs": (lambda: spread(120, "before"), 0),
    "a depthwise layer that is constant": (lambda: spread(20, "after"), 8),
    "a sum of two constants": (lambda: joined("ADD", 30, 9), 8),
    "a difference of two constants": (lambda: joined("SUB", 30, 9), 8),
    "a sum of one constant": (lambda: joined("ADD", 30, 9, (1, 4)), 0),
    "a gate that is shut": (lambda: joined("MUL", 5, None), 8),
    "a concatenation": (concatenated, 4),
    "an average by pooling": (lambda: averaged("AVERAGE_POOL_2D"), 4),
    "a maximum by pooling": (lambda: averaged("MAX_POOL_2D"), 4),
    "an average by reduction": (lambda: averaged("MEAN"), 4),
    "a table": (behind_a_table, 4),
    "another order": (reversed_channels, 0),
    "four of a constant layer stay": (constant_layer, 4),
    "an output of the network": (lambda: [constant(conv(IMAGE, 8)[0], 30)], 0),
    "a constant summand": (lambda: branch("ADD"), 0),
    "a constant factor": (lambda: branch("MUL"), 0),
    "a chain": (chained, 16),
}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """All networks in one library."""
    models = {
        f"network_{number}": write_network(make())
        for number, (make, _) in enumerate(NETWORK.values())
    }
    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    built = build_host(networks, tmp_path_factory.mktemp("channels"), ["-O0"])
    return [(models[name], networks[name], built[name]) for name in models]


@needs_micro
@pytest.mark.parametrize("name", NETWORK)
def test_what_goes(name, hosts):
    tflite, network, host = hosts[list(NETWORK).index(name)]
    assert_equals_micro(tflite, network, host)
    assert network.saved[REMOVED] == NETWORK[name][1]


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
def test_a_constant_branch_goes_as_a_whole(kind):
    network = compile_network(write_network(branch(kind)))
    layers = [op.kind for op in network.graph.operations]
    assert layers == ["CONV_2D", kind, "CONV_2D"]


def test_the_report_says_which_layer_lost_what(tmp_path):
    network = compile_network(write_network(spread(20, "after")))
    assert [op.removed for op in network.graph.operations] == [
        Removed(8, 0, 4),
        Removed(8, 4, 0),
        None,
    ]
    facts = network_facts(network, emit(network, "some"))
    assert [layer["constant"] for layer in facts["removed"]] == [0, 4]
    lines = [line for line in report_lines(tmp_path, "some", facts) if "of 8" in line]
    assert len(lines) == 2 and "DEPTHWISE_CONV_2D" in lines[1] and "4 constant" in lines[1]


def test_a_report_without_removed_channels_says_nothing():
    network = compile_network(write_network([conv(IMAGE, 8)[0]]))
    assert "removed" not in network_facts(network, emit(network, "some"))


def pruned(tflite: bytes, part: float) -> bytes:
    """The file with the smallest weights of each convolution set to zero, as pruning leaves it."""

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.CONV_2D:
            filters = model.subgraphs[0].tensors[operator.inputs[1]]
            weights = model.buffers[filters.buffer].data.view(np.int8).reshape(filters.shape)
            sizes = np.abs(weights * filters.quantization.scale.reshape(-1, 1, 1, 1))
            store(model, filters, weights * (sizes > np.quantile(sizes, part)))
    return pack_model(model)


@needs_micro
def test_a_pruned_network_of_the_project_has_fewer_products(tmp_path):
    tflite = (NETWORKS / "m3net-s-keywords" / "model.tflite").read_bytes()
    whole = products_of(compile_network(tflite))
    saved = {}
    for percent in (50, 80, 90):
        sparse = pruned(tflite, percent / 100)
        network = compile_network(sparse)
        host = build_host({"network": network}, tmp_path / str(percent), ["-O0"])["network"]
        inputs = random_inputs(np.random.default_rng(0), network)
        for mine, theirs in zip(host.run(*inputs), run_micro(sparse, inputs, 1), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        saved[percent] = round(100 * (1 - products_of(network) / whole))
    assert saved == {50: 2, 80: 6, 90: 11}


def products_of(network: CompiledNetwork) -> int:
    return sum(map(products, network.graph.operations))


def compare(seeds, folder, *, sanitized: bool) -> int:
    """Compare random networks with TFLite Micro; returns how many of them lost channels."""
    models = {f"network_{seed}": dead_network(seed) for seed in seeds}
    networks = {name: compile_network(tflite) for name, tflite in models.items()}
    inputs = {
        name: random_inputs(np.random.default_rng(7), network) for name, network in networks.items()
    }
    expected = {
        name: run_micro(tflite, inputs[name], len(networks[name].outputs))
        for name, tflite in models.items()
    }
    if sanitized:
        cases = [Case(name, network, inputs[name]) for name, network in networks.items()]
        for case, output in zip(cases, run_checked(cases, folder, "-O0"), strict=True):
            wanted = expected[case.name][0].reshape(-1)
            np.testing.assert_array_equal(output, wanted, case.name)
    else:
        built = build_host(networks, folder, ["-O0"])
        for name in models:
            for mine, theirs in zip(built[name].run(*inputs[name]), expected[name], strict=True):
                np.testing.assert_array_equal(mine, theirs, name)
    return sum(network.saved[REMOVED] > 0 for network in networks.values())


@needs_micro
def test_random_networks_with_dead_channels(tmp_path):
    assert compare(range(FEW), tmp_path, sanitized=False) > FEW // 4


@pytest.mark.slow
@needs_micro
def test_random_networks_with_dead_channels_are_clean_under_sanitizers(tmp_path):
    assert compare(range(FEW, FEW + CHECKED), tmp_path, sanitized=True) > CHECKED // 4


@pytest.mark.exhaustive
@needs_micro
def test_many_random_networks_with_dead_channels(tmp_path):
    found = sum(
        compare(range(first, first + BATCH), tmp_path, sanitized=True)
        for first in range(0, MANY, BATCH)
    )
    assert found > MANY // 4


def test_the_outputs_are_those_with_all_channels(tmp_path):
    pairs = {}
    for seed in range(FEW):
        tflite = dead_network(seed)
        pairs[f"network_{seed}"] = compile_network(tflite)
        pairs[f"all_{seed}"] = compile_all_channels(tflite)
    built = build_host(pairs, tmp_path, ["-O0"])
    for seed in range(FEW):
        inputs = random_inputs(np.random.default_rng(5), pairs[f"network_{seed}"])
        outputs = [built[f"{name}_{seed}"].run(*inputs) for name in ("network", "all")]
        for mine, theirs in zip(*outputs, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_without_steps_every_channel_stays(monkeypatch):
    monkeypatch.setattr(limits, "MOST_STEPS", 10)
    assert compile_network(write_network(constant_layer())).saved[REMOVED] == 0
