# SPDX-License-Identifier: Apache-2.0
"""The board with a RISC-V core: the desktop's bytes, and the contract of a board."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import APPS, FRAMES, random_features, skip_or_fail, small_model, write_bundle
from test_boards import Session, numbers

from m3net_tf.audio.frontend import FrontendConfig, fixed_features_int8
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.build import build_compiled
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation.qemu import emulator_command, run_image, run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.engines import COMPILED
from m3net_tf.runtime.interpreter import run_reference
from m3net_tf.system.errors import FirmwareError

BOARD = "qemu_riscv32"
MACHINE = find_machine(BOARD)

Make = Callable[[str], FirmwareImage]


@pytest.fixture(scope="module")
def image(small_tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Builds the small network's firmware, with the application of a name or with the usual one."""
    if reason := why_no_emulation(BOARD, COMPILED):
        skip_or_fail(reason)
    folder = tmp_path_factory.mktemp("riscv")
    bundle = write_bundle(folder / "bundle", small_tflite)
    model = small_model(small_tflite)

    def make(app: str = "") -> FirmwareImage:
        app_dir = APPS / app if app else None
        return build_compiled(bundle, model, BOARD, folder / (app or "usual"), app_dir=app_dir)

    return make


def test_the_desktop_s_bytes_from_features_and_from_sound(image: Make, small_tflite: bytes):
    features = random_features(20, seed=21)
    features[-1], features[-2] = -128, 127
    built = image("")
    result = run_job(built.elf, MACHINE, features)
    np.testing.assert_array_equal(result.outputs, run_reference(small_tflite, features[..., None]))

    rng = np.random.default_rng(4)
    clips = np.clip(rng.normal(0, 9000, (2, 16_000)), -32768, 32767).astype(np.int16)
    result = run_job(built.elf, MACHINE, clips, report_features=True)
    expected = [fixed_features_int8(FrontendConfig(), clip)[:, -FRAMES:] for clip in clips]
    np.testing.assert_array_equal(result.features, np.stack(expected))
    assert result.stack_used_bytes < 4096
    assert built.elf.read_bytes()[18:20] == (243).to_bytes(2, "little")  # RISC-V


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
def test_faults_are_reported(image: Make, fault: int, message: str):
    built = image("faults")
    with pytest.raises(FirmwareError, match=message) as caught:
        run_image(built.elf, MACHINE, bytes([fault]) + bytes(31))
    assert "\n" not in str(caught.value)


def test_clocks_sleep_reception_and_resets(image: Make, tmp_path: Path):
    built = image("board")
    job, console = tmp_path / "no_job.bin", tmp_path / "console"
    job.write_bytes(bytes(4))
    command = emulator_command(built.elf, MACHINE, job, console)
    command[command.index(f"file:{console}")] = "stdio"
    with Session(command) as session:
        assert session.line() == (
            "m3net started board=qemu_riscv32 core=rv32imac clock_hz=160000000 baud=115200 "
            "reset=power"
        )
        awake = numbers(session.line())
        assert 20_000 <= awake["board_us"] < 21_000
        assert abs(awake["core_us"] - awake["board_us"]) < 500
        assert abs(awake["counted"] - 20_000_000) < 200_000
        asleep = numbers(session.line())
        assert 400_000 < asleep["slept_us"] < 10_000_000 and asleep["awake_ppm"] < 50_000
        assert asleep["backwards"] == 0

        assert session.line().endswith("reset=software")
        assert session.line().startswith("m3net error exception illegal instruction; pc=0x80")
        assert session.line().endswith("reset=fault")  # the watchdog ends the halt
        assert session.line().endswith("reset=watchdog")

        assert session.line() == "m3net listening"
        data = np.random.default_rng(6).bytes(3000)
        for start in range(0, len(data), 700):
            session.send(data[start : start + 700])
        assert numbers(session.line()) == {"bytes": 3000, "crc": zlib.crc32(data), "lost": 0}
        assert session.line() == "m3net finished"
