# SPDX-License-Identifier: Apache-2.0
"""Whether a board keeps up with the sound: from instructions to time, clock share and a verdict.

All times take one instruction for a clock cycle, because emulators count instructions. Chips take
longer or shorter (``docs/guide/footprint.md``), so a board counts as real-time up to
:data:`BUSY_SHARE`.
"""

import dataclasses
import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds.boards import Board, load_board
from m3net_tf.boards.measure.cost import BoardCost, cost_among
from m3net_tf.export import Bundle
from m3net_tf.system.artifacts import read_json

BUSY_SHARE = 0.5
"""Largest share of its clock, in instructions, with which a board counts as real-time."""

LIVE_QUEUE_HOPS = 16
"""``M3NET_LIVE_QUEUE_HOPS`` of ``firmware/core/live.h``."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """Time that live detection takes on a board, with the gate open.

    Attributes:
        runs_per_second: inferences, and so decisions, for a second of sound.
        least_run_columns: fewest columns between runs with which it does; None if none is enough.
        most_instructions: largest network, in instructions of a run, with which it does at
            ``runs_per_second``; 0 if the front end alone is too much.
    """

    run_ms: float
    runs_per_second: float
    instructions_per_second: int
    cpu_share: float
    real_time: bool
    least_run_columns: int | None
    most_instructions: int


def pace_of(
    frontend: FrontendConfig,
    run_columns: int,
    clock_hz: int,
    run_instructions: int,
    frame_instructions: int,
    longest_instructions: int = 0,
) -> Pace:
    """The pace of a network on a board.

    Args:
        run_columns: columns of the detector from one run to the next.
        longest_instructions: executed in the longest run, if that costs more: one that begins a
            stream.
    """
    frames_per_s = frontend.sample_rate_hz / frontend.hop_samples
    runs_per_s = frames_per_s / run_columns
    per_second = math.ceil(run_instructions * runs_per_s + frame_instructions * frames_per_s)
    share = per_second / clock_hz
    free_per_s = BUSY_SHARE * clock_hz - frame_instructions * frames_per_s
    # During a run the queue from microphone to main loop must hold the sound that arrives.
    longest_run_s = BUSY_SHARE * (LIVE_QUEUE_HOPS - 1) * frontend.hop_s
    longest = max(run_instructions, longest_instructions)
    keeps_up = longest / clock_hz <= longest_run_s
    waiting_limit = longest_run_s * clock_hz * run_instructions / max(longest, 1)
    possible = keeps_up and free_per_s > 0
    least = math.ceil(run_instructions * frames_per_s / free_per_s) if possible else None
    return Pace(
        run_ms=1000 * run_instructions / clock_hz,
        runs_per_second=runs_per_s,
        instructions_per_second=per_second,
        cpu_share=share,
        real_time=share <= BUSY_SHARE and keeps_up,
        least_run_columns=least,
        most_instructions=max(0, int(min(free_per_s / runs_per_s, waiting_limit))),
    )


def pace_on(bundle: Bundle, clock_hz: int, cost: BoardCost) -> Pace:
    """The pace of an export with a measured cost."""
    run = cost["instructions"]
    live = cost.get("live")
    longest = run
    if live and live["push_columns"] == bundle.manifest.push_columns:
        run = live["instructions"]
        longest = live["start_instructions"]
    columns = bundle.detector.run_columns
    frame = cost["frontend_instructions"]
    return pace_of(bundle.frontend, columns, clock_hz, run, frame, longest)


def measured_pace(run: Path, board: str) -> Pace | None:
    """The pace of a run's export on a board, from what earlier commands have measured.

    The certificate, ``summary.json`` and ``footprint.json`` count if they are of this export, on
    the board or on another one with its core.

    Raises:
        ModelError, DataError: the export is incomplete, or a file is damaged.
        FirmwareError: there is no such board, or a file lacks a figure.
    """
    facts = load_board(board)
    if not (run / "export" / "manifest.json").is_file():
        return None
    bundle = Bundle.load(run / "export")
    costs = [cost for cost in _costs(run, bundle) if load_board(cost["board"]).core == facts.core]
    costs.sort(key=lambda cost: cost["board"] != board)  # stable: its own figures come first
    return pace_on(bundle, facts.clock_hz, costs[0]) if costs else None


class _Measured(TypedDict, total=False):
    """What is read of a certificate, a summary or a footprint."""

    engine: str
    model_sha256: str
    network: str | dict[str, str]
    instructions: int
    board: str | dict[str, Any]
    boards: list[dict[str, Any]]


def _costs(run: Path, bundle: Bundle) -> Iterator[BoardCost]:
    """Costs of this export's network and engine in the files of a run."""
    manifest = bundle.manifest
    subject = manifest.model.sha256, manifest.engine
    for name in ("export/certificate.json", "summary.json", "footprint.json"):
        if not (run / name).is_file():
            continue
        measured: _Measured = read_json(run / name, _Measured)
        sha256, network = measured.get("model_sha256"), measured.get("network")
        if isinstance(network, dict):  # of a certificate
            sha256 = network.get("sha256")
        if (sha256, measured.get("engine")) != subject:
            continue
        if measured.get("instructions"):
            yield cost_among(measured)
        for board in (*measured.get("boards", ()), measured.get("board")):
            if isinstance(board, dict) and board.get("cost"):
                yield cost_among(board["cost"])


def figures_text(board: Board, pace: Pace) -> str:
    """Time of an inference, decisions a second and share of the clock, in words."""
    return (
        f"{pace.run_ms:.1f} ms an inference, {pace.runs_per_second:.3g} decisions a second, "
        f"{100 * pace.cpu_share:.0f} % of {board.clock_hz / 1e6:g} MHz"
    )


def verdict_text(pace: Pace) -> str:
    """Whether it is real time and, if not, what would be."""
    if pace.real_time:
        return "real time"
    changes = []
    if pace.least_run_columns:
        changes.append(f"run_columns {pace.least_run_columns} in detector.yaml")
    if pace.most_instructions:
        changes.append(f"a network of {pace.most_instructions / 1e6:.2f} M instructions a run")
    return f"not real time; would be: {', or '.join(changes or ['a faster board'])}"


def pace_lines(board: str, pace: Pace | None, source: str = "") -> list[str]:
    """Lines for a terminal on the pace on a board, within 80 columns.

    Args:
        source: source of the instructions; default: an emulator.
    """
    if pace is None:
        return [f"speed on {board}: not measured; m3net footprint RUN measures it"]
    sentences = [
        f"speed on {board}: {verdict_text(pace)}",
        f"  {figures_text(load_board(board), pace)}",
        f"  instructions {source or 'counted by an emulator'}, one a clock cycle, and no chip's "
        f"time; real time is at most {100 * BUSY_SHARE:g} % of the clock (docs/guide/footprint.md)",
    ]
    return [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, 80, subsequent_indent="  ", break_long_words=False)
    ]
