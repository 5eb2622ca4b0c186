# SPDX-License-Identifier: Apache-2.0
"""Both engines on an emulated board: cost, ratios and the flash of network and runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from refusals import refuses
from rich.console import Console
from single_operators import Item, write_network
from stateful_networks import StatefulNetwork, add, delayed, depthwise

from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.boards.measure.layers import modelled_table
from m3net_tf.compiler.engines import ENGINES, TFLM
from m3net_tf.lab.bench import engine as bench
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ConfigError, ModelError
from m3net_tf.system.extras import is_installed

BOARD = "mps2_an386"
MAP = """
Discarded input sections
 .text.unused   0x00000000       0x50 CMakeFiles/m3net_firmware.dir/engine/pooling.c.obj

Linker script and memory map

 .text.m3net_convolve
                0x00000100       0x20 CMakeFiles/m3net_firmware.dir/engine/convolution.c.obj
 .rodata.weights 0x00000200      0x100 CMakeFiles/m3net_firmware.dir/build/m3net_network.c.obj
 .text.main     0x00000300       0x40 CMakeFiles/m3net_firmware.dir/app/main.c.obj
 .bss.arena     0x20000000     0x1000 CMakeFiles/m3net_firmware.dir/engine/convolution.c.obj
 .text.run      0x00000400        0x4 libm3net_thirdparty.a(micro_interpreter.cc.obj)
 .text.fft      0x00000500        0x8 libm3net_thirdparty.a(arm_cfft_f32.c.obj)
 .text.exp      0x00000600        0x2 /usr/lib/libm.a(lib_a-ef_exp.o)
"""


def test_flash_counts_network_and_runtime_alone():
    sizes = bench.flash_by_object(MAP)
    without = {path: size for path, size in sizes.items() if "libm.a" not in path}
    assert bench.flash_of_engine({"compiled": sizes, "tflm": sizes}, "compiled") == 0x120
    assert bench.flash_of_engine({"compiled": sizes, "tflm": sizes}, "tflm") == 0x4
    assert bench.flash_of_engine({"compiled": without, "tflm": sizes}, "tflm") == 0x6
    assert bench.flash_of_engine({"compiled": sizes}, "compiled") == 0x120


def test_ratios_and_the_table():
    costs = [
        {"instructions": 60, "arena_bytes": 30, "flash_bytes": 7_000},
        {"instructions": 100, "arena_bytes": 100, "flash_bytes": 10_000},
    ]
    answers = {
        engine: bench.Answer(cost, [engine]) for engine, cost in zip(ENGINES, costs, strict=True)
    }
    comparison = bench.compare_engines(bench.SUBJECTS[0], BOARD, answers)
    assert comparison["ratios"] == {"instructions": 0.6, "arena_bytes": 0.3, "flash_bytes": 0.7}
    assert comparison["targets"] == {"instructions": 0.5, "arena_bytes": 0.5, "flash_bytes": 0.625}
    assert comparison["bytes_equal"] is False
    helium = bench.compare_engines(
        bench.SUBJECTS[0], "mps3_an547", {"compiled": answers["compiled"]}
    )
    assert helium["targets"]["instructions"] == 0.65
    assert helium["ratios"] == {} and helium["bytes_equal"] is None
    console = Console(record=True, width=80)
    for network in (comparison, helium):
        console.print(bench.engine_table("network", network))
    text = console.export_text()
    assert "10,000" in text and "0.700" in text and "DIFFERENT" in text


def test_all_inputs_are_compared_with_this_machine_and_the_first_ones_with_the_board():
    cost = {"instructions": 1, "arena_bytes": 1, "flash_bytes": 1}
    outputs = np.arange(12, dtype=np.int8).reshape(4, 3)
    answers = {
        "compiled": bench.Answer(cost, outputs),
        "tflm": bench.Answer(cost, outputs[:2]),
    }
    comparison = bench.compare_engines(bench.SUBJECTS[0], BOARD, answers, outputs)
    assert comparison["bytes_equal"] is True and comparison["inputs"] == 4
    alone = {"compiled": answers["compiled"]}
    damaged = outputs.copy()
    damaged[3, 2] += 1
    assert bench.compare_engines(bench.SUBJECTS[0], BOARD, alone, damaged)["bytes_equal"] is False


def test_inputs_begin_with_the_given_ones_and_the_extremes():
    first = np.zeros((2, 3, 5, 1), np.int8)
    inputs = bench.varied_inputs(first, 40)
    assert inputs.shape == (40, 3, 5, 1) and inputs.dtype == np.int8
    np.testing.assert_array_equal(inputs[:2], first)
    assert (inputs[2] == -128).all() and (inputs[3] == 127).all()
    assert len(np.unique(inputs[7:], axis=0)) == 33
    np.testing.assert_array_equal(bench.varied_inputs(first, 9), inputs[:9])
    assert len(bench.varied_inputs(first, 2)) == 2


@pytest.fixture
def two_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the working folder."""
    if reason := why_no_emulation(BOARD, "compiled"):
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    path = Path("two_layers.tflite")
    source = Item((1, 42), 0.1)
    middle = Item((1, 42), 0.1, 3)
    output = Item((1, 7), 0.02, -128)
    weights = np.random.default_rng(0).integers(-127, 128, (7, 42)).astype(np.int8)
    dense = [middle, Item((7, 42), 0.01, values=weights), None]
    options = schema.FullyConnectedOptionsT()
    steps = [("ABS", [source], [middle], None), ("FULLY_CONNECTED", dense, [output], options)]
    path.write_bytes(write_network(steps))
    return path


def measure(path: Path, weights_in_ram: int = 0) -> bench.EngineComparison:
    ended: list[tuple[bench.EngineResult, str, str]] = []
    result = bench.run_bench_engine(
        [BOARD],
        [str(path)],
        12,
        cycles=is_installed("unicorn"),
        weights_in_ram=weights_in_ram,
        engines=["compiled"],
        ended=lambda *each: ended.append(each),
    )
    assert ended == [(result, BOARD, str(path))] and result["missing"] == {BOARD: {}}
    measured = result["boards"][BOARD][str(path)]
    assert measured["bytes_equal"] is (None if tflm_unavailable_reason() else True)
    return measured


@pytest.mark.slow
def test_a_file_is_measured_without_targets(two_layers: Path):
    measured = measure(two_layers)
    assert measured["targets"] == {} and measured["engines"]["compiled"]["instructions"] > 0
    console = Console(record=True, width=80)
    console.print(bench.engine_table(str(two_layers), measured))
    if modelled := measured["engines"]["compiled"].get("modelled"):
        # QEMU counts in steps of 40 and with the calls around the network.
        counted = measured["engines"]["compiled"]["instructions"]
        assert -40 < counted - modelled["instructions"] <= 120
        assert modelled["flash_reads"] >= 7 * 42 / 4
        assert modelled["cycles"]["nRF52840"] >= (
            modelled["cycles"]["0 wait states"] + 2 * modelled["flash_reads"]
        )
        table, dense = measured["engines"]["compiled"]["layers"]
        assert table["macs"] == 0 and dense["macs"] == 7 * 42 and dense["form"] == "1 pixel"
        parts = table["cycles"]["nRF52840"] + dense["cycles"]["nRF52840"]
        assert 0.7 * modelled["cycles"]["nRF52840"] < parts <= modelled["cycles"]["nRF52840"]
        for layer in (table, dense):
            assert sum(layer["phases"].values()) == layer["instructions"]
        assert table["phases"]["multiply"] == 0 < dense["phases"]["requantise"]
        assert dense["phases"]["multiply"] >= 7 * 42 / 2
        console.print(modelled_table("network", [table, dense]))
        text = console.export_text(clear=False)
        assert f"{7 * 42:,}" in text and "cycles, nRF52840" in text
    assert str(two_layers) in console.export_text()


@pytest.mark.slow
def test_weights_in_ram_are_not_read_from_flash(two_layers: Path):
    flash, ram = (measure(two_layers, granted)["engines"]["compiled"] for granted in (0, 1000))
    assert 7 * 42 <= ram["ram_bytes"] - flash["ram_bytes"] <= 1000
    assert ram["instructions"] == flash["instructions"]
    if is_installed("unicorn"):
        reads = [cost["modelled"]["flash_reads"] for cost in (flash, ram)]
        assert reads[0] - reads[1] >= 7 * 42 / 4
        assert ram["layers"][1]["form"] == "1 pixel, in RAM"


@pytest.mark.slow
def test_a_network_with_variables_begins_each_run_with_the_values_of_the_file(tmp_path):
    if reason := why_no_emulation(BOARD, TFLM):
        pytest.skip(reason)
    source = Item((1, 2, 1, 4), 0.05, -4)
    values = np.arange(8, dtype=np.int8)
    network = StatefulNetwork()
    total = network.variable(source, 2, values.reshape(source.shape))
    item = network.add(add(source, network.read(total)))
    network.assign(total, item)
    last = network.add(depthwise(delayed(network, np.random.default_rng(0), item), window=1))
    path = tmp_path / "variables.tflite"
    path.write_bytes(network.write(last))
    measured = bench.run_bench_engine([BOARD], [str(path)])["boards"][BOARD][str(path)]
    assert list(measured["engines"]) == list(ENGINES)
    assert measured["bytes_equal"] is True


def test_a_file_that_the_firmware_cannot_take_is_named(tmp_path):
    path = tmp_path / "two.tflite"
    if reason := why_no_emulation(BOARD, "compiled"):
        pytest.skip(reason)
    path.write_bytes(write_network([("ADD", [Item((1, 4)), Item((1, 4))], [Item((1, 4))], None)]))
    for file, message in ((path, "one int8 input"), (tmp_path / "no.tflite", "does not exist")):
        with pytest.raises(ModelError, match=rf"{file.name}.*{message}"):
            bench.run_bench_engine([BOARD], [str(file)])


def test_unknown_names_and_a_board_without_an_emulator(no_emulator):
    with refuses(ConfigError, "'steam'", "ds_cnn/mcu"):
        bench.run_bench_engine([BOARD], ["steam"])
    with refuses(ConfigError, no_emulator):
        bench.run_bench_engine([BOARD])


def test_cycles_are_modelled_for_one_core(monkeypatch):
    monkeypatch.setattr(bench, "require_cycles_packages", lambda: None)
    with refuses(ConfigError, "mps3_an547"):
        bench.run_bench_engine(["mps3_an547"], cycles=True)


@pytest.mark.long
@pytest.mark.slow
def test_each_network_meets_its_targets(m3net):
    if reason := "; ".join(filter(None, (why_no_emulation(BOARD, name) for name in ENGINES))):
        pytest.skip(reason)
    status, output, _ = m3net("bench", "engine", "--json")
    assert status == 0
    result = json.loads(output)
    networks = result["boards"][BOARD]
    assert set(networks) == {subject.label for subject in bench.SUBJECTS}
    for label, network in networks.items():
        assert network["bytes_equal"] is True, label
        for key, target in network["targets"].items():
            assert network["ratios"][key] <= target, (label, key)
