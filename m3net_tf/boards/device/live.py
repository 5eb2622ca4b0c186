# SPDX-License-Identifier: Apache-2.0
"""Live streams of a board; :mod:`.screen` draws them, and a recorder writes them to disk."""

from __future__ import annotations

import csv
import time
import wave
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend.level import Reading, Verdict
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.messages import DeviceInfo, Message
from m3net_tf.runtime.detector_config import FULL_SCALE
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log

#: Baud rate that suffices for audio along with all other lines.
AUDIO_BAUD = 921_600
_COLUMNS_KEPT = 400
_EVENTS_KEPT = 100
#: Words of the lines from a run of the model, sent after the column that completed its window.
_OF_A_RUN = frozenset({"scores", "event"})
_WAIT_S = 0.25
_SILENCE_S = 15.0


@dataclass(frozen=True)
class BoardEvent:
    """A detection on the board.

    Attributes:
        time_s: since the stream's start, when the column that completed it ended.
        score: smoothed score, 0 to 1.
        latency_ms: time from the last sample to the detection.
    """

    time_s: float
    label: str
    score: float
    latency_ms: float


class LiveView:
    """State of a stream, ready to be drawn.

    Attributes:
        thresholds: score of each class that triggers an event, 0 to 1; NaN for a class without
            events.
        scores: newest scores of all classes, 0 to 1.
        level: the microphone's level in the last second; None before the first one.
        lost_hops: hops that the board could not take in time.
        audio_s: time of the newest column, in seconds of audio.
    """

    def __init__(self, info: DeviceInfo, thresholds: Sequence[float] = ()) -> None:
        self.info = info
        self.thresholds = np.array(thresholds or [np.nan] * len(info.labels))
        self.scores = np.zeros(len(info.labels))
        self.columns: deque[npt.NDArray[np.int8]] = deque(maxlen=_COLUMNS_KEPT)
        self.events: deque[BoardEvent] = deque(maxlen=_EVENTS_KEPT)
        self.event_count = 0
        self.level: Reading | None = None
        self.lost_hops = 0
        self.audio_s = 0.0
        self.damaged_lines = 0
        self._newest_column = -1
        self._scored_column: int | None = None
        self._run_columns: int | None = None  # smallest gap so far between two runs of the model

    @property
    def window_s(self) -> float:
        """Length of the model's window, in seconds of audio."""
        return self.time_of(self.info.frontend["frames"] - 1)

    @property
    def filling(self) -> bool:
        """Whether the model's first window is still incomplete."""
        return self._newest_column < self.info.frontend["frames"] - 1

    @property
    def quiet(self) -> bool:
        """Whether the energy gate is closed: runs of the model were due but did not happen."""
        frames = self.info.frontend["frames"]
        if self._scored_column is None:
            return self._newest_column >= frames
        # Twice the gap, because a line may have been lost.
        patience = frames if self._run_columns is None else 2 * self._run_columns
        return self._newest_column - self._scored_column > patience

    def time_of(self, column: int) -> float:
        """When a column of features ends, in seconds of audio."""
        frontend = self.info.frontend
        samples = column * frontend["hop_samples"] + frontend["frame_samples"]
        return samples / frontend["rate_hz"]

    def event_of(self, message: Message) -> BoardEvent:
        """The event that a line describes.

        Raises:
            FirmwareError: the line is damaged.
        """
        label = message.number("label")
        if not 0 <= label < len(self.info.labels):
            raise FirmwareError(f"the board reports class {label}, which it lacks; check the speed")
        return BoardEvent(
            self.time_of(message.number("column")),
            self.info.labels[label],
            message.number("score") / FULL_SCALE,
            message.number("latency_us") / 1000,
        )

    def feed(self, message: Message) -> None:
        """Update the view from a line of the stream.

        Raises:
            FirmwareError: the line is damaged; the view stays as it was.
        """
        if message.word == "column":
            column = message.number("column")
            self.columns.append(int8_values(message, "values", self.info.frontend["bins"]))
            self._newest_column = column
            self.audio_s = self.time_of(column)
        elif message.word == "scores":
            column = message.number("column")
            self.scores = (int8_values(message, "out", len(self.scores)).astype(float) + 128) / 256
            if self._scored_column is not None:
                gap = column - self._scored_column
                self._run_columns = min(gap, self._run_columns or gap)
            self._scored_column = column
        elif message.word == "event":
            self.events.append(self.event_of(message))
            self.event_count += 1
        elif message.word == "level":
            self.level = reading_of(message)
        elif message.word == "overrun":
            self.lost_hops = message.number("lost_hops")


def reading_of(message: Message) -> Reading:
    """The level that a line describes.

    Raises:
        FirmwareError: the line is damaged.
    """
    verdict = message.fields.get("verdict")
    if verdict not in [each.value for each in Verdict]:
        raise FirmwareError(f"a line of the board was damaged: 'm3net level' has {verdict}")
    peak, missing_db, gain_db = map(message.number, ("peak", "missing_db", "gain_db"))
    return Reading(peak, missing_db, gain_db, Verdict(verdict))


def int8_values(message: Message, key: str, count: int) -> npt.NDArray[np.int8]:
    """The values of a hexadecimal field, shape (count,).

    Raises:
        FirmwareError: there are not ``count`` values.
    """
    try:
        values = np.frombuffer(bytes.fromhex(message.fields[key]), np.int8)
    except (KeyError, ValueError):
        values = np.zeros(0, np.int8)
    if len(values) != count:
        raise FirmwareError(f"a line of the board was damaged: 'm3net {message.word}' lacks {key}")
    return values


class Sink(Protocol):
    """Takes the lines of a stream."""

    def feed(self, message: Message) -> None:
        """Take a line; :class:`LiveView` has it already."""


class Recorder:
    """Writes a stream to ``<stem>.csv`` and, if the board sends audio, to ``<stem>.wav``.

    The table has a row for each run of the model: time in seconds of audio, the score of each
    class from 0 to 1, and the event if there was one. Lost audio becomes silence in the WAV file,
    so that the times of both files agree.
    """

    def __init__(self, stem: Path, view: LiveView, audio: bool) -> None:
        stem.parent.mkdir(parents=True, exist_ok=True)
        self._view = view
        self._file = stem.with_name(stem.name + ".csv").open("w", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        self._csv.writerow(["time_s", *view.info.labels, "event", "latency_ms"])
        self._row: list[str] | None = None
        self._wav: wave.Wave_write | None = None
        self._written = 0
        if audio:
            # libsndfile would not say why a file cannot be written.
            self._wav = wave.Wave_write(str(stem.with_name(stem.name + ".wav")))
            self._wav.setparams((1, 2, view.info.frontend["rate_hz"], 0, "NONE", ""))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._write_row()
        self._file.close()
        if self._wav:
            self._wav.close()

    def _write_row(self) -> None:
        if self._row:
            self._csv.writerow(self._row)
            self._file.flush()
        self._row = None

    def feed(self, message: Message) -> None:
        """Write a line of the stream; call it after :meth:`LiveView.feed`."""
        if message.word == "scores":
            self._write_row()
            time_s = self._view.time_of(message.number("column"))
            scores = [f"{score:.4f}" for score in self._view.scores]
            self._row = [f"{time_s:.3f}", *scores, "", ""]
        elif message.word == "event" and self._row:
            event = self._view.events[-1]
            self._row[-2:] = [event.label, f"{event.latency_ms:.1f}"]
        elif message.word == "audio" and self._wav:
            gap = message.number("offset") - self._written
            if gap > 0:
                self._wav.writeframesraw(bytes(2 * gap))
            self._wav.writeframesraw(message.data)
            self._written = message.number("offset") + len(message.data) // 2


def start_stream(device: Device, source: str, *, audio: bool, log: Log) -> bool:
    """Start a stream of columns and scores, and of audio if requested and possible.

    Args:
        source: ``mic``, or ``host`` for sound that :func:`play` sends.

    Returns:
        Whether the stream has audio.

    Raises:
        FirmwareError: the board has no microphone, or does not answer.
    """
    command = f"stream {source} columns scores"
    advice = "give it a sound by --play FILE"
    if audio and source == "mic":
        if device.port.physical and int(device.info().version["baud"]) < AUDIO_BAUD:
            audio = device.set_baud(AUDIO_BAUD)
        elif not device.port.physical:
            device.set_baud(AUDIO_BAUD)  # only the board's setting matters: there is no serial line
        if audio:
            device.request_sound(f"{command} audio", advice)
            return True
        log(f"{device.port.name} is too slow for audio: scores and events only")
    device.request_sound(command, advice)
    return False


def listen(device: Device) -> Iterator[Message | None]:
    """Yield the lines of a stream with columns, and None while no line comes.

    Raises:
        FirmwareError: the board stops the stream, or sends nothing for some seconds.
    """
    last_line_s = time.monotonic()
    while True:
        message = device.stream(_WAIT_S)
        yield message
        if message is not None:
            last_line_s = time.monotonic()
            if message.word == "stopped":
                raise FirmwareError(
                    f"{device.port.name}: the board stopped listening ({message.rest}); reset it"
                )
        elif time.monotonic() - last_line_s > _SILENCE_S:
            raise FirmwareError(f"{device.port.name}: the board stopped sending; reset it")


def play(device: Device, samples: npt.NDArray[np.int16]) -> Iterator[Message]:
    """Send sound to a stream of the source ``host``; yield the resulting lines."""
    data = samples.astype("<i2").tobytes()
    size = device.info().block_bytes
    for offset in range(0, len(data), size):
        device.send_block(offset, data[offset : offset + size])
        while device.streamed:
            yield device.streamed.popleft()


def watch(
    messages: Iterable[Message | None],
    view: LiveView,
    sink: Sink | None = None,
    draw: Callable[[], None] = lambda: None,
    *,
    seconds: float | None = None,
    every_s: float = 0.1,
) -> None:
    """Pass a stream to the view and to a recorder or another sink, and draw the view at intervals.

    It ends with the stream, or after ``seconds`` of audio when the model's scores for them have
    arrived. Damaged lines are skipped and counted.
    """
    drawn_s = 0.0
    for message in messages:
        enough = seconds is not None and view.audio_s >= seconds
        if enough and (message is None or message.word not in _OF_A_RUN):
            break
        if message is not None:
            try:
                view.feed(message)
                if sink:
                    sink.feed(message)
            except FirmwareError:
                view.damaged_lines += 1
        if time.monotonic() - drawn_s >= every_s:
            draw()
            drawn_s = time.monotonic()
    draw()
