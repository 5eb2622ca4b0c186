# SPDX-License-Identifier: Apache-2.0
"""Where runs are trained: in this process, or in the worker processes of Ray."""

import contextlib
import dataclasses
import functools
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m3net_tf.system.errors import ConfigError, DataError, one_line
from m3net_tf.system.extras import how_to_install
from m3net_tf.system.processes import keeps_signal_handlers
from m3net_tf.system.processor import settings
from m3net_tf.training.cluster.fetching import RemoteFolder
from m3net_tf.training.cluster.resources import Resources
from m3net_tf.training.cluster.worker import Order, Report, Work, train_run


@dataclasses.dataclass(frozen=True)
class PoolOptions:
    """Where and how many runs are trained at once.

    Attributes:
        jobs: runs at once; 0 is as many as fit on the cluster, or 1 without one.
        address: a running Ray cluster, as ``auto`` or ``ray://HOST:10001``; '' is this computer.
        resources: resources of each run.
        cache: folder of the cache on each computer, or URL of computed feature maps.
        retries: new attempts for a run whose process or computer was lost.
        pause_s: seconds before the first new attempt; each later one waits twice as long.
    """

    jobs: int = 0
    address: str = ""
    resources: Resources = dataclasses.field(default_factory=Resources)
    cache: Path | RemoteFolder | None = None
    retries: int = 3
    pause_s: float = 5.0
    work: Work = train_run

    @property
    def in_process(self) -> bool:
        """Whether runs are trained one after the other in this process, without Ray."""
        return self.jobs <= 1 and not self.address

    @property
    def features(self) -> RemoteFolder | None:
        """URL of computed feature maps."""
        return self.cache if isinstance(self.cache, RemoteFolder) else None


IN_PROCESS = PoolOptions()
"""One run after the other, in this process."""


@dataclasses.dataclass(frozen=True)
class Lost:
    """The process or computer of a run ended, so that nothing is known of the run."""

    reason: str


class InProcess:
    """Trains one run at a time in this process, as soon as :meth:`wait` is called."""

    def __init__(self, options: PoolOptions) -> None:
        self._work = options.work
        self._orders: dict[object, Order] = {}

    def slots(self) -> int:
        """Number of runs that may be in work at once: one."""
        return 1

    def start(self, order: Order) -> object:
        """Note a run; returns a handle for :meth:`wait`."""
        handle = object()
        self._orders[handle] = order
        return handle

    def wait(self, timeout_s: float) -> list[tuple[object, Report | Lost]]:
        """Train the noted runs, by handle; ``timeout_s`` does not stop one."""
        orders, self._orders = self._orders, {}
        return [(handle, self._work(order)) for handle, order in orders.items()]


class RayPool:
    """Trains runs as tasks of Ray; :func:`open_pool` starts or joins it."""

    def __init__(self, ray: Any, options: PoolOptions) -> None:
        self.ray = ray
        self._options = options
        self._running: dict[Any, object] = {}

    def slots(self) -> int:
        """``jobs``, or as many as the computers of the cluster can hold now, at least one."""
        if self._options.jobs:
            return self._options.jobs
        needs = ray_needs(self._resources())
        fits = 0
        for node in self.ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                fits += min(int(has.get(key, 0.0) / value) for key, value in needs.items() if value)
        return max(1, fits)

    def start(self, order: Order) -> object:
        """Queue a run at Ray.

        Raises:
            ConfigError: this computer, used alone, has too little for it, so it would wait forever.
        """
        reserved = self._resources()
        if not self._options.address:
            self._require_fitting(order, ray_needs(reserved))
        task = self.ray.remote(
            max_retries=0, **self.reserved(reserved, order.recipe.training.threads)
        )(self._options.work)
        handle = task.remote(order)
        self._running[handle] = handle
        return handle

    def wait(self, timeout_s: float) -> list[tuple[object, Report | Lost]]:
        """Runs that have ended, by handle; waits for one, at most ``timeout_s`` seconds.

        Raises:
            DataError: the connection to the cluster is lost, or a computer cannot run the code.
        """
        ended = self.ended(list(self._running), timeout_s)
        for handle, _ in ended:
            del self._running[handle]
        return ended

    def reserved(self, resources: Resources, threads: int) -> dict[str, object]:
        """Options of Ray for a process with these resources and threads of an operation."""
        return {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "memory": resources.memory,
            "runtime_env": {"env_vars": self._environment(threads)},
        }

    def ended(self, handles: list[Any], timeout_s: float) -> list[tuple[object, Report | Lost]]:
        """The tasks that have ended; waits for one, at most ``timeout_s`` seconds.

        Raises:
            DataError: as :meth:`wait`.
        """
        ray = self.ray
        ended = list[tuple[object, Report | Lost]]()
        try:
            done, _ = ray.wait(handles, num_returns=1, timeout=timeout_s)
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise self._gone(error) from None
        for handle in done:
            report: Report | Lost
            try:
                report = ray.get(handle)
            except ConnectionError as error:
                raise self._gone(error) from None
            except (ray.exceptions.RayTaskError, ray.exceptions.RuntimeEnvSetupError) as error:
                last = (str(error).strip().splitlines() or [""])[-1]
                report = Report(f"the worker cannot run it ({last}): check its installation", 0.0)
            except ray.exceptions.RayError as error:  # of a process, a computer, its memory
                report = Lost(f"{type(error).__name__}: {one_line(error)}")
            ended.append((handle, report))
        return ended

    def _gone(self, error: Exception) -> DataError:
        return DataError(
            f"the Ray cluster at {self._options.address or 'this computer'} is lost "
            f"({one_line(error)}): start it again; the same command continues"
        )

    def _resources(self) -> Resources:
        """The resources of a run, with defaults for those that are not set."""
        gpus = 0.0
        if not self._options.address:  # the runs share the GPUs of this computer
            devices = self.ray.cluster_resources().get("GPU", 0.0)
            gpus = min(1.0, devices / max(1, self._options.jobs)) if devices else 0.0
        return self._options.resources.over(Resources(cpus=1, gpus=gpus))

    def _environment(self, threads: int) -> dict[str, str]:
        """Environment of the workers; workers with the same one are used again."""
        values = {
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_NUM_INTEROP_THREADS": "1",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            **settings(),
        }
        if isinstance(self._options.cache, Path):
            values["M3NET_CACHE"] = str(self._options.cache.expanduser().absolute())
        return values

    def _require_fitting(self, order: Order, needs: dict[str, float]) -> None:
        has = self.ray.cluster_resources()
        for key, value in needs.items():
            if value > has.get(key, 0.0):
                raise ConfigError(
                    f"{order.folder.name} reserves {value:g} {key} of {has.get(key, 0.0):g}: "
                    "reserve less, or use a cluster by --address"
                )


Pool = InProcess | RayPool
"""Trains runs."""


def ray_needs(resources: Resources) -> dict[str, float]:
    """Resources as Ray names them; 0 for those that are not reserved."""
    return {
        "CPU": float(resources.cpus or 0),
        "GPU": float(resources.gpus or 0),
        "memory": float(resources.memory or 0),
    }


@contextlib.contextmanager
def open_pool(options: PoolOptions) -> Iterator[Pool]:
    """The pool of these options, closed at the end.

    Raises:
        DataError: Ray is not installed or does not start, or there is no cluster at the address.
    """
    if options.in_process:
        yield InProcess(options)
        return
    with keeps_signal_handlers():
        ray = _start_ray(options)
    try:
        yield RayPool(ray, options)
    finally:
        with keeps_signal_handlers():
            ray.shutdown()


def _start_ray(options: PoolOptions) -> Any:
    # Otherwise Ray hides the accelerators from tasks that request none, and warns about it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise DataError(f"several processes need Ray: {how_to_install('many')}") from None
    start = functools.partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if not options.address:
        # Not fewer than there are: the slots limit the runs, and one may reserve several cores.
        cores = max(options.jobs * (options.resources.cpus or 1), os.cpu_count() or 1)
        # Otherwise it would join any cluster that runs on this computer.
        try:
            start(address="local", num_cpus=cores, include_dashboard=False)
        except Exception as error:  # Ray raises Exception itself, such as after its time-out
            raise DataError(
                f"Ray does not start on this computer ({one_line(error)}): wait until the computer "
                "is less busy and run the command again"
            ) from error
        return ray
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error below says it too
            start(address=options.address)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DataError(
            f"there is no Ray cluster at {options.address} ({one_line(error)}): start one by "
            "ray start --head, or check --address"
        ) from None
    return ray
