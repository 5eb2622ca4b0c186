# SPDX-License-Identifier: Apache-2.0
import functools
import re
import sys
import types

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.networks.layers import classifier, conv_block
from m3net_tf.quantization.ptq import quantize_int8
from m3net_tf.runtime import desktop, interpreter
from m3net_tf.runtime.interpreter import (
    host_arena_bytes,
    run_reference,
    run_tflm,
    tensor_quantization,
    tflm_unavailable_reason,
)
from m3net_tf.runtime.network import Int8Network
from m3net_tf.system.errors import ModelError
from m3net_tf.system.keras import keras

needs_tflm = pytest.mark.skipif(
    bool(tflm_unavailable_reason()), reason=tflm_unavailable_reason() or "TFLite Micro is there"
)
FEATURES = np.random.default_rng(0).integers(-128, 128, (6, 8, 10, 1)).astype(np.int8)


@pytest.fixture(scope="module")
def tflite() -> bytes:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8, 10, 1))
    return quantize_int8(keras.Model(inputs, classifier(conv_block(inputs, 4), 3)), FEATURES)


def test_clips_do_not_touch_each_other(tflite):
    scores = run_reference(tflite, FEATURES)
    np.testing.assert_array_equal(run_reference(tflite, FEATURES[::-1])[::-1], scores)
    np.testing.assert_array_equal(run_reference(tflite, FEATURES[2:3])[0], scores[2])


def test_work_of_seconds_is_compiled_once(tflite, monkeypatch):
    compiled: list[bytes] = []

    def load(part: bytes) -> desktop.Engine:
        compiled.append(part)
        return functools.partial(run_reference, part)

    monkeypatch.setattr(desktop, "load_compiled", load)
    run = desktop.load_adaptive(Int8Network(tflite), patience_s=1e-6)
    expected = run_reference(tflite, FEATURES)
    for calls in (0, 1, 1):
        np.testing.assert_array_equal(run(FEATURES), expected)
        assert compiled == [tflite] * calls


def test_without_a_compiler_the_reference_kernels_stay(tflite, monkeypatch):
    monkeypatch.setenv("PATH", "")
    run = desktop.load_adaptive(Int8Network(tflite), patience_s=0.0)
    for _ in range(2):
        np.testing.assert_array_equal(run(FEATURES), run_reference(tflite, FEATURES))


@needs_tflm
def test_tflm_gives_the_same_bytes(tflite):
    np.testing.assert_array_equal(run_tflm(tflite, FEATURES), run_reference(tflite, FEATURES))


@needs_tflm
def test_the_arena_that_is_reported_is_enough_and_little_less_is_not(tflite):
    needed = host_arena_bytes(tflite)
    assert 500 < needed < 50_000
    enough = run_tflm(tflite, FEATURES, arena_bytes=needed)
    np.testing.assert_array_equal(enough, run_reference(tflite, FEATURES))
    with pytest.raises(ModelError, match=r"arena of \d+ bytes .*: enlarge the arena") as caught:
        run_tflm(tflite, FEATURES, arena_bytes=needed // 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda b: b[:200], lambda b: b"", lambda b: b"nonsense" * 99])
def test_what_is_no_network(damage, tflite):
    broken = damage(tflite)
    with pytest.raises(ModelError, match=r"cannot be run .*: export it again") as caught:
        run_reference(broken, FEATURES)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="cannot be run"):
        tensor_quantization(broken, "input")


def test_what_the_wheel_prints_does_not_mix_with_json(monkeypatch, tflite, capsys):
    wheel = types.ModuleType("runtime")
    source = "class Interpreter:\n  def from_bytes(*_, **__): print('Number of resource variables')"
    exec(source, wheel.__dict__)
    package = types.SimpleNamespace(runtime=wheel)
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro", package)
    interpreter._load_tflm(tflite, 1 << 20)
    assert not capsys.readouterr().out


def test_without_the_wheel(no_tflm, tflite):
    assert re.search(r"does not load \(.*tflite_micro.*\): pip install", tflm_unavailable_reason())
    for use in (host_arena_bytes, lambda model: run_tflm(model, FEATURES)):
        with refuses(ModelError, "pip install"):
            use(tflite)
