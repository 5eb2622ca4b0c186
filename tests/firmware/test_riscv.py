# SPDX-License-Identifier: Apache-2.0
"""The board with a RISC-V core: the desktop's bytes and faults; test_boards.py has its clocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, FRAMES, BuiltFirmware, random_features, skip_or_fail

from m3net_tf.audio.frontend import FrontendConfig, fixed_features_int8
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.emulation.qemu import run_image, run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import FirmwareError

BOARD = "qemu_riscv32"
MACHINE = find_machine(BOARD)

# Tests of the compiler emulate a core of this kind, too, and take less time.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    if reason := why_no_emulation(BOARD, COMPILED):
        skip_or_fail(reason)


def test_the_desktop_s_bytes_from_features_and_from_sound(built: BuiltFirmware, tmp_path: Path):
    features = random_features(20, seed=21)
    features[-1], features[-2] = -128, 127
    elf = built.build(BOARD, tmp_path).elf
    result = run_job(elf, MACHINE, features)
    np.testing.assert_array_equal(result.outputs, run_reference(built.tflite, features[..., None]))

    rng = np.random.default_rng(4)
    clips = np.clip(rng.normal(0, 9000, (2, 16_000)), -32768, 32767).astype(np.int16)
    result = run_job(elf, MACHINE, clips, report_features=True)
    expected = [fixed_features_int8(FrontendConfig(), clip)[:, -FRAMES:] for clip in clips]
    np.testing.assert_array_equal(result.features, np.stack(expected))
    assert result.stack_used_bytes < 4096
    assert elf.read_bytes()[18:20] == (243).to_bytes(2, "little")  # RISC-V


@pytest.fixture(scope="module")
def faults_elf(built: BuiltFirmware, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built.build(BOARD, tmp_path_factory.mktemp("faults"), app_dir=APPS / "faults").elf


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, "exception: illegal instruction; pc=0x"),
        (2, "exception: load from a bad address; .* mtval=0xa0000000"),
        (3, "stack_overflow: the stack of 8192 bytes overflowed"),
        (5, "exception: instruction fetch from a bad address; pc=0xa0000000"),
        (99, "panic: asked for; value=7"),
    ],
)
def test_faults_are_reported(faults_elf: Path, fault: int, message: str):
    with pytest.raises(FirmwareError, match=message) as caught:
        run_image(faults_elf, MACHINE, bytes([fault]) + bytes(31))
    assert "\n" not in str(caught.value)
