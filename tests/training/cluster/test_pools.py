# SPDX-License-Identifier: Apache-2.0
"""Pools: what a run reserves, and what a loss of Ray becomes; test_cluster.py has a real one."""

import signal
import sys
from types import SimpleNamespace

import pytest
from refusals import refuses

from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.training.cluster import worker
from m3net_tf.training.cluster.fetching import RemoteFolder
from m3net_tf.training.cluster.pools import Lost, PoolOptions, RayPool, open_pool
from m3net_tf.training.cluster.resources import Resources, memory_bytes
from m3net_tf.training.cluster.worker import Order, Report, train_run
from m3net_tf.training.loop.stopping import TrainingStoppedError


def order_of(recipe, folder, **options):
    return Order(recipe, folder, None, **options)


def test_resources_are_whole_cores_shares_and_bytes():
    assert [memory_bytes(text, "") for text in ("500 MB", "12", "1.5G")] == [5e8, 12, 1.5e9]
    assert Resources(gpus=2.0).over(Resources(3, None, 7)) == Resources(3, 2.0, 7)
    with refuses(ConfigError, "gpus", "1.5"):
        Resources(gpus=1.5)
    with refuses(ConfigError, "'much'", "here", "4GB"):
        memory_bytes("much", "here")


class RayError(Exception):
    """A base of Ray's errors."""


class FakeRay:
    """Two computers, one of which is dead; tasks end as ``results`` says."""

    exceptions = SimpleNamespace(
        RayError=RayError,
        RayTaskError=type("RayTaskError", (RayError,), {}),
        RuntimeEnvSetupError=type("RuntimeEnvSetupError", (RayError,), {}),
        RaySystemError=type("RaySystemError", (RayError,), {}),
    )

    def __init__(self, *results):
        self.results = list(results)
        self.options = []

    def nodes(self):
        has = {"CPU": 8.0, "GPU": 2.0, "memory": 10.0**10}
        return [{"Alive": alive, "Resources": has} for alive in (True, False)]

    def cluster_resources(self):
        return self.nodes()[0]["Resources"]

    def remote(self, **options):
        self.options.append(options)
        return lambda work: SimpleNamespace(remote=lambda order: object())

    def wait(self, handles, num_returns, timeout):
        return handles[:1], handles[1:]

    def get(self, handle):
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def test_a_cluster_holds_what_fits(tiny_recipe, tmp_path, monkeypatch):
    def slots(**options):
        return RayPool(FakeRay(), PoolOptions(address="auto", **options)).slots()

    assert slots() == 8 and slots(resources=Resources(memory=5 * 10**9)) == 2
    assert slots(resources=Resources(cpus=16)) == 1  # the cluster may grow
    assert slots(jobs=3) == 3
    ray = FakeRay()
    pool = RayPool(ray, PoolOptions(jobs=4, cache=tmp_path, resources=Resources(cpus=2)))
    recipe = tiny_recipe(training={"threads": 3})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX")
    pool.start(order_of(recipe, tmp_path))
    (options,) = ray.options
    assert (options["num_cpus"], options["num_gpus"], options["max_retries"]) == (2, 0.5, 0)
    variables = options["runtime_env"]["env_vars"]
    assert variables["M3NET_CACHE"] == str(tmp_path)
    # The recipe decides, not the cores: another count in the same process would be refused.
    assert variables["TF_NUM_INTRAOP_THREADS"] == variables["OMP_NUM_THREADS"] == "3"
    assert variables["ONEDNN_MAX_CPU_ISA"] == "AVX"  # other computers do not have this environment
    with refuses(ConfigError, "99 CPU", "8"):
        RayPool(ray, PoolOptions(resources=Resources(cpus=99))).start(order_of(recipe, tmp_path))


def test_a_lost_process_is_no_failure_but_broken_code_is(tiny_recipe, tmp_path):
    kinds = FakeRay.exceptions
    report = Report("", 1.0)
    task_error = kinds.RayTaskError("traceback\nModuleNotFoundError: no m3net_tf\n")
    ray = FakeRay(report, RayError("killed\n by the system"), task_error, ConnectionError("gone"))
    pool = RayPool(ray, PoolOptions(address="auto"))
    for _ in range(4):
        pool.start(order_of(tiny_recipe(), tmp_path))
    assert [pool.wait(0.0)[0][1] for _ in range(2)] == [
        report,
        Lost("RayError: killed by the system"),
    ]
    broken = pool.wait(0.0)[0][1]
    assert broken.error == (
        "the worker cannot run it (ModuleNotFoundError: no m3net_tf): check its installation"
    )
    with refuses(DataError, "auto", "gone"):
        pool.wait(0.0)
    ray.wait = lambda *_, **__: (_ for _ in ()).throw(ConnectionError("gone"))
    with pytest.raises(DataError, match="the same command continues"):
        pool.wait(0.0)


def test_missing_ray_and_a_missing_cluster_are_one_line(monkeypatch):
    def init(**_):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with refuses(DataError, "auto", "ray start"):
        open_pool(PoolOptions(address="auto")).__enter__()
    monkeypatch.setitem(sys.modules, "ray", None)
    with refuses(DataError, "pip install"):
        open_pool(PoolOptions(jobs=2)).__enter__()


def test_a_local_ray_that_does_not_start_is_named_in_one_line(monkeypatch):
    def init(**_):
        raise Exception("The current node timed out\nduring startup.")  # as Ray does

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    reason = r"does not start .*timed out during startup\.\): wait until .* less busy"
    with pytest.raises(DataError, match=reason):
        open_pool(PoolOptions(jobs=2)).__enter__()


def test_a_local_ray_is_closed_and_does_not_change_how_signals_end_a_command(monkeypatch):
    calls = []

    def change(call):
        calls.append(call)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    fake = SimpleNamespace(init=lambda **options: change(options["num_cpus"]))
    fake.shutdown = lambda: change("closed")
    monkeypatch.setitem(sys.modules, "ray", fake)
    before = signal.getsignal(signal.SIGTERM)
    with open_pool(PoolOptions(jobs=512)) as pool:
        assert isinstance(pool, RayPool) and signal.getsignal(signal.SIGTERM) == before
    assert calls == [512, "closed"] and signal.getsignal(signal.SIGTERM) == before


def test_a_worker_checks_its_computer(tiny_recipe, tmp_path):
    report = train_run(order_of(tiny_recipe(), tmp_path / "run", version="0.0"))
    assert "this computer 0.0: install the same version on all" in report.error
    report = train_run(order_of(tiny_recipe(), tmp_path / "run", witness=tmp_path / "no"))
    assert "is not visible on" in report.error and not (tmp_path / "run").exists()


def test_a_stopped_training_is_no_failure(tiny_recipe, tmp_path, monkeypatch):
    def train(*_, after_epoch):
        after_epoch([], False)

    def stop(history, ended):
        raise TrainingStoppedError("others are better")

    monkeypatch.setattr("m3net_tf.training.train", train)
    assert train_run(order_of(tiny_recipe(), tmp_path / "run", after_epoch=stop)).error == ""
    assert (tmp_path / "run/train.log").read_text() == "others are better\n"


def test_a_worker_says_that_another_process_holds_the_run(tiny_recipe, tmp_path, monkeypatch):
    def train(*_, **__):
        raise worker.InUseError("run is in use by process 7")

    monkeypatch.setattr("m3net_tf.training.train", train)
    fetched = []
    monkeypatch.setattr(worker, "fetch_folder", lambda *arguments: fetched.append(arguments[0]))
    features = RemoteFolder("s3://bucket/features")
    report = train_run(order_of(tiny_recipe(), tmp_path / "run", features=features))
    assert report.in_use and report.error == "run is in use by process 7" and fetched == [features]
