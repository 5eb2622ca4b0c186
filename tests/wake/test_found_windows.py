# SPDX-License-Identifier: Apache-2.0
"""Windows of recordings that a network takes for a phrase."""

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf.audio.datasets import to_pcm16
from m3net_tf.audio.frontend import features_int8
from m3net_tf.runtime.recognizer import listen
from m3net_tf.system.errors import ConfigError
from m3net_tf.wake.found_windows import cut_false_accepts, cut_own_phrases

pytestmark = pytest.mark.usefixtures("private_cache")


def test_a_phrase_is_cut_where_its_score_is_highest(exported, tmp_path):
    rate_hz = exported.frontend.sample_rate_hz
    label = exported.labels[0]
    rng = np.random.default_rng(1)
    said = rng.normal(0, 0.1, 3 * rate_hz)
    soundfile.write(tmp_path / "said.wav", said, rate_hz)
    own = tmp_path / "own"
    assert cut_own_phrases(exported, {label: [tmp_path / "said.wav"]}, own) == 1
    (path,) = (own / label).iterdir()
    cut, _ = soundfile.read(path, dtype="int16")
    window = exported.frontend.frame_samples + (exported.manifest.frames - 1) * 320
    assert len(cut) == window
    features = features_int8(exported.frontend, cut / 32768)[None, ..., None]
    best = exported.run_reference(features)[0, 0]
    pcm = np.pad(to_pcm16(said.astype(np.float32)), (window, window // 2))
    tape = listen(exported.frontend, exported.run_reference, exported.detector, [pcm])
    assert best == tape.scores[:, 0].max()
    with refuses(ConfigError, "nothing", label):
        cut_own_phrases(exported, {"nothing": []}, tmp_path / "other")


def test_the_windows_that_are_most_taken_for_a_phrase_are_cut(exported, tmp_path):
    rate_hz = exported.frontend.sample_rate_hz
    hop = exported.frontend.hop_samples
    noise = np.random.default_rng(2).normal(0, 0.1, 4 * rate_hz)
    soundfile.write(tmp_path / "noise.wav", noise, rate_hz)
    pcm, _ = soundfile.read(tmp_path / "noise.wav", dtype="int16")
    count = cut_false_accepts(exported, [tmp_path / "noise.wav"], tmp_path / "hard")
    cut = [soundfile.read(path, dtype="int16")[0] for path in sorted(tmp_path.glob("hard/*"))]
    assert 0 < count == len(cut)
    tape = listen(exported.frontend, exported.run_reference, exported.detector, [pcm])
    phrases = [label for label, each in enumerate(exported.detector.classes) if each.event]
    scores = tape.scores[:, phrases].max(axis=1).astype(int)
    best_scores = []
    for sound in cut:
        features = features_int8(exported.frontend, sound / 32768)[None, ..., None]
        best_scores.append(int(exported.run_reference(features)[0, phrases].max()))
    assert best_scores == sorted(best_scores, reverse=True)
    assert best_scores[0] == scores.max() and best_scores[-1] >= 256 * 0.1 - 128
    places = [
        i * hop
        for i in range(len(pcm) // hop)
        for sound in cut[:2]
        if np.array_equal(pcm[i * hop :][: len(sound)], sound)
    ]
    assert np.ptp(places) >= rate_hz / 2 or count == 1  # not twice the same sound
