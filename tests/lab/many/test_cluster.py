# SPDX-License-Identifier: Apache-2.0
"""Ray itself: a cluster that loses one of two computers, and a killed driver."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from m3net_tf.lab.many.plan import plan_trainings
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.system.processes import keeps_signal_handlers
from m3net_tf.training.cluster.pools import PoolOptions

pytest.importorskip("ray", reason="several processes need pip install -e '.[many]'")
pytestmark = pytest.mark.slow
_PATIENCE_S = 600


def wait_for(condition):
    end = time.monotonic() + _PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)
    return result


@pytest.fixture
def two_nodes(monkeypatch):
    """A cluster of two computers of one core each; the second one can be killed."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    node = {"num_cpus": 1, "object_store_memory": 10**8}
    with keeps_signal_handlers():
        cluster = Cluster(True, head_node_args={**node, "_system_config": quick})
        try:
            yield cluster, cluster.add_node(**node)
        finally:
            cluster.shutdown()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_cluster_survives_lost_computers_and_processes(two_nodes, trainings, finish, tmp_path):
    cluster, second = two_nodes
    second_id = second.node_id
    begun = tmp_path / "begun"
    killed = tmp_path / "killed"
    begun.mkdir()

    def work(order):
        import ray

        node = ray.get_runtime_context().get_node_id()
        (begun / f"{order.folder.name}-{node}").touch()
        if node == second_id:
            time.sleep(600)  # until the computer is gone, however long that takes
        while not list(begun.glob(f"*-{second_id}")):
            time.sleep(0.1)
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return finish(order)

    def kill():
        wait_for(lambda: list(begun.glob(f"*-{second_id}")))
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    runs = trainings(6)
    lines = []
    options = PoolOptions(jobs=2, address=cluster.address, work=work, pause_s=0.1)
    outcomes = run_trainings(
        plan_trainings(runs, tmp_path / "runs"),
        {},
        options=options,
        log=lines.append,
    )
    killer.join()
    assert [outcomes[run.key].error for run in runs] == [""] * 6, lines
    assert sum("lost (" in line for line in lines) == 2  # each loss has cost one run


DRIVER = """
import os, sys, time
from pathlib import Path
from m3net_tf.lab.many.plan import Training, plan_trainings
from m3net_tf.training.cluster.pools import PoolOptions
from m3net_tf.lab.many.scheduling import run_trainings
from m3net_tf.training.recipe import Recipe

def work(order):
    (order.folder.parent / f"{os.getpid()}.pid").touch()
    time.sleep(600)

if __name__ == "__main__":
    root = Path(sys.argv[1])
    recipe = Recipe.from_dict({"dataset": {"name": "synth"}, "model": {"name": "m3net"}})
    plan = plan_trainings([Training(str(i), recipe, f"{i}", {}) for i in range(2)], root)
    run_trainings(plan, {}, options=PoolOptions(jobs=2, work=work))
"""


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_killed_driver_leaves_no_worker(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    driver = subprocess.Popen([sys.executable, script, tmp_path])
    try:
        wait_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    wait_for(lambda: not any(map(is_alive, workers)))


def test_sigterm_tidies_up_after_ray_has_been_closed():
    code = (
        "import os, signal, time\n"
        "from m3net_tf.training.cluster.pools import PoolOptions, open_pool\n"
        "from m3net_tf.system.processes import ends_cleanly\n"
        "with ends_cleanly():\n"
        "    with open_pool(PoolOptions(jobs=2)): pass\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM), time.sleep(5)\n"
        "    finally: print('tidied')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[-1]) == (128 + signal.SIGTERM, "tidied")
