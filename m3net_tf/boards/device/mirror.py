# SPDX-License-Identifier: Apache-2.0
"""The detector of a board: its settings, and a mirror of it that says what was nearly an event."""

import dataclasses
from collections import deque

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.live import int8_values
from m3net_tf.boards.device.messages import Message
from m3net_tf.runtime import ClassSettings, Detector, DetectorConfig, NearMiss, NearMisses
from m3net_tf.runtime.detector_config import FULL_SCALE
from m3net_tf.system.errors import ConfigError, FirmwareError

_OPEN, _CLOSED = 0, -1  # levels of a gate whose sum is 0
_SAVE_TIMEOUT_S = 15.0  # longer than a board's flash takes to erase a sector
_MOST_LOST_COLUMNS = 10_000  # a larger step is a damaged number


@dataclasses.dataclass(frozen=True)
class ScoredRun:
    """A run of the model on the board.

    Attributes:
        column: the last column of its window.
        scores: score of each class in this run, 0 to 1, shape (classes,).
        means: smoothed scores, which the thresholds apply to, same unit and shape.
    """

    column: int
    scores: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]


def read_detector(device: Device) -> tuple[DetectorConfig, bool | None]:
    """Settings of a board's detector, and whether the board starts with saved thresholds.

    Returns:
        The settings, with classes named by their index and no gate; and whether thresholds are
        saved, None on a board without flash for them.

    Raises:
        FirmwareError: the board does not answer, or a line was damaged.
    """
    info = device.info()
    reply = device.request("threshold")
    classes = [_settings(line) for line in reply.lines if line.word == "class"]
    if [settings.label for settings in classes] != [str(i) for i in range(len(info.labels))]:
        raise FirmwareError(f"{device.port.name}: incomplete answer to threshold; try again")
    config = DetectorConfig(
        window_columns=info.frontend["frames"],
        run_columns=reply.number("run_columns"),
        gate_bins=1,
        gate_level=0,
        gate_hold_columns=0,
        classes=tuple(classes),
        several_labels=reply.last.fields.get("several_labels") == "1",
    )
    saved = reply.last.fields.get("saved")
    return config, None if saved is None else saved == "1"


def save_thresholds(device: Device) -> None:
    """Have a board start with its present thresholds from now on; it may be streaming.

    Raises:
        BoardError: it has no flash for them, or the flash does not take them.
    """
    device.request("save", _SAVE_TIMEOUT_S)


def forget_thresholds(device: Device) -> None:
    """Delete the thresholds that a board saved, so that it returns to the exported ones.

    It may be streaming.

    Raises:
        BoardError: as :func:`save_thresholds`; nothing has changed.
    """
    device.request("save clear", _SAVE_TIMEOUT_S)


def event_thresholds(config: DetectorConfig) -> list[float]:
    """Score from which each class is detected, 0 to 1; NaN for a class that never is."""
    return [settings.threshold if settings.event else np.nan for settings in config.classes]


def set_threshold(device: Device, label: int, threshold: float, release: float) -> ClassSettings:
    """Change how a class is detected; the board may be streaming.

    Without :func:`save_thresholds` it stays so until the board's next reset.

    Args:
        threshold: smoothed score from which it is detected, 0 to 1.
        release: score below which an event is over; lowered to the threshold if it is higher.

    Raises:
        BoardError: the board refuses them; nothing has changed.
    """
    units = [min(round(share * FULL_SCALE), FULL_SCALE - 1) for share in (threshold, release)]
    reply = device.request(f"threshold {label} {units[0]} {min(units)}")
    return _settings(reply.last)


def _settings(line: Message) -> ClassSettings:
    hits = line.number("hits")
    try:
        return ClassSettings(
            str(line.number("label")),
            event=hits > 0,
            threshold=line.number("threshold") / FULL_SCALE,
            release=line.number("release") / FULL_SCALE,
            suppression_columns=line.number("suppression_columns"),
            window_runs=line.number("window_runs"),
            hits=max(hits, 1),
        )
    except ConfigError as error:
        raise FirmwareError(
            f"a line of the board was damaged: 'm3net {line.word}' ({error})"
        ) from None


class MirroredDetector:
    """Repeats a board's detector from the lines of a stream with columns and scores.

    A run that is due and has no scores was skipped by the board's energy gate.

    Attributes:
        detector: the same state as the board's, except for its gate.
        runs: runs of the model since the caller last emptied it.
        near_misses: the same for near misses.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.detector = Detector(config)
        self.runs: deque[ScoredRun] = deque()
        self.near_misses: deque[NearMiss] = deque()
        self._tracker = NearMisses(self.detector)
        self._scored: tuple[int, npt.NDArray[np.int8]] | None = None

    def feed(self, message: Message) -> None:
        """Take a line of the stream.

        Raises:
            FirmwareError: the line is damaged; nothing has changed.
        """
        if message.word == "column":
            self._advance(message.number("column"))
        elif message.word == "scores":
            scores = int8_values(message, "out", len(self.detector.config.classes))
            self._scored = (message.number("column"), scores)
            self._advance(self._scored[0] + 1)

    def _advance(self, count: int) -> None:
        """Process columns until there are ``count``."""
        detector = self.detector
        if count - detector.columns > _MOST_LOST_COLUMNS:
            raise FirmwareError(f"a line of the board was damaged: column {count}")
        while detector.columns < count:
            scored = self._scored and self._scored[0] == detector.columns
            skipped = detector.skipped_runs
            if detector.wants_inference_at(_OPEN if scored else _CLOSED) and self._scored:
                self._run(*self._scored)
            elif detector.skipped_runs != skipped:
                self.near_misses += self._tracker.after_run(None)

    def _run(self, column: int, scores: npt.NDArray[np.int8]) -> None:
        self.near_misses += self._tracker.after_run(self.detector.step(scores))
        means = [self.detector.score(label) for label in range(len(scores))]
        shares = (scores.astype(float) + 128) / 256
        self.runs.append(ScoredRun(column, shares, np.array(means) / FULL_SCALE))
