# SPDX-License-Identifier: Apache-2.0
"""Live detection on a stream of samples, as in the firmware."""

import functools
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
from m3net_tf.runtime.detector_config import FULL_SCALE, LOOK_SHIFTS, DetectorConfig
from m3net_tf.runtime.sound import require_pcm

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Pcm = npt.NDArray[np.int16]
Model = Callable[[Int8], Int8]
"""int8 windows, shape (runs, bins, columns, 1), or (runs, 1, samples, 1) for waveforms, to int8
scores, shape (runs, classes)."""

LEAST_THRESHOLD = 0.3
"""Threshold down to which :func:`listen` takes second looks."""

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


def second_look(
    frontend: FrontendConfig, model: Model, config: DetectorConfig, columns: Int8
) -> Int32:
    """Mean scores of the latest runs with the columns a bin higher and a bin lower.

    A bin without a neighbour stays.

    Args:
        columns: the latest columns, int8 of shape (bins, ``config.kept_columns``).

    Returns:
        In 65536ths of full scale, shape (classes,).
    """
    windows = np.lib.stride_tricks.sliding_window_view(columns, config.window_columns, axis=1)
    runs = windows[:, :: config.run_columns].transpose(1, 0, 2)
    bins = np.arange(len(columns))
    shifted = [runs[:, np.clip(bins + by, 0, len(bins) - 1)] for by in LOOK_SHIFTS]
    scores = model(_model_input(frontend, np.concatenate(shifted))).astype(np.int32) + 128
    return np.asarray(256 * scores.sum(0) // len(scores), np.int32)


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
        self._kept = np.full((column_bins(frontend), config.kept_columns), -128, np.int8)

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
        kept = config.kept_columns
        held = np.concatenate([self._kept, columns], axis=1)
        self._kept = held[:, held.shape[1] - kept :]
        scores: Iterator[Int8] = iter(())
        if len(ends := kept + detector.runs_ahead(levels)):
            scores = iter(self._model(_windows(frontend, held, config.window_columns, ends)))
        for column, level in enumerate(levels.tolist(), start=1):
            if not detector.wants_inference_at(level):
                continue
            look = functools.partial(self._look, held[:, column : column + kept])
            if event := detector.step(next(scores), look if config.look_runs else None):
                yield event

    def _look(self, latest: Int8, label: int) -> int:
        frontend, config = self._columns.frontend, self.detector.config
        return int(second_look(frontend, self._model, config, latest)[label])


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
        config: gate, window and rate of the runs, and second looks, which are taken where a class
            could reach its threshold or, if that is lower, :data:`LEAST_THRESHOLD`.

    Raises:
        ConfigError: the front end needs the whole clip.
    """
    stream = ColumnStream(frontend, config.gain)
    window, hold = config.window_columns, config.gate_hold_columns
    before = config.kept_columns - window  # columns that second looks need before the window
    past = np.zeros((column_bins(frontend), 0), np.int8)
    looker = _SecondLooks(frontend, model, config) if config.look_runs else None
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
        if looker:
            looker.add(held_columns, due, chunk_scores)
        past = held_columns[:, max(0, held_columns.shape[1] - max(before + window - 1, hold)) :]
        first += held_columns.shape[1] - past.shape[1]
    looks = looker.tape() if looker else None
    return Tape(np.concatenate(levels), np.concatenate(scores), looks)


class _SecondLooks:
    """Second looks at the runs of a recording at which an event could need one."""

    def __init__(self, frontend: FrontendConfig, model: Model, config: DetectorConfig) -> None:
        self._frontend, self._model, self._config = frontend, model, config
        self._events = [label for label, row in enumerate(config.classes) if row.event]
        thresholds = [config.classes[label].threshold_units for label in self._events]
        self._least = min([int(LEAST_THRESHOLD * FULL_SCALE), *thresholds])
        self._recent = np.full((config.history_runs - 1, len(config.classes)), -128, np.int8)
        self._looks: list[Int32] = [np.zeros((0, len(config.classes)), np.int32)]

    def add(self, columns: Int8, due: npt.NDArray[np.int64], scores: Int8) -> None:
        """Take a chunk's runs.

        Args:
            columns: columns up to the chunk's end, from the recording's start or as many as the
                looks at its runs need.
            due: the last column of each run, shape (runs,).
            scores: scores of the runs, shape (runs, classes).
        """
        if not len(due):
            return
        looks: Int32 = np.zeros(scores.shape, np.int32)
        held = np.concatenate([self._recent, scores])
        # A mean over some of the latest runs is at most their highest score.
        highest = 256 * (held[:, self._events].max(1, initial=-128).astype(np.int32) + 128)
        recent = np.lib.stride_tricks.sliding_window_view(highest, self._config.history_runs)
        kept = self._config.kept_columns
        padded = np.pad(columns, ((0, 0), (kept, 0)), constant_values=-128)
        for run in np.flatnonzero(recent.max(1) >= self._least):
            latest = padded[:, due[run] + 1 : due[run] + 1 + kept]
            looks[run] = second_look(self._frontend, self._model, self._config, latest)
        self._looks.append(looks)
        self._recent = held[len(held) - len(self._recent) :]

    def tape(self) -> Int32:
        """Scores of all looks so far, shape (runs, classes)."""
        return np.concatenate(self._looks)
