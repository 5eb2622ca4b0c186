# SPDX-License-Identifier: Apache-2.0
"""Text of a board, a file or a name cannot command the terminal."""

import io
import json
import sys

import pytest
from rich.table import Table

from m3net_tf.boards.device.live import LiveView
from m3net_tf.boards.device.messages import DeviceInfo
from m3net_tf.boards.device.screen import Screen
from m3net_tf.cli import output
from m3net_tf.system.errors import ModelError
from m3net_tf.system.terminal import printable, run_command, say_loading

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\x7f\u202eb"
ESCAPED = r"a\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\x7f\u202eb"


def test_control_characters_become_escapes():
    assert printable(HOSTILE) == ESCAPED
    assert printable(ESCAPED) == ESCAPED
    words = "two\nlines\tand größer, 声音, 🎤, \udce9"
    assert printable(words) == words


@pytest.mark.parametrize("say", [output.say, output.say_progress])
def test_all_lines_are_printed_so(say, capsys):
    say(HOSTILE)
    caught = capsys.readouterr()
    assert caught.out + caught.err == f"{ESCAPED}\n"


def test_errors_are_printed_so(capsys):
    def fail() -> None:
        raise ModelError(f"board: {HOSTILE}")

    assert run_command(fail) == 2
    error = capsys.readouterr().err
    assert r"\x1b]0;title\x07\x1b[2J\x9b31m" in error
    assert error.strip().isprintable()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_command_says_on_a_terminal_what_it_loads(terminal, monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    run_command(lambda: say_loading("TensorFlow"))
    assert ("TensorFlow" in stream.getvalue()) is terminal


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_are_printed_so(terminal):
    stream = io.StringIO()
    colours = "standard" if terminal else None
    console = output._Console(
        file=stream, force_terminal=terminal, color_system=colours, highlight=False
    )
    table = Table("label")
    table.add_row(HOSTILE)
    console.print(table)
    console.print(HOSTILE, style="bold")
    text = stream.getvalue()
    assert text.count(r"\x1b]0;title") == 2 and "\x1b]" not in text and "\x1b[2J" not in text
    assert "\x9b" not in text and "\u202e" not in text
    assert terminal is ("\x1b[1m" in text)  # its own styles stay


def test_the_monitors_picture_keeps_its_width():
    shape = {"rate_hz": 16_000, "frame_samples": 512, "hop_samples": 320, "bins": 40, "frames": 4}
    info = DeviceInfo(HOSTILE, {}, {"name": HOSTILE}, shape, (HOSTILE, "b"), 256, 0)
    console = output._Console(file=io.StringIO(), width=60, height=16, force_terminal=True)
    console.print(Screen(LiveView(info, (0.5, 0.5))))
    lines = console.file.getvalue().splitlines()
    assert "\x1b]" not in "".join(lines) and r"\x1b" in "".join(lines)
    assert json.dumps(HOSTILE).isprintable()  # what commands print as JSON
