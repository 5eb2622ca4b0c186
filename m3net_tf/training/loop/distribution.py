# SPDX-License-Identifier: Apache-2.0
"""One training on several devices of this computer, or in worker processes on several computers.

Each device is a replica: it has a copy of the network and computes a part of every batch. The mean
of the gradients changes all copies alike. The recipe has the size of the whole batch, so it gives
the same training on any number of devices, except that batch normalisation uses the statistics of
each device's part, and that sums are rounded in another order.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from m3net_tf.system.errors import ConfigError
from m3net_tf.system.keras import tf, use_threads
from m3net_tf.system.processor import use_instruction_set
from m3net_tf.training.loop.member import Member
from m3net_tf.training.recipe.sections import TrainingSection


@dataclasses.dataclass(frozen=True)
class Share:
    """This process's share of a training.

    Attributes:
        replicas: devices of all workers.
    """

    replicas: int
    workers: int
    worker: int

    @property
    def writes(self) -> bool:
        """Whether this process writes the files."""
        return self.worker == 0


@contextmanager
def devices_in_use(
    settings: TrainingSection, devices: int, member: Member | None = None
) -> Iterator[Share]:
    """Context in which this process trains on its devices, with the threads of the recipe.

    Raises:
        ConfigError: as :func:`strategy_for`, or TensorFlow computes with other threads already.
    """
    use_threads(settings.threads)
    use_instruction_set(half_precision=settings.mixed_precision)
    with strategy_for(devices, settings.batch_size, member).scope():
        yield current_share()


def strategy_for(
    count: int, batch_size: int, member: Member | None = None
) -> tf.distribute.Strategy:
    """Strategy for synchronous copies of the network whose gradients are averaged.

    Args:
        count: number of devices of this process: the first GPUs, or without GPUs the first
            (logical) CPUs.
        batch_size: clips per batch over all devices of all workers.
        member: this process among several workers; None for the only process.

    Returns:
        A strategy of ``tf.distribute``; the default one for a single device of one process.

    Raises:
        ConfigError: there are fewer devices, or the batch does not divide among them.
    """
    workers = len(member.addresses) if member else 1
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if workers == 1 and count == 1:
        return tf.distribute.get_strategy()
    if workers > 1 and count > 1 and kind == "CPU":
        raise ConfigError(f"{count} devices for each worker need GPUs: omit --devices")
    names = [device.name for device in tf.config.list_logical_devices(kind)] if workers == 1 else []
    if workers == 1 and count > len(names):
        raise ConfigError(
            f"{count} devices were asked for and {len(names)} {kind} found: give --devices "
            f"{len(names)} or fewer"
        )
    if batch_size % (count * workers):
        raise ConfigError(
            f"training.batch_size is {batch_size}, which does not divide among {count * workers} "
            "devices: give a multiple"
        )
    if member and workers > 1:
        return _over_computers(member, count if kind == "GPU" else 0)
    # TensorFlow's collective sums on CPUs fail if one process runs two trainings.
    sums = tf.distribute.ReductionToOneDevice() if kind == "CPU" else None
    return tf.distribute.MirroredStrategy(names[:count], cross_device_ops=sums)


def _over_computers(member: Member, gpus: int) -> tf.distribute.Strategy:
    """The strategy of several workers: NCCL on GPUs, rings over gRPC on CPUs."""
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(member.addresses)}),
        task_type="worker",
        task_id=member.number,
        num_accelerators={"GPU": gpus} if gpus else {},
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)


def current_share() -> Share:
    """The share of this process under the strategy in scope."""
    strategy = tf.distribute.get_strategy()
    resolver = strategy.cluster_resolver
    if resolver is None:
        return Share(int(strategy.num_replicas_in_sync), 1, 0)
    workers = resolver.cluster_spec().num_tasks("worker")
    return Share(int(strategy.num_replicas_in_sync), workers, int(resolver.task_id))
