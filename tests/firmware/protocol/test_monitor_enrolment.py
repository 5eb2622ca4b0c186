# SPDX-License-Identifier: Apache-2.0
"""Words that a board enrols: its scores are Python's, and its storage keeps the words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from firmware_helpers import FRAMES, labels_of
from monitor_host import (
    WINDOW_SAMPLES,
    behind_pty,
    build_monitor,
    expected_output,
    host_features,
)

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.device import Device, open_port
from m3net_tf.boards.device.enrolment import enrol, enrolled, forget
from m3net_tf.boards.device.live import play
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.runtime import Prototypes
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.enrolment import sound_windows, word_window
from m3net_tf.system.errors import DataError, FirmwareError

SLOTS = 3
ZERO_POINT = -128  # of the stand-in for a network
DETECTOR = DetectorConfig.default(FrontendConfig(), FRAMES, labels_of(SLOTS))
RATE_HZ = 16_000


@pytest.fixture(scope="module")
def enrolling_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host's monitor of an export for enrolment, with a storage."""
    folder = tmp_path_factory.mktemp("enrolling")
    storage = "M3NET_HOST_STORAGE_WORD_BYTES=4"
    return build_monitor(folder, storage, enrolment_slots=SLOTS)


@pytest.fixture()
def board(enrolling_host: Path) -> Iterator[Device]:
    with behind_pty(enrolling_host) as pty, Device(open_port(pty)) as device:
        yield device


def sound_of(seed: int, samples: int = WINDOW_SAMPLES) -> np.ndarray:
    """Loud noise, int16, whose level changes over time in another way for each seed."""
    rng = np.random.default_rng(seed)
    envelope = np.interp(np.arange(samples), np.linspace(0, samples, 9), rng.uniform(0.1, 1, 9))
    return np.asarray(envelope * rng.integers(-32_000, 32_000, samples), np.int16)


def word_output(seed: int) -> np.ndarray:
    """The stand-in's output for the window of such a recording that is enrolled."""
    return expected_output(host_features(word_window(sound_of(seed), WINDOW_SAMPLES, RATE_HZ)))


def files_of(folder: Path, seeds: range) -> list[Path]:
    paths = [folder / f"{seed}.wav" for seed in seeds]
    for path, seed in zip(paths, seeds, strict=True):
        soundfile.write(path, sound_of(seed), RATE_HZ)
    return paths


def teach(board: Device, name: str, files: list[Path]) -> dict[str, int]:
    """Enrol a word without a background: it keeps the export's threshold."""
    return enrol(board, name, files, Prototypes(SLOTS, ZERO_POINT), DETECTOR)


def enrol_on_both(board: Device, folder: Path, words: dict[str, range]) -> Prototypes:
    """Enrol words on the board, and in Python from the outputs that the board gives."""
    prototypes = Prototypes(SLOTS, ZERO_POINT)
    for name, seeds in words.items():
        teach(board, name, files_of(folder, seeds))
        for seed in seeds:
            board.load(word_window(sound_of(seed), WINDOW_SAMPLES, RATE_HZ))
            prototypes.add(name, board.infer().output)
    return prototypes


def test_the_board_scores_as_python_does(board: Device, tmp_path: Path):
    prototypes = enrol_on_both(board, tmp_path, {"one": range(3), "two": range(3, 5)})
    assert enrolled(board) == {"one": 3, "two": 2}
    assert prototypes.names == ("one", "two", "")
    board.request("stream host columns scores")
    columns = []
    runs = []
    for message in play(board, np.concatenate([sound_of(seed) for seed in range(9)])):
        if message.word == "column":
            columns.append(np.frombuffer(bytes.fromhex(message.fields["values"]), np.int8))
        elif message.word == "scores":
            runs.append((len(columns), bytes.fromhex(message.fields["out"])))
    assert len(runs) > 50
    for end, scores in runs:
        output = expected_output(np.stack(columns[end - FRAMES : end], axis=1))
        assert scores == prototypes.scores(output[None]).tobytes()
    best = np.array([np.frombuffer(scores, np.int8) for _, scores in runs]).max(axis=0)
    assert (best[:2] > 100).all() and best[2] == -128


def test_words_outlast_a_reset_until_they_are_forgotten(board: Device, tmp_path: Path):
    teach(board, "one", files_of(tmp_path, range(2)))
    teach(board, "two", files_of(tmp_path, range(2, 3)))
    board.request("reset")
    board.connect()
    assert enrolled(board) == {"one": 2, "two": 1}
    assert forget(board, "one") == {"two": 1}
    board.request("reset")
    board.connect()
    assert enrolled(board) == {"two": 1}
    assert teach(board, "three", files_of(tmp_path, range(1)))["three"] == 1
    lines = board.request("info").lines
    assert [line.rest for line in lines if line.word == "label"] == ["0 three", "1 two", "2 -"]
    board.request("save clear")
    assert enrolled(board) == {}


def test_a_word_gets_the_lowest_threshold_that_the_background_does_not_reach(
    board: Device, tmp_path: Path
):
    background = np.stack([*map(word_output, range(20, 40))])
    for name, seeds in (("one", range(2)), ("two", range(2, 3)), ("one", range(3, 4))):
        words = Prototypes(SLOTS, ZERO_POINT, background)
        enrol(board, name, files_of(tmp_path, seeds), words, DETECTOR)
    board.request("reset")
    board.connect()
    lines = board.request("threshold").lines
    thresholds = [line.number("threshold") for line in lines if line.word == "class"]
    assert thresholds[2] == DETECTOR.classes[2].threshold_units
    highest = words.scores(background).max(axis=0).astype(int) + 128
    assert thresholds[:2] == [256 * (score + 1) for score in highest[:2].tolist()]
    others = background.astype(float) - ZERO_POINT
    for threshold, seeds in zip(thresholds, [(0, 1, 3), (2,)], strict=False):
        prototype = sum(word_output(seed).astype(float) - ZERO_POINT for seed in seeds)
        cosines = others @ prototype / np.linalg.norm(others, axis=1) / np.linalg.norm(prototype)
        assert abs(threshold / 65_536 - cosines.max()) < 2 / 256


def test_whole_recordings_are_enrolled_without_their_silence(board: Device, tmp_path: Path):
    sound = np.concatenate([sound_of(50), np.zeros(2 * WINDOW_SAMPLES, np.int16)])
    soundfile.write(tmp_path / "long.wav", sound, RATE_HZ)
    words = Prototypes(SLOTS, ZERO_POINT)
    taught = enrol(board, "rain", [tmp_path / "long.wav"], words, DETECTOR, whole=True)
    windows = sound_windows(sound, WINDOW_SAMPLES, RATE_HZ)
    assert taught == {"rain": len(windows)} == {"rain": 2}
    assert np.array_equal(windows[0], sound[:WINDOW_SAMPLES])
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(DataError, match="is silent"):
        enrol(board, "rain", [tmp_path / "silence.wav"], words, DETECTOR, whole=True)


def test_what_the_board_refuses(board: Device, tmp_path: Path):
    files = files_of(tmp_path, range(1))
    for name in ("one", "two", "three"):
        teach(board, name, files)
    for name, code in (("four", "full"), ("a-name-of-16-bytes", "name"), ("two words", "usage")):
        with pytest.raises(BoardError) as caught:
            teach(board, name, files)
        assert caught.value.code == code
    with pytest.raises(BoardError):
        forget(board, "four")
    with pytest.raises(DataError):
        teach(board, "one", [*files, tmp_path / "missing.wav"])
    assert enrolled(board) == {"one": 1, "two": 1, "three": 1}


def test_a_board_whose_network_has_classes_of_its_own(monitor_host: Path, tmp_path: Path):
    files = files_of(tmp_path, range(1))
    with (
        behind_pty(monitor_host) as pty,
        Device(open_port(pty)) as device,
        pytest.raises(FirmwareError, match="--enrol"),
    ):
        teach(device, "one", files)


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 900), (20_000, 0), (3_000, 30_000)])
def test_the_window_of_a_word_ends_shortly_after_it(before: int, after: int):
    word = np.full(6_400, 1_000, np.int16)
    heard = word_window(np.pad(word, (before, after)), WINDOW_SAMPLES, RATE_HZ)
    expected = np.pad(word, (WINDOW_SAMPLES - 6_400 - 3_200, 3_200))
    assert np.array_equal(heard, expected)


def test_prototypes_of_python():
    """Integers as in the firmware, within one step of the cosine of real numbers."""
    rng = np.random.default_rng(0)
    for zero_point in (-128, 3, 127):
        prototypes = Prototypes(2, zero_point)
        outputs = rng.integers(-128, 128, (100, 64)).astype(np.int8)
        for output in outputs:
            prototypes.add("a", output)
        centred = outputs.astype(float) - zero_point
        mean = centred.sum(axis=0)
        cosines = centred @ mean / np.linalg.norm(centred, axis=1) / np.linalg.norm(mean)
        scores, free = prototypes.scores(outputs).astype(int).T
        assert (np.abs(scores + 128 - 255 * np.maximum(cosines, 0)) <= 1).all()
        assert (free == -128).all()
        with pytest.raises(DataError, match="100 examples"):
            prototypes.add("a", outputs[0])
