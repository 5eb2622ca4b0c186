# SPDX-License-Identifier: Apache-2.0
"""`m3net bench conversion`: stock layers and the plain converter compared with ours."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from m3net_tf import cli
from m3net_tf.export.operators import TFLM_OPERATORS
from m3net_tf.lab.bench import conversion
from m3net_tf.lab.bench.training import Case, build_pair
from m3net_tf.runtime.interpreter import tflm_unavailable_reason
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf


@pytest.fixture(scope="module")
def m3net() -> dict:
    return conversion.compare_forms(Case("m3net", "s", 1), None)


@pytest.mark.parametrize("name", ["bilateral", "diffres"])
def test_the_naive_form_of_a_small_preset_has_as_many_parameters(name):
    ours, plain = build_pair(Case(name, "s", 1))
    assert ours.count_params() == plain.count_params()
    assert ours.output_shape == plain.output_shape


def test_m3nets_operators(m3net):
    operators = m3net["operators"]
    for index, side in enumerate(("before", "after")):
        assert sum(counts[index] for counts in operators.values()) == m3net[side]["operators"]
    assert m3net["after"]["operators"] < m3net["before"]["operators"]
    # CMSIS-NN computes the operators of global pooling and dense layers alike everywhere.
    assert operators["FULLY_CONNECTED"] == [1, 0] and operators["MEAN"] == [2, 0]
    assert operators["DEPTHWISE_CONV_2D"][0] == operators["DEPTHWISE_CONV_2D"][1]
    assert m3net["after"]["problem"] == tflm_unavailable_reason()
    if not tflm_unavailable_reason():
        assert m3net["before"]["arena_bytes"] and m3net["after"]["arena_bytes"]
    assert m3net["after"]["macs"] == pytest.approx(m3net["before"]["macs"], rel=0.01)


class Sign(keras.layers.Layer):
    """A layer without an int8 form that TFLite Micro lacks."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.sign(inputs) * tf.cumsum(inputs, axis=1)


def test_a_network_that_no_device_runs(monkeypatch):
    inputs = keras.Input((4, 5, 1))
    x = keras.layers.Flatten()(Sign()(keras.layers.Conv2D(2, 3)(inputs)))
    plain = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    ours = keras.Sequential([keras.layers.Flatten(input_shape=(4, 5, 1)), keras.layers.Dense(3)])
    monkeypatch.setattr(conversion, "build_pair", lambda _: (ours, plain))
    monkeypatch.setattr(
        conversion,
        "quantize_network",
        lambda model, clips: conversion.convert_plainly(model, clips).network,
    )
    monkeypatch.setattr(conversion, "_instructions", lambda *_: 7)
    forms = conversion.compare_forms(Case("m3net", "s", 1), "mps2_an386")
    assert forms["after"]["instructions"] == (None if tflm_unavailable_reason() else 7)
    assert forms["before"]["problem"].startswith("TFLite Micro lacks ")
    assert forms["before"]["arena_bytes"] is forms["before"]["instructions"] is None
    lacking = forms["before"]["problem"].removeprefix("TFLite Micro lacks ").split(", ")
    assert lacking and not set(lacking) & TFLM_OPERATORS


def test_what_the_converter_refuses(monkeypatch):
    def refuse(self):
        raise ValueError("no such layer\nin TFLite")

    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_concrete_functions", lambda *_: refuses)
    refuses = SimpleNamespace(
        convert=lambda: refuse(None), target_spec=SimpleNamespace(supported_ops=[])
    )
    model = keras.Sequential([keras.layers.Flatten(input_shape=(2, 2, 1))], name="odd")
    clips = np.zeros((1, 2, 2, 1), np.int8)
    converted = conversion.convert_plainly(model, clips)
    assert converted.network is None
    assert "odd has no int8 form by the plain" in converted.problem
    assert "no such layer in TFLite" in converted.problem
    cost = conversion._cost(converted, clips, 2, "mps2_an386", print)
    assert {cost.pop("problem"), *cost.values()} == {converted.problem, None}


def test_command(m3net, monkeypatch, capsys):
    monkeypatch.setattr(conversion, "compare_forms", lambda *_: m3net)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["m3net", "bench", "conversion", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        caught = capsys.readouterr()
        return stop.value.code or 0, caught.out, caught.err

    status, out, _ = run("m3net/s", "--json")
    assert status == 0 and json.loads(out)["networks"] == {"m3net/s": m3net}
    status, out, _ = run("m3net/s")
    assert status == 0 and "REVERSE_V2" in out and "network, bytes" in out
    status, _, err = run("m3net/xl")
    assert status == 2 and "there is no case 'm3net/xl' to convert: choose from m3net/s" in err


def test_a_board_that_cannot_be_emulated(monkeypatch):
    monkeypatch.setattr(conversion, "why_no_emulation", lambda *_: "install qemu")
    with pytest.raises(ConfigError, match=r"cannot be emulated \(install qemu\): leave --board"):
        conversion.run_bench_conversion(["m3net/s"], "mps2_an386")
