# SPDX-License-Identifier: Apache-2.0
"""Started programs end with the process that started them, however that ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from m3net_tf.system.processes import ends_cleanly, ends_groups, run_group

#: Like ninja: on a signal it stops its children, which have a process group of their own.
NINJA = """
import os, pathlib, signal, subprocess, sys
compiler = subprocess.Popen(["sleep", "600"], process_group=0)
signal.signal(signal.SIGTERM, lambda *_: os.killpg(compiler.pid, signal.SIGTERM))
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {compiler.pid} ")
compiler.wait()
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for_pids(path: Path) -> list[int]:
    while not path.exists() or not path.read_text().endswith(" "):
        time.sleep(0.005)
    return [int(word) for word in path.read_text().split()]


def all_end(pids: list[int]) -> bool:
    deadline_s = time.monotonic() + 60
    while any(map(alive, pids)) and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return not any(map(alive, pids))


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN])
def compiler_action(request, monkeypatch):
    """What a SIGTERM does to the compiler: ignored signals are inherited."""
    if request.param == signal.SIG_IGN:
        monkeypatch.setattr("m3net_tf.system.processes._GRACE_S", 0.1)
    before = signal.signal(signal.SIGTERM, request.param)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("compiler_action")
def test_an_interrupted_build_stops_its_compilers(tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    wait = subprocess.Popen.wait

    def interrupt(*_: object) -> None:
        wait_for_pids(pids)
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with (tmp_path / "log").open("wb") as log, pytest.raises(KeyboardInterrupt):
        run_group([sys.executable, "-S", "-c", NINJA, str(pids)], log)
    assert all_end(wait_for_pids(pids))


def test_an_interrupted_pool_stops_the_builds_of_its_threads(tmp_path):
    pids = tmp_path / "pids"
    command = [sys.executable, "-S", "-c", NINJA, str(pids)]
    with (
        (tmp_path / "log").open("wb") as log,
        pytest.raises(KeyboardInterrupt),
        ThreadPoolExecutor(1) as pool,
        ends_groups(),
    ):
        build = pool.submit(run_group, command, log)
        wait_for_pids(pids)
        raise KeyboardInterrupt
    assert build.done() and all_end(wait_for_pids(pids))


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is missing")
def test_a_killed_build_stops_its_compilers(tmp_path):
    pids = tmp_path / "pids"
    code = (
        "import sys; from m3net_tf.system.processes import run_group\n"
        "run_group([sys.executable, '-S', '-c', *sys.argv[1:]], open('/dev/null', 'wb'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, NINJA, str(pids)])
    started = wait_for_pids(pids)
    process.kill()
    process.wait()
    assert all_end(started)


def test_status_and_output_of_a_program(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        assert run_group(["sh", "-c", "echo out; echo err >&2; exit 3"], log) == 3
    assert (tmp_path / "log").read_text() == "out\nerr\n"


@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_runs_what_must_run_at_the_end(number):
    tidied = []
    with pytest.raises(SystemExit) as caught, ends_cleanly():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            tidied.append(signal.getsignal(number))
    assert caught.value.code == 128 + number
    assert tidied == [signal.SIG_DFL]  # a second signal ends it at once


def test_signals_that_are_ignored_stay_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ends_cleanly():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
