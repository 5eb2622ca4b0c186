# SPDX-License-Identifier: Apache-2.0
"""The fixed-point front end in C gives the bits of its model in Python: on the host under the
sanitisers, and on the emulated cores without FPU."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import (
    FRAMES,
    BuiltFirmware,
    compile_for_host,
    run_tool,
    skip_or_fail,
)

from m3net_tf.audio.frontend import (
    FrontendConfig,
    fixed_features_int8,
    frontend_preset,
    write_c_tables,
)
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.builds.sources import FIRMWARE_DIR
from m3net_tf.boards.emulation.qemu import run_job
from m3net_tf.runtime import DetectorConfig, write_c_header
from m3net_tf.runtime.interpreter import run_reference

#: They run the same code; the second one takes another build.
BOARDS = [pytest.param(board, marks=pytest.mark.slow) for board in ("mps2_an385", "mps2_an505")]
#: Executed instructions a frame at 40 mel bins.
FRONTEND_LIMIT = 32_000
#: RAM of the front end and of the ring of columns with its two counters.
FRONTEND_RAM_BYTES = 4 * 1024
RING_BYTES = FrontendConfig().mel_bins * FRAMES + 8

CONFIGS = {
    "default": FrontendConfig(),
    "mfcc": FrontendConfig(
        frame_samples=401, hop_samples=160, mel_bins=64, mel_scale="htk", window="hamming",
        mfcc_coefficients=13, feature_min=-60.0, feature_max=40.0,
    ),
    "yamnet": frontend_preset("yamnet"),
    "offset": FrontendConfig(log_offset=0.01, mel_bins=64),
    "magnitudes": FrontendConfig(power=1, mel_norm="none", mfcc_coefficients=13),
    "odd power of two": FrontendConfig(frame_samples=256, hop_samples=256, fft_samples=256),
    "large": FrontendConfig(
        sample_rate_hz=44_100, frame_samples=2048, hop_samples=441, fft_samples=2048,
        mel_bins=128, mel_norm="none", mel_max_hz=20_000.0, mel_min_hz=0.0, log_floor=1e-12,
        feature_min=-26.0, feature_max=9.0,
    ),
}  # fmt: skip
HOST_SOURCES = (
    "host/main.c", "app/job.c", "core/frontend.c", "core/ring.c", "core/crc32.c",
    "core/console.c", "core/platform_defaults.c", "core/status.c",
)  # fmt: skip


def extremes(config: FrontendConfig, frames: int) -> list[np.ndarray]:
    """int16 clips; the last ones have the greatest amplitude, each in phase with one FFT bin."""
    rng = np.random.default_rng(12)
    at = np.arange(frames * config.hop_samples)
    waves = [
        np.zeros(at.size),
        rng.integers(0, 2, at.size),
        rng.normal(0, 3000, at.size),
        rng.integers(-32768, 32768, at.size),
        np.where(at > at.size // 2, 32767, 0),
        np.full(at.size, -32768),
    ]
    for number in (1, 5, config.fft_samples // 8, config.fft_samples // 4, config.fft_samples // 2):
        phase = np.cos(2 * np.pi * (number * at / config.fft_samples + 0.1))
        waves.append(np.where(phase >= 0, 32767, -32768))
    return [np.clip(np.round(wave), -32768, 32767).astype(np.int16) for wave in waves]


def compile_host(bundle: Path) -> Path:
    sources = [*(FIRMWARE_DIR / source for source in HOST_SOURCES), bundle / "frontend_tables.c"]
    folders = (FIRMWARE_DIR / "core", FIRMWARE_DIR / "app", bundle)
    return compile_for_host(bundle / "host", sources, folders, "-DM3NET_FRONTEND_FIXED=1")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("default", "mfcc", "yamnet") else pytest.mark.slow)
        for name in CONFIGS
    ],
)
def test_the_host_gives_the_model_s_bits(tmp_path: Path, name: str):
    config = CONFIGS[name]
    write_c_tables(config, tmp_path, frames=FRAMES)
    write_c_header(DetectorConfig.default(config, FRAMES, ["a"]), tmp_path)
    program = compile_host(tmp_path)
    for clip in extremes(config, 12):
        features = run_tool(program, "features", data=clip.tobytes())
        actual = np.frombuffer(features, np.int8).reshape(-1, config.feature_bins).T
        np.testing.assert_array_equal(actual, fixed_features_int8(config, clip))


def test_an_export_without_the_tables_says_how_to_fix_it(tmp_path: Path):
    config = FrontendConfig()
    write_c_header(DetectorConfig.default(config, FRAMES, ["a"]), tmp_path)
    header, _ = write_c_tables(config, tmp_path, frames=FRAMES)
    lines = header.read_text().splitlines(keepends=True)
    header.write_text("".join(line for line in lines if "_FIXED_" not in line))
    with pytest.raises(AssertionError, match="no fixed-point settings: export the model again"):
        compile_host(tmp_path)


@pytest.fixture(scope="module")
def images(
    built: BuiltFirmware, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], FirmwareImage]:
    folder = tmp_path_factory.mktemp("fixed")
    made: dict[str, FirmwareImage] = {}

    def make(board: str) -> FirmwareImage:
        if board not in made:
            made[board] = built.build(board, folder / board)
        return made[board]

    return make


@pytest.mark.parametrize("board", BOARDS)
def test_an_emulated_core_gives_the_model_s_bits(
    images: Callable[[str], FirmwareImage], built: BuiltFirmware, board: str
):
    config = FrontendConfig()
    clips = np.stack(extremes(config, 51))
    result = run_job(images(board).elf, find_machine(board), clips, report_features=True)
    expected = np.stack([fixed_features_int8(config, clip)[:, -FRAMES:] for clip in clips])
    np.testing.assert_array_equal(result.features, expected)
    np.testing.assert_array_equal(result.outputs, run_reference(built.tflite, expected[..., None]))
    assert 10_000 < result.frontend_instructions_per_frame <= FRONTEND_LIMIT
    assert result.frontend_bytes - RING_BYTES <= FRONTEND_RAM_BYTES
    assert result.stack_used_bytes < 4096


@pytest.mark.parametrize("board", BOARDS)
def test_real_speech_on_a_core_without_fpu(
    images: Callable[[str], FirmwareImage], real_data, board: str
):
    from m3net_tf.audio.datasets import load_dataset, to_pcm16

    dataset = load_dataset("speech_commands", real_data("speech_commands_v2_mini"))
    clips = np.stack([to_pcm16(dataset.load(clip)) for clip in dataset.split("test")[::10]])
    result = run_job(images(board).elf, find_machine(board), clips, report_features=True)
    expected = np.stack([fixed_features_int8(FrontendConfig(), clip) for clip in clips])
    np.testing.assert_array_equal(result.features, expected)


@pytest.mark.parametrize("board", BOARDS)
def test_no_float_is_computed_for_a_frame(images: Callable[[str], FirmwareImage], board: str):
    """The compiler's functions for float arithmetic are not called from the front end."""
    if shutil.which("arm-none-eabi-objdump") is None:
        skip_or_fail("missing: arm-none-eabi-objdump")
    command = ("arm-none-eabi-objdump", "-d", "--disassemble=m3net_frontend_push")
    code = run_tool(*command, images(board).elf).decode()
    called = set(re.findall(r"\tbl\s+\w+ <(\w+)", code))
    assert "smlal" in code
    assert called == {"memcpy", "memmove"}
