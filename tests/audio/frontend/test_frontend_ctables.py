# SPDX-License-Identifier: Apache-2.0
"""The C tables equal the reference."""

import re
from pathlib import Path

import numpy as np
import pytest

from m3net_tf.audio.frontend import (
    FrontendConfig,
    features_int8,
    frontend_preset,
    mel_filterbank,
    write_c_tables,
)
from m3net_tf.audio.frontend.reference import dct_matrix, window
from m3net_tf.system.errors import ConfigError

CONFIGS = {
    "mcu": FrontendConfig(),
    "mfcc": FrontendConfig(mfcc_coefficients=10, feature_min=-80.0, feature_max=40.0),
    "povey, kaldi": FrontendConfig(
        frame_samples=400, hop_samples=160, window="povey", mel_scale="kaldi", mel_norm="none"
    ),
    "narrow filters": FrontendConfig(mel_bins=128, mel_min_hz=0.0),
    "short frame": FrontendConfig(frame_samples=400, hop_samples=160, window="hamming"),
}
WAVEFORMS = {
    "rounded": frontend_preset("bilateral"),
    "companded": frontend_preset("bilateral", log="mu"),
    "any range": FrontendConfig(kind="waveform", feature_min=-2.0, feature_max=0.5),
}


def defines(text: str) -> dict[str, str]:
    return dict(re.findall(r"#define M3NET_FRONTEND_(\w+) (.+)", text))


def array(text: str, name: str) -> list[str]:
    size, body = re.search(rf"\b{name}\[(\d+)\] = \{{(.*?)\}};", text, re.S).groups()
    items = body.replace(",", " ").split()
    assert len(items) == int(size)
    return items


def floats(items: list[str]) -> np.ndarray:
    """Read C literals as float32, as a compiler does: one rounding, from the decimal text."""
    assert all(re.fullmatch(r"-?\d+\.\d+(e[+-]\d+)?f", item) for item in items)
    return np.array([np.float32(item[:-1]) for item in items])


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_tables_read_back_to_the_same_numbers(config, tmp_path):
    header, source = (path.read_text() for path in write_c_tables(config, tmp_path, frames=49))
    macros = defines(header)
    for key in ("sample_rate_hz", "frame_samples", "hop_samples", "fft_samples", "mel_bins"):
        assert int(macros[key.upper()]) == getattr(config, key)
    assert int(macros["FEATURE_BINS"]) == config.feature_bins
    assert int(macros["MFCC_COEFFICIENTS"]) == config.mfcc_coefficients
    assert int(macros["FRAMES"]) == 49
    np.testing.assert_array_equal(floats([macros["LOG_FLOOR"]]), np.float32(config.log_floor))

    taper = floats(array(source, "m3net_frontend_window"))
    np.testing.assert_array_equal(taper, window(config).astype(np.float32))

    turns = floats(array(source, "m3net_frontend_fft_turns")).reshape(-1, 2)
    assert int(macros["FFT_POINTS"]) == turns.size == config.fft_samples // 2
    angles = 2 * np.pi * np.fft.rfftfreq(config.fft_samples)[1 : len(turns) + 1]
    np.testing.assert_array_equal(turns[:, 0], np.sin(angles).astype(np.float32))
    np.testing.assert_array_equal(turns[:, 1], np.cos(angles).astype(np.float32))

    first = [int(item) for item in array(source, "m3net_frontend_mel_first_bin")]
    count = [int(item) for item in array(source, "m3net_frontend_mel_bin_count")]
    packed = floats(array(source, "m3net_frontend_mel_weights"))
    assert packed.size == sum(count) == int(macros["MEL_WEIGHT_COUNT"])
    bank = np.zeros((config.mel_bins, config.fft_samples // 2 + 1), np.float32)
    at = 0
    for row, start, length in zip(bank, first, count, strict=True):
        row[start : start + length] = packed[at : at + length]
        at += length
    np.testing.assert_array_equal(bank, mel_filterbank(config).astype(np.float32))

    if config.mfcc_coefficients:
        dct = floats(array(source, "m3net_frontend_dct")).reshape(dct_matrix(config).shape)
        np.testing.assert_array_equal(dct, dct_matrix(config).astype(np.float32))
    else:
        assert "m3net_frontend_dct" not in header + source


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_gain_and_offset_map_the_range_onto_int8(config, tmp_path):
    macros = defines(write_c_tables(config, tmp_path, frames=49)[0].read_text())
    gain, offset = floats([macros["QUANT_GAIN"], macros["QUANT_OFFSET"]])
    for value, expected in ((config.feature_min, -128), (config.feature_max, 127)):
        assert gain * np.float32(value) + offset == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", WAVEFORMS)
def test_steps_of_a_waveform_give_the_level_of_each_sample(name, tmp_path):
    config = WAVEFORMS[name]
    header, source = (path.read_text() for path in write_c_tables(config, tmp_path, frames=8000))
    macros = defines(header)
    assert int(macros["SAMPLE_RATE_HZ"]) == config.sample_rate_hz
    for key in ("FRAME_SAMPLES", "HOP_SAMPLES", "FEATURE_BINS"):
        assert int(macros[key]) == 320
    assert int(macros["FRAMES"]) == 25 and macros["WAVEFORM"] == "1" and "MEL_BINS" not in macros
    samples = np.arange(-32_768, 32_768)
    if name == "rounded":
        assert macros["WAVEFORM_ROUNDED"] == "1" and "waveform_last" not in source
        levels = np.minimum((samples + 128) // 256, 127)
    else:
        last = np.array([int(item) for item in array(source, "m3net_frontend_waveform_last")])
        above = (samples[:, None] > last).sum(1)
        levels = int(macros["WAVEFORM_LOWEST"].strip("()")) + above
    np.testing.assert_array_equal(levels, features_int8(config, samples / 32_768.0)[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (FrontendConfig(kind="spectrogram"), r"frontend\.kind is 'spectrogram': .* needs 'mel'"),
        (FrontendConfig(kind="waveform", level_db=-20.0), r"frontend\.level_db is -20\.0: .* None"),
        (FrontendConfig(kind="waveform"), r"hop_samples is 320,.* 49 samples .* hop_samples 49 or"),
        (FrontendConfig(level_db=-20.0), r"frontend\.level_db is -20\.0: .* needs None"),
        (FrontendConfig(remove_mean=True), r"frontend\.remove_mean is True: .* needs False"),
        (FrontendConfig(preemphasis=0.97), r"frontend\.preemphasis is 0\.97: .* needs 0\.0"),
        (FrontendConfig(power=1), r"frontend\.power is 1: the firmware needs 2"),
        (FrontendConfig(log="db", clip_range_db=80.0), r"the firmware needs"),
        (FrontendConfig(centred=True), r"frontend\.centred is True: the firmware needs False"),
        (FrontendConfig(log="db"), r"frontend\.log is 'db': the firmware needs 'ln'"),
        (FrontendConfig(log="none"), r"frontend\.log is 'none': the firmware needs 'ln'"),
    ],
)
def test_a_form_that_the_device_lacks(config, message, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        write_c_tables(config, tmp_path, frames=49)
    assert not list(tmp_path.iterdir())
