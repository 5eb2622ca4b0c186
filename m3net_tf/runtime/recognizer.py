# SPDX-License-Identifier: Apache-2.0
"""Live detection on a stream of samples, as in the firmware."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.frontend import (
    FrontendConfig,
    column_bins,
    features_int8,
    quantize_features,
)
from m3net_tf.audio.frontend.level import NO_GAIN, Gain, Microphone
from m3net_tf.audio.frontend.microfrontend import Microfrontend
from m3net_tf.runtime.detector import Detector, Event, Tape, due_columns, gate_open
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.sound import require_pcm

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Pcm = npt.NDArray[np.int16]
Model = Callable[[Int8], Int8]
"""int8 windows, shape (runs, bins, columns, 1), or (runs, 1, samples, 1) for waveforms, to int8
scores, shape (runs, classes)."""

_BLOCK_SAMPLES = 1 << 18  # as many as a chunk of a file has
_STREAMED = {"centred": False, "level_db": None, "clip_range_db": 0.0}


class ColumnStream:
    """The reference front end on samples in chunks of any length.

    Args:
        gain: gain of the microphone, which changes from hop to hop. With a gain a column is
            complete when its last hop is, as on a device.
    """

    def __init__(self, frontend: FrontendConfig, gain: Gain = NO_GAIN) -> None:
        frontend.require(_STREAMED, "live detection", " because it never has a whole clip")
        self.frontend = frontend
        self._remaining = np.zeros(0, np.int16)
        self._microphone = Microphone(frontend, gain) if gain.used else None
        self._microfrontend = Microfrontend() if frontend.kind == "microfrontend" else None

    def push(self, pcm: Pcm) -> Int8:
        """Add samples; returns the columns that they complete, shape (bins, columns)."""
        require_pcm(pcm)
        if self._microphone:
            pcm = self._microphone.push(pcm)
        if self._microfrontend:
            return quantize_features(self.frontend, self._microfrontend.push(pcm))
        samples = np.concatenate([self._remaining, pcm])
        bins = column_bins(self.frontend)
        hop = self.frontend.hop_samples
        raw = self.frontend.kind == "waveform"
        count = len(samples) // hop if raw else self.frontend.frame_count(len(samples))
        self._remaining = samples[count * hop :]
        if count == 0:
            return np.zeros((bins, 0), np.int8)
        if raw:
            samples = samples[: count * hop]
            return features_int8(self.frontend, samples / 32768.0).reshape(count, bins).T
        return features_int8(self.frontend, samples / 32768.0)


def column_levels(frontend: FrontendConfig, config: DetectorConfig, columns: Int8) -> Int32:
    """Levels for the gate: the sum of each column's first features, shape (columns,)."""
    gated = columns[: config.gate_bins].astype(np.int32)
    if frontend.kind == "waveform":  # samples are symmetric about zero
        gated = np.abs(gated)
    return np.asarray(gated.sum(0, dtype=np.int32))


def _model_input(frontend: FrontendConfig, windows: Int8) -> Int8:
    """Convert windows (runs, bins, columns) to the network's input: samples in one row."""
    if frontend.kind == "waveform":
        windows = windows.transpose(0, 2, 1).reshape(len(windows), 1, -1)
    return np.ascontiguousarray(windows[..., None])


def _windows(
    frontend: FrontendConfig, columns: Int8, window: int, ends: npt.NDArray[np.int64]
) -> Int8:
    """The network's input for the windows that end with these columns, each of them included."""
    windows = np.lib.stride_tricks.sliding_window_view(columns, window, axis=1)
    return _model_input(frontend, windows[:, ends - window + 1].transpose(1, 0, 2))


class StreamingRecognizer:
    """Converts samples to events.

    Front end and model run over blocks of samples; each column is then a step of the detector.

    Raises:
        ConfigError: the front end needs the whole clip.
    """

    def __init__(self, frontend: FrontendConfig, model: Model, config: DetectorConfig) -> None:
        self.detector = Detector(config)
        self._columns = ColumnStream(frontend, config.gain)
        self._model = model
        self._kept = np.full((column_bins(frontend), config.window_columns), -128, np.int8)

    def push(self, pcm: Pcm) -> list[Event]:
        """Add any number of int16 samples; returns the events that they complete.

        Raises:
            DataError: the samples have another type or shape.
        """
        require_pcm(pcm)
        blocks = np.split(pcm, range(_BLOCK_SAMPLES, len(pcm), _BLOCK_SAMPLES))
        return [event for block in blocks for event in self._events(self._columns.push(block))]

    def _events(self, columns: Int8) -> Iterator[Event]:
        """The events that the next columns complete, shape (bins, columns)."""
        frontend, detector, config = self._columns.frontend, self.detector, self.detector.config
        levels = column_levels(frontend, config, columns)
        window = config.window_columns
        held = np.concatenate([self._kept, columns], axis=1)
        self._kept = held[:, held.shape[1] - window :]
        scores: Iterator[Int8] = iter(())
        if len(ends := window + detector.runs_ahead(levels)):
            scores = iter(self._model(_windows(frontend, held, window, ends)))
        for level in levels.tolist():
            if not detector.wants_inference_at(level):
                continue
            if event := detector.step(next(scores)):
                yield event


def event_time_s(frontend: FrontendConfig, column: int) -> float:
    """Time of a column's last sample, in seconds from the start."""
    hop = frontend.hop_samples
    last = hop if frontend.kind == "waveform" else frontend.frame_samples
    return (column * hop + last) / frontend.sample_rate_hz


def listen(
    frontend: FrontendConfig, model: Model, config: DetectorConfig, chunks: Iterable[Pcm]
) -> Tape:
    """Process a long recording in batches, with the results of a :class:`StreamingRecognizer`.

    The model runs when the gate is open; other runs have the lowest scores. Memory grows only with
    the scores, by a few bytes per column.

    Args:
        config: gate, window and rate of the runs.

    Raises:
        ConfigError: the front end needs the whole clip.
    """
    stream = ColumnStream(frontend, config.gain)
    window, hold = config.window_columns, config.gate_hold_columns
    past = np.zeros((column_bins(frontend), 0), np.int8)
    levels = [np.zeros(0, np.int32)]
    scores = [np.zeros((0, len(config.classes)), np.int8)]
    first = 0  # index of the first column of `held_columns`
    for chunk in chunks:
        columns = stream.push(chunk)
        held_columns = np.concatenate([past, columns], axis=1)
        levels.append(column_levels(frontend, config, columns))
        held_levels = column_levels(frontend, config, held_columns)
        due = due_columns(config, first + held_columns.shape[1]) - first
        due = due[due >= past.shape[1]]
        ran = gate_open(config, held_levels)[due]
        chunk_scores = np.full((len(due), len(config.classes)), -128, np.int8)
        if ran.any():
            chunk_scores[ran] = model(_windows(frontend, held_columns, window, due[ran]))
        scores.append(chunk_scores)
        past = held_columns[:, max(0, held_columns.shape[1] - max(window - 1, hold)) :]
        first += held_columns.shape[1] - past.shape[1]
    return Tape(np.concatenate(levels), np.concatenate(scores))
