# SPDX-License-Identifier: Apache-2.0
"""Recorded words: copies of one take, length and level."""

import numpy as np
import pytest

from m3net_tf.lab.bench.takes import distinct_takes, length_s, level_db

RATE_HZ = 16_000


def test_shifted_and_scaled_copies_are_one_take():
    rng = np.random.default_rng(0)
    first, second, third = rng.normal(0, 0.1, (3, RATE_HZ)).astype(np.float32)
    shifted = np.roll(np.pad(first, (0, 3000)), 1500)
    noisy = 0.3 * first + rng.normal(0, 0.003, RATE_HZ).astype(np.float32)
    silence = np.zeros(800, np.float32)
    takes = distinct_takes([first, second, shifted, third[:9000], noisy, silence], RATE_HZ)
    assert takes[0] == takes[2] == takes[4]
    assert len(set(takes.tolist())) == 4


def test_length_and_level_are_of_the_loud_part():
    quiet = np.zeros(RATE_HZ, np.float32)
    tone = (0.1 * np.sin(np.arange(round(0.6 * RATE_HZ)) * 0.08)).astype(np.float32)
    sound = np.concatenate([quiet, tone, quiet])
    assert length_s(sound, RATE_HZ) == pytest.approx(0.6, abs=0.04)
    assert level_db(0.1 * sound, RATE_HZ) == pytest.approx(level_db(sound, RATE_HZ) - 20, abs=0.1)
