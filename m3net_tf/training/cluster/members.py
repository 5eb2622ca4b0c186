# SPDX-License-Identifier: Apache-2.0
"""One training in several worker processes of Ray, on one or more computers.

The workers compute parts of the same batches, so none can go on without the others: if one is lost,
the others are ended, and all start again from the last epoch, which the first one has saved.
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3net_tf.system.artifacts import write_text
from m3net_tf.system.errors import M3NetError, one_line
from m3net_tf.system.locks import writes_into
from m3net_tf.system.progress import Log, silent
from m3net_tf.training import Recipe, train
from m3net_tf.training.clips.source import Source
from m3net_tf.training.cluster.pools import Lost, PoolOptions, RayPool, open_pool, ray_needs
from m3net_tf.training.cluster.resources import Resources
from m3net_tf.training.cluster.worker import Order, Report, log_name, train_run
from m3net_tf.training.loop.member import Member
from m3net_tf.training.run.metrics import RunMetrics
from m3net_tf.training.start import prepare

_POLL_S = 1.0
_GRACE_S = 15.0
_WITNESS = ".m3net-workers"


class WorkerProcess:
    """One worker, in a process of Ray."""

    def address(self) -> str:
        """``HOST:PORT`` at which the other workers reach this one."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            return f"{host}:{free.getsockname()[1]}"

    def train(self, order: Order) -> Report:
        """Train to the last epoch."""
        return train_run(order)


@writes_into("folder", makes=True)
def train_on_workers(
    recipe: Recipe,
    folder: Path,
    source: Source,
    options: PoolOptions,
    *,
    devices: int = 1,
    log: Log = silent,
) -> RunMetrics:
    """Train one run in several processes, then evaluate it in this one.

    Args:
        folder: run folder, on a file system that all workers share.
        source: folder on each computer, or shards, of the data set; None as in :func:`.train`.
        options: ``jobs`` is the number of workers; ``retries`` limits the restarts.
        log: receives the lines of the first worker, and lines on restarts.

    Raises:
        M3NetError: as :func:`m3net_tf.training.train`; or a worker failed, or too many were lost.
    """
    if isinstance(source, Path):
        source = source.absolute()
    if prepare(recipe, folder, source, silent) is not None:
        witness = folder / _WITNESS
        write_text(witness, "")
        try:
            with open_pool(options) as pool:
                assert isinstance(pool, RayPool)
                order = Order(
                    recipe,
                    folder.resolve(),
                    source,
                    features=options.features,
                    witness=witness.resolve(),
                    devices=devices,
                )
                _Workers(pool, options, order, log).run()
        finally:
            witness.unlink(missing_ok=True)
        for number in range(1, options.jobs):
            (folder / log_name(number)).unlink(missing_ok=True)
    return train(recipe, folder, source, log)


@dataclasses.dataclass
class _Workers:
    """The workers of a training and their attempts."""

    pool: RayPool
    options: PoolOptions
    order: Order
    log: Log

    def run(self) -> None:
        """Train until all workers have ended without an error."""
        for restart in range(self.options.retries + 1):
            reason = self._attempt()
            if not reason:
                return
            if restart < self.options.retries:
                self.log(
                    f"{reason}: all workers start again from the last epoch, restart {restart + 1} "
                    f"of {self.options.retries}"
                )
                time.sleep(self.options.pause_s)
        raise M3NetError(
            f"{self.order.folder}: {reason}, after {self.options.retries} restarts: check the "
            "computers and worker*.log in that folder; the same command continues"
        )

    def _attempt(self) -> str:
        """Train once; returns which worker was lost, or '' after the last epoch."""
        with self._started() as workers:
            try:
                addresses = tuple(self._ray.get([worker.address.remote() for worker in workers]))
            except self._ray.exceptions.RayError as error:
                return f"a worker was lost at its start ({one_line(error)})"
            self.log(f"{len(addresses)} workers: {', '.join(addresses)}")
            running = {
                worker.train.remote(
                    dataclasses.replace(self.order, member=Member(addresses, number))
                ): number
                for number, worker in enumerate(workers)
            }
            with followed(self.order.folder / log_name(0), self.log) as follow:
                return self._wait(running, follow)

    def _wait(self, running: dict[Any, int], follow: Any) -> str:
        """Wait for all workers, or for the first that is lost or fails."""
        reason, end = "", 0.0
        while running and (not reason or time.monotonic() < end):
            ended = self.pool.ended(list(running), _POLL_S)
            follow()
            for handle, report in ended:
                number = running.pop(handle)
                if isinstance(report, Lost):
                    return f"worker {number} was lost ({report.reason.partition(':')[0]})"
                if report.error and not report.peer_lost:
                    raise M3NetError(f"worker {number} on {report.host}: {report.error}")
                if report.error and not reason:  # soon Ray says which process has ended
                    reason = f"worker {number} lost the connection ({report.error})"
                    end = time.monotonic() + _GRACE_S
        return reason

    @contextlib.contextmanager
    def _started(self) -> Iterator[list[Any]]:
        """One process for each worker, all reserved at once and spread over the computers."""
        ray, count = self._ray, self.options.jobs
        gpus = self.order.devices if ray.cluster_resources().get("GPU") else 0
        resources = self.options.resources.over(Resources(cpus=1, gpus=float(gpus)))
        reserved = self.pool.reserved(resources, self.order.recipe.training.threads)
        bundle = {name: value for name, value in ray_needs(resources).items() if value}
        group = ray.util.placement_group([bundle] * count, strategy="SPREAD")
        workers: list[Any] = []
        try:
            if not group.wait(_POLL_S):
                self.log(f"waiting until the cluster has room for {count} workers")
                while not group.wait(60):
                    pass
            place = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
            kind = ray.remote(max_restarts=0, scheduling_strategy=place, **reserved)(WorkerProcess)
            workers += [kind.remote() for _ in range(count)]
            yield workers
        finally:
            for worker in workers:
                ray.kill(worker)
            ray.util.remove_placement_group(group)

    @property
    def _ray(self) -> Any:
        return self.pool.ray


@contextlib.contextmanager
def followed(path: Path, log: Log) -> Iterator[Any]:
    """Pass on the lines that another process adds to a file, whenever the result is called."""
    start = path.stat().st_size if path.exists() else 0
    rest = ""

    def follow() -> None:
        nonlocal start, rest
        if not path.exists():
            return
        with path.open(errors="replace") as file:
            file.seek(start)
            lines = (rest + file.read()).split("\n")
            start = file.tell()
        *complete, rest = lines
        for line in complete:
            log(line)

    try:
        yield follow
    finally:
        follow()
