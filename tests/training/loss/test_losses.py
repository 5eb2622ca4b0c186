# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest
from refusals import refuses

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import keras, tf
from m3net_tf.training.clips.features import FeatureSet
from m3net_tf.training.loss.losses import balanced_weights, label_loss, teacher_loss
from m3net_tf.training.loss.self_distillation import self_distillation_loss
from m3net_tf.training.recipe.sections import DistillationSection, TrainingSection

LABELS = np.array([0, 0, 0, 1, 1, 3], np.int32)
RNG = np.random.default_rng(0)
ANSWERS = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
MIXED = (0.7 * np.eye(4)[LABELS] + 0.3 * np.eye(4)[LABELS[::-1]]).astype(np.float32)


def clips(*, several: bool = False) -> FeatureSet:
    matrix = np.eye(4, dtype=np.uint8)[LABELS] if several else None
    return FeatureSet((), LABELS, np.zeros((1, 6, 2, 2), np.int8), matrix)


def test_balanced_weights():
    np.testing.assert_allclose(balanced_weights(LABELS, 4), [6 / 9, 1, 0, 2])
    assert balanced_weights(LABELS, 4)[LABELS].mean() == pytest.approx(1)


def test_clips_of_rare_classes_count_more_mixed_ones_in_proportion():
    loss = label_loss(TrainingSection(class_weights="balanced", label_smoothing=0), clips(), 4)
    weights = np.array([6 / 9, 1, 0, 2])
    expected = np.mean(-(MIXED * np.log(ANSWERS)).sum(1) * (MIXED @ weights))
    np.testing.assert_allclose(loss(tf.constant(MIXED), tf.constant(ANSWERS)), expected, rtol=1e-5)
    plain = label_loss(TrainingSection(label_smoothing=0), clips(), 4)
    expected = np.mean(-(MIXED * np.log(ANSWERS)).sum(1))
    np.testing.assert_allclose(plain(tf.constant(MIXED), tf.constant(ANSWERS)), expected, rtol=1e-5)


def test_class_weights_reach_early_exits():
    settings = TrainingSection(class_weights="balanced", exit_weight=0.0, label_smoothing=0)
    loss = label_loss(settings, clips(), 4)
    answers = tf.constant(ANSWERS)
    targets = tf.constant(MIXED)
    np.testing.assert_allclose(loss(targets, [answers] * 3), 3 * loss(targets, answers), rtol=1e-5)


def test_each_class_by_itself_where_clips_have_several_labels():
    loss = label_loss(TrainingSection(label_smoothing=0.2), clips(several=True), 4)
    soft = MIXED * 0.8 + 0.1
    expected = -(soft * np.log(ANSWERS) + (1 - soft) * np.log(1 - ANSWERS)).mean()
    np.testing.assert_allclose(loss(tf.constant(MIXED), tf.constant(ANSWERS)), expected, rtol=1e-4)


def test_binary_cross_entropy_for_single_labels():
    settings = TrainingSection(label_smoothing=0.2, loss="binary_cross_entropy")
    loss = label_loss(settings, clips(), 4)
    same = label_loss(TrainingSection(label_smoothing=0.2), clips(several=True), 4)
    targets = tf.constant(MIXED)
    answers = tf.constant(ANSWERS)
    assert loss(targets, answers) == same(targets, answers)
    with refuses(ConfigError, "cross_entropy"):
        label_loss(dataclasses.replace(settings, class_weights="balanced"), clips(), 4)


def test_class_weights_need_one_label():
    with refuses(ConfigError, "class_weights", "'balanced'"):
        label_loss(TrainingSection(class_weights="balanced"), clips(several=True), 4)


def softened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    powers = probabilities.astype(float) ** (1 / temperature)
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("weight", "temperature"), [(0.0, 2.0), (0.5, 1.0), (0.3, 4.0)])
def test_divergence_from_a_teacher(multi_label, weight, temperature):
    teacher = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    settings = DistillationSection("run", weight, temperature)
    p, q = teacher, ANSWERS
    if multi_label:
        p, q = (np.stack([x, 1 - x], axis=-1) for x in (p, q))
    p, q = softened(p, temperature), softened(q, temperature)
    divergence = (p * np.log(p / q)).sum(-1).mean()
    expected = (1 - weight) * 0.25 + weight * temperature**2 * divergence
    loss = teacher_loss(
        tf.constant(0.25),
        tf.constant(teacher),
        tf.constant(ANSWERS),
        settings,
        sigmoids=multi_label,
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_a_teacher_that_is_agreed_with_says_nothing_and_learns_nothing():
    logits = tf.Variable(RNG.normal(size=(6, 4)).astype(np.float32))
    settings = DistillationSection("run", weight=1.0)
    with tf.GradientTape() as tape:
        answers = tf.nn.softmax(logits)
        loss = teacher_loss(tf.constant(9.0), answers, answers, settings)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits), np.zeros((6, 4)), atol=1e-6)


def test_keras_agrees_on_the_plain_loss():
    loss = label_loss(TrainingSection(), clips(), 4)
    plain = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    assert float(loss(MIXED, ANSWERS)) == float(plain(MIXED, ANSWERS))


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
