# SPDX-License-Identifier: Apache-2.0
"""BC-ResNet compared with the sizes in its paper."""

import numpy as np
import pytest

from m3net_tf.networks.models import build_model

# Origin: the paper's table 3, trainable parameters for 12 classes.
PRINTED = {
    "tau1": "9.2k",
    "tau1_5": "17.2k",
    "tau2": "27.3k",
    "tau3": "54.2k",
    "tau6": "188k",
    "tau8": "321k",
}


@pytest.mark.parametrize(
    "preset",
    ["tau1", "tau8", *(pytest.param(n, marks=pytest.mark.slow) for n in [*PRINTED][1:-1])],
)
def test_sizes_are_the_printed_ones(preset):
    model = build_model("bc_resnet", preset)
    thousands = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) / 1000
    text = f"{thousands:.1f}k" if thousands < 100 else f"{thousands:.0f}k"
    assert text == PRINTED[preset]


def test_stages_are_those_of_table_1():
    model = build_model("bc_resnet", "tau1")
    ends = {"stem": (20, 16), "stage1_2": (20, 8), "stage2_2": (10, 12)}
    ends |= {"stage3_4": (5, 16), "stage4_4": (5, 20), "last": (1, 32)}
    for name, (bins, channels) in ends.items():
        assert model.get_layer(f"{name}_relu").output_shape == (None, bins, 101, channels)
    for stage, dilation in enumerate((1, 2, 4, 8), start=1):
        assert model.get_layer(f"stage{stage}_1_f1_dw").dilation_rate == (1, dilation)
