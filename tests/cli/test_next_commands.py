# SPDX-License-Identifier: Apache-2.0
"""Each command of README's second task names the one after it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from m3net_tf import cli, export, training
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards import DEFAULT_BOARD
from m3net_tf.boards.measure import chain
from m3net_tf.boards.measure.real_time import pace_of
from m3net_tf.boards.starter.project import starter_commands
from m3net_tf.cli.output import say_next

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_a_starter_project_has_the_commands_of_the_readme(tmp_path, monkeypatch):
    (task,) = re.findall(r"^# 2\. .*?\n\n", README, re.MULTILINE | re.DOTALL)
    commands = [line for line in task.splitlines() if line.startswith("m3net ")]
    assert commands.pop(0) == "m3net init whistles"
    monkeypatch.chdir(tmp_path)
    made = starter_commands(Path("whistles_project/recipe.yaml"), DEFAULT_BOARD)
    assert list(made)[: len(commands)] == commands


def test_the_demonstration_ends_with_its_speed_and_the_readmes_next_command(
    tmp_path, monkeypatch, capsys
):
    pace = pace_of(FrontendConfig(), 5, 25_000_000, 3_264_920, 27_525)
    figures = ("flash_bytes", "arena_bytes", "frontend_instructions", "instructions", "parameters")
    shares = ("accuracy", "same_label_as_desktop", "features_within_1_lsb")
    summary = {
        **{"run": "demo", "board": DEFAULT_BOARD, "dataset": "synth", "clips": 4, "drift": []},
        **{"protocol": "generated-split", "bytes_equal": True, **dict.fromkeys(figures, 1)},
        "accuracy": dict.fromkeys(("float", "int8_desktop", "tflm_host", "emulated"), 0.5),
        "end_to_end": dict.fromkeys(shares, 0.5),
        "pace": dataclasses.asdict(pace),
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "train", lambda *_: None)
    monkeypatch.setattr(export, "export_run", lambda *_, **__: None)
    monkeypatch.setattr(chain, "saved_summary", lambda *_: summary)
    assert not cli.app(["demo"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "next: m3net report runs/demo"
    assert f"    {lines[-1].removeprefix('next: ')} " in README
    assert f"speed on {DEFAULT_BOARD}: not real time; would be: run_columns 15" in " ".join(lines)
    assert "  130.6 ms an inference, 10 decisions a second, 136 % of 25 MHz" in lines


def test_a_path_is_quoted(capsys):
    say_next("m3net", "export", Path("my runs/a"))
    assert capsys.readouterr().out == "next: m3net export 'my runs/a'\n"
