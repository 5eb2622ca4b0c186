# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantization_helpers import clips, outputs, separable
from refusals import refuses

from m3net_tf.quantization.calibration import (
    clip_at_least_error,
    clip_at_percentile,
    set_full_ranges,
)
from m3net_tf.quantization.methods import Method, Quantizer
from m3net_tf.quantization.observation import histograms, observe
from m3net_tf.runtime.interpreter import (
    activation_bits,
    narrow,
    run_reference,
    run_tflm,
    tensor_quantization,
    tflm_unavailable_reason,
    widen,
)
from m3net_tf.system.errors import ConfigError
from m3net_tf.tflite.read import read_graph

CALIBRATION = clips(32)
HELD_OUT = clips(24, seed=9)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    return Quantizer(separable(), CALIBRATION)


def calibrated(quantizer: Quantizer) -> bytes:
    """The float graph with the converter's ranges."""
    return quantizer.quantize(Method()).floats.parts[0]


@given(
    st.builds(
        Method,
        clip=st.one_of(st.none(), st.just("least-error"), st.sampled_from([99.0, 99.99, 100.0])),
        equalize=st.booleans(),
        bias=st.booleans(),
        qat=st.booleans(),
        prune=st.sampled_from([None, 1, 50, 99]),
    )
)
def test_a_methods_name_says_all_of_it(method):
    assert Method.parse(str(method)) == method


def test_the_order_of_its_parts_is_free():
    assert Method.parse("ptq+bias+p99.9") == Method(clip=99.9, bias=True)
    assert Method.parse("int16x8") == Method(wide=True)
    assert Method.parse("qat+bias+prune50") == Method(qat=True, prune=50, bias=True)


def test_which_methods_train():
    assert all(Method.parse(name).fine_tunes for name in ("qat", "ptq+prune50"))
    assert not any(Method.parse(name).fine_tunes for name in ("ptq+equalize+bias", "int16x8"))


@pytest.mark.parametrize("part", ["prune0", "prune100"])
def test_counts_out_of_range(part):
    with refuses(ConfigError, part):
        Method.parse(f"qat+{part}")


@pytest.mark.parametrize(
    "name",
    ["", "int8", "ptq+", "ptq+p99+least-error", "qat+bias+bias", "int16x8+bias", "ptq+prune"],
)
def test_what_is_no_method(name):
    with refuses(ConfigError, "method", "ptq", "qat"):
        Method.parse(name)


@pytest.mark.parametrize("name", ["ptq+p50", "ptq+p100.1", "ptq+p", "ptq+pnan"])
def test_what_is_no_percentile(name):
    with refuses(ConfigError, "p50.1", "p100"):
        Method.parse(name)


def test_each_method_is_done_once(quantizer):
    first = quantizer.quantize(Method.parse("ptq"))
    assert quantizer.quantize(Method.parse("ptq")) is first
    assert first.changed_layers == ()
    wide = quantizer.quantize(Method.parse("int16x8"))
    assert wide.floats.parts[0] is first.floats.parts[0]


def test_all_parts_together_stay_close_to_float(quantizer):
    float_outputs = outputs(calibrated(quantizer), HELD_OUT)
    for name in ("ptq", "ptq+p99.99+equalize+bias", "ptq+least-error", "int16x8"):
        made = quantizer.quantize(Method.parse(name)).network
        assert tensor_quantization(made.tflite, "input") == (1 / 128, 0), name
        assert tensor_quantization(made.tflite, "output") == (1 / 256, -128), name
        scores = (run_reference(made.tflite, HELD_OUT).astype(float) + 128) / 256
        np.testing.assert_allclose(scores, float_outputs, atol=0.03, err_msg=name)
    changed = quantizer.quantize(Method.parse("ptq+p99.99+equalize+bias")).changed_layers
    assert set(changed) == {"stem_conv", "ds_dw", "ds_pw", "dense"}


def test_sixteen_bits_give_the_same_bytes_on_tflite_micro(quantizer):
    wide = quantizer.quantize(Method.parse("int16x8")).network.tflite
    assert activation_bits(wide) == 16
    assert activation_bits(quantizer.quantize(Method.parse("ptq")).network.tflite) == 8
    scores = run_reference(wide, HELD_OUT)
    assert scores.dtype == np.int8
    if reason := tflm_unavailable_reason():
        pytest.skip(reason)
    np.testing.assert_array_equal(run_tflm(wide, HELD_OUT), scores)


def test_sixteen_bits_are_closer_to_float_inside(quantizer):
    float_outputs = outputs(calibrated(quantizer), HELD_OUT)
    apart = {}
    for name in ("ptq", "int16x8"):
        raw = outputs(quantizer.quantize(Method.parse(name)).network.tflite, HELD_OUT)
        real = raw / 32768 if raw.dtype == np.int16 else (raw.astype(float) + 128) / 256
        apart[name] = np.abs(real - float_outputs).mean()
    assert apart["int16x8"] < apart["ptq"] / 2


def test_ends_of_a_wide_network():
    every = np.arange(-128, 128).astype(np.int8)
    np.testing.assert_array_equal(widen(every), np.arange(-128, 128) * 256)
    scores = np.array([0, 127, 128, 32767], np.int16)
    np.testing.assert_array_equal(narrow(scores), [-128, -128, -127, 127])


def steps(tflite: bytes) -> list[float]:
    """Extent of each computed tensor's range."""
    ranges = [op.output.range for op in read_graph(tflite).operations]
    return [high - low for low, high in ranges]


def test_ranges(quantizer):
    """Full ranges are the converter's; the 100th percentile is as wide; others are narrower."""
    graph = calibrated(quantizer)
    full = steps(set_full_ranges(graph, CALIBRATION))
    np.testing.assert_allclose(full[:3], steps(graph)[:3], rtol=1e-3)
    widest = steps(clip_at_percentile(graph, CALIBRATION, 100.0))
    np.testing.assert_allclose(widest, full, rtol=2e-3)
    narrower = steps(clip_at_percentile(graph, CALIBRATION, 99.0))
    assert (np.array(narrower[:3]) < np.array(full[:3])).all()


def test_least_error_is_the_least(quantizer):
    graph = calibrated(quantizer)
    tensor = read_graph(graph).operations[0].output
    seen = observe(graph, CALIBRATION)
    counts, centres = histograms(graph, CALIBRATION, seen)[tensor.index]
    assert counts.sum() == len(CALIBRATION) * tensor.size
    best = steps(clip_at_least_error(graph, CALIBRATION))[0]

    def error(high: float) -> float:
        step = high / 255
        return (counts * (centres - np.clip(np.round(centres / step) * step, 0, high)) ** 2).sum()

    assert error(best) <= min(
        error(share * seen[tensor.index].high) for share in (1.0, 0.9, 0.7, 0.5)
    )


def test_values_that_do_not_vary_have_a_range():
    model = separable()
    last = next(layer for layer in reversed(model.layers) if len(layer.get_weights()) == 2)
    kernel, bias = last.get_weights()
    last.set_weights([np.zeros_like(kernel), np.full_like(bias, 5.0)])
    graph = calibrated(Quantizer(model, CALIBRATION))
    for clipped in (
        clip_at_percentile(graph, CALIBRATION, 99.0),
        clip_at_least_error(graph, CALIBRATION),
    ):
        assert all(
            high > low for low, high in (op.output.range for op in read_graph(clipped).operations)
        )
