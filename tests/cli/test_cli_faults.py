# SPDX-License-Identifier: Apache-2.0
"""Disks, signals and hostile files: one line and an exit status; tracebacks only for bugs."""

import errno
import os
import signal
import time

import pytest

from m3net_tf import cli


def app_that(monkeypatch, function):
    monkeypatch.setattr(cli, "app", lambda **_: function())


def raiser(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/demo/state.npz"),
            "runs/demo/state.npz: No space left on device; free some space on its disk",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", b"runs/demo"),
            "runs/demo: Read-only file system; choose a folder on another disk",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs"),
            "runs: Permission denied; correct its permissions, or choose another folder",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "d/" * 2000),
            f"{'d/' * 30}...{'d/' * 30}: File name too long; use shorter names",
        ),
        (OSError(errno.EDQUOT, None), "Disk quota exceeded: free some of your quota"),
        (OSError(errno.EMFILE, "Too many open files", 7), "a file: Too many open files; raise"),
    ],
)
def test_an_error_of_the_disk_is_one_line(monkeypatch, m3net, error, line):
    app_that(monkeypatch, raiser(error))
    status, _, err = m3net()
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {line}")


@pytest.mark.parametrize(
    "error", [OSError(errno.EBADF, "Bad file descriptor"), OSError("?"), RecursionError()]
)
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    app_that(monkeypatch, raiser(error))
    with pytest.raises(type(error)):
        cli.main()


def test_a_run_that_cannot_be_made_is_reported_before_training(m3net, tmp_path):
    (tmp_path / "file").touch()
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text("dataset: {name: synth}\nmodel: {name: m3net}\n")
    status, out, err = m3net("train", recipe, "--run", tmp_path / "file" / "run")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{tmp_path / 'file' / 'run'}: Not a directory; check the path" in err


def test_a_name_that_is_too_long(m3net, tmp_path):
    status, _, err = m3net("train", tmp_path / ("a" * 300))
    assert (status, err.count("\n")) == (2, 1)
    assert "File name too long; use shorter names" in err


@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_in_order(m3net, monkeypatch, number, status):
    tidied = []

    def work():
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            tidied.append(True)

    app_that(monkeypatch, work)
    ended, _, err = m3net("train", "my sounds.yaml")
    assert (ended, tidied) == (status, [True])
    assert err == "stopped; to continue: m3net train 'my sounds.yaml'\n"
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize("command", ["export", "firmware", "flash", "demo"])
def test_a_command_holds_its_run_throughout(m3net, tmp_path, command):
    from m3net_tf.system.locks import LOCK_NAME, locked

    recipe = [tmp_path / "absent.yaml", "--run"] if command == "demo" else []
    with locked(tmp_path / LOCK_NAME, "it"):
        status, _, err = m3net(command, *recipe, tmp_path)
    assert (status, err.count("\n")) == (2, 1)
    assert f"{tmp_path} is in use by process {os.getpid()} (" in err
    assert "wait for it or stop it" in err
