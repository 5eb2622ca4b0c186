# SPDX-License-Identifier: Apache-2.0
"""Sounds that come as arrays: any rate, channels and scale, or a refusal in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from refusals import refuses

from m3net_tf import Classifier
from m3net_tf.system.errors import ConfigError, DataError, M3NetError

pytestmark = pytest.mark.usefixtures("private_cache")


@pytest.fixture(scope="module")
def classifier(exported) -> Classifier:
    return Classifier(exported.folder)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_array_is_the_file_of_its_content(classifier, vectors, tmp_path, rate_hz, channels):
    pcm = np.concatenate(vectors[0][:2])
    pcm = pcm if channels == 1 else np.stack([pcm, pcm // 3], axis=1)
    path = tmp_path / "a.wav"
    soundfile.write(path, pcm, rate_hz, subtype="PCM_16")
    expected = classifier.predict(path)
    assert list(expected.values()) == sorted(expected.values(), reverse=True)
    floats = soundfile.read(path)[0]
    for samples in (pcm, floats, floats.astype(np.float32), floats.tolist()):
        assert classifier.predict(samples, sample_rate_hz=rate_hz) == expected


def test_samples_at_the_networks_rate_need_no_rate(classifier, vectors):
    pcm = vectors[0][0]
    np.testing.assert_array_equal(
        classifier.classify(pcm / 32768.0).scores, classifier.classify(pcm).scores
    )


NOISE = np.random.default_rng(1).integers(-9000, 9000, 16_000).astype(np.int16)
NAN = np.where(np.arange(16_000) == 7, np.nan, NOISE / 32768.0)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (NOISE[:0], "no samples"),
        (NOISE[:511], "has 511 samples .* frame of 512: give a longer recording"),
        (NAN, "NaN or infinity"),
        (np.full(16_000, np.inf), "NaN or infinity"),
        (NOISE.astype(np.float32), r"reach .* from -1 to 1: divide"),
        (NOISE.astype(np.int32), "are int32: give int16"),
        (NOISE.astype(np.uint8), "are uint8: give int16"),
        (NOISE > 0, "are bool: give int16"),
        (np.stack([NOISE, NOISE]), r"shape \(2, 16000\): give \(samples,\) or \(samples, channels"),
        (NOISE.reshape(2, -1, 1), r"shape \(2, 8000, 1\)"),
        (NOISE[0], r"shape \(\)"),
    ],
)
def test_refused_in_one_line(classifier, samples: Any, message: str):
    calls = (classifier.classify, lambda x: classifier.predict(x, sample_rate_hz=16_000))
    for call in calls:
        with pytest.raises(DataError, match=message) as caught:
            call(samples)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_the_rate_belongs_to_samples(classifier, tmp_path, standard_library_alone):
    with refuses(ConfigError, "sample_rate_hz"):
        classifier.predict(NOISE)
    with pytest.raises(ConfigError, match="leave it out"):
        classifier.predict(tmp_path / "a.wav", sample_rate_hz=16_000)
    for rate_hz in (0, -1, 999, 768_001, np.nan):
        with refuses(DataError, "1000", "768000"):
            classifier.predict(NOISE, sample_rate_hz=rate_hz)
    standard_library_alone()
    assert classifier.predict(NOISE, sample_rate_hz=16_000)
    with refuses(DataError, "16000", "pip install soundfile"):
        classifier.predict(NOISE, sample_rate_hz=8000)


def test_a_short_file_is_named(classifier, write_wav, tmp_path, classify, capsys, exported):
    path = write_wav(tmp_path / "short.wav", NOISE[:100])
    with refuses(DataError, path):
        classifier.predict(path)
    assert classify(path, "--model", exported.folder) == 2
    assert f"error: {path}: has 100 samples" in capsys.readouterr().err


def test_chunks_of_another_type_are_refused(classifier):
    for chunk in (NOISE / 32768.0, NOISE[:, None]):
        for take in (classifier.recognizer().push, lambda c: classifier.classify_chunks([c])):
            with refuses(M3NetError, "int16"):
                take(chunk)


def test_a_path_may_be_text(classifier, write_wav, tmp_path):
    path = write_wav(tmp_path / "a.wav", NOISE)
    assert classifier.predict(str(path)) == classifier.predict(Path(path))
