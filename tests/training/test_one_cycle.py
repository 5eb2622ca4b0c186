# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from m3net_tf.system.keras import tf
from m3net_tf.training.schedules import one_cycle

PEAK = 3e-4


def rates(steps: int) -> np.ndarray:
    return np.array([float(one_cycle(step, steps, PEAK)) for step in range(steps)])


def slow(step: int, steps: int) -> float:
    """PyTorch's documented rule, phase by phase."""
    phases = [(0.3 * steps - 1, PEAK / 25, PEAK), (steps - 1, PEAK, PEAK / 25 / 1e4)]
    start_step = 0.0
    for end_step, start, end in phases:
        if step <= end_step:
            share = (step - start_step) / (end_step - start_step)
            return end + (start - end) / 2 * (1 + math.cos(math.pi * share))
        start_step = end_step
    raise AssertionError("beyond the last step")


@pytest.mark.parametrize("steps", [5, 10, 33, 100])
def test_same_as_the_slow_rule(steps):
    expected = [slow(step, steps) for step in range(steps)]
    np.testing.assert_allclose(rates(steps), expected, rtol=1e-5, atol=1e-10)  # float32


def test_start_peak_and_end():
    values = rates(100)
    assert values[0] == pytest.approx(PEAK / 25, rel=1e-5)
    assert values.argmax() == 29
    assert values[29] == pytest.approx(PEAK, rel=1e-5)
    assert values[-1] == pytest.approx(PEAK / 25 / 1e4, rel=1e-2, abs=1e-11)
    assert (np.diff(values[:30]) > 0).all()
    assert (np.diff(values[29:]) < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_very_short_trainings(steps):
    values = rates(steps)
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert (values <= PEAK * (1 + 1e-6)).all()


def test_steps_beyond_the_last_and_tensors_in_a_graph():
    traced = tf.function(lambda step: one_cycle(step, 10, PEAK))
    assert float(traced(tf.constant(9.0))) == float(traced(tf.constant(500.0)))
    assert float(traced(tf.constant(4, tf.int64))) == pytest.approx(rates(10)[4])
