# SPDX-License-Identifier: Apache-2.0
"""Networks that take some frames with each push give the bytes of the whole window."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from checked_streams import run_checked_streams
from dead_channels import compile_all_channels, dead_network
from random_streams import Stream, random_stream
from refusals import refuses
from single_operators import Item, lstm, write_network
from test_rewrites import conv, depthwise
from typer.testing import CliRunner

from m3net_tf.cli import app
from m3net_tf.compiler.goals import GOALS
from m3net_tf.compiler.host import build_host, build_streams
from m3net_tf.compiler.network import compile_network
from m3net_tf.compiler.passes import REMOVED
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.system.errors import ModelError

FEW, MANY, PARTS = 48, 1200, 6
CHECKED = 20
WINDOWS = 7


def frames_of(rng, network, count):
    """Noise for each input: so many lines, after which the extreme values follow."""
    push = network.push
    series = []
    for tensor in network.graph.inputs:
        ends = np.iinfo(tensor.dtype)
        shape = (*tensor.shape[: push.axis], count, *tensor.shape[push.axis + 1 :])
        series.append(rng.integers(ends.min, ends.max + 1, shape).astype(tensor.dtype))
    return series


def lines(values, axis, first, end):
    return np.take(values, range(first, end), axis)


class Pair:
    """A streamed network beside the network of the whole window, both on this machine."""

    def __init__(self, stream: Stream, network, pushed, whole):
        self.stream = stream
        self.network = network
        self.pushed = pushed
        self.whole = whole

    def is_equal(self, windows=WINDOWS, starts=(0, 1), after_push=None):
        """Whether all outputs are equal, for a series from several places on, after resets."""
        axis = self.stream.axis
        hop = self.stream.hop
        window = self.stream.window
        rng = np.random.default_rng(3)
        series = frames_of(rng, self.network, window + (windows + len(starts)) * hop)
        equal = True
        for start in starts:
            self.pushed.reset()
            for count, end in enumerate(range(start + hop, series[0].shape[axis] + 1, hop), 1):
                outputs = self.pushed.push(*(lines(s, axis, end - hop, end) for s in series))
                if after_push is not None:
                    after_push(count)
                assert (outputs is not None) == (count >= self.network.push.needed)
                if outputs is not None:
                    window_lines = [lines(s, axis, end - window, end) for s in series]
                    pairs = zip(outputs, self.whole.run(*window_lines), strict=True)
                    equal &= all(np.array_equal(mine, theirs) for mine, theirs in pairs)
        return equal


def build(streams: dict[str, Stream], folder, compile_whole=compile_network):
    """Those that stream, built."""
    networks = {}
    for count, (name, stream) in enumerate(streams.items()):
        goal = GOALS["ram" if count % 2 else "cycles"]
        try:
            networks[name] = stream_network(stream.tflite, stream.axis, stream.hop, goal=goal)
        except ModelError as error:
            assert "every layer needs the whole window" in str(error)
    wholes = {name: compile_whole(streams[name].tflite) for name in networks}
    pushed = build_streams(networks, folder / "stream", ["-O0"])
    hosts = build_host(wholes, folder / "whole", ["-O0"])
    return {
        name: Pair(streams[name], networks[name], pushed[name], hosts[name]) for name in networks
    }


def test_random_networks_give_the_bytes_of_the_whole_window(tmp_path):
    pairs = build({f"network_{seed}": random_stream(seed) for seed in range(FEW)}, tmp_path)
    assert [name for name, pair in pairs.items() if not pair.is_equal()] == []
    assert len(pairs) > FEW / 2
    layers = [layer for pair in pairs.values() for layer in pair.network.push.layers]
    assert {"streamed", "ends recomputed"} < {layer.state for layer in layers}
    kernels = {call.kernel for pair in pairs.values() for call in pair.network.calls}
    assert {"add_lines", "add_lines_16", "mean_of_sums", "average_lines"} <= kernels


@pytest.mark.slow
def test_networks_with_dead_channels_give_the_bytes_of_the_window_with_all_channels(tmp_path):
    streams = {}
    for seed in range(FEW):
        tflite = dead_network(seed)
        window = compile_network(tflite).graph.inputs[0].shape[1]
        streams[f"network_{seed}"] = Stream(tflite, 1, 1 + (seed % 2 and window > 2), window)
    pairs = build(streams, tmp_path, compile_all_channels)
    assert [name for name, pair in pairs.items() if not pair.is_equal()] == []
    assert sum(pair.network.saved[REMOVED] > 0 for pair in pairs.values()) > FEW / 8


@pytest.mark.slow
def test_random_networks_are_clean_under_sanitizers(tmp_path):
    pairs = build({f"network_{seed}": random_stream(seed) for seed in range(CHECKED)}, tmp_path)
    networks = {name: pair.network for name, pair in pairs.items()}
    pushes = {}
    expected = []
    for name, pair in pairs.items():
        push = pair.network.push
        shape = pair.network.graph.inputs[0].shape
        (series,) = frames_of(np.random.default_rng(4), pair.network, (push.needed + 3) * push.hop)
        parts = [
            lines(series, push.axis, i, i + push.hop)
            for i in range(0, series.shape[push.axis], push.hop)
        ]
        pushes[name] = np.stack(parts).reshape(-1, *shape)
        outputs = [pair.pushed.push(part) for part in parts]
        expected.append(b"".join(out[0].tobytes() for out in outputs if out is not None))
    assert run_checked_streams(networks, pushes, tmp_path / "checked") == expected


def test_a_state_for_each_phase_decides_more_often(tmp_path):
    """A stride of two needs a hop of two lines; two states, one line apart, give every window."""
    source = Item((1, 1, 20, 3), 0.05, -4)
    step, middle = conv(source, 8, window=1)
    step[3].strideH = step[3].strideW = 2
    middle.shape = (1, 1, 10, 8)
    last, item = depthwise(middle)
    tflite = write_network([step, last, _mean(item)])
    network = stream_network(tflite, 2)
    whole = compile_network(tflite)
    assert network.push.hop == 2
    phases = list(build_streams({"even": network, "odd": network}, tmp_path / "s").values())
    host = build_host({"whole": whole}, tmp_path / "w")["whole"]
    series = np.random.default_rng(0).integers(-128, 128, (1, 1, 40, 3)).astype(np.int8)
    for end in range(2, 41):
        outputs = phases[end % 2].push(series[:, :, end - 2 : end])
        if outputs is not None:
            np.testing.assert_array_equal(outputs[0], host.run(series[:, :, end - 20 : end])[0])
    assert outputs is not None


def test_less_memory_at_the_price_of_cycles():
    """A layer of four pixels at a time needs a larger patch than one of two."""
    source = Item((1, 6, 400, 16), 0.05, -4)
    step, middle = conv(source, 16, window=3, padding=1)
    tflite = write_network([step, _mean(middle)])
    fast, small = (stream_network(tflite, 2, 1, goal=GOALS[goal]) for goal in ("cycles", "ram"))
    assert small.plan.arena_bytes < fast.plan.arena_bytes


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(PARTS))
def test_many_random_networks_give_the_bytes_of_the_whole_window(part, tmp_path):
    seeds = range(FEW + part, FEW + MANY, PARTS)
    pairs = build({f"network_{seed}": random_stream(seed) for seed in seeds}, tmp_path)
    assert [name for name, pair in pairs.items() if not pair.is_equal()] == []


def plain(padding):
    """Two layers with windows in time and a mean over all pixels."""
    source = Item((1, 4, 20, 3), 0.05, -4)
    first, middle = conv(source, 8, window=3, padding=padding)
    second, last = depthwise(middle)
    return write_network([first, second, _mean(last)])


def _mean(source):
    axes = Item((2,), values=np.array([1, 2], np.int32))
    output = Item((1, source.shape[3]), 0.04, 3)
    return ("MEAN", [source, axes], [output], schema.ReducerOptionsT())


def test_a_changed_kept_byte_changes_an_output(tmp_path):
    """The comparison sees any line that is wrong once, in the memory of each layer."""
    pair = build({"one": Stream(plain(padding=0), 2, 1, 20)}, tmp_path)["one"]
    assert pair.is_equal(windows=21)
    states = pair.network.states[:-1]  # without the count of pushes
    assert len(states) == 4
    for state in states:
        for part in (0.3, 0.4, 0.6):  # in the midst of a row, whose first line leaves

            def spoil(count, place=state.block, part=part):
                if count == pair.network.push.needed:
                    at = pair.network.plan.places[place] + int(place.size * part)
                    pair.pushed.arena[at] ^= 0x55

            is_equal = pair.is_equal(windows=21, starts=(0,), after_push=spoil)
            assert not is_equal, (state.block.label, part)


def test_padding_is_computed_at_the_ends_alone():
    network = stream_network(plain(padding=0), 2, 1)
    first, second, mean = network.push.layers
    assert (first.state, first.lines, first.window_lines) == ("ends recomputed", 3, 20)
    assert (second.state, second.lines) == ("ends recomputed", 5)
    assert (mean.state, mean.lines) == ("ends recomputed", 2 + 4)
    assert network.push.products * 20 == 3 * first.window_products + 5 * second.window_products


def test_lines_that_are_cheap_to_compute_do_not_stay(tmp_path):
    """The sum's first lines read older ones of the gate, which follow from lines that stay."""
    first, wide = conv(Item((1, 4, 20, 3), 0.05, -4), 8, window=1, padding=1)
    gate = Item(wide.shape, 1 / 256, -128)
    total = Item(wide.shape, 0.3, -11)
    second, later = depthwise(wide)
    steps = [first, ("LOGISTIC", [wide], [gate], None), second]
    steps += [("ADD", [gate, later], [total], schema.AddOptionsT()), _mean(total)]
    pair = build({"one": Stream(write_network(steps), 2, 1, 20)}, tmp_path)["one"]
    assert pair.is_equal()
    _, logistic, padded, _, _ = pair.network.push.layers
    assert (padded.lines, logistic.lines) == (3, 2)
    state = sum(block.size for block in pair.network.state_blocks)
    assert state < 2 * np.prod(total.shape)  # where all lines stay, three maps do


def test_without_padding_only_the_new_lines_are_computed():
    tflite = write_network(
        [
            (step := conv(Item((1, 1, 30, 4), 0.05, -4), 8, window=1, padding=1))[0],
            _mean(step[1]),
        ]
    )
    network = stream_network(tflite, 2, 3)
    assert [layer.lines for layer in network.push.layers] == [3, 6]
    assert {layer.state for layer in network.push.layers} == {"streamed"}


def test_the_shortest_hop_that_strides_allow_and_the_cheapest_axis_are_chosen():
    source = Item((1, 24, 4, 3), 0.05, -4)
    step, middle = conv(source, 8, window=3, padding=1)
    step[3].strideH = step[3].strideW = 2
    middle.shape = (1, 11, 1, 8)
    network = stream_network(write_network([step, _mean(middle)]))
    assert (network.push.axis, network.push.hop) == (1, 2)
    assert stream_network(write_network([step, _mean(middle)]), 1, 2).push.products == (
        network.push.products
    )
    with pytest.raises(ModelError, match="every layer needs the whole window"):
        stream_network(write_network([step, _mean(middle)]), 1, 3)


def image(rows, columns, padding):
    """A layer of 3 x 3, and a mean over all pixels."""
    step, middle = conv(Item((1, rows, columns, 3), 0.05, -4), 8, window=3, padding=padding)
    return write_network([step, _mean(middle)])


def test_the_axis_that_leaves_the_fewest_products_is_chosen():
    """Not the one whose pushes of a whole window take the fewest: a short axis has few."""
    shares = {}
    for axis in (1, 2):
        push = stream_network(image(10, 49, padding=0), axis).push
        shares[axis] = push.products / push.window_products
    push = stream_network(image(10, 49, padding=0)).push
    assert push.axis == 2 and shares[2] < shares[1]
    assert push.shares == pytest.approx(shares, abs=0.01)


def test_axes_that_leave_about_as_many_products_are_asked_for():
    with refuses(ModelError, "--axis 1", "--axis 2", "0.107", "0.100"):
        stream_network(image(28, 30, padding=0))
    assert stream_network(image(28, 30, padding=0), 1).push.axis == 1


@pytest.mark.parametrize(
    ("tflite", "axis", "hop", "message"),
    [
        (plain(0), 0, None, "cannot stream along the axis 0"),
        (plain(0), 2, 20, "a hop of 20 lines does not fit a window of 20"),
        (lstm(np.random.default_rng(0)), None, None, "keeps a state of its own"),
        (plain(0), 2, 19, "every layer needs the whole window"),
    ],
)
def test_what_cannot_stream_is_refused(tflite, axis, hop, message):
    with pytest.raises(ModelError, match=message):
        stream_network(tflite, axis, hop)


def test_the_command_reports_each_layer_and_draws_the_state(tmp_path):
    model = tmp_path / "some.tflite"
    out = tmp_path / "out"
    model.write_bytes(plain(padding=0))
    command = ["compile", str(model), "--out", str(out), "--name", "kws", "--stream", "--axis", "2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "MACs (0." in result.output
    assert "ends recomputed, 3 of 20 lines, 640 bytes stay" in result.output
    facts = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert facts["push"]["hop"] == 1
    assert facts["push"]["layers"][0]["lines"] == 3
    assert "int32_t kws_push(int8_t *arena, const int8_t *frames_0);" in (out / "kws.h").read_text()
    assert (out / "arena.svg").read_text().count("outlasts a run") == len(
        stream_network(model.read_bytes(), 2).states
    )


def test_the_command_names_the_axes_that_stream_and_warns_of_one_that_saves_little(tmp_path):
    model = tmp_path / "some.tflite"
    model.write_bytes(image(4, 30, padding=0))
    command = ["compile", str(model), "--out", str(tmp_path / "out"), "--stream"]
    chosen = CliRunner().invoke(app, command).output
    assert "streams along axis 2" in chosen and "WARNING" not in chosen
    assert "axis 1 0.750 of the MACs" in chosen and "axis 2 0.100 of the MACs" in chosen
    long = CliRunner().invoke(app, [*command, "--axis", "2", "--hop", "27"])
    assert long.output.splitlines()[-1].startswith("WARNING")
    facts = json.loads(CliRunner().invoke(app, [*command, "--axis", "1", "--json"]).stdout)
    assert "axes" not in facts["push"]  # exports name theirs, and keep their bytes


def test_axis_and_hop_need_a_stream(tmp_path):
    (tmp_path / "some.tflite").write_bytes(plain(0))
    command = ["compile", str(tmp_path / "some.tflite"), "--out", str(tmp_path), "--hop", "2"]
    assert CliRunner().invoke(app, command).exit_code == 2
