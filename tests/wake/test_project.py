# SPDX-License-Identifier: Apache-2.0
"""The recipe of a wake word."""

import pytest

from m3net_tf.networks.models import build_model
from m3net_tf.networks.models.complexity import count_macs
from m3net_tf.wake.project import wake_recipe
from m3net_tf.wake.sounds import WakeSounds


def line_macs(clip_s: float) -> float:
    """Products of a column of features, in the network for windows of so many seconds."""
    sounds = WakeSounds(
        clip_s=clip_s,
        phrases={},
        near={},
        words=0,
        hours={},
        phonemes={},
        speakers=1,
        variety=1.0,
    )
    model = wake_recipe(sounds)["model"]
    frames = round(clip_s / 0.02) - 1
    overrides = model.get("arguments", {})
    network = build_model(
        model["name"], model["preset"], input_shape=(40, frames, 1), overrides=overrides
    )
    return count_macs(network) / frames


@pytest.mark.parametrize("clip_s", [1.8, 2.0])
def test_longer_windows_cost_less_for_each_column(clip_s):
    """So that a second look, which computes windows, ends in time on a slow board."""
    assert line_macs(clip_s) * clip_s < 1.05 * line_macs(1.6) * 1.6
