# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.system.errors import ConfigError

OTHER_VALUES = {
    "sample_rate_hz": 22_050,
    "frame_samples": 400,
    "hop_samples": 160,
    "fft_samples": 1024,
    "kind": "spectrogram",
    "window": "hamming",
    "centred": True,
    "level_db": -20.0,
    "remove_mean": True,
    "preemphasis": 0.97,
    "power": 1,
    "mel_bins": 64,
    "mel_scale": "htk",
    "mel_norm": "none",
    "mel_min_hz": 50.0,
    "mel_max_hz": 8000.0,
    "log": "db",
    "log_floor": 1e-10,
    "clip_range_db": 80.0,
    "mfcc_coefficients": 10,
    "feature_min": -20.0,
    "feature_max": 20.0,
    "log_offset": 0.001,
}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sample_rate_hz": 0}, r"frontend\.sample_rate_hz is 0"),
        ({"sample_rate_hz": 16_000.0}, r"frontend\.sample_rate_hz is 16000\.0"),
        ({"hop_samples": True}, r"frontend\.hop_samples is True"),
        ({"mel_bins": "40"}, r"frontend\.mel_bins is '40'"),
        ({"fft_samples": 500}, r"frontend\.fft_samples is 500: .*power of two"),
        ({"fft_samples": 256}, r"frontend\.fft_samples is 256: .*frame_samples \(512\)"),
        ({"hop_samples": 513}, r"frontend\.hop_samples is 513: .*at most frame_samples \(512\)"),
        (
            {"window": "kaiser"},
            r"frontend\.window is 'kaiser': choose one of hann, hamming, povey$",
        ),
        ({"power": True}, r"frontend\.power is True: choose one of 1, 2"),
        ({"preemphasis": 1.5}, r"frontend\.preemphasis is 1\.5"),
        ({"level_db": 3.0}, r"frontend\.level_db is 3\.0"),
        ({"clip_range_db": -1.0, "log": "db"}, r"frontend\.clip_range_db is -1\.0"),
        ({"clip_range_db": 80.0}, r"frontend\.clip_range_db is 80\.0 with log 'ln': .* log db"),
        (
            {"kind": "spectrogram", "mfcc_coefficients": 10},
            r"frontend\.mfcc_coefficients is 10 with kind 'spectrogram': .* kind mel",
        ),
        ({"mel_norm": None}, r"frontend\.mel_norm is None: choose one of slaney, none"),
        ({"mel_min_hz": -1.0}, r"frontend\.mel_min_hz and mel_max_hz are -1\.0"),
        ({"mel_min_hz": 7600.0}, r"frontend\.mel_min_hz and mel_max_hz are 7600\.0 and 7600\.0"),
        ({"mel_max_hz": 8001.0}, r"mel_max_hz are 20\.0 and 8001\.0: .*<= 8000\.0"),
        ({"mel_max_hz": float("nan")}, r"frontend\.mel_max_hz is nan: give a finite"),
        ({"log_floor": 0.0}, r"frontend\.log_floor is 0\.0"),
        ({"mfcc_coefficients": 41}, r"frontend\.mfcc_coefficients is 41: .*mel_bins \(40\)"),
        ({"feature_min": 5.0}, r"frontend\.feature_min and feature_max are 5\.0 and 5\.0"),
        ({"feature_max": float("inf")}, r"frontend\.feature_max is inf: give a finite"),
    ],
)
def test_bad_values_name_the_key(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FrontendConfig(**values)
    assert "\n" not in str(caught.value)


def test_round_trip():
    assert FrontendConfig.from_dict(FrontendConfig().to_dict()) == FrontendConfig()
    config = FrontendConfig(**{**OTHER_VALUES, "kind": "mel"})
    assert FrontendConfig.from_dict(config.to_dict()) == config


def test_unknown_key_lists_the_known_ones():
    names = ", ".join(field.name for field in dataclasses.fields(FrontendConfig))
    message = f"unknown key 'mels' in section 'frontend': .*known keys are {names}$"
    with pytest.raises(ConfigError, match=message):
        FrontendConfig.from_dict({"mels": 40})


def test_fingerprint_depends_on_every_setting():
    assert set(OTHER_VALUES) == {field.name for field in dataclasses.fields(FrontendConfig)}
    decibels = FrontendConfig(log="db")  # clip_range_db needs them
    others = [
        dataclasses.replace(
            decibels if key == "clip_range_db" else FrontendConfig(), **{key: value}
        )
        for key, value in OTHER_VALUES.items()
    ]
    prints = {config.fingerprint() for config in (FrontendConfig(), *others)}
    assert len(prints) == len(OTHER_VALUES) + 1
    assert FrontendConfig().fingerprint() == FrontendConfig.from_dict({}).fingerprint()


def test_a_setting_newer_than_published_results_leaves_their_prints():
    assert "log_offset" not in FrontendConfig().to_dict()
    expected = "73746e9dd5a2bbdb0f4f4ac5172a81e4f482de17333135846e29edde2ad8e1f1"
    assert FrontendConfig().fingerprint() == expected


def test_derived_values():
    config = FrontendConfig()
    assert config.hop_s == 0.02
    assert config.feature_bins == 40
    assert FrontendConfig(mfcc_coefficients=10).feature_bins == 10
    assert config.feature_step * 255 == config.feature_max - config.feature_min


def test_frame_count_of_a_device():
    config = FrontendConfig()
    assert config.frame_count(16_000) == 49
    assert config.frame_count(0) == FrontendConfig(centred=True).frame_count(0) == 0
    assert config.frame_count(511) == 0
    assert config.frame_count(512) == 1
    assert config.frame_count(512 + 319) == 1
    assert config.frame_count(512 + 320) == 2
