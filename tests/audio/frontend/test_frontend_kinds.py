# SPDX-License-Identifier: Apache-2.0
"""Spectrogram, waveform, Kaldi's FBank and the papers' front ends, compared with their origins."""

import dataclasses
import os
import subprocess
import sys

import librosa
import numpy as np
import pytest
from refusals import refuses

from m3net_tf.audio.frontend import (
    PRESETS,
    FrontendConfig,
    dequantize_features,
    features,
    features_int8,
    frontend_preset,
    graph,
    spectrogram,
)
from m3net_tf.system.errors import ConfigError, DataError
from m3net_tf.system.keras import tf

CONFIGS = {
    **{name: frontend_preset(name, sample_rate_hz=16_000) for name in PRESETS},
    "m3net at 44.1 kHz": frontend_preset("m3net", sample_rate_hz=44_100),
    "fbank at 22.05 kHz": frontend_preset("kaldi_fbank", sample_rate_hz=22_050),
    "diffres, 1 ms hop": frontend_preset("diffres", hop_ms=1),
    "diffres, 6 ms hop": frontend_preset("diffres", hop_ms=6),
    "mfcc of fbank": frontend_preset(
        "kaldi_fbank", mfcc_coefficients=13, feature_min=-130.0, feature_max=50.0
    ),
    "db below the maximum": FrontendConfig(
        log="db", clip_range_db=60.0, feature_min=-60.0, feature_max=0.0
    ),
    "mfcc": FrontendConfig(mfcc_coefficients=10, feature_min=-80.0, feature_max=40.0),
    "db, htk, centred": FrontendConfig(
        log="db", mel_scale="htk", centred=True, feature_min=-60.0, feature_max=22.0
    ),
    "short frame, hamming": FrontendConfig(
        frame_samples=400, hop_samples=160, window="hamming", mel_bins=64
    ),
    "short frame, centred": FrontendConfig(frame_samples=480, hop_samples=160, centred=True),
}


#: Other values of what others have, too.
VARIANTS = {"fbank at 22.05 kHz", "diffres, 6 ms hop", "mfcc", "short frame, centred"}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=name, marks=pytest.mark.slow if name in VARIANTS else ())
        for name, config in CONFIGS.items()
    ],
)
def test_eager_traced_and_reference(config, sounds):
    eager = graph.features_int8(config, sounds).numpy()
    stream = tf.data.Dataset.from_tensor_slices(sounds).batch(len(sounds))
    (traced,) = stream.map(lambda batch: graph.features_int8(config, batch)).as_numpy_iterator()
    np.testing.assert_array_equal(traced, eager)
    np.testing.assert_array_equal(graph.batch_features(config, sounds), eager)
    assert eager.dtype == np.int8
    assert eager.shape[1:] == (config.feature_bins, config.frame_count(16_000))
    reference = np.stack([features_int8(config, audio) for audio in sounds])
    difference = np.abs(eager.astype(int) - reference)
    if config.clip_range_db or config.log_floor < 1e-9:
        # float32 against double: values 80 dB and more below the loudest bin are float32's own
        # rounding noise, of which silent bins of pure tones show their logarithm.
        assert (difference <= 1).mean() >= 0.98
        assert np.median(difference) == 0
        noise = difference[[2, 3, 7]]  # sounds without silent bins: no rounding noise
        assert noise.max() <= 1
    else:
        assert difference.max() <= 1
        assert (difference == 0).mean() >= 0.999


def test_one_waveform_without_a_batch(sounds):
    config = FrontendConfig()
    single = graph.features_int8(config, sounds[0])
    assert single.shape == (40, 49)
    np.testing.assert_array_equal(single, graph.features_int8(config, sounds)[0])


def test_compiled_rounds_as_eager_over_millions_of_values():
    """A multiplication by the step's reciprocal would differ in about one value of a million."""
    config = FrontendConfig()
    rng = np.random.default_rng(0)
    for _ in range(40):
        level = 10.0 ** rng.uniform(-4, 0, (64, 1))
        waves = (level * rng.standard_normal((64, 16_000))).astype(np.float32)
        eager = graph.features_int8(config, waves).numpy()
        np.testing.assert_array_equal(graph.batch_features(config, waves), eager)


ALONE_OR_TOGETHER = """
import numpy as np

from m3net_tf.audio.frontend import FrontendConfig, frontend_preset, graph

waves = np.random.default_rng(0).normal(0, 0.1, (23, 16_000)).astype(np.float32)
mfcc = FrontendConfig(mfcc_coefficients=10, feature_min=-80.0, feature_max=40.0)
for config in (frontend_preset("m3net", sample_rate_hz=16_000), mfcc, frontend_preset("diffres")):
    for dtype in ("float32", "int8"):
        together = graph.batch_features(config, waves, dtype)
        for first, last in ((0, 1), (1, 6), (6, 23)):
            alone = graph.batch_features(config, waves[first:last], dtype)
            np.testing.assert_array_equal(alone, together[first:last])
"""


def test_a_map_does_not_depend_on_the_other_clips_of_its_batch():
    """With AVX2, TensorFlow rounds a row of a matrix product by its place among the rows."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", ALONE_OR_TOGETHER]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def knf_fbank(config: FrontendConfig, audio: np.ndarray) -> np.ndarray:
    """The features of kaldi-native-fbank, shape (mel_bins, frames).

    Origin: the package kaldi-native-fbank 1.22.4, Kaldi's own feature code without
    Kaldi; its options below are Kaldi's defaults, except for dither.
    """
    knf = pytest.importorskip("kaldi_native_fbank", reason="pip install kaldi-native-fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = True
    options.frame_opts.samp_freq = config.sample_rate_hz
    options.frame_opts.frame_length_ms = 1000 * config.frame_samples / config.sample_rate_hz
    options.frame_opts.frame_shift_ms = 1000 * config.hop_samples / config.sample_rate_hz
    options.mel_opts.num_bins = config.mel_bins
    options.mel_opts.low_freq = config.mel_min_hz
    options.mel_opts.high_freq = config.mel_max_hz
    assert options.frame_opts.window_type == "povey"
    assert options.frame_opts.preemph_coeff == np.float32(0.97)
    assert options.frame_opts.remove_dc_offset
    assert options.frame_opts.round_to_power_of_two
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(config.sample_rate_hz, audio.tolist())
    computer.input_finished()
    frames = [computer.get_frame(i) for i in range(computer.num_frames_ready)]
    return np.stack(frames).T


@pytest.mark.parametrize(
    "config",
    [
        frontend_preset("kaldi_fbank"),
        frontend_preset("kaldi_fbank", mel_bins=40),
        frontend_preset("kaldi_fbank", hop_ms=5),
        frontend_preset("kaldi_fbank", sample_rate_hz=8_000, mel_bins=23),
        frontend_preset("kaldi_fbank", sample_rate_hz=32_000),
    ],
    ids=["80 bins", "40 bins", "5 ms", "8 kHz", "32 kHz"],
)
def test_fbank_same_as_kaldi(config, sounds):
    for audio in sounds:
        expected = knf_fbank(config, audio)
        actual = features(config, audio)
        assert actual.shape == expected.shape
        # Kaldi computes in float32: relative to the frame's loudest bin its FFT is good to about
        # 1e-6 in amplitude, 1e-12 in power, and a bin below that shows rounding noise.
        powers = np.exp(actual)
        kaldi_powers = np.exp(expected)
        scale = powers.max(axis=0, keepdims=True)
        np.testing.assert_allclose(powers, kaldi_powers, rtol=1e-3, atol=1e-11 * scale.max())
        loud = powers > 1e-6 * scale
        np.testing.assert_allclose(actual[loud], expected[loud], atol=2e-3)


# 128 mels of a 512-sample FFT leave low filters empty, as in the paper.
@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_m3nets_decibels_are_librosas(sounds):
    for rate_hz in (16_000, 44_100):
        config = frontend_preset("m3net", sample_rate_hz=rate_hz)
        for audio in sounds:
            mel = librosa.feature.melspectrogram(
                y=audio.astype(np.float64), sr=rate_hz, n_fft=512, n_mels=128
            )
            expected = librosa.power_to_db(mel, ref=np.max, top_db=80)
            actual = features(config, audio)
            assert actual.shape == (128, 1 + 16_000 // 512)
            # librosa's filters are float32: 1e-6 of power is 1e-5 dB.
            np.testing.assert_allclose(actual, expected, atol=1e-3)


def test_spectrogram_is_librosas(sounds):
    config = frontend_preset("spectromasknet_spectrogram", level_db=None)
    assert config.feature_bins == 257
    for audio in sounds:
        padded = np.pad(audio.astype(np.float64), (56, 56))  # librosa centres 400 in 512
        stft = librosa.stft(
            padded, n_fft=512, hop_length=160, win_length=400, center=False, dtype=np.complex128
        )
        np.testing.assert_allclose(spectrogram(config, audio), np.abs(stft) ** 2, atol=1e-9)
        magnitude = dataclasses.replace(config, power=1)
        np.testing.assert_allclose(spectrogram(magnitude, audio), np.abs(stft), atol=1e-6)


def test_waveform_is_itself(sounds):
    config = frontend_preset("bilateral", sample_rate_hz=16_000)
    assert (config.feature_bins, config.frame_count(88_200)) == (1, 88_200)
    for audio in sounds:
        levels = features_int8(config, audio)
        assert levels.shape == (1, 16_000)
        kept = np.clip(audio, -1, 127 / 128)
        assert np.abs(dequantize_features(levels)[0] - kept).max() <= 1 / 256
    assert not features_int8(config, sounds[5]).any()  # silence is 0
    with refuses(DataError, "0 samples"):
        features_int8(config, np.zeros(0))


def test_companded_waveform_keeps_quiet_sounds(sounds):
    plain = frontend_preset("bilateral", sample_rate_hz=16_000)
    config = dataclasses.replace(plain, log="mu")
    quiet = 0.005 * np.sin(np.arange(16_000) / 7.0)  # the sample rate of RAVDESS
    errors = []
    for each in (plain, config):
        seen = dequantize_features(features_int8(each, quiet))[0].astype(np.float64)
        if each.log == "mu":  # G.711's expansion
            seen = np.sign(seen) * np.expm1(np.abs(seen) * np.log(256.0)) / 255.0
        errors.append(10 * np.log10(np.mean(quiet**2) / np.mean((seen - quiet) ** 2)))
    assert errors[0] < 6 < 24 < errors[1]  # decibels: a step or two compared with about forty
    for audio in sounds:
        levels = features_int8(config, audio).astype(int)
        assert np.abs(levels - graph.features_int8(config, audio).numpy()).max() <= 1
        np.testing.assert_array_equal(np.sign(levels[levels != 0]), np.sign(audio[levels[0] != 0]))
    with refuses(ConfigError, "frontend.log", "'mu'", "'mel'"):
        FrontendConfig(log="mu")


def test_level_makes_gain_vanish(sounds):
    config = frontend_preset("spectromasknet")
    bilateral = frontend_preset("bilateral", sample_rate_hz=16_000, level_db=-20.0)
    for audio in np.delete(sounds, 5, axis=0):
        quiet = features(config, 0.01 * audio.astype(np.float64))
        np.testing.assert_allclose(quiet, features(config, audio), atol=1e-6)
        level = 10 * np.log10(np.mean(features(bilateral, audio) ** 2))
        assert level == pytest.approx(-20, abs=1e-6)
    np.testing.assert_array_equal(features(config, sounds[5]), np.log(config.log_floor))


def test_mean_and_preemphasis(sounds):
    config = frontend_preset("kaldi_fbank")
    lifted = sounds[3].astype(np.float64) + 0.25
    np.testing.assert_allclose(features(config, lifted), features(config, sounds[3]), atol=1e-6)
    flat, raised = (
        spectrogram(FrontendConfig(preemphasis=c), sounds[2]).mean(axis=1) for c in (0.0, 0.97)
    )
    ratio = raised / flat
    assert ratio[10] < 0.1  # 1 - 0.97 z^-1: low frequencies fall, high ones rise by up to 6 dB
    assert ratio[250] == pytest.approx(1.97**2, rel=0.05)


def test_presets_round_trip_and_scale():
    for name, values in PRESETS.items():
        config = frontend_preset(name)
        assert FrontendConfig.from_dict(config.to_dict()) == config
        assert set(values) <= set(config.to_dict())
    assert frontend_preset("mcu") == FrontendConfig()
    cd = frontend_preset("kaldi_fbank", sample_rate_hz=44_100)
    assert (cd.frame_samples, cd.hop_samples, cd.fft_samples) == (1102, 441, 2048)
    assert cd.mel_max_hz == 22_050
    low = frontend_preset("mcu", sample_rate_hz=8_000)
    assert (low.frame_samples, low.mel_max_hz) == (256, 4000)
    hops = [frontend_preset("diffres", hop_ms=ms).frame_count(16_000) for ms in (10, 6, 3, 1)]
    assert hops == [98, 163, 326, 976]
    with refuses(ConfigError, "'leaf'", "kaldi", "mcu"):
        frontend_preset("leaf")
    with refuses(ConfigError, "'mels'"):
        frontend_preset("mcu", mels=3)
