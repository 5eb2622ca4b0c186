# SPDX-License-Identifier: Apache-2.0
"""Which networks of the package can be exchanged without a new firmware."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from m3net_tf.compiler.emit import emit
from m3net_tf.compiler.goals import CYCLES
from m3net_tf.compiler.network import compile_network

APART = dataclasses.replace(CYCLES, apart=True)
#: The networks of the papers, and those that take other operators than these.
NETWORKS = {
    "m3net": "mcu",
    "spectromasknet": "mcu",
    "diffres": "mcu",
    "bilateral": "s",
    "ds_cnn": "mcu",
    "bc_resnet": "tau1",
    "sparknet": "c16",
    "streaming_ds_cnn": "wake",
    "mobilenet": "sounds_s",
}


def structures(name: str, preset: str, seed: int) -> list[str]:
    """Structures of the parts of a network whose weights and normalisations are random."""
    from m3net_tf.export.untrained import quantize_untrained
    from m3net_tf.networks.models import build_model
    from m3net_tf.system.keras import keras

    keras.utils.set_random_seed(seed)
    model = build_model(name, preset)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if len(weight.shape) == 1:  # biases, offsets and factors, which start alike
            values = weight.numpy()
            weight.assign(values + rng.normal(0, 0.2, values.shape))
    shape = (4, *model.input_shape[1:])
    maps = np.clip(rng.normal(0, 40 + seed, shape), -128, 127).astype(np.int8)
    parts = quantize_untrained(model, maps).parts
    sources = [emit(compile_network(part, goal=APART), "one", apart=True) for part in parts]
    return [match for each in sources for match in re.findall(r'E "(\w{64})"', each.header)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_other_weights_and_scales_have_the_same_structure(name: str):
    first = structures(name, NETWORKS[name], 1)
    assert first and structures(name, NETWORKS[name], 2) == first
