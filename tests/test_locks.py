# SPDX-License-Identifier: Apache-2.0
"""One process per folder, and scratch folders that are removed, also after a killed process."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import refuses

from m3net_tf.system import locks
from m3net_tf.system.errors import InUseError, M3NetError
from m3net_tf.system.locks import LOCK_NAME, in_use, locked, scratch_folder, writes_into
from m3net_tf.system.unfinished import UNFINISHED

HOLD = "with locks.in_use(pathlib.Path({folder!r})): print('held', flush=True); time.sleep(60)"
SCRATCH = (
    "with locks.scratch_folder('m3net-x-', pathlib.Path({folder!r})) as made: "
    "print(made, flush=True); time.sleep(60)"
)


@contextlib.contextmanager
def another(code: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs code on a folder, and the first line that it prints."""
    text = "import pathlib, time\nfrom m3net_tf.system import locks\n" + code.format(
        folder=str(folder)
    )
    command = [sys.executable, "-c", text, "train", "a recipe.yaml"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_a_second_process_learns_who_holds_the_folder(tmp_path):
    folder = tmp_path / "runs" / "demo"
    with another(HOLD, folder) as (process, line):
        assert line == "held"
        message = (
            rf"demo is in use by process {process.pid} \(-c train 'a recipe.yaml', since "
            r"\d\d:\d\d\); wait for it or stop it$"
        )
        with pytest.raises(InUseError, match=message) as caught, in_use(folder):
            pass
        assert isinstance(caught.value, M3NetError)
        process.kill()
        process.wait()
        assert (folder / LOCK_NAME).exists()  # left by the killed process, harmless
        with in_use(folder):
            pass
        assert not list(folder.iterdir())


def test_nested_use_is_one(tmp_path):
    with in_use(tmp_path / "run"), in_use(tmp_path / "run"):
        (tmp_path / "run" / "result").touch()
        with in_use(tmp_path / "run" / ".." / "run"):
            assert (tmp_path / "run" / LOCK_NAME).exists()
        assert (tmp_path / "run" / LOCK_NAME).exists()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result"]


def test_an_empty_folder_is_not_left(tmp_path):
    with pytest.raises(KeyError), in_use(tmp_path / "a" / "b"):
        raise KeyError
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_holds_nothing(tmp_path):
    """A child may outlive its parent, but the lock must not; nor may the child release the lock."""
    with in_use(tmp_path), scratch_folder("m3net-x-", tmp_path) as scratch:
        child = os.fork()
        if child == 0:
            try:
                with in_use(tmp_path):
                    os._exit(1)
            except InUseError:
                os._exit(2 if locks._held.releases or locks._held.handles else 0)
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / LOCK_NAME).exists() and scratch.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("leftover", ["", "of a killed process"])
def test_a_holder_is_named_that_has_only_just_taken_the_lock(tmp_path, leftover):
    """It writes its name after it took the lock, over the name of a killed process."""
    path = tmp_path / LOCK_NAME
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": "m3net", "since": "1"}
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    path.write_text(json.dumps({**holder, "pid": ended.pid}) if leftover else "")
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        naming = threading.Timer(0.1, path.write_text, [json.dumps(holder)])
        naming.start()
        with (
            refuses(InUseError, os.getpid(), "m3net"),
            in_use(tmp_path),
        ):
            pass
        naming.join()


def test_a_waiting_process_says_for_whom(tmp_path):
    lines: list[str] = []
    released = threading.Event()
    path = tmp_path / "lock"

    def hold() -> None:
        with locked(path, "the library"):
            released.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    while not path.exists() or not path.read_text():
        pass

    def waiting(line: str) -> None:
        lines.append(line)
        released.set()

    with locked(path, "the library", waiting):
        assert path.exists()
    holder.join()
    assert len(lines) == 1
    assert lines[0].startswith(f"the library is in use by process {os.getpid()} (")
    assert lines[0].endswith("): waiting for it") and not path.exists()


def test_a_read_only_folder_needs_no_lock(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.os, "open", refuse)
    with in_use(tmp_path):
        pass


def test_a_file_system_without_locks(tmp_path, no_locks):
    """There the file itself names the process, if it belongs to this host."""
    path = tmp_path / LOCK_NAME
    holder = {"command": "m3net train a.yaml", "since": "2020-02-02 12:03", "host": "far"}
    path.write_text(json.dumps({**holder, "pid": 1234}))
    message = (
        rf"process 1234 on far \(m3net train a.yaml, since 2020-02-02 12:03\); .* or delete {path} "
        "if it has ended"
    )
    with pytest.raises(InUseError, match=message), in_use(tmp_path):
        pass
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    path.write_text(json.dumps({**holder, "host": socket.gethostname(), "pid": ended.pid}))
    with in_use(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"pid": 3}', b"[" * 100_000])
def test_a_damaged_lock_file_does_not_block(tmp_path, content, monkeypatch):
    monkeypatch.setattr(locks, "_NAMING_S", 0.02)
    (tmp_path / LOCK_NAME).write_bytes(content)
    with in_use(tmp_path):
        pass
    (tmp_path / LOCK_NAME).write_bytes(content)
    with (tmp_path / LOCK_NAME).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            refuses(InUseError, tmp_path),
            in_use(tmp_path),
        ):
            pass


def test_decorated_functions_hold_their_folder(tmp_path):
    class Run:
        folder = tmp_path / "run"

    the_run = Run()

    @writes_into("run")
    def write(_: int, run: Run = the_run) -> bool:
        return (run.folder / LOCK_NAME).exists()

    assert not write(1)  # no run there, nothing to lock
    assert not Run.folder.exists()
    Run.folder.mkdir()
    assert write(1) and not list(Run.folder.iterdir())


def test_scratch_folders_of_killed_processes_are_removed(tmp_path):
    with another(SCRATCH, tmp_path) as (process, first), another(SCRATCH, tmp_path) as (_, second):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert Path(first).is_dir()
        with scratch_folder("m3net-x-", tmp_path) as own:
            (own / "file").touch()
            assert sorted(tmp_path.iterdir()) == sorted([own, Path(second)])
        assert list(tmp_path.iterdir()) == [Path(second)]


def test_a_scratch_folder_may_become_the_result(tmp_path):
    with scratch_folder(".export.", tmp_path) as folder:
        (folder / "file").touch()
        folder.rename(tmp_path / "export")
    assert [path.name for path in tmp_path.rglob("*")] == ["export", "file"]


def test_a_scratch_folder_removed_as_stale_is_made_again(tmp_path, monkeypatch):
    """Between its creation and its lock another process may remove it."""
    made: list[Path] = []
    own = locks._own

    def late(folder: Path) -> int | None:
        made.append(folder)
        if len(made) == 1:
            locks._remove_stale(folder)
        return own(folder)

    monkeypatch.setattr(locks, "_own", late)
    with scratch_folder("m3net-x-", tmp_path) as folder:
        assert folder == made[1] and folder.is_dir()


def test_the_next_writer_removes_what_killed_ones_left(tmp_path):
    inner = tmp_path / "quantized"
    inner.mkdir()
    names = [tmp_path / f"{UNFINISHED}state.npz.abc", inner / f"{UNFINISHED}report.json.abc"]
    for path in (*names, tmp_path / ".hidden", tmp_path / "kept"):
        path.touch()
    (tmp_path / f"{UNFINISHED}export.abc").mkdir()
    with scratch_folder(UNFINISHED, tmp_path) as own, in_use(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {
            *(".hidden", "kept", "quantized", LOCK_NAME, own.name)
        }
    assert not list(inner.iterdir())


def test_what_killed_workers_left_is_removed_at_the_end(tmp_path):
    with in_use(tmp_path):
        (tmp_path / f"{UNFINISHED}history.csv.abc").touch()
    assert not list(tmp_path.iterdir())
