# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest

from m3net_tf.networks.models import build_model
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.loop.schedules import learning_rate, one_cycle
from m3net_tf.training.loop.state import make_optimizer
from m3net_tf.training.recipe.sections import TrainingSection


def rates(steps: int = 12, **changes: object) -> np.ndarray:
    """Rates of the first steps of a training with 4 steps an epoch."""
    settings = TrainingSection(**{"learning_rate": 1.0, **changes})
    return np.array([float(learning_rate(settings, tf.constant(s + 0.0), 4)) for s in range(steps)])


def test_cosine():
    cosine = rates(epochs=3)
    assert (np.diff(cosine[:3]) > 0).all()  # one epoch of warm-up
    assert (np.diff(cosine[3:]) < 0).all()
    assert cosine.max() < 1
    assert 0 < cosine[-1] < 0.05
    assert rates(epochs=3, learning_rate_floor=0.5)[4:].min() >= 0.5
    assert rates(epochs=1)[0] == 1  # no room for a warm-up


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_schedules_that_stay(schedule):
    assert set(rates(schedule=schedule, learning_rate=0.25)) == {0.25}


def test_steps_as_printed_in_the_papers_table():
    """DiffRes, table 4, AudioSet: (11, 0.5, 5), the rate of each epoch."""
    learning_rates = rates(120, schedule="step", step_start=11, step_factor=0.5, step_every=5)[::4]
    expected = [1.0] * 10 + [0.5] * 5 + [0.25] * 5 + [0.125] * 5 + [0.0625] * 5
    np.testing.assert_allclose(learning_rates, expected)


def test_steps_change_between_epochs_alone():
    learning_rates = rates(16, schedule="step", step_start=2, step_factor=0.9, step_every=1)
    np.testing.assert_allclose(learning_rates, np.repeat([1.0, 0.9, 0.81, 0.729], 4), rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "step", "plateau"])
def test_warm_up_of_any_length(schedule):
    learning_rates = rates(12, schedule=schedule, warm_up_epochs=2, step_start=20)
    np.testing.assert_allclose(learning_rates, [*np.arange(1, 9) / 8, 1, 1, 1, 1], rtol=1e-6)


def test_warm_up_of_cosine():
    plain = rates(12, epochs=3, warm_up_epochs=0)
    np.testing.assert_allclose(plain, 0.5 * (1 + np.cos(np.pi * np.arange(12) / 12)), atol=1e-6)
    slow = rates(12, epochs=3, warm_up_epochs=0.5)
    np.testing.assert_allclose(slow, plain * np.minimum(1, np.arange(1, 13) / 2), rtol=1e-6)


def network() -> keras.Model:
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(3)(inputs))
    x = keras.layers.MultiHeadAttention(2, 2, name="attention")(x[:, None], x[:, None])
    return keras.Model(inputs, x)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_spares_biases_and_normalisation(optimizer):
    model = network()
    for weight in model.trainable_variables:
        weight.assign(tf.ones_like(weight))
    settings = TrainingSection(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)
    zeros = [tf.zeros_like(weight) for weight in model.trainable_variables]
    make_optimizer(model, settings).apply_gradients(
        zip(zeros, model.trainable_variables, strict=True)
    )
    for weight in model.trainable_variables:
        decayed = weight.name.endswith("kernel:0")
        np.testing.assert_allclose(weight, 0.95 if decayed else 1.0, rtol=1e-6)
    assert sum(w.name.endswith("kernel:0") for w in model.trainable_variables) == 5


def test_momentum_of_sgd():
    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, input_shape=(1,))])
    (weight,) = model.trainable_variables
    weight.assign([[0.0]])
    optimizer = make_optimizer(
        model, TrainingSection(optimizer="sgd", momentum=0.5, learning_rate=1.0)
    )
    for expected in (-1.0, -2.5):  # the second step adds half of the first
        optimizer.apply_gradients([(tf.ones((1, 1)), weight)])
        assert weight.numpy().item() == expected


def test_adam_is_the_default():
    model = build_model("ds_cnn", "mcu")
    optimizer = make_optimizer(model, TrainingSection())
    assert type(optimizer) is keras.optimizers.Adam
    assert optimizer.weight_decay is None


PEAK = 3e-4


def one_cycle_rates(steps: int) -> np.ndarray:
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
    np.testing.assert_allclose(one_cycle_rates(steps), expected, rtol=1e-5, atol=1e-10)  # float32


def test_start_peak_and_end():
    values = one_cycle_rates(100)
    assert values[0] == pytest.approx(PEAK / 25, rel=1e-5)
    assert values.argmax() == 29
    assert values[29] == pytest.approx(PEAK, rel=1e-5)
    assert values[-1] == pytest.approx(PEAK / 25 / 1e4, rel=1e-2, abs=1e-11)
    assert (np.diff(values[:30]) > 0).all()
    assert (np.diff(values[29:]) < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_very_short_trainings(steps):
    values = one_cycle_rates(steps)
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert (values <= PEAK * (1 + 1e-6)).all()


def test_steps_beyond_the_last_and_tensors_in_a_graph():
    traced = tf.function(lambda step: one_cycle(step, 10, PEAK))
    assert float(traced(tf.constant(9.0))) == float(traced(tf.constant(500.0)))
    assert float(traced(tf.constant(4, tf.int64))) == pytest.approx(one_cycle_rates(10)[4])
