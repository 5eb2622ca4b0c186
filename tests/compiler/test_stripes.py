# SPDX-License-Identifier: Apache-2.0
"""Calls that run together, line by line: the same bytes in less memory, on any chain of layers."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from emulated import Case, run_cases, run_checked, why_not
from reference import random_inputs, run_micro
from single_operators import Item, write_network
from test_published_forms import RELU, Builder
from test_random_networks import pad
from wide_operators import widen

from m3net_tf.boards.measure.layers import calls_in_order, operators_in_order
from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.folder import network_facts
from m3net_tf.compiler.goals import GOALS, Goal
from m3net_tf.compiler.host import build_host
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.stripes import COLUMNS, KIND, ROWS, Stripe, make_stripe
from m3net_tf.compiler.striping import TOGETHER, Striping, private_blocks
from m3net_tf.runtime.interpreter import tflm_unavailable_reason

FEW, MANY = 14, 400
PADDED_BEHIND = 366  # a chain with a window of one pixel that is padded behind its input
OTHERS = Goal(winograd_bytes=0, most_grown=0)  # than forms for which the arena may grow
NONE = Goal(most_added=-1, winograd_bytes=0, most_grown=0)
ANY = GOALS["ram"]
SAVED = "bytes of the arena saved by lines instead of whole tensors"

pytestmark = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)


class Chain(Builder):
    """Layers of images in a row; shapes by ceiling where the padding is SAME."""

    def window(self, kind, size, stride, dilation=1, channels=0, valid=False):
        """A convolution, depthwise layer or pooling."""
        is_pool = "POOL" in kind
        source = self.latest
        is_conv = kind == "CONV_2D"
        options = (
            schema.Pool2DOptionsT()
            if is_pool
            else (schema.Conv2DOptionsT if is_conv else schema.DepthwiseConv2DOptionsT)()
        )
        options.strideH, options.strideW = stride
        options.fusedActivationFunction = int(self.rng.choice([0, RELU]))
        options.padding = schema.Padding.VALID if valid else schema.Padding.SAME
        reach = [(n - 1) * dilation + 1 for n in size]
        places = [
            (n - r) // s + 1 if valid else -(-n // s)
            for n, r, s in zip(source.shape[1:3], reach, stride, strict=True)
        ]
        depth = source.shape[3]
        channels = channels if is_conv else depth
        if is_pool:
            options.filterHeight, options.filterWidth = size
            shape = (1, *places, depth)
            return self.add(kind, [source], shape, source.scale, source.zero_point, options)
        options.dilationHFactor = options.dilationWFactor = dilation
        options.depthMultiplier = 1
        shape = (channels, *size, depth) if is_conv else (1, *size, depth)
        filters = self.weights(shape, 0 if is_conv else 3, channels)
        zero = int(self.rng.integers(-128, 128))
        return self.add(kind, [source, *filters], (1, *places, channels), 0.05, zero, options)

    def combine(self, kind, first, second):
        """A sum, difference or product; the second input may be repeated."""
        options = {
            "ADD": schema.AddOptionsT,
            "SUB": schema.SubOptionsT,
            "MUL": schema.MulOptionsT,
        }[kind]()
        options.fusedActivationFunction = int(self.rng.choice([0, RELU]))
        scale = first.scale * second.scale * 90 if kind == "MUL" else 0.07
        return self.add(kind, [first, second], first.shape, scale, -5, options)

    def constant(self, shape):
        values = self.rng.integers(-128, 128, shape).astype(np.int8)
        return Item(shape, 0.03, 4, values=values)

    def table(self):
        source = self.latest
        return self.add("LOGISTIC", [source], source.shape, 1 / 256, -128)


def random_chain(seed):
    """The file of a network of up to nine layers, most of which can run line by line."""
    rng = np.random.default_rng(seed)
    net = Chain((1, int(rng.integers(4, 15)), int(rng.integers(4, 15)), int(rng.integers(1, 9))))
    net.rng = rng
    tensors = [net.latest]
    for _ in range(int(rng.integers(3, 10))):
        source = net.latest
        like = [tensor for tensor in tensors if tuple(tensor.shape) == tuple(source.shape)]
        size = [
            min(int(n), most)
            for n, most in zip(rng.integers(1, 5, 2), source.shape[1:3], strict=True)
        ]
        stride = [int(n) for n in rng.choice([1, 1, 1, 2, 3], 2)]
        dilation = int(rng.choice([1, 1, 1, 2]))
        fits = all(
            (n - 1) * dilation < most for n, most in zip(size, source.shape[1:3], strict=True)
        )
        valid = bool(fits and rng.random() < 0.3)
        choice = int(rng.integers(0, 8))
        if choice < 2 and rng.random() < 0.2:  # a padding that becomes part of the window
            step, net.latest = pad(rng, source)
            net.steps.append(step)
            net.latest.shape = tuple(net.latest.shape)
        if choice < 2:
            net.window("CONV_2D", size, stride, dilation, int(rng.integers(1, 9)), valid)
        elif choice == 2:
            net.window("CONV_2D", (1, 1), (1, 1), 1, int(rng.integers(1, 9)))
        elif choice == 3:
            net.window("DEPTHWISE_CONV_2D", size, [stride[0]] * 2, dilation, 0, valid)
        elif choice == 4:
            kind = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
            net.window(kind, size, stride, 1, 0, valid and dilation == 1)
        elif choice == 5:
            net.table()
        elif choice == 6 and len(like) > 1:
            net.combine(
                str(rng.choice(["ADD", "SUB"])), source, like[int(rng.integers(0, len(like) - 1))]
            )
        else:
            _, rows, columns, depth = source.shape
            shapes = [(1, 1, 1, depth), (1, rows, 1, 1), (1, 1, columns, depth), source.shape]
            gate = net.constant(shapes[int(rng.integers(0, 4))])
            net.combine(str(rng.choice(["ADD", "MUL"])), source, gate)
        tensors.append(net.latest)
    if rng.random() < 0.4:
        net.average()
    return write_network(net.steps)


class Eager(Striping):
    """Makes a stripe of whatever can be one, for the better or the worse."""

    def run(self):
        private = private_blocks(self.calls, *self._ends)
        place = 0
        while place < len(self.calls):
            for end in range(len(self.calls), place + 1, -1):
                parts = self.calls[place:end]
                axes = (ROWS, COLUMNS) if (place + end) % 2 else (COLUMNS, ROWS)
                stripes = [make_stripe(parts, axis, private) for axis in axes]
                stripe = next((each for each in stripes if each), None)
                if stripe is not None:
                    self.calls[place:end] = [stripe]
                    break
            place += 1


def chains(seeds, monkeypatch):
    """Files and networks with stripes; every fourth one of 16 bits."""
    monkeypatch.setattr("m3net_tf.compiler.network.Striping", Eager)
    models = {}
    networks = {}
    for seed in seeds:
        tflite = random_chain(seed)
        name = f"chain_{seed}"
        models[name] = widen(tflite) if seed % 4 == 3 else tflite
        networks[name] = compile_network(models[name])
    monkeypatch.undo()
    return models, networks


def stripes_of(networks):
    return [call for each in networks.values() for call in each.calls if isinstance(call, Stripe)]


def compare(seeds, folder, monkeypatch):
    models, networks = chains(seeds, monkeypatch)
    hosts = build_host(networks, folder)
    different = []
    for name, tflite in models.items():
        rng = np.random.default_rng(8)
        for _ in range(3):
            inputs = random_inputs(rng, networks[name])
            expected = run_micro(tflite, inputs, 1)[0]
            if not np.array_equal(hosts[name].run(*inputs)[0], expected):
                different.append(name)
    return different, networks


def test_chains_of_layers_give_the_bytes_of_tflite_micro(tmp_path, monkeypatch):
    different, networks = compare([*range(FEW), PADDED_BEHIND], tmp_path, monkeypatch)
    assert different == []
    stripes = stripes_of(networks)
    assert len(stripes) >= FEW
    assert {stripe.axis for stripe in stripes} == {ROWS, COLUMNS}
    kernels = {member.kernel for stripe in stripes for member in stripe.members}
    assert {
        "convolve",
        "convolve_depthwise",
        "add",
        "multiply",
        "look_up",
        "convolve_16",
    } <= kernels
    assert any(stage.sums for stripe in stripes for stage in stripe.stages)


@pytest.mark.exhaustive
def test_many_chains_of_layers(tmp_path, monkeypatch):
    assert compare(range(FEW, MANY), tmp_path, monkeypatch)[0] == []


@pytest.mark.slow
def test_chains_are_clean_under_sanitizers(tmp_path, monkeypatch):
    models, networks = chains(range(6), monkeypatch)
    rng = np.random.default_rng(4)
    cases = [Case(name, each, random_inputs(rng, each)) for name, each in networks.items()]
    for case, output in zip(cases, run_checked(cases, tmp_path), strict=True):
        expected = run_micro(models[case.name], case.inputs, 1)[0]
        np.testing.assert_array_equal(output, expected.reshape(-1).view(np.int8), case.name)


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55", "rv32imac"])
def test_chains_on_an_emulated_core(core, tmp_path, monkeypatch):
    if reason := why_not(core):
        pytest.skip(reason)
    models, networks = chains(range(FEW), monkeypatch)
    rng = np.random.default_rng(5)
    cases = [Case(name, each, random_inputs(rng, each)) for name, each in networks.items()]
    for case, outcome in zip(cases, run_cases(cases, tmp_path, core), strict=True):
        expected = run_micro(models[case.name], case.inputs, 1)[0]
        np.testing.assert_array_equal(outcome.output, expected.reshape(-1).view(np.int8), case.name)


@pytest.mark.parametrize("size", [(16, 16), (1, 257), (3, 300), (300, 1)])
def test_averages_of_many_pixels_on_an_emulated_core(size, tmp_path):
    """Sums of 256 pixels fit 16 bits, more do not."""
    if reason := why_not():
        pytest.skip(reason)
    pooled, chain = Chain((1, *size, 8)), Chain((1, *size, 6))
    pooled.average()
    chain.window("CONV_2D", (1, 1), (1, 1), channels=10)
    chain.average()
    files = [write_network(net.steps) for net in (pooled, chain)]
    networks = [compile_network(tflite, goal=ANY) for tflite in files]
    stripes = [call for call in networks[1].calls if isinstance(call, Stripe)]
    assert any(stage.sums for stripe in stripes for stage in stripe.stages)
    inputs = [[np.full((1, *size, net), -128, np.int8)] for net in (8, 6)]
    cases = [Case(f"n{i}", networks[i], inputs[i]) for i in range(2)]
    for tflite, case, outcome in zip(
        files, cases, run_cases(cases, tmp_path, "cortex-m4"), strict=True
    ):
        expected = run_micro(tflite, case.inputs, 1)[0]
        np.testing.assert_array_equal(outcome.output, expected.reshape(-1), case.name)


def separable():
    """A depthwise layer between convolutions of one pixel."""
    net = Chain((1, 24, 20, 8))
    for channels in (32, 32, 16):
        net.depthwise(1)
        net.convolution(channels, 1)
    return net


def residual():
    """A block of convolutions, its gates, and the sum with its input."""
    net = Chain((1, 20, 16, 16))
    start = net.convolution(16, 3)
    net.convolution(16, 3)
    block = net.convolution(16, 3)
    net.combine("ADD", net.combine("MUL", block, net.constant((1, 1, 1, 16))), start)
    return net


def averaged():
    """Averages of all pixels behind a separable layer."""
    net = Chain((1, 8, 24, 16))
    net.depthwise(1)
    net.convolution(32, 1)
    net.average()
    return net


FORMS = {  # layers that run together, and the largest part of the arena that is left
    "separable": (separable, 5, 0.81),
    "residual": (residual, 4, 0.63),
    "averaged": (averaged, 2, 0.6),
}


def test_the_arena_shrinks_where_lines_replace_tensors(tmp_path):
    models = {name: write_network(make().steps) for name, (make, *_) in FORMS.items()}
    networks = {name: compile_network(tflite, goal=OTHERS) for name, tflite in models.items()}
    hosts = build_host(networks, tmp_path)
    rng = np.random.default_rng(2)
    for name, (_, together, part) in FORMS.items():
        inputs = random_inputs(rng, networks[name])
        expected = run_micro(models[name], inputs, 1)[0]
        np.testing.assert_array_equal(hosts[name].run(*inputs)[0], expected, name)
        whole = compile_network(models[name], goal=NONE).plan
        plan = networks[name].plan
        saved = networks[name].saved
        assert saved[TOGETHER] == together, name
        assert saved[SAVED] == whole.arena_bytes - plan.arena_bytes, name
        assert plan.arena_bytes <= part * whole.arena_bytes, name


def test_a_stripe_that_does_not_pay_is_left_out_and_the_report_says_so():
    net = Chain((1, 3, 3, 1))
    net.depthwise(1)
    net.convolution(2, 1)
    network = compile_network(write_network(net.steps))
    assert stripes_of({"network": network}) == []
    assert network_facts(network, emit(network, "network"))["saved"][TOGETHER] == 0
    tflite = write_network(residual().steps)
    assert compile_network(tflite, goal=Goal(least_saved=0.9)).saved[TOGETHER] == 0


def test_lines_of_one_pixel_are_for_the_smallest_arena_alone():
    net = Chain((1, 1, 30, 8))
    for channels in (64, 64, 8):
        net.depthwise(1)
        net.convolution(channels, 1)
    tflite = write_network(net.steps)
    fast, small = (compile_network(tflite, goal=goal) for goal in (GOALS["cycles"], ANY))
    assert fast.saved[TOGETHER] == 0 and small.saved[TOGETHER] > 1
    assert small.arena_bytes < 0.7 * fast.arena_bytes


def test_a_stripe_of_too_many_steps_is_left_out():
    net = Chain((1, 1, 4000, 1))
    net.convolution(4, 1)
    net.convolution(4, 1)
    assert compile_network(write_network(net.steps), goal=ANY).saved[TOGETHER] == 0


def test_a_profile_has_one_step_for_a_stripe():
    tflite = write_network(residual().steps)
    steps = calls_in_order(tflite)
    assert [step.name for step in steps] == ["CONV_2D", KIND]
    assert sum(step.macs for step in steps) == sum(op.macs for op in operators_in_order(tflite))
    source = emit(compile_network(tflite), "network", "done").source
    assert source.count('done("STRIPE");') == 1
