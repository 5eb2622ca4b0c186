# SPDX-License-Identifier: Apache-2.0
"""One training on several devices: each takes its part of every batch."""

from __future__ import annotations

from m3net_tf.errors import ConfigError
from m3net_tf.keras import tf


def strategy_for(count: int, batch_size: int) -> tf.distribute.Strategy:
    """How a training is spread: synchronous copies of the network, whose gradients are averaged.

    Args:
        count: devices to use: the first GPUs, or without any the first (logical) CPUs.
        batch_size: clips of a step over all devices.

    Returns:
        A strategy of ``tf.distribute``; for one device the one that changes nothing.

    Raises:
        ConfigError: there are fewer devices, or the batch does not divide among them.
    """
    if count == 1:
        return tf.distribute.get_strategy()
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    if count > len(names):
        raise ConfigError(
            f"{count} devices were asked for and {len(names)} {kind} found: give --devices "
            f"{len(names)} or fewer"
        )
    if batch_size % count:
        raise ConfigError(
            f"training.batch_size is {batch_size}, which does not divide among {count} devices: "
            "give a multiple"
        )
    # TensorFlow's collective sums on CPUs confuse two trainings of one process.
    sums = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
    return tf.distribute.MirroredStrategy(names[:count], cross_device_ops=sums)
