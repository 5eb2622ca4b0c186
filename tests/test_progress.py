# SPDX-License-Identifier: Apache-2.0
"""Progress: bars with the time left on a terminal, rare lines elsewhere, and clean ends."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest
from rich.console import Console

from m3net_tf.cli import output
from m3net_tf.system import progress
from m3net_tf.system.progress import (
    BYTES,
    Bars,
    TerminalLog,
    draws_bars,
    duration,
    track,
    with_lines_to,
)

ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def terminal(width: int = 80) -> TerminalLog:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    return TerminalLog(Bars(console))


def written(log: TerminalLog) -> str:
    return log.bars.console.file.getvalue()


def test_elsewhere_lines_are_rare_and_have_the_time_left(clock):
    lines: list[str] = []
    with track(lines.append, "features", 8000, "maps", done=400) as task:
        for _ in range(30):
            clock[0] += 1
            task.advance(20)
    assert lines[:2] == [
        "features: 500/8000 maps, 6 min 15 s left",
        "features: 600/8000 maps, 6 min 10 s left",
    ]
    assert len(lines) == 6  # nobody waits for more than five seconds


def test_a_chain_of_short_tasks_is_not_silent(clock):
    lines: list[str] = []
    for subject in ("reading", "grouping", "splitting"):
        with track(lines.append, subject, 3, "files") as task:
            for _ in range(3):
                clock[0] += 1
                task.advance()
    assert [line.partition(":")[0] for line in lines] == ["grouping"]
    clock[0] += 60  # work that is not counted
    with track(lines.append, "writing", 3, "files") as task:
        task.advance()
    assert len(lines) == 1


def test_a_terminal_breaks_prose_between_words_and_leaves_commands_whole(monkeypatch):
    line = "[1/3] m3net/table4/tiny/us8k-official-folds--w-o-mfp/seed0: test accuracy 10.00 % (6 s)"
    command = "m3net train " + "a-very-long-path/" * 5 + "recipe.yaml --run runs/own"
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    program = "import sys; from m3net_tf.cli.output import say; [say(x) for x in sys.argv[1:]]"
    subprocess.run(
        [sys.executable, "-c", program, line, command], env=ENVIRONMENT, stdout=theirs, check=True
    )
    shown = os.read(ours, 4096).decode().splitlines()
    assert shown[-1] == command
    assert len(shown) == 3 and all(len(part) <= 80 for part in shown[:-1])
    assert " ".join(part.strip() for part in shown[:-1]) == line
    assert progress.fitted(line, io.StringIO()) == line
    monkeypatch.setenv("COLUMNS", "40")  # in a pipe, too
    narrow = progress.fitted(line, io.StringIO()).splitlines()
    assert len(narrow) == 3 and len(narrow[0]) <= 40
    assert progress.fitted(command, io.StringIO()) == command


def test_the_first_steps_are_no_estimate(clock):
    lines: list[str] = []
    with track(lines.append, "training", 900, "steps") as task:
        clock[0] += 5
        task.advance()  # the step that TensorFlow compiles
        for _ in range(100):
            clock[0] += 0.06
            task.advance()
    assert lines == ["training: 1/900 steps", "training: 85/900 steps, 1 min 36 s left"]


def test_slow_work_has_an_estimate_after_a_minute(clock):
    lines: list[str] = []
    with track(lines.append, "training", 900, "steps") as task:
        for _ in range(2):
            clock[0] += 50
            task.advance()
    assert lines == ["training: 1/900 steps", "training: 2/900 steps, 12 h 28 min left"]


@pytest.mark.parametrize("words", [[], ["data"], ["data", "--help"]])
def test_help_fits_the_terminal(words):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    command = [sys.executable, "-m", "m3net_tf", *words]
    subprocess.run(command, env=ENVIRONMENT, stdout=theirs, check=True)
    os.close(theirs)
    shown = b"".join(iter(lambda: _read(ours), b"")).decode().splitlines()
    assert len(shown) > 10 and all(len(line) <= 60 for line in shown)
    assert "Options:" in shown


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # Linux says so where all has been read
        return b""


@pytest.mark.parametrize(
    ("total", "line"),
    [
        (27_000_000, "a.zip: 12.0/27.0 MB, 0.5 MB/s, 30 s left"),
        (None, "a.zip: 12.0 MB, 0.5 MB/s"),
    ],
)
def test_bytes_have_a_rate(clock, total, line):
    lines: list[str] = []
    with track(lines.append, "a.zip", total, BYTES, done=2_000_000) as task:
        clock[0] += 20
        task.reach(12_000_000)
    assert lines == [line]


def test_short_work_has_no_line():
    lines: list[str] = []
    with track(lines.append, "features", 3, "maps") as task:
        for _ in range(3):
            task.advance()
    assert lines == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("subject", ["training", "a very long name of some archive " * 3])
def test_a_terminal_has_a_bar_below_the_lines(subject):
    log = terminal()
    with track(log, subject, 40, "steps") as task:
        task.advance(10)
        log("epoch [1]/4")
        log.bars.console.file.truncate(0)
        log.bars._progress.refresh()
        (row,) = re.findall(rf"{subject[:8]}.*", written(log))
    assert "10/40 steps" in row and row.rstrip().endswith("left") and len(row) <= 80
    assert log.bars._progress is None


def test_bars_of_nested_work_end_together_even_by_an_error():
    log = terminal()
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt), track(log, "runs", 3, "runs") as outer:
        outer.advance()
        inner_log = with_lines_to(lines.append, log)
        inner_log("epoch 1/4")
        with track(inner_log, "training", 40, "steps"):
            log.bars._progress.refresh()
            assert {"1/3 runs", "0/40 steps"} <= set(re.findall(r"\d+/\d+ \w+", written(log)))
            raise KeyboardInterrupt
    assert log.bars._progress is None and lines == ["epoch 1/4"] and "epoch" not in written(log)
    assert written(log).endswith("\x1b[2K\x1b[?25h\r")  # no bar is left
    assert with_lines_to(lines.append, progress.silent) == lines.append


@pytest.mark.parametrize(
    ("isatty", "variables", "draws"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "xterm", "CI": "true"}, False),
    ],
)
def test_bars_need_a_terminal(monkeypatch, isatty, variables, draws):
    for name in ("CI", "TERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = io.StringIO()
    stream.isatty = lambda: isatty
    assert draws_bars(stream) is draws
    monkeypatch.setattr(sys, "stderr", stream)
    assert isinstance(output.progress_beside(True), TerminalLog) is draws


# --- a real terminal -----------------------------------------------------------------------------

WORK = """
import signal, sys, time
from m3net_tf import cli
from m3net_tf.system.progress import track

def app(**_):
    log = cli.output.progress_beside(False)
    with track(log, "training", 400, "steps") as task:
        while True:
            task.advance()
            log("a line") if task.done == 3 else None
            time.sleep(0.01)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
cli.app = app
sys.argv = ["m3net", "train", "my sounds.yaml"]
cli.main()
"""


def run_until_interrupted(**variables: str) -> tuple[int, str]:
    """Run :data:`WORK` on a terminal of 80 columns and press Ctrl-C; returns status and output."""
    main, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "80", **variables},
    )
    os.close(child)
    # Not each step is drawn, so any count of two digits will do.
    shown = b"a line" if "CI" in variables else rb"a line[\s\S]*\d\d/400"
    text = b""
    deadline_s = time.monotonic() + 300
    sent = False
    try:
        while time.monotonic() < deadline_s:
            try:
                if select.select([main], [], [], 0.1)[0]:
                    text += os.read(main, 4096)
            except OSError:  # the process has closed the terminal
                break
            if not sent and re.search(shown, text):
                process.send_signal(signal.SIGINT)
                sent = True
        return process.wait(300), text.decode()
    finally:
        process.kill()
        process.wait()
        os.close(main)


def test_ctrl_c_on_a_terminal_removes_the_bar_and_names_the_command():
    status, text = run_until_interrupted(NO_COLOR="1")
    assert status == 130
    assert text.endswith("stopped; to continue: m3net train 'my sounds.yaml'\r\n")
    assert "/400 steps" in text and "left" in text
    assert not re.search(r"\x1b\[[\d;]*m", text)  # NO_COLOR
    assert "\x1b[?25h" in text  # the cursor is shown again
    rows = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", row) for row in re.split(r"[\r\n]+", text)]
    assert max(map(len, rows)) <= 80


def test_ci_has_lines_even_on_a_terminal():
    status, text = run_until_interrupted(CI="true")
    assert status == 130 and "\x1b" not in text and "a line" in text
