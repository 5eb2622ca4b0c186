# SPDX-License-Identifier: Apache-2.0
"""Live detection of an export on an emulated board, compared with whole windows on this machine."""

import dataclasses
import re
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.builds.boards import Machine
from m3net_tf.boards.emulation.qemu import HEADER, KIND_LIVE, run_image, stream_image
from m3net_tf.boards.emulation.streaming import compared_hops, in_turn, whole_windows
from m3net_tf.compiler.streaming.network import stream_network
from m3net_tf.export import Bundle
from m3net_tf.export.pushes import TIME_AXIS
from m3net_tf.runtime.detector import Detector, Event
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.runtime.recognizer import column_levels
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted

_LINE = re.compile(
    r"m3net (?:(column) values=([0-9a-f]+)|(scores) out=([0-9a-f]+) model_instr=(\d+)"
    r"|(event) column=(\d+) label=(\d+) score=(\d+))"
)


class LiveCost(TypedDict):
    """Live detection on a board, compared with whole windows of the columns that it computed.

    Attributes:
        push_columns: columns that a run pushes.
        equal: whether the scores of all runs and all events are the whole windows'.
        references: what computed the whole windows on this machine.
        instructions: instructions of the most expensive run that continues the stream.
        start_instructions: the same of a run that begins one, and pushes a whole window.
    """

    push_columns: int
    runs: int
    events: int
    equal: bool
    references: list[str]
    instructions: int
    start_instructions: int


@dataclasses.dataclass(frozen=True)
class Heard:
    """What live detection on a board made of a recording.

    Attributes:
        columns: columns of features, int8 of shape (bins, columns).
        ends: number of columns at each run, shape (runs,).
        scores: scores of the runs, int8 of shape (runs, classes).
        instructions: instructions of the runs, shape (runs,).
    """

    columns: Int8
    ends: npt.NDArray[np.int64]
    scores: Int8
    instructions: npt.NDArray[np.int64]
    events: list[Event]


def hear(elf: Path, machine: Machine, pcm: npt.NDArray[np.int16]) -> Heard:
    """Run a firmware's live detection on a recording, on an emulated board.

    Args:
        pcm: samples, shape (samples,).

    Raises:
        FirmwareError: as :func:`.qemu.run_job`, or nothing was heard.
    """
    image = stream_image(pcm.astype("<i2").tobytes(), machine.job_bytes, KIND_LIVE)
    columns = list[bytes]()
    ends = list[int]()
    scores = list[bytes]()
    instructions = list[int]()
    events = []
    for match in filter(None, map(_LINE.fullmatch, run_image(elf, machine, image).lines)):
        if match[1]:
            columns.append(bytes.fromhex(match[2]))
        elif match[3]:
            ends.append(len(columns))
            scores.append(bytes.fromhex(match[4]))
            instructions.append(int(match[5]))
        else:
            events.append(Event(*map(int, match.group(7, 8, 9))))
    if not ends:
        raise FirmwareError(
            f"live detection on {machine.board} ran no window: give a longer recording, and build "
            "the firmware of this release"
        )
    return Heard(
        np.frombuffer(b"".join(columns), np.int8).reshape(len(columns), -1).T,
        np.array(ends),
        np.frombuffer(b"".join(scores), np.int8).reshape(len(scores), -1),
        np.array(instructions),
        events,
    )


def due_windows(bundle: Bundle, columns: Int8) -> Int8:
    """The windows on which live detection runs the network, shape (runs, bins, frames, 1)."""
    detector = Detector(bundle.detector)
    frames = bundle.manifest.frames
    levels = column_levels(bundle.frontend, bundle.detector, columns)
    ends = [end for end, level in enumerate(levels, 1) if detector.wants_inference_at(int(level))]
    return np.stack([columns[:, end - frames : end] for end in ends])[..., None]


def expected_events(bundle: Bundle, columns: Int8, scores: Int8) -> list[Event]:
    """What live detection makes of the network's outputs for :func:`due_windows`."""
    runs = iter(bundle.detector_scores(scores))
    detector = Detector(bundle.detector)
    levels = column_levels(bundle.frontend, bundle.detector, columns)
    steps = (
        detector.step(next(runs)) for level in levels.tolist() if detector.wants_inference_at(level)
    )
    return [event for event in steps if event]


def measure_live(
    bundle: Bundle,
    elf: Path,
    machine: Machine,
    pcm: npt.NDArray[np.int16],
    log: Log = silent,
    *,
    certified: bool = False,
) -> LiveCost | None:
    """Cost and comparison of live detection where an export streams; None where it does not.

    Args:
        pcm: clips that follow each other in the recording, shape (clips, samples).
        certified: repeat them, as :func:`.in_turn` says, until a certificate has
            its runs or the board's memory is full.

    Raises:
        FirmwareError: as :func:`hear`.
    """
    columns = bundle.manifest.push_columns
    if columns is None:
        return None
    push = stream_network(bundle.tflite, TIME_AXIS, columns).push
    assert push is not None
    count = bundle.frontend.sample_count((push.needed + compared_hops(push)) * columns)
    count = min(count, (machine.job_bytes - HEADER.size) // pcm.itemsize)
    clips = in_turn(pcm, -(-count // pcm.shape[1])) if certified else pcm
    recording = clips.reshape(-1)[:count]
    log(f"live detection of {counted(len(recording), 'sample')} on {machine.board}")
    heard = hear(elf, machine, recording)
    windows = due_windows(bundle, heard.columns)
    references = whole_windows(bundle.tflite, windows)
    events = expected_events(bundle, heard.columns, next(iter(references.values())))
    before = np.concatenate([[0], heard.ends[:-1]])
    continues = heard.ends - before == columns
    return {
        "push_columns": columns,
        "runs": len(heard.ends),
        "events": len(heard.events),
        "equal": heard.events == events
        and all(np.array_equal(heard.scores, scores) for scores in references.values()),
        "references": [*references],
        "instructions": int(heard.instructions[continues].max(initial=0)),
        "start_instructions": int(heard.instructions[~continues].max()),
    }
