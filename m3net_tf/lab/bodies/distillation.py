# SPDX-License-Identifier: Apache-2.0
"""The student learns the teacher's answers: its embedding, and its probabilities of all classes.

A dense layer that only the training has predicts the embedding from the student's pooled features,
as in :mod:`m3net_tf.training.loss.imitation`. Values are logarithms, standardised, so that each
counts equally.
"""

import time
from collections.abc import Callable

import numpy as np

from m3net_tf.audio.frontend.config import FEATURE_SCALE
from m3net_tf.lab.bodies.lessons import Floats, Int8, Lessons
from m3net_tf.system.keras import keras, tf
from m3net_tf.system.progress import Log, Task, track
from m3net_tf.training.loop.schedules import learning_rate
from m3net_tf.training.loop.state import TrainingState
from m3net_tf.training.loss.imitation import imitating
from m3net_tf.training.recipe.sections import TrainingSection
from m3net_tf.training.run import Run

_SCORES_WEIGHT = 20.0  # of the mean over 521 classes, most of which are near 0
_SAMPLE = 4096  # lessons whose values give mean and deviation
_LEAST_DEVIATION = 0.02

Step = Callable[[Int8, Floats, Floats], tf.Tensor]
"""From maps, embeddings and logits to the losses of embedding and scores."""


def distil(
    student: keras.Model, settings: TrainingSection, lessons: Lessons, run: Run, log: Log
) -> TrainingState:
    """Train a student, or resume its training; the state is saved after each epoch.

    Args:
        student: MobileNet with a sigmoid for each of the teacher's classes. It gets the average of
            its weights at the end.

    Raises:
        ModelError: the saved state is damaged.
    """
    imitation = imitating(student, lessons.embedding)
    logits = student.get_layer("logits").output
    model = keras.Model(student.input, [imitation.outputs[-1], logits])
    state = TrainingState(model, settings, len(lessons), student)
    state.resume(run.state_path, run.previous_state_path, log)
    step = _make_step(state, lessons)
    steps = settings.epochs * state.steps_per_epoch
    done = state.epoch * state.steps_per_epoch
    with track(log, "distillation", steps, "steps", done=done) as task:
        while state.epoch < settings.epochs:
            _run_epoch(state, step, lessons, task, log)
            state.save(run.state_path, run.previous_state_path)
    state.model.set_weights(state.kept)
    return state


def _run_epoch(
    state: TrainingState,
    step: Step,
    lessons: Lessons,
    task: Task,
    log: Log,
) -> None:
    began_s = time.monotonic()
    size = state.settings.batch_size
    order = np.random.default_rng([state.settings.seed, state.epoch]).permutation(len(lessons))
    losses = []
    for first in range(0, state.steps_per_epoch * size, size):
        chosen = np.sort(order[first : first + size])
        losses.append(step(lessons.maps_of(chosen), *lessons.answers_of(chosen)))
        task.advance()
    imitation, scores = np.mean(losses, axis=0).tolist()
    with state.averaged():
        state.close_epoch(
            {
                "imitation_loss": imitation,
                "scores_loss": scores,
                "seconds": time.monotonic() - began_s,
            }
        )
    log(f"epoch {state.epoch}: loss of the embedding {imitation:.4f}, of the scores {scores:.5f}")


def _make_step(state: TrainingState, lessons: Lessons) -> Step:
    """The compiled step."""
    settings, optimizer, model = state.settings, state.optimizer, state.model
    sample = lessons.answers_of(slice(0, _SAMPLE))[0]
    mean = tf.constant(sample.mean(axis=0))
    scale = tf.constant(1.0 / (sample.std(axis=0) + _LEAST_DEVIATION))

    def step(maps: tf.Tensor, embedding: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        done = tf.cast(optimizer.iterations, tf.float32)
        rate = learning_rate(settings, done, state.steps_per_epoch)
        optimizer.learning_rate.assign(tf.maximum(rate, settings.learning_rate_floor))
        inputs = tf.cast(maps, tf.float32)[..., None] * FEATURE_SCALE
        with tf.GradientTape() as tape:
            predicted, scores = model(inputs, training=True)
            imitation = tf.reduce_mean(tf.square(predicted - (embedding - mean) * scale))
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(logits), scores)
            of_scores = tf.reduce_mean(entropy)
            loss = imitation + _SCORES_WEIGHT * of_scores
        weights = model.trainable_variables
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, weights), settings.gradient_norm)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        state.average_weights(done)
        return tf.stack([imitation, of_scores])

    compiled: Step = tf.function(step, reduce_retracing=True, autograph=False)
    return compiled
