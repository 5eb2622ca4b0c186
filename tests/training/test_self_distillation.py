# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf
from m3net_tf.training.self_distillation import self_distillation_loss

BATCH, CLASSES = 5, 4


def logits(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (BATCH, CLASSES)).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


TARGETS = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]
LOGITS = [logits(seed) for seed in (1, 2, 3)]


def slow(temperature: float, weight: float) -> float:
    """The loss from the logits, clip by clip, exit by exit."""
    total = 0.0
    for clip in range(BATCH):
        teacher = softmax(LOGITS[0][clip] / temperature)
        for index, exit_logits in enumerate(LOGITS):
            cross_entropy = -np.log(softmax(exit_logits[clip]))[TARGETS[clip].argmax()]
            if index == 0:
                total += cross_entropy
                continue
            student = softmax(exit_logits[clip] / temperature)
            divergence = sum(p * np.log(p / q) for p, q in zip(teacher, student, strict=True))
            total += (1 - weight) * cross_entropy + weight * temperature**2 * divergence
    return total / BATCH


@pytest.mark.parametrize(
    ("temperature", "weight"), [(1.0, 0.3), (3.0, 0.3), (3.0, 1.0), (8.0, 0.0)]
)
def test_same_as_the_slow_loss_on_logits(temperature, weight):
    outputs = [tf.nn.softmax(values) for values in LOGITS]
    loss = self_distillation_loss(TARGETS, outputs, temperature=temperature, weight=weight)
    np.testing.assert_allclose(loss, slow(temperature, weight), rtol=1e-5)  # float32 and its log


def test_exits_that_agree_with_the_last_have_nothing_to_learn_from_it():
    same = [tf.nn.softmax(LOGITS[0])] * 3
    alone = self_distillation_loss(TARGETS, same, weight=0.0)
    distilled = self_distillation_loss(TARGETS, same, weight=1.0)
    np.testing.assert_allclose(distilled, alone / 3, rtol=1e-6)  # the last one's cross-entropy


def test_the_teacher_learns_from_the_labels_alone():
    variables = [tf.Variable(values) for values in LOGITS]
    with tf.GradientTape(persistent=True) as tape:
        outputs = [tf.nn.softmax(variable) for variable in variables]
        loss = self_distillation_loss(TARGETS, outputs, weight=1.0)
    last, *early = tape.gradient(loss, variables)
    np.testing.assert_allclose(last, (softmax(LOGITS[0]) - TARGETS) / BATCH, atol=1e-6)
    # Towards the teacher, with the temperature's square: T (student - teacher) / batch.
    for values, gradient in zip(LOGITS[1:], early, strict=True):
        expected = 3.0 * (softmax(values / 3.0) - softmax(LOGITS[0] / 3.0)) / BATCH
        np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_certain_and_impossible_classes_stay_finite_in_a_graph():
    sure = tf.Variable(TARGETS * 400.0)
    wrong = tf.Variable((1 - TARGETS) * 400.0)

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = [tf.nn.softmax(sure), tf.nn.softmax(wrong)]
            loss = self_distillation_loss(TARGETS, outputs, label_smoothing=0.1)
        return [loss, *tape.gradient(loss, [sure, wrong])]

    for value in gradients():
        assert np.isfinite(value.numpy()).all()


def test_a_network_without_early_exits():
    with pytest.raises(ConfigError, match="early_exits"):
        self_distillation_loss(TARGETS, [tf.constant(TARGETS)])
