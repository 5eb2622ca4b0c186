# SPDX-License-Identifier: Apache-2.0
"""SparkNet compared with the sizes in its paper, and its gates."""

import math

import numpy as np
import pytest

from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.networks.models.sparknet.sparse_gate import SparseGate
from m3net_tf.system.keras import tf


# Origin: the paper's table 4, trainable parameters for 12 classes.
@pytest.mark.parametrize(("preset", "printed"), [("c16", 4_636), ("c32", 11_500)])
def test_sizes_are_the_printed_ones(preset, printed):
    model = build_model("sparknet", preset)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == printed


def test_its_form():
    model = build_model("sparknet", "mcu")
    assert model.get_layer("rows").output_shape == (None, 1, 49, 40)
    for index, frames in enumerate((11, 15, 19, 29), start=1):
        assert model.get_layer(f"tcs{index}_dw").kernel_size == (1, frames)
        assert model.get_layer(f"tcs{index}_relu").output_shape == (None, 1, 49, 32)
    names = {layer.name for layer in model.layers}
    assert "tcs1_skip" not in names and {"tcs2_skip", "tcs3_skip", "tcs4_skip"} <= names
    assert model.get_layer("gates").output_shape == (None, 1, 49, 40)
    narrow = build_model("sparknet", "mcu", overrides={"filters": 16})
    assert count_macs(narrow) < count_macs(model) / 2


MU = np.linspace(-1, 1, 41, dtype=np.float32).reshape(1, 1, 41, 1)


def test_gates_are_clipped_and_noisy_in_training_alone():
    layer = SparseGate(0.5, seed=1)
    np.testing.assert_allclose(layer(MU), np.clip(MU + 0.5, 0, 1), atol=1e-7)
    many = tf.constant(np.repeat(MU, 4000, 0))
    gates = layer(many, training=True).numpy()
    assert gates.min() == 0 and gates.max() == 1
    # Share of closed gates: the probability that a normal variable is below -mu - 1/2.
    closed = [0.5 + 0.5 * math.erf((-mu - 0.5) / (0.5 * math.sqrt(2))) for mu in MU.ravel()]
    np.testing.assert_allclose((gates == 0).mean((0, 1, 3)), closed, atol=0.03)


def test_open_gates_cost():
    layer = SparseGate(0.5, weight=0.1)
    layer(tf.zeros((2, 1, 3, 4)), training=True)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.1 * (0.5 + 0.5 * math.erf(1 / math.sqrt(2))))
    shut = SparseGate(0.5, weight=0.1)
    shut(-tf.ones((2, 1, 3, 4)), training=True)
    assert float(shut.losses[0]) < float(loss)
    for silent in (SparseGate(0.5, weight=0.0), SparseGate()):
        silent(tf.zeros((2, 1, 3, 4)), training=silent.weight == 0)
        assert silent.losses == []
