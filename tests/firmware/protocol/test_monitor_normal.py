# SPDX-License-Identifier: Apache-2.0
"""A board that reports what is not normal: its scores are Python's, and so is its calibration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import CLASSES, FRAMES
from monitor_host import behind_pty, build_monitor, expected_output

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.device import Device, open_port
from m3net_tf.boards.device.calibration import calibrate
from m3net_tf.boards.device.live import play
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.runtime.detector import smooth
from m3net_tf.runtime.detector_config import FULL_SCALE, DetectorConfig
from m3net_tf.runtime.prototypes import UNUSUAL, NormalSounds
from m3net_tf.system.errors import FirmwareError

ZERO_POINT = -128  # of the stand-in for a network
# As in firmware/host/model.c.
PROTOTYPES = np.zeros((2, CLASSES), np.int16)
PROTOTYPES[0] = 1_000
PROTOTYPES[1, :2] = 2_000, 1_000
NORMAL = NormalSounds(PROTOTYPES, ZERO_POINT)
SETTINGS = DetectorConfig.default(FrontendConfig(), FRAMES, (UNUSUAL,)).classes[0]


@pytest.fixture(scope="module")
def normal_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's monitor of an export of normal sounds, with a storage."""
    folder = tmp_path_factory.mktemp("normal")
    return build_monitor(folder, "M3NET_HOST_STORAGE_WORD_BYTES=4", normal=NORMAL)


@pytest.fixture()
def board(normal_host: Path) -> Iterator[Device]:
    with behind_pty(normal_host) as pty, Device(open_port(pty)) as device:
        yield device


def streamed_scores(board: Device) -> np.ndarray:
    """Scores of a stream of noise whose level changes, which must be Python's."""
    rng = np.random.default_rng(1)
    levels = np.repeat(np.geomspace(400, 4_000, 600), 100)  # the stand-in's outputs have a limit
    sound = np.asarray(levels * rng.standard_normal(60_000), np.int16)
    board.request("stream host columns scores")
    columns: list[np.ndarray] = []
    scores: list[int] = []
    for message in play(board, sound):
        if message.word == "column":
            columns.append(np.frombuffer(bytes.fromhex(message.fields["values"]), np.int8))
        elif message.word == "scores":
            output = expected_output(np.stack(columns[-FRAMES:], axis=1))
            (score,) = NORMAL.scores(output[None])[0]
            assert bytes.fromhex(message.fields["out"]) == score.tobytes()
            scores.append(int(score))
    board.request("stream off")
    assert len({*scores}) > 5
    return np.array(scores)


def test_the_threshold_rises_above_normal_sound_and_outlasts_a_reset(board: Device):
    with pytest.raises(BoardError) as caught:
        calibrate(board, 0.0)
    assert caught.value.code == "no_result"
    assert [line.rest for line in board.request("info").lines if line.word == "label"] == [
        f"0 {UNUSUAL}"
    ]
    scores = streamed_scores(board)
    smoothed = smooth(scores.astype(np.int8), np.ones(len(scores), bool), SETTINGS.window_runs)
    highest = int(smoothed.max())
    before = SETTINGS.threshold_units
    found = calibrate(board, 1.0)
    assert found.highest == highest / FULL_SCALE
    assert found.threshold == max(before, highest + 1) / FULL_SCALE
    assert found.most_per_day == 72
    board.request("threshold 0 2 1")
    raised = calibrate(board, 1.0)
    assert raised.threshold == (highest + 1) / FULL_SCALE
    board.request("reset")
    board.connect()
    (line,) = [each for each in board.request("threshold").lines if each.word == "class"]
    assert line.number("threshold") == highest + 1
    assert line.number("release") == highest
    assert "event" not in {message.word for message in board.streamed}


def test_a_board_whose_network_has_classes_of_its_own(monitor_host: Path):
    with (
        behind_pty(monitor_host) as pty,
        Device(open_port(pty)) as device,
        pytest.raises(FirmwareError, match="m3net normal"),
    ):
        calibrate(device, 1.0)


@pytest.mark.parametrize("zero_point", [-128, 3, 127])
def test_scores_are_sines_within_one_step(zero_point: int):
    rng = np.random.default_rng(0)
    outputs = rng.integers(-128, 128, (200, 64)).astype(np.int8)
    prototypes = rng.integers(-2_047, 2_048, (5, 64)).astype(np.int16)
    prototypes[0] = outputs[0].astype(np.int16) - zero_point
    normal = NormalSounds.from_rows(NormalSounds(prototypes, 0).rows, zero_point)
    scores = normal.scores(outputs)[:, 0].astype(int) + 128
    centred = outputs.astype(float) - zero_point
    lengths = np.linalg.norm(centred, axis=1)[:, None] * np.linalg.norm(prototypes, axis=1)
    cosines = (centred @ prototypes.T / lengths).max(axis=1).clip(0, 1)
    sines = np.sqrt(1 - cosines**2)
    assert scores[0] == 0
    assert (np.abs(scores[1:] - 255 * sines[1:]) < 1.5).all()
    assert normal.scores(np.full((1, 64), max(zero_point, -128), np.int8))[0, 0] == 127
