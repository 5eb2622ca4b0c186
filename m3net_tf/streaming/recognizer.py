# SPDX-License-Identifier: Apache-2.0
"""From samples that keep coming to events, as the firmware does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from m3net_tf.errors import ConfigError
from m3net_tf.frontend import FrontendConfig, features_int8
from m3net_tf.streaming.config import DetectorConfig
from m3net_tf.streaming.detector import Detector, Event, Tape, due_columns, gate_open

Int8 = npt.NDArray[np.int8]
Pcm = npt.NDArray[np.int16]
Model = Callable[[Int8], Int8]
"""int8 windows, shape (runs, bins, columns, 1), to int8 scores, shape (runs, classes)."""

_STREAMED = {"centred": False, "level_db": None, "clip_range_db": 0.0}


class ColumnStream:
    """The reference front end on samples that come in pieces of any length."""

    def __init__(self, frontend: FrontendConfig) -> None:
        for name, needed in _STREAMED.items():
            if getattr(frontend, name) != needed:
                raise ConfigError(
                    f"frontend.{name} is {getattr(frontend, name)!r}: live detection needs "
                    f"{needed!r}, for it never hears a whole clip"
                )
        if frontend.kind == "waveform":
            raise ConfigError(
                "frontend.kind is 'waveform': live detection needs columns; train with mel"
            )
        self.frontend = frontend
        self._rest = np.zeros(0, np.int16)

    def push(self, pcm: Pcm) -> Int8:
        """Take samples; returns the columns that they complete, shape (bins, columns)."""
        heard = np.concatenate([self._rest, pcm])
        count = self.frontend.frame_count(len(heard))
        self._rest = heard[count * self.frontend.hop_samples :]
        if count == 0:
            return np.zeros((self.frontend.feature_bins, 0), np.int8)
        return features_int8(self.frontend, heard / 32768.0)


class StreamingRecognizer:
    """Samples in, events out, one column after the other.

    Args:
        frontend: front-end settings.
        model: runs the int8 network.
        config: settings of the detector.

    Raises:
        ConfigError: the front end needs the whole clip.
    """

    def __init__(self, frontend: FrontendConfig, model: Model, config: DetectorConfig) -> None:
        self.detector = Detector(config)
        self._columns = ColumnStream(frontend)
        self._model = model
        self._window = np.full((frontend.feature_bins, config.window_columns), -128, np.int8)

    def push(self, pcm: Pcm) -> list[Event]:
        """Take int16 samples, any number; returns the events that they complete."""
        found = []
        for column in self._columns.push(pcm).T:
            self._window = np.concatenate([self._window[:, 1:], column[:, None]], axis=1)
            if self.detector.wants_inference(column):
                scores = self._model(self._window[None, ..., None])
                if event := self.detector.step(scores[0]):
                    found.append(event)
        return found


def event_time_s(frontend: FrontendConfig, column: int) -> float:
    """When the last sample of a column was heard, in seconds from the start."""
    return (column * frontend.hop_samples + frontend.frame_samples) / frontend.sample_rate_hz


def listen(
    frontend: FrontendConfig, model: Model, config: DetectorConfig, pieces: Iterable[Pcm]
) -> Tape:
    """Hear a long recording at once: what a :class:`StreamingRecognizer` hears step by step.

    The model runs where the gate is open; other runs have the lowest scores. Memory grows with
    the scores alone, a few bytes for each column.

    Args:
        frontend: front-end settings.
        model: runs the int8 network.
        config: gate, window and rate of the runs; thresholds play no part.
        pieces: int16 samples, piece by piece.

    Raises:
        ConfigError: the front end needs the whole clip.
    """
    stream = ColumnStream(frontend)
    window, hold = config.window_columns, config.gate_hold_columns
    past = np.zeros((frontend.feature_bins, 0), np.int8)
    levels = [np.zeros(0, np.int32)]
    scores = [np.zeros((0, len(config.classes)), np.int8)]
    first = 0  # index of the first column of `held`
    for piece in pieces:
        columns = stream.push(piece)
        held = np.concatenate([past, columns], axis=1)
        levels.append(columns[: config.gate_bins].sum(0, dtype=np.int32))
        held_levels = held[: config.gate_bins].sum(0, dtype=np.int32)
        due = due_columns(config, first + held.shape[1]) - first
        due = due[due >= past.shape[1]]
        ran = gate_open(config, held_levels)[due]
        found = np.full((len(due), len(config.classes)), -128, np.int8)
        if ran.any():
            windows = np.lib.stride_tricks.sliding_window_view(held, window, axis=1)
            chosen = windows[:, due[ran] - window + 1]  # (bins, runs, columns)
            found[ran] = model(np.ascontiguousarray(chosen.transpose(1, 0, 2)[..., None]))
        scores.append(found)
        past = held[:, max(0, held.shape[1] - max(window - 1, hold)) :]
        first += held.shape[1] - past.shape[1]
    return Tape(np.concatenate(levels), np.concatenate(scores))
