# SPDX-License-Identifier: Apache-2.0
"""Every board of the tree compiles; the emulated ones fulfil the contract of a board."""

from __future__ import annotations

import dataclasses
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import (
    APPS,
    BOARD,
    FRAMES,
    BuiltFirmware,
    console,
    numbers,
    random_features,
    skip_or_fail,
)
from refusals import refuses

from m3net_tf.audio.frontend import FrontendConfig
from m3net_tf.boards.builds import boards
from m3net_tf.boards.builds.boards import find_machine, load_board, machines
from m3net_tf.boards.builds.image import FirmwareImage, read_hex
from m3net_tf.boards.builds.sources import library_sources, read_lock
from m3net_tf.boards.emulation.qemu import run_image, run_job
from m3net_tf.boards.emulation.starting import why_no_emulation
from m3net_tf.compiler.engines import COMPILED, TFLM
from m3net_tf.system.errors import FirmwareError

#: Boards that TensorFlow Lite Micro runs on; test_riscv.py has others.
BOARDS = [name for name in boards.list_boards() if TFLM in load_board(name).architecture.engines]
EMULATED = [machine.board for machine in machines() if machine.board in BOARDS]
#: Boards whose folder offers a choice, with each other choice.
CHOICES = {"nucleo_h753zi": ["M3NET_MICROPHONE=analog"], "nrf52840dk": ["M3NET_FLASH_START=0x1000"]}
VECTORS_BYTES = 1024
FRONTEND_RAM_BYTES = 5_500
#: The ring of columns and its two counters, which the firmware counts with the front end.
RING_BYTES = FrontendConfig().mel_bins * FRAMES + 8
#: Executed instructions a frame at 40 mel bins on the Cortex-M4F.
FRONTEND_LIMIT = 29_000
FIXED_FRONTEND_LIMIT = 30_000


@pytest.fixture(scope="module")
def images(
    built: BuiltFirmware,
    build_variant: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., FirmwareImage]:
    """Builds the small network's firmware for a board, with a choice or another application.

    Each board has one build folder, so that little is compiled again; its images are copied. The
    first board's images are shared with other tests.
    """
    folder = tmp_path_factory.mktemp("boards")
    made: dict[tuple[str, tuple[str, ...], Path | None], FirmwareImage] = {
        (BOARD, (), None): built.image
    }

    def make(board: str, *settings: str, app_dir: Path | None = None) -> FirmwareImage:
        key = board, settings, app_dir
        if key not in made and board == BOARD:
            made[key] = dataclasses.replace(built.image, elf=build_variant(app_dir=app_dir))
        elif key not in made:
            image = built.build(board, folder / board, settings=settings, app_dir=app_dir)
            target = folder / f"{board}-{len(made)}"
            target.mkdir()
            for file in image.elf.parent.glob("m3net_firmware.*"):
                shutil.copy(file, target)
            made[key] = dataclasses.replace(image, elf=target / image.elf.name)
        return made[key]

    return make


# make test-all and make emulate-all have the others.
CORES = [
    pytest.param(board, marks=() if board == BOARD else pytest.mark.slow) for board in EMULATED
]


# make emulate-all compiles the emulated boards, too.
@pytest.mark.parametrize(
    "board",
    [pytest.param(board, marks=pytest.mark.slow if board in EMULATED else ()) for board in BOARDS],
)
def test_every_board_compiles_with_warnings_as_errors(
    images: Callable[..., FirmwareImage], board: str
):
    for choice in ([], *([setting] for setting in CHOICES.get(board, []))):
        image = images(board, *choice)
        hexadecimal = read_hex(image.elf.with_suffix(".hex"))
        start = min(hexadecimal)
        binary = image.elf.with_suffix(".bin").read_bytes()
        assert {address - start: value for address, value in hexadecimal.items()}.items() <= dict(
            enumerate(binary)
        ).items()
        # The vector table comes first: the end of the stack, then the start, in Thumb state.
        stack_top, reset = (int.from_bytes(binary[at : at + 4], "little") for at in (0, 4))
        assert reset % 2 == 1 and start + VECTORS_BYTES <= reset < start + image.flash_bytes
        assert stack_top % 8 == 0 and image.sections[".stack"] == 8192
        behind_boot_loader = choice == ["M3NET_FLASH_START=0x1000"]
        assert not behind_boot_loader or start == 0x1000
        assert image.elf.with_suffix(".uf2").is_file() == behind_boot_loader


def test_register_definitions_are_fetched_for_their_boards_only():
    chips = {source.name for source in read_lock() if source.boards}
    assert chips == {"cmsis-device-f4", "cmsis-device-h7", "nrfx"}
    assert boards.board_sources(boards.load_board(BOARD)) == library_sources()
    named = {
        board: {source.name for source in boards.board_sources(boards.load_board(board))}
        for board in boards.list_boards()
    }
    assert named["nrf52840dk"] & chips == {"nrfx"}
    assert set().union(*named.values()) >= chips


@pytest.mark.parametrize(
    ("board", "choice", "message"),
    [
        ("nucleo_h753zi", "M3NET_MICROPHONE=none", "M3NET_MICROPHONE=none: choose pdm or analog"),
        (BOARD, "M3NET_MICROPHONE=pdm", f"{BOARD} has no setting M3NET_MICROPHONE: .*toml lists"),
        (BOARD, "pdm", "'pdm' is not a setting: give NAME=VALUE"),
        pytest.param(
            *(
                BOARD,
                "M3NET_EEMBC_MODE=slow",
                "M3NET_EEMBC_MODE=slow: choose performance or energy",
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *(BOARD, 'M3NET_EEMBC_MODEL_ID=a"b', 'M3NET_EEMBC_MODEL_ID=a"b: letters, digits'),
            marks=pytest.mark.slow,
        ),
        ("mps3_an547", "M3NET_EEMBC_MODE=energy", "mps3_an547 has no pin for an energy meter"),
    ],
)
def test_a_wrong_choice_is_named(
    built: BuiltFirmware, tmp_path: Path, board: str, choice: str, message: str
):
    with pytest.raises(FirmwareError, match=message) as caught:
        built.build(board, tmp_path, settings=[choice])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("board", CORES)
def test_each_core_gives_the_same_bytes(
    images: Callable[..., FirmwareImage], built: BuiltFirmware, board: str
):
    """The same scores, and columns within a step of the first board's."""
    features = random_features(3, seed=9)
    rng = np.random.default_rng(4)
    clips = np.clip(rng.normal(0, 3000, (2, 16_000)), -32768, 32767).astype(np.int16)
    reference_target = built.image.elf, built.machine
    board_target = images(board).elf, find_machine(board)
    np.testing.assert_array_equal(
        run_job(*board_target, features).outputs, run_job(*reference_target, features).outputs
    )
    result, expected = (
        run_job(*target, clips, report_features=True) for target in (board_target, reference_target)
    )
    assert result.features is not None and expected.features is not None
    assert np.abs(result.features.astype(int) - expected.features).max() <= 1
    assert result.frontend_bytes - RING_BYTES <= FRONTEND_RAM_BYTES
    m4 = expected.frontend_instructions_per_frame
    fixed = load_board(board).fixed_frontend
    limit = m4 / 2 if board == "mps3_an547" else FIXED_FRONTEND_LIMIT if fixed else FRONTEND_LIMIT
    assert 5_000 < result.frontend_instructions_per_frame <= limit
    assert result.stack_used_bytes < 4096


@pytest.mark.parametrize("board", CORES)
def test_a_stack_overflow_is_caught_on_each_core(images: Callable[..., FirmwareImage], board: str):
    """By an MPU region on some, by the stack limit of ARMv8-M on others."""
    image = images(board, app_dir=APPS / "faults")
    with refuses(FirmwareError, "stack_overflow", "8192"):
        run_image(image.elf, find_machine(board), bytes([3]) + bytes(31))


#: What the core says of the undefined instruction; and whether the watchdog's first time-out is
#: an interrupt, which says so.
FAULTS = {
    "cortex_m": ("usage_fault undefined instruction", True),
    "riscv": ("exception illegal instruction", False),
}


@pytest.mark.parametrize("board", [*CORES, pytest.param("qemu_riscv32", marks=pytest.mark.slow)])
def test_clocks_sleep_reception_and_resets(images: Callable[..., FirmwareImage], board: str):
    if reason := why_no_emulation(board, COMPILED):
        skip_or_fail(reason)
    elf = images(board, app_dir=APPS / "board").elf
    facts = load_board(board)
    fault, warns = FAULTS[facts.arch]
    with console(elf, board) as session:
        boot = session.line()
        assert boot.startswith(f"m3net started board={board} core={facts.core} clock_hz=")
        assert boot.endswith(" baud=115200 reset=power")

        awake = numbers(session.line())
        assert 20_000 <= awake["board_us"] < 21_000
        assert abs(awake["core_us"] - awake["board_us"]) < 500
        # A nanosecond an instruction: the counter's unit.
        assert abs(awake["counted"] - 20_000_000) < 200_000
        asleep = numbers(session.line())
        assert 400_000 < asleep["slept_us"] < 10_000_000 and asleep["awake_ppm"] < 50_000
        assert asleep["backwards"] == 0

        assert session.line().endswith("reset=software")
        assert session.line().startswith(f"m3net error {fault}; pc=0x")
        # Asleep, the emulator's clock may jump past the watchdog's first time-out.
        session.until(r"m3net started [^\r\n]* reset=fault\r\n")
        if warns:
            assert session.line().startswith("m3net error nmi ")
        assert session.line().endswith("reset=watchdog")

        assert session.line() == "m3net listening"
        data = np.random.default_rng(6).bytes(3000)
        for start in range(0, len(data), 700):
            session.port.write(data[start : start + 700])
        reply = session.line()
        assert numbers(reply) == {"bytes": 3000, "crc": zlib.crc32(data), "lost": 0}
        assert session.line() == "m3net finished"


def test_a_clock_that_never_comes_is_an_error_not_a_hang(images: Callable[..., FirmwareImage]):
    """QEMU has a part of the STM32F4: flash, RAM and console, but no crystal."""
    machine = load_board("stm32f4_discovery").machine
    with pytest.raises(FirmwareError) as caught:
        run_image(images(machine.board).elf, machine, bytes(32))
    assert str(caught.value).endswith("clock: the crystal does not start; value=0")
