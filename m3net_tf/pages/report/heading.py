# SPDX-License-Identifier: Apache-2.0
"""The first words of the page: a title, and a verdict on each run in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from m3net_tf.audio.labels import is_silence
from m3net_tf.boards.builds.boards import load_board
from m3net_tf.boards.deployment.real_time import figures_text, measured_pace, verdict_text
from m3net_tf.compiler.engines import DEFAULT_BOARD
from m3net_tf.pages.report.gather import RunData
from m3net_tf.pages.report.words import interval, percent
from m3net_tf.system.errors import M3NetError

_NETWORKS = {"m3net": "M3Net", "spectromasknet": "SpectroMaskNet", "diffres": "DiffRes"}
_NUMBERS = "no one two three four five six seven eight nine ten eleven twelve".split()


def title_of(runs: Sequence[RunData]) -> str:
    """Network, sounds and number of classes in words; several runs with their names."""
    titles = [_title(run) for run in runs]
    if len(runs) == 1:
        return titles[0]
    if len(set(titles)) == 1:
        return f"{' and '.join(run.name for run in runs)}: {titles[0]}"
    return " and ".join(f"{run.name} ({title})" for run, title in zip(runs, titles, strict=True))


def _title(run: RunData) -> str:
    name, data = run.run.recipe().model.name, run.metrics.dataset.name
    sounds = [label for label in run.labels if not is_silence(label)]
    count = _NUMBERS[len(sounds)] if len(sounds) < len(_NUMBERS) else str(len(sounds))
    classes = f"{count} class{'es' * (len(sounds) != 1)}"
    silence = " and silence" if len(sounds) < len(run.labels) else ""
    on = "your sounds" if data == "folder" else data
    return f"{_NETWORKS.get(name, name)} on {on}, {classes}{silence}"


def verdict(run: RunData) -> str:
    """How often the network is right, on the computer and on a board, and whether in real time."""
    test = run.metrics.test
    if run.multi_label:
        reached = f"mAP {percent(test['mean_average_precision'])} on {test['clips']} test clips"
    else:
        bounds = interval((test["accuracy_95_low"], test["accuracy_95_high"]))
        reached = f"right on {percent(test['accuracy'])} of {test['clips']} test clips"
        reached += f" (95 %: {bounds})"
    board: Mapping[str, Any] = run.file("summary.json") or {}
    emulated = board.get("accuracy", {}).get("emulated")
    if emulated is None:
        reached += "; not yet run on a board"
    else:
        reached += f"; {percent(emulated)} on the emulated {board['board']}"
    return f"{reached[0].upper()}{reached[1:]}. {_speed(run, board.get('board', DEFAULT_BOARD))}"


def _speed(run: RunData, board: str) -> str:
    try:
        pace = measured_pace(run.run.folder, board)
    except M3NetError:  # the sections on the export say what is wrong with it
        pace = None
    if pace is None:
        return f"Its speed on {board} was not measured."
    words = verdict_text(pace)
    figures = figures_text(load_board(board), pace)
    return f"On {board}, as an emulator counts: {figures}. {words[0].upper()}{words[1:]}."
