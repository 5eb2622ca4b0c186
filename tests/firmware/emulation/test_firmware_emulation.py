# SPDX-License-Identifier: Apache-2.0
"""The firmware on the emulated Cortex-M4: same bytes, steady cost, clear errors."""

from __future__ import annotations

import dataclasses
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, FRAMES, BuiltFirmware, random_features
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig, features_int8
from m3net_tf.boards.emulation import qemu
from m3net_tf.boards.emulation.qemu import run_image, run_job
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import FirmwareError

#: Executed instructions a frame at 40 mel bins; the requirement is 45 000.
FRONTEND_LIMIT = 29_000
ONE_SECOND = 16_000


def sounds() -> np.ndarray:
    """Synthetic one-second clips, int16 (n, samples), among them the extremes."""
    rng = np.random.default_rng(5)
    time_s = np.arange(ONE_SECOND) / 16_000
    waves = [
        np.zeros(ONE_SECOND),
        np.full(ONE_SECOND, -32768.0),
        np.where(np.arange(ONE_SECOND) == 8000, 32767.0, 0.0),
        rng.normal(0, 1, ONE_SECOND),
        rng.normal(0, 3000, ONE_SECOND),
        32767 * np.sin(2 * np.pi * 1000 * time_s),
        32767 * np.sign(np.sin(2 * np.pi * 440 * time_s)),
        20000 * np.sin(2 * np.pi * (100 * time_s + 3500 * time_s**2)),
        rng.normal(0, 8000, ONE_SECOND) * np.exp(-8 * time_s),
    ]
    return np.stack([np.clip(np.round(wave), -32768, 32767) for wave in waves]).astype(np.int16)


def expected_features(config: FrontendConfig, clips: np.ndarray) -> np.ndarray:
    return np.stack([features_int8(config, clip / 32768.0) for clip in clips])


def assert_features_agree(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within 1 LSB for 99.9 % of the values and within 2 for all: C works in single precision."""
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference.max() <= 2
    assert (difference <= 1).mean() >= 0.999


def image_of(clips: np.ndarray, **changes: int) -> bytes:
    """A job image, some fields of its header changed."""
    fields = dict(
        magic=int.from_bytes(qemu.MAGIC, "little"), version=1, kind=0, count=len(clips),
        clip_bytes=clips[0].nbytes, crc=zlib.crc32(clips.tobytes()), flags=0, spare=0, spare2=0,
    )  # fmt: skip
    fields.update(changes)
    return struct.pack("<IHHIIIIII", *fields.values()) + clips.tobytes()


@pytest.mark.parametrize("engine", ["built", pytest.param("built_tflm", marks=pytest.mark.slow)])
def test_same_bytes_as_the_desktop_from_features(engine: str, request: pytest.FixtureRequest):
    built = request.getfixturevalue(engine)
    clips = random_features(8, seed=2)
    clips[-1], clips[-2] = -128, 127
    result = run_job(built.image.elf, built.machine, clips, report_features=True)
    expected = run_reference(built.tflite, clips[..., None])
    np.testing.assert_array_equal(result.outputs, expected)
    np.testing.assert_array_equal(result.labels, expected.argmax(1))
    np.testing.assert_array_equal(result.features, clips)
    assert result.frontend_instructions_per_frame == 0
    assert run_job(built.image.elf, built.machine, clips[:1]).features is None


def test_features_and_bytes_from_audio(built: BuiltFirmware):
    clips = sounds()
    result = run_job(built.image.elf, built.machine, clips, report_features=True)
    assert result.features is not None and result.features.shape == (len(clips), 40, FRAMES)
    assert_features_agree(result.features, expected_features(FrontendConfig(), clips))
    expected = run_reference(built.tflite, result.features[..., None])
    np.testing.assert_array_equal(result.outputs, expected)


def test_real_speech(built: BuiltFirmware, real_data):
    """All test clips of the Speech Commands subset: features and scores."""
    from m3net_tf.audio.datasets import load_dataset, to_pcm16

    dataset = load_dataset("speech_commands", real_data("speech_commands_v2_mini"))
    clips = np.stack([to_pcm16(dataset.load(clip)) for clip in dataset.split("test")])
    assert len(clips) >= 347
    result = run_job(built.image.elf, built.machine, clips, report_features=True)
    assert_features_agree(result.features, expected_features(FrontendConfig(), clips))
    expected = run_reference(built.tflite, result.features[..., None])
    np.testing.assert_array_equal(result.outputs, expected)
    assert result.frontend_instructions_per_frame <= FRONTEND_LIMIT


def test_cost_is_steady_and_within_limit(built: BuiltFirmware):
    clips = sounds()[:4]
    first = run_job(built.image.elf, built.machine, clips)
    second = run_job(built.image.elf, built.machine, clips)
    np.testing.assert_array_equal(first.frontend_instructions, second.frontend_instructions)
    np.testing.assert_array_equal(first.clip_model_instructions, second.clip_model_instructions)
    assert 10_000 < first.frontend_instructions_per_frame <= FRONTEND_LIMIT
    assert 0 < first.model_instructions < 1_000_000
    assert 0 < first.arena_used_bytes <= first.arena_size_bytes < 48 * 1024
    assert 0 < first.stack_used_bytes < 4096
    assert 4096 < first.frontend_bytes < 10_000


def test_jobs_beyond_the_memory_run_in_parts(built: BuiltFirmware, every_step):
    clips = random_features(5, seed=3)
    small = dataclasses.replace(built.machine, job_bytes=32 + 2 * clips[0].nbytes)
    parts = run_job(built.image.elf, small, clips, log=every_step.append)
    whole = run_job(built.image.elf, built.machine, clips)
    np.testing.assert_array_equal(parts.outputs, whole.outputs)
    assert every_step == sorted(every_step)
    assert every_step[-1].startswith(f"features on {built.machine.board}: 5/5 clips")


def test_clips_of_other_lengths_give_their_last_window(built: BuiltFirmware):
    """The last hop of a clip may be short."""
    short = sounds()[4:5, : (FRAMES - 1) * 320 + 512]
    for clips in (short, np.concatenate([sounds()[7:8], sounds()[4:5]], axis=1)):
        result = run_job(built.image.elf, built.machine, clips, report_features=True)
        expected = expected_features(FrontendConfig(), clips)
        assert_features_agree(result.features, expected[:, :, -FRAMES:])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"magic": 0x12345678}, "job_magic"),
        ({"version": 2}, "job_version"),
        ({"kind": 7}, "job_kind"),
        ({"crc": 1}, "job_crc"),
        ({"clip_bytes": 99}, "job_clip_size"),
        ({"kind": 1}, "job_clip_size"),
        ({"kind": 2}, "job_clip_size"),
        ({"count": 0}, "job_clip_count"),
        ({"count": 0xFFFFFFFF}, "job_clip_count"),
        ({"flags": 0x80}, "job_flags"),
        ({"spare2": 1}, "job_flags"),
    ],
)
def test_bad_images_are_refused(built: BuiltFirmware, changes, code):
    image = image_of(random_features(2, seed=4), **changes)
    with pytest.raises(FirmwareError, match=code) as caught:
        run_image(built.image.elf, built.machine, image)
    assert "\n" not in str(caught.value)


def test_arena_too_small_says_how_to_fix_it(built_tflm: BuiltFirmware, build_tflm):
    elf = build_tflm(2048)
    with pytest.raises(FirmwareError) as caught:
        run_job(elf, built_tflm.machine, random_features(1, seed=1))
    text = str(caught.value)
    assert "arena of 2048 bytes is too small" in text and "\n" not in text
    assert "-DM3NET_ARENA_BYTES=49152" in text


def test_arena_expectation_too_small_names_a_larger_one(built_tflm: BuiltFirmware, build_tflm):
    elf = build_tflm(5120, arena_bytes=4096)
    with refuses(FirmwareError, "-DM3NET_ARENA_BYTES=") as caught:
        run_job(elf, built_tflm.machine, random_features(1, seed=1))
    larger = int(str(caught.value).partition("M3NET_ARENA_BYTES=")[2].split()[0])
    assert 5120 < larger < 48 * 1024 and "read arena_used" in str(caught.value)


def test_front_end_of_another_config(built: BuiltFirmware, build_variant):
    """Cepstral coefficients and an FFT longer than the frame; the network is not run."""
    config = FrontendConfig(
        frame_samples=400,
        hop_samples=160,
        fft_samples=1024,
        mel_bins=64,
        mfcc_coefficients=40,
        feature_min=-60.0,
        feature_max=40.0,
    )
    elf = build_variant(config=config, app_dir=APPS / "features")
    clips = sounds()[:, : (FRAMES - 1) * config.hop_samples + config.frame_samples]
    # The clip's length in samples takes the place of a header.
    for clip in clips[3:6]:
        data = struct.pack("<I", len(clip)) + clip.tobytes()
        log = run_image(elf, built.machine, data)
        actual = np.frombuffer(bytes.fromhex(log.boot["feat"]), np.int8)
        actual = actual.reshape(FRAMES, config.feature_bins).T
        assert_features_agree(actual, features_int8(config, clip / 32768.0))


@pytest.fixture(scope="module")
def faults_elf(build_variant) -> Path:
    return build_variant(app_dir=APPS / "faults")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (1, "usage_fault: undefined instruction; pc=0x"),
        (2, "bus_fault: data access to a bad address; .*bfar=0xa0000000"),
        (
            3,
            "stack_overflow: the stack of 8192 bytes overflowed: raise stack_bytes",
        ),
        (4, "usage_fault: division by zero; "),
        (5, "_fault: instruction fetch from a protected address; .*pc=0xa0000000"),
        (0, "panic: asked for; value=7"),
    ],
)
def test_faults_say_what_failed(built: BuiltFirmware, faults_elf: Path, kind: int, words: str):
    with pytest.raises(FirmwareError, match=words) as caught:
        run_image(faults_elf, built.machine, bytes([kind]) + bytes(31))
    assert "\n" not in str(caught.value)


def test_what_does_not_start_is_named(built: BuiltFirmware, tmp_path):
    wrong = dataclasses.replace(built.machine, machine="no-such-machine")
    absent = dataclasses.replace(built.machine, emulator="qemu-none", package="qemu-pack")
    elf = built.image.elf
    clips = random_features(1, seed=1)
    for file, machine, words in (
        (elf, wrong, "status 1.*unsupported machine type"),
        (elf, absent, "apt-get install qemu-pack"),
        (tmp_path / "none.elf", built.machine, "no such firmware"),
    ):
        with pytest.raises(FirmwareError, match=words):
            run_job(file, machine, clips)


def test_an_exception_in_progress_stops_the_emulator(built: BuiltFirmware, every_step):
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(built.image.elf, built.machine, random_features(3, seed=1), log=stop)
    assert not running_emulators(built.image.elf)


def running_emulators(elf: Path) -> list[str]:
    """Process ids whose command line names this ELF."""
    process_ids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(elf).encode() in command and b"qemu" in command:
                process_ids.append(entry.name)
    return process_ids
