# SPDX-License-Identifier: Apache-2.0
"""Streamed networks on an emulated board: bytes and cost of each hop."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from refusals import refuses
from rich.console import Console
from single_operators import Item, write_network
from stateful_networks import StatefulNetwork, delayed
from stateful_networks import depthwise as stateful_depthwise
from test_rewrites import conv, depthwise

from m3net_tf.boards.emulation import streaming
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.engines import TFLM
from m3net_tf.lab.bench import stream as bench
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.extras import is_installed

BOARD = "mps2_an386"
HOPS = 20


def small_network():
    """Two layers with padding, and a mean of all frames."""
    source = Item((1, 5, 24, 2), 0.05, -4)
    first, middle = conv(source, 8, window=3)
    second, last = depthwise(middle)
    axes = Item((2,), values=np.array([1, 2], np.int32))
    output = Item((1, 8), 0.04, 3)
    mean = ("MEAN", [last, axes], [output], schema.ReducerOptionsT())
    return write_network([first, second, mean])


@pytest.mark.slow
def test_each_hop_on_the_board_gives_the_bytes_of_the_whole_window(tmp_path, monkeypatch):
    if reason := why_no_emulation(BOARD, "compiled"):
        pytest.skip(reason)
    path = tmp_path / "small.tflite"
    path.write_bytes(small_network())
    cycles = is_installed("unicorn")
    result = bench.run_bench_stream([BOARD], [str(path)], HOPS, axis=2, cycles=cycles)
    cost = result["boards"][BOARD]["streams"][str(path)]
    assert cost["bytes_equal"] is True and cost["hops"] == HOPS
    assert cost["references"][0] == "compiled"
    assert cost["hop_macs"] < 0.25 * cost["window_macs"]
    assert cost["hop_instructions"] < 0.5 * cost["window_instructions"]
    assert cost["state_bytes"] < cost["arena_bytes"]
    console = Console(record=True, width=80)
    console.print(bench.stream_table(BOARD, cost, None))
    text = console.export_text()
    assert f"{cost['window_instructions']:,}" in text and f"{HOPS} hops" in text
    for part in ("hop", "window") if cycles else ():
        counted = cost[f"{part}_instructions"]
        assert cost[f"{part}_modelled"]["instructions"] == pytest.approx(counted, abs=200)
        assert cost[f"{part}_modelled"]["cycles"]["0 wait states"] > counted
    # A single wrong byte of a reference is seen.
    record = streaming.record
    monkeypatch.setattr(bench, "record", lambda *args: _spoiled(record(*args)))
    spoiled = bench.run_bench_stream([BOARD], [str(path)], HOPS, axis=2)
    assert spoiled["boards"][BOARD]["streams"][str(path)]["bytes_equal"] is False


def _spoiled(recording):
    recording.outputs["compiled"][HOPS // 2, 0] ^= 1
    return recording


@pytest.mark.slow
def test_a_hop_with_the_front_end_is_what_a_microphone_costs():
    if reason := why_no_emulation(BOARD, "compiled"):
        pytest.skip(reason)
    label = "m3net/plain_stream"
    costs = bench.run_bench_stream([BOARD], [label], 1)["boards"][BOARD]
    always_on = costs["always_on"][label]
    stream = costs["streams"][label]
    assert always_on["decisions_per_second"] == 50
    both = always_on["frontend_instructions"] + stream["hop_instructions"]
    assert always_on["instructions"] == 50 * both
    assert 0 < always_on["instructions"] <= 8e6


@pytest.mark.slow
def test_a_network_with_a_state_of_its_own_runs_with_both_engines(tmp_path):
    if reason := why_no_emulation(BOARD, TFLM):
        pytest.skip(reason)
    network = StatefulNetwork()
    last = delayed(network, np.random.default_rng(0), Item((1, 2, 1, 4), 0.05, -4))
    path = tmp_path / "own_state.tflite"
    path.write_bytes(network.write(network.add(stateful_depthwise(last, window=1))))
    costs = bench.run_bench_stream([BOARD], [str(path)], HOPS)["boards"][BOARD]
    cost = costs["sequences"][str(path)]
    assert (cost["runs"], cost["bytes_equal"]) == (HOPS, True)
    assert 0 < cost["instructions"] < cost["tflm_instructions"]
    assert 0 < cost["state_bytes"] <= cost["arena_bytes"] < cost["tflm_arena_bytes"]
    console = Console(record=True, width=80)
    console.print(bench.sequence_table(BOARD, cost))
    text = console.export_text()
    assert f"{cost['tflm_instructions']:,}" in text and f"{HOPS} runs" in text


def test_a_recording_without_a_window_and_a_board_without_an_emulator(no_emulator):
    push = bench.stream_network(small_network(), 2).push
    with pytest.raises(ModelError, match="has no window of 24"):
        streaming.record(small_network(), push, np.zeros((1, 5, 23, 2), np.int8))
    with refuses(ConfigError, no_emulator):
        bench.run_bench_stream([BOARD])
