# SPDX-License-Identifier: Apache-2.0
"""Training on several devices, each of which processes a part of every batch."""

from __future__ import annotations

from m3net_tf.errors import ConfigError
from m3net_tf.keras import tf


def strategy_for(count: int, batch_size: int) -> tf.distribute.Strategy:
    """Strategy for synchronous copies of the network whose gradients are averaged.

    Args:
        count: number of devices: the first GPUs, or without GPUs the first (logical) CPUs.
        batch_size: clips per step over all devices.

    Returns:
        A strategy of ``tf.distribute``; the default one for a single device.

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
    # TensorFlow's collective sums on CPUs fail if one process runs two trainings.
    sums = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
    return tf.distribute.MirroredStrategy(names[:count], cross_device_ops=sums)
