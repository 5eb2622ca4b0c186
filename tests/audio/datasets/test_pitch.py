# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from m3net_tf.audio.datasets.pitch import pitch_hz

RATE_HZ = 16_000


def voice(hz: float, seconds: float = 0.5) -> np.ndarray:
    """Harmonics that become weaker, as of a voice."""
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    harmonics = (np.sin(2 * np.pi * n * hz * times_s) / n for n in range(1, 12))
    return (0.1 * sum(harmonics)).astype(np.float32)


@pytest.mark.parametrize("hz", [95.0, 150.0, 210.0, 320.0])
def test_the_pitch_is_that_of_the_loud_part(hz):
    hum = 0.05 * voice(60.0, 1.0)
    sound = np.concatenate([hum, voice(hz), hum])
    assert pitch_hz(sound, RATE_HZ) == pytest.approx(hz, rel=0.02)
