# SPDX-License-Identifier: Apache-2.0
"""From samples to events: piece by piece, all at once, the same."""

import dataclasses

import numpy as np
import pytest

from m3net_tf.audio.frontend import FrontendConfig, features_int8, frontend_preset
from m3net_tf.audio.frontend.level import Gain
from m3net_tf.runtime import (
    ClassSettings,
    DetectorConfig,
    Event,
    StreamingRecognizer,
    detect,
    event_time_s,
    listen,
)
from m3net_tf.runtime.recognizer import ColumnStream
from m3net_tf.system.errors import ConfigError

FRONTEND = FrontendConfig()
CONFIG = DetectorConfig(
    window_columns=49,
    gate_bins=40,
    gate_level=-100,
    gate_hold_columns=30,
    classes=tuple(
        ClassSettings(label, threshold=0.55, release=0.5, suppression_columns=20, window_runs=2)
        for label in ("high", "low", "new")
    ),
)


def model(windows: np.ndarray) -> np.ndarray:
    """Three scores that differ between any two windows: a stand-in for a network."""
    assert windows.dtype == np.int8 and windows.shape[1:] == (40, 49, 1)
    whole = windows[..., 0].astype(int)
    means = np.stack(
        [whole[:, 20:].mean((1, 2)), whole[:, :20].mean((1, 2)), whole[:, :, -8:].mean((1, 2))], 1
    )
    order = np.argsort(np.argsort(means, axis=1), axis=1)
    return np.clip(100 * order - 110 + whole[:, 7, 11:12] // 4, -128, 127).astype(np.int8)


@pytest.fixture(scope="module")
def pcm(sounds: np.ndarray) -> np.ndarray:
    """16 s of sounds with pauses, the second half in another order."""
    rows = np.concatenate([sounds, sounds[[5, 0, 7, 5, 2, 4, 1, 3]]])
    return (rows.ravel() * 32768).astype(np.int16)


def test_columns_are_those_of_the_whole_recording(pcm):
    expected = features_int8(FRONTEND, pcm / 32768.0)
    stream = ColumnStream(FRONTEND)
    rng = np.random.default_rng(0)
    columns = []
    at = 0
    while at < len(pcm):
        step = int(rng.choice([0, 1, 160, 320, 511, 512, 513, 5000]))
        columns.append(stream.push(pcm[at : at + step]))
        at += step
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), expected)


@pytest.mark.parametrize("piece", [320, 7001, 10**9])
def test_all_at_once_equals_step_by_step(pcm, piece):
    recognizer = StreamingRecognizer(FRONTEND, model, CONFIG)
    events = [e for at in range(0, len(pcm), 320) for e in recognizer.push(pcm[at : at + 320])]
    pieces = (pcm[at : at + piece] for at in range(0, len(pcm), piece))
    tape = listen(FRONTEND, model, CONFIG, pieces)
    assert detect(CONFIG, tape) == events
    assert len(events) >= 5 and recognizer.detector.skipped_runs > 0
    assert len(tape.levels) == FRONTEND.frame_count(len(pcm)) == recognizer.detector.columns
    assert len(tape.scores) == recognizer.detector.runs + recognizer.detector.skipped_runs


def test_an_automatic_gain_restores_the_events_of_a_quiet_microphone(pcm):
    """In one call and in chunks; a usual level gives what it gives without the gain."""
    config = CONFIG.with_gain(Gain(automatic=True))

    def events_of(config: DetectorConfig, pcm: np.ndarray, step: int) -> list[Event]:
        recognizer = StreamingRecognizer(FRONTEND, model, config)
        return [e for at in range(0, len(pcm), step) for e in recognizer.push(pcm[at : at + step])]

    assert events_of(config, pcm, 777) == events_of(CONFIG, pcm, 777) != []
    quiet = np.round(pcm / 50).astype(np.int16)
    amplified = events_of(config, quiet, 320)
    assert len(amplified) > len(events_of(CONFIG, quiet, 320))
    pieces = np.split(quiet, [5, 1000, 70_000])
    assert detect(config, listen(FRONTEND, model, config, pieces)) == amplified


def test_the_network_runs_over_blocks(pcm):
    """One call for all windows of a push, with the events of one call a window."""
    calls: list[int] = []

    def spy(windows: np.ndarray) -> np.ndarray:
        calls.append(len(windows))
        return model(windows)

    hop_by_hop = StreamingRecognizer(FRONTEND, model, CONFIG)
    events = [e for at in range(0, len(pcm), 320) for e in hop_by_hop.push(pcm[at : at + 320])]
    recognizer = StreamingRecognizer(FRONTEND, spy, CONFIG)
    first = pcm[: 16_000 * 3]
    rest = pcm[16_000 * 3 :]
    assert recognizer.push(first) + recognizer.push(rest) == events
    detector = recognizer.detector
    assert vars(detector) == {**vars(hop_by_hop.detector), "config": detector.config}
    assert len(calls) == 2 and sum(calls) == detector.runs


def test_an_ungated_tape_serves_every_gate(pcm):
    ungated = dataclasses.replace(CONFIG, gate_level=None)
    tape = listen(FRONTEND, model, ungated, [pcm])
    assert detect(CONFIG, tape) == detect(CONFIG, listen(FRONTEND, model, CONFIG, [pcm]))


def test_the_windows_are_the_last_columns_oldest_first(pcm):
    seen = []

    def spy(windows: np.ndarray) -> np.ndarray:
        seen.extend(windows[..., 0])
        return model(windows)

    listen(FRONTEND, spy, dataclasses.replace(CONFIG, gate_level=None), np.split(pcm, 4))
    columns = features_int8(FRONTEND, pcm / 32768.0)
    ends = range(49, columns.shape[1] + 1, CONFIG.run_columns)
    np.testing.assert_array_equal(np.stack(seen), [columns[:, end - 49 : end] for end in ends])


def test_samples_are_heard_hop_by_hop_and_their_magnitudes_open_the_gate(pcm):
    raw = frontend_preset("bilateral", sample_rate_hz=16_000, log="mu")
    config = dataclasses.replace(CONFIG, window_columns=50, gate_bins=320, gate_level=3)
    seen: list[np.ndarray] = []

    def ear(windows: np.ndarray) -> np.ndarray:
        assert windows.dtype == np.int8 and windows.shape[1:] == (1, 16_000, 1)
        seen.extend(windows[:, 0, :, 0])
        means = np.abs(windows.astype(int)).reshape(len(windows), -1, 4000).mean(2)
        return np.clip(4 * means[:, :3] - 100, -128, 127).astype(np.int8)

    recognizer = StreamingRecognizer(raw, ear, config)
    events = [e for at in range(0, len(pcm), 501) for e in recognizer.push(pcm[at : at + 501])]
    stepwise = seen
    seen = []
    tape = listen(raw, ear, config, np.split(pcm, 4))
    assert detect(config, tape) == events and len(events) >= 3
    assert 0 < len(seen) < len(tape.scores)
    np.testing.assert_array_equal(np.stack(seen), np.stack(stepwise))

    row = features_int8(raw, pcm / 32768.0)[0]
    np.testing.assert_array_equal(tape.levels, np.abs(row.astype(int)).reshape(-1, 320).sum(1))
    seen = []
    listen(raw, ear, dataclasses.replace(config, gate_level=None), [pcm])
    ends = range(16_000, len(row) + 1, 320 * config.run_columns)
    np.testing.assert_array_equal(np.stack(seen), [row[end - 16_000 : end] for end in ends])


def test_time_of_an_event_is_that_of_its_last_sample():
    assert event_time_s(FrontendConfig(kind="waveform"), 49) == 1.0
    assert event_time_s(FRONTEND, 0) == 512 / 16_000
    assert event_time_s(FRONTEND, 48) == (48 * 320 + 512) / 16_000


@pytest.mark.parametrize(
    ("frontend", "message"),
    [
        (FrontendConfig(centred=True), "frontend.centred is True: live detection needs False"),
        (FrontendConfig(level_db=-20.0), "frontend.level_db is -20.0"),
        (FrontendConfig(log="db", clip_range_db=80.0), "frontend.clip_range_db is 80.0"),
        (FrontendConfig(kind="waveform", level_db=-20.0), "frontend.level_db is -20.0"),
    ],
)
def test_front_ends_that_need_the_whole_clip_are_refused(frontend, message):
    with pytest.raises(ConfigError, match=message):
        StreamingRecognizer(frontend, model, CONFIG)
