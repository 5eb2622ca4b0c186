# SPDX-License-Identifier: Apache-2.0
"""Networks that many tests need: built once, because that takes longer than most tests; trained."""

import functools
import json
from collections.abc import Callable

import numpy as np

from m3net_tf.system.keras import keras, tf


def built_once(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Decorate a function that builds a network: equal arguments give the same network again.

    Each call sets the seeds and the network's first weights; nothing else may change it.
    """
    networks: dict[str, tuple[keras.Model, list]] = {}

    @functools.wraps(build)
    def get(*arguments: object, **options: object) -> keras.Model:
        policy = keras.mixed_precision.global_policy().name
        key = json.dumps([policy, arguments, options], sort_keys=True)
        if key not in networks:
            network = build(*arguments, **options)
            networks[key] = network, network.get_weights()
        network, weights = networks[key]
        network.set_weights(weights)
        keras.utils.set_random_seed(1)
        return network

    return get


def class_loss(model: keras.Model, feeds: object, classes: int) -> Callable[[], tf.Tensor]:
    """Loss of a network in training: its own ones, and cross-entropy with a class for each clip.

    Args:
        feeds: what the network takes, of several clips. Their classes are 0, 1, 2 and so on, again
            from 0 after the last.
    """
    clips = len(tf.nest.flatten(feeds)[0])
    targets = tf.one_hot(np.arange(clips) % classes, classes)

    def loss() -> tf.Tensor:
        answers = tf.cast(model(feeds, training=True), tf.float32)
        errors = keras.losses.categorical_crossentropy(targets, answers)
        return tf.reduce_mean(errors) + sum(tf.cast(own, tf.float32) for own in model.losses)

    return loss


def train_on(
    model: keras.Model,
    loss_of: Callable[[], tf.Tensor],
    steps: int,
    rate: float,
    *,
    traced: bool = False,
) -> tuple[list[float], list[tf.Tensor | None]]:
    """Train a network for a few steps, each of which must have finite gradients.

    Args:
        model: the network.
        loss_of: computes its loss, of the same clips in each step.
        steps: number of steps.
        rate: learning rate.
        traced: trace the step as a graph, which pays for many steps.

    Returns:
        The loss before each step, and the gradients of the last one.
    """
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)  # a step that makes variables is traced twice

    def step() -> tuple[tf.Tensor, list[tf.Tensor | None]]:
        weights = model.trainable_variables
        with tf.GradientTape() as tape:
            loss = loss_of()
        gradients = tape.gradient(loss, weights)
        pairs = zip(gradients, weights, strict=True)
        optimizer.apply_gradients((gradient, w) for gradient, w in pairs if gradient is not None)
        return loss, gradients

    run = tf.function(step) if traced else step
    losses = []
    for _ in range(steps):
        loss, gradients = run()
        losses.append(float(loss))
        assert all(np.isfinite(gradient).all() for gradient in gradients if gradient is not None)
    return losses, gradients
