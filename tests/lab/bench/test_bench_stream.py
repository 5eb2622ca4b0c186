# SPDX-License-Identifier: Apache-2.0
"""Streamed networks on an emulated board: bytes and cost of each hop."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from refusals import refuses
from rich.console import Console
from single_operators import Item, write_network
from test_rewrites import conv, depthwise

from m3net_tf.boards.emulation import streaming
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.lab.bench import stream as bench
from m3net_tf.system.errors import ConfigError, ModelError

BOARD, HOPS = "mps2_an386", 20


def small_network():
    """Two layers with padding, and a mean of all frames."""
    source = Item((1, 5, 24, 2), 0.05, -4)
    first, middle = conv(source, 8, window=3)
    second, last = depthwise(middle)
    axes = Item((2,), values=np.array([1, 2], np.int32))
    output = Item((1, 8), 0.04, 3)
    mean = ("MEAN", [last, axes], [output], schema.ReducerOptionsT())
    return write_network([first, second, mean])


def test_each_hop_on_the_board_gives_the_bytes_of_the_whole_window(tmp_path, monkeypatch):
    if reason := why_no_emulation(BOARD, "compiled"):
        pytest.skip(reason)
    path = tmp_path / "small.tflite"
    path.write_bytes(small_network())
    result = bench.run_bench_stream([BOARD], [str(path)], HOPS, axis=2)
    cost = result["boards"][BOARD][str(path)]
    assert cost["bytes_equal"] is True and cost["hops"] == HOPS
    assert cost["references"][0] == "compiled"
    assert cost["hop_macs"] < 0.25 * cost["window_macs"]
    assert cost["hop_instructions"] < 0.5 * cost["window_instructions"]
    assert cost["state_bytes"] < cost["arena_bytes"]
    console = Console(record=True, width=200)
    console.print(bench.stream_table(BOARD, result["boards"][BOARD]))
    assert f"yes, in {HOPS} hops" in console.export_text()
    # A single wrong byte of a reference is seen.
    record = streaming.record
    monkeypatch.setattr(bench, "record", lambda *args: _spoiled(record(*args)))
    spoiled = bench.run_bench_stream([BOARD], [str(path)], HOPS, axis=2)
    assert spoiled["boards"][BOARD][str(path)]["bytes_equal"] is False


def _spoiled(recording):
    recording.outputs["compiled"][HOPS // 2, 0] ^= 1
    return recording


def test_a_recording_without_a_window_and_a_board_without_an_emulator(monkeypatch):
    push = bench.stream_network(small_network(), 2).push
    with pytest.raises(ModelError, match="has no window of 24"):
        streaming.record(small_network(), push, np.zeros((1, 5, 23, 2), np.int8))
    monkeypatch.setattr(bench, "why_no_emulation", lambda *_: "install the tools")
    with refuses(ConfigError, "install the tools"):
        bench.run_bench_stream([BOARD])
