# SPDX-License-Identifier: Apache-2.0
"""Portable C on the host under the address and undefined-behaviour sanitisers."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import FRAMES, build_with_cmake, cmsis_dsp, run_tool

from m3net_tf.audio.frontend import (
    FrontendConfig,
    features_int8,
    frontend_preset,
    write_c_tables,
)
from m3net_tf.boards.emulation import qemu
from m3net_tf.runtime import DetectorConfig, write_c_header

CONFIGS = {
    "default": FrontendConfig(),
    "mfcc": FrontendConfig(mfcc_coefficients=13, feature_min=-60.0, feature_max=40.0),
    "padded": FrontendConfig(
        frame_samples=401, hop_samples=160, mel_bins=64, mel_scale="htk", window="hamming"
    ),
    "yamnet": frontend_preset("yamnet"),
    "offset": FrontendConfig(log_offset=0.01, mel_bins=64, window="povey"),
    "hop-is-frame": FrontendConfig(frame_samples=256, hop_samples=256, fft_samples=256),
    "large": FrontendConfig(
        sample_rate_hz=44_100, frame_samples=2048, hop_samples=441, fft_samples=2048,
        mel_bins=128, mel_norm="none", mel_max_hz=20_000.0, mel_min_hz=0.0,
        feature_min=-12.0, feature_max=9.0,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def build_host(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds the host program for a config of ``CONFIGS``, each once."""
    dsp = cmsis_dsp()
    folder = tmp_path_factory.mktemp("host")
    built: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in built:
            (folder / "bundle").mkdir(exist_ok=True)
            write_c_tables(CONFIGS[name], folder / "bundle", frames=FRAMES)
            write_c_header(DetectorConfig.default(CONFIGS[name], FRAMES, ["a"]), folder / "bundle")
            settings = [f"-DM3NET_BUNDLE_DIR={folder / 'bundle'}", f"-DM3NET_SRC_CMSIS_DSP={dsp}"]
            program = build_with_cmake(folder / "build", settings, "m3net_host")
            built[name] = Path(shutil.copy(program, folder / name))
        return built[name]

    return build


@pytest.mark.parametrize("name", CONFIGS)
def test_front_end_follows_the_reference(build_host, name: str):
    config = CONFIGS[name]
    rng = np.random.default_rng(11)
    count = config.hop_samples * 60
    time_s = np.arange(count) / config.sample_rate_hz
    waves = np.stack(
        [
            np.zeros(count),
            rng.normal(0, 1, count),
            rng.normal(0, 6000, count),
            32767 * np.sin(2 * np.pi * 1000 * time_s),
            30000 * np.sign(np.sin(2 * np.pi * 97 * time_s)),
            rng.integers(-32768, 32768, count),
        ]
    )
    clips = np.clip(np.round(waves), -32768, 32767).astype("<i2")
    differing = total = 0
    for clip in clips:
        output = run_tool(build_host(name), "features", data=clip.tobytes())
        actual = np.frombuffer(output, np.int8).reshape(-1, config.feature_bins).T
        expected = features_int8(config, clip / 32768.0)
        assert actual.shape == expected.shape
        difference = np.abs(actual.astype(int) - expected)
        assert difference.max() <= 2
        differing += int((difference > 1).sum())
        total += difference.size
    assert differing <= total / 1000


@pytest.mark.parametrize("columns", [0, 1, FRAMES - 1, FRAMES, FRAMES + 1, 3 * FRAMES + 5])
def test_ring_gives_the_last_columns_oldest_first(build_host, columns: int):
    bins = CONFIGS["default"].feature_bins
    values = np.random.default_rng(columns).integers(-128, 128, (columns, bins)).astype(np.int8)
    output = run_tool(build_host("default"), "window", data=values.tobytes())
    window = np.frombuffer(output, np.int8).reshape(bins, FRAMES)
    received = values[-FRAMES:].T if columns else np.zeros((bins, 0), np.int8)
    silence = np.full((bins, FRAMES - received.shape[1]), -128, np.int8)
    np.testing.assert_array_equal(window, np.concatenate([silence, received], axis=1))


@pytest.mark.parametrize("data", [b"", b"\x00", b"123456789", bytes(range(256)) * 7])
def test_crc_is_that_of_zlib(build_host, data: bytes):
    assert run_tool(build_host("default"), "crc", data=data).decode() == f"{zlib.crc32(data):#010x}"


def test_a_board_without_optional_features_says_so(build_host):
    said = run_tool(build_host("default"), "defaults")
    assert said == b"unsupported unsupported watchdog\r\n"


def test_random_and_mutated_job_images(build_host):
    """10 000 images, random or valid with a few bytes changed: no access out of bounds."""
    capacity, feature_bytes, min_clip_bytes = 512, 24, 20
    rng = np.random.default_rng(3)
    good = [
        qemu.job_image(clips, report_features=True, report_instructions=False)
        for clips in (
            rng.integers(-128, 128, (20, feature_bytes)).astype(np.int8),
            rng.integers(-128, 128, (1, feature_bytes)).astype(np.int8),
            rng.integers(-9, 9, (9, 26)).astype(np.int16),
        )
    ]
    images = list(good)
    for index in range(10_000):
        if index % 4 == 0:
            images.append(rng.bytes(int(rng.integers(0, capacity + 1))))
            continue
        image = bytearray(good[index % len(good)])
        for _ in range(int(rng.integers(1, 4))):
            image[int(rng.integers(0, 32))] = int(rng.choice([0, 1, 2, 127, 128, 255]))
        images.append(bytes(image))
    data = b"".join(struct.pack("<I", len(image)) + image for image in images)
    limits = (capacity, feature_bytes, min_clip_bytes)
    words = run_tool(build_host("default"), "jobs", *limits, data=data).decode().split()
    assert len(words) == len(images)
    assert words[:3] == ["ok", "ok", "ok"]
    fields = {"magic", "version", "kind", "flags", "clip_size", "clip_count", "crc"}
    assert set(words[3:]) - {"ok"} == {f"job_{name}" for name in fields}
