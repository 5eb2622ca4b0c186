# SPDX-License-Identifier: Apache-2.0
"""Normal sounds only: hums are learnt, whistles are reported, here and on an emulated board."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from firmware_helpers import skip_or_fail

from m3net_tf.anomaly.making import NETWORK, NormalFacts, anomaly_test, make_normal, normal_lines
from m3net_tf.anomaly.threshold import find_threshold
from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.level import NO_GAIN, Gain
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.emulation.listening import expected_events, hear
from m3net_tf.boards.emulation.starting import starting_firmware, why_no_emulation
from m3net_tf.export import Bundle
from m3net_tf.export.from_file import export_file
from m3net_tf.runtime import Classifier
from m3net_tf.runtime.classifier import find_model
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.metadata import attach_metadata, read_metadata
from m3net_tf.runtime.prototypes import UNUSUAL
from m3net_tf.system.errors import ConfigError

BODY = Path("m3net-s-keywords")
RATE_HZ = 16_000
BOARD = "mps2_an386"


def hum(seed: int, seconds: float = 2.0) -> np.ndarray:
    """A machine at its normal pitch, shape (samples,)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * (hz + rng.normal()) * time_s) for hz in (100, 200, 400))
    return 0.03 * tones + 0.02 * rng.standard_normal(len(time_s))


def whistle(seed: int, seconds: float = 2.0) -> np.ndarray:
    """The machine with a fault, shape (samples,)."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return hum(seed, seconds) + 0.2 * np.sin(2 * np.pi * (2_500 + 50 * seed) * time_s)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, NormalFacts]:
    """An export of normal hums with a body that has a gain; do not write into it."""
    sounds = tmp_path_factory.mktemp("sounds")
    for state, sound, count in (("normal", hum, 30), ("abnormal", whistle, 3)):
        (sounds / state).mkdir()
        for seed in range(count):
            soundfile.write(sounds / state / f"{seed}.wav", sound(seed), RATE_HZ)
    folder = tmp_path_factory.mktemp("made")
    tflite, metadata = read_metadata(find_model(BODY))
    amplified = metadata.detector.with_gain(Gain(automatic=True)).to_dict()
    body = folder / "body.tflite"
    body.write_bytes(attach_metadata(tflite, {**metadata.manifest, "detector": amplified}))
    return make_normal(sounds, body, folder / "run")


def test_what_is_made(made: tuple[Bundle, NormalFacts]):
    bundle, facts = made
    assert facts["test"] == {"auc": 1.0, "pauc": 1.0, "normal": 3, "anomalies": 3}
    assert (facts["recordings"], facts["held_out_recordings"]) == (22, 5)
    threshold = facts["threshold"]
    assert threshold["false_alarms"] == 0
    assert threshold["hours"] == pytest.approx(10 / 3600)
    assert threshold["per_day_95"] == pytest.approx((0, 3.689 / (10 / 86_400)), rel=1e-3)
    assert bundle.detector.labels == (UNUSUAL,) and bundle.detector.gain == NO_GAIN
    assert bundle.detector.classes[0].threshold == threshold["threshold"]
    assert len(bundle.manifest.normal_prototypes or ()) == facts["prototypes"]
    assert any("calibrate" in line for line in normal_lines(facts))


def test_an_anomaly_is_an_event_and_normal_sound_is_not(made: tuple[Bundle, NormalFacts]):
    classifier = Classifier(made[0].folder)
    assert classifier.labels == (UNUSUAL,)
    scores = [classifier.predict(each, sample_rate_hz=RATE_HZ) for each in (hum(90), whistle(90))]
    assert scores[0][UNUSUAL] < scores[1][UNUSUAL]
    both = np.concatenate([hum(91, 6), whistle(91, 6)])
    pcm = np.asarray(32_767 * both, np.int16)
    (event,) = classifier.recognizer().push(pcm)
    columns = 6 * RATE_HZ // classifier.metadata.frontend.hop_samples
    assert event.column > columns - 2


@pytest.mark.slow
def test_an_emulated_board_gives_the_same_events(made: tuple[Bundle, NormalFacts], tmp_path: Path):
    if reason := why_no_emulation(BOARD):
        skip_or_fail(reason)
    bundle, _ = made
    firmware = starting_firmware(bundle, BOARD, tmp_path)
    pcm = np.asarray(32_767 * np.concatenate([hum(92, 5), whistle(92, 5)]), np.int16)
    heard = hear(firmware.elf, find_machine(BOARD), pcm)
    assert heard.events == expected_events(bundle, heard.columns, heard.scores)
    assert heard.events == Classifier(bundle.folder).recognizer().push(pcm) != []


def test_another_threshold_is_another_export(made: tuple[Bundle, NormalFacts], tmp_path: Path):
    source = made[0].folder.parent / NETWORK
    bundle = export_file(source, tmp_path)
    assert bundle.manifest.normal_prototypes == made[0].manifest.normal_prototypes
    assert bundle.detector == made[0].detector


def test_the_threshold_allows_as_many_false_alarms_as_asked():
    config = DetectorConfig.default(FrontendConfig(), 98, (UNUSUAL,))
    tape = np.full(2_000, -128, np.int8)
    tape[[500, 1_000, 1_500]] = 0, 50, 100
    tapes = [np.repeat(tape, 3)]
    none, one, two = (find_threshold(config, tapes, 24, per_day) for per_day in (0.5, 1, 2.9))
    assert [each["false_alarms"] for each in (none, one, two)] == [0, 1, 2]
    assert none["threshold"] > one["threshold"] > two["threshold"]
    assert none["per_day_95"] == pytest.approx((0, 3.689), rel=1e-3)


def test_auc_counts_pairs():
    scores = np.array([1.0, 2.0, 3.0, 2.5, 4.0])
    anomalous = np.array([False, False, False, True, True])
    assert anomaly_test(scores, anomalous)["auc"] == pytest.approx(5 / 6)


def test_no_false_alarms_at_all_cannot_be_asked_for(tmp_path: Path):
    with pytest.raises(ConfigError, match="above 0"):
        make_normal(tmp_path, BODY, tmp_path / "run", false_alarms_per_day=0)
