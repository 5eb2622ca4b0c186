# SPDX-License-Identifier: Apache-2.0
"""Level and gain of a microphone: what it amplifies, and what it leaves as it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.audio.frontend.level import MOST_DB, TARGET_DB, Gain, Microphone, Verdict
from m3net_tf.system.errors import ConfigError

FRONTEND = FrontendConfig()
RATE_HZ = FRONTEND.sample_rate_hz
AUTOMATIC = Gain(automatic=True)


def words(level_db: float, seconds: int = 12, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    """Half a second of loud noise in each second, above noise of about so many steps."""
    rng = np.random.default_rng(seed)
    sound = rng.standard_normal((seconds, RATE_HZ)) * noise
    loud = rng.standard_normal((seconds, RATE_HZ // 2))
    sound[:, RATE_HZ // 4 : 3 * RATE_HZ // 4] += loud * 32768 * 10 ** (level_db / 20)
    return np.clip(np.round(sound.reshape(-1)), -32768, 32767).astype(np.int16)


def rms_db(pcm: np.ndarray) -> float:
    return 10 * np.log10(np.mean(np.square(pcm / 32768.0)))


@pytest.mark.parametrize("level_db", [TARGET_DB, TARGET_DB - 9, -12])
def test_sound_of_a_usual_level_stays_as_it_is(level_db):
    pcm = words(level_db)
    microphone = Microphone(FRONTEND, AUTOMATIC)
    np.testing.assert_array_equal(microphone.push(pcm), pcm)
    assert (microphone.verdict, microphone.gain) == (Verdict.OK, 0)


@pytest.mark.parametrize("below_db", [15, 25, 34])
def test_quiet_sound_is_raised_to_the_target(below_db):
    pcm = words(TARGET_DB - below_db)
    microphone = Microphone(FRONTEND, AUTOMATIC)
    amplified = microphone.push(pcm).reshape(-1, RATE_HZ)
    assert abs(rms_db(amplified[-1, RATE_HZ // 4 : 3 * RATE_HZ // 4]) - TARGET_DB) < 1.5
    assert microphone.verdict is Verdict.OK
    listening = Microphone(FRONTEND)
    np.testing.assert_array_equal(listening.push(pcm), pcm)
    assert listening.verdict is Verdict.QUIET and abs(listening.reading.missing_db - below_db) < 2


def test_more_than_the_greatest_gain_is_too_quiet():
    microphone = Microphone(FRONTEND, AUTOMATIC)
    microphone.push(words(TARGET_DB - MOST_DB - 12, noise=0.0))
    assert microphone.verdict is Verdict.QUIET and microphone.reading.gain_db == pytest.approx(
        MOST_DB, 1
    )


@pytest.mark.parametrize("noise", [0.0, 3.0, 300.0])
def test_a_background_alone_is_not_amplified(noise):
    pcm = words(-200, seconds=60, noise=noise)
    microphone = Microphone(FRONTEND, AUTOMATIC)
    np.testing.assert_array_equal(microphone.push(pcm), pcm)


def test_the_gain_stays_through_a_pause_and_falls_for_loud_sound():
    microphone = Microphone(FRONTEND, AUTOMATIC)
    microphone.push(words(TARGET_DB - 25))
    before = microphone.gain
    microphone.push(words(-200, seconds=30))
    assert microphone.gain == before > 0
    amplified = microphone.push(words(TARGET_DB, seconds=8))
    assert microphone.gain == 0
    assert np.count_nonzero(np.abs(amplified.astype(int)) >= 32767) == 0  # a hop's peak limits it


def test_an_offset_is_not_sound():
    rng = np.random.default_rng(0)
    pcm = (8000 + rng.standard_normal(RATE_HZ)).astype(np.int16)
    microphone = Microphone(FRONTEND, AUTOMATIC)
    microphone.push(pcm)
    microphone.push(words(TARGET_DB - 30, seconds=8) + np.int16(2000))
    assert abs(microphone.reading.gain_db - 30) < 3


def test_clipped_sound_is_found_in_the_last_second():
    microphone = Microphone(FRONTEND)
    microphone.push(words(0, seconds=2))
    assert microphone.verdict is Verdict.CLIPS and microphone.peak >= 32767
    microphone.push(words(TARGET_DB, seconds=1))
    assert microphone.verdict is Verdict.OK and microphone.clipped == 0


def test_a_fixed_gain_multiplies():
    pcm = words(-60, noise=0.0)
    microphone = Microphone(FRONTEND, Gain(20))
    amplified = microphone.push(pcm)
    np.testing.assert_allclose(amplified, pcm * 10.0, rtol=0.06, atol=0.6)
    assert microphone.reading.missing_db == pytest.approx(-60 + 40 - 20 + 58 - 0, abs=2)


@given(st.integers(-60, 0), st.lists(st.integers(0, 5000), max_size=12), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_chunks_of_any_length_give_the_same(level_db, lengths, seed):
    pcm = words(level_db, seconds=2, seed=seed)
    whole, parts = Microphone(FRONTEND, AUTOMATIC), Microphone(FRONTEND, AUTOMATIC)
    expected = whole.push(pcm)
    cuts = np.cumsum(lengths)
    got = np.concatenate([parts.push(part) for part in np.split(pcm, cuts[cuts < len(pcm)])])
    np.testing.assert_array_equal(got, expected)
    assert (parts.gain, parts.verdict, parts.peak) == (whole.gain, whole.verdict, whole.peak)


def test_a_gain_is_typed_in_decibels_or_auto():
    assert (Gain.parse("auto"), Gain.parse("12.5")) == (AUTOMATIC, Gain(12.5))
    for text in ("40", "-3", "nan", "loud", ""):
        with pytest.raises(ConfigError, match="give 0 to 36"):
            Gain.parse(text)
