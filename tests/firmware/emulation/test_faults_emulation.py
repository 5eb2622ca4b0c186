# SPDX-License-Identifier: Apache-2.0
"""Faults on an emulated board are caught, counted and reported, and the board goes on."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from firmware_helpers import (
    APPS,
    BOARD,
    BuiltFirmware,
    console,
    function_address,
    random_features,
    with_bytes,
)

from m3net_tf.boards.emulation.qemu import console_command, run_image, stream_image

#: A hundred times as many go through the host build (test_faults_host.py).
GARBAGE_LINES = 10_000
LINES_BETWEEN_CHECKS = 400
RING_BYTES = 1024
#: A microsecond an instruction, and time jumps ahead while the core sleeps: half a minute until
#: the watchdog bites takes a moment.
FAST_TIME = ("-icount", "shift=10,sleep=off")
SLOW = ("-icount", "shift=10")
WATCHDOG_US = 30_000_000
ENDLESS_LOOP = b"\xfe\xe7"
UNDEFINED = b"\x07\xde"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faults_elf(build_variant: Callable[..., Path]) -> Path:
    return build_variant(app_dir=APPS / "faults")


# --- stack -------------------------------------------------------------------------------------


def test_the_watermark_is_the_deepest_use(built: BuiltFirmware, faults_elf: Path):
    """Nine frames of 64 words and a few registers each; later shallower use changes nothing."""
    log = run_image(faults_elf, built.machine, bytes([6]) + bytes(31))
    (line,) = [line for line in log.lines if line.startswith("m3net watermark ")]
    before, after, later = (int(value) for value in re.findall(r"=(\d+)", line))
    assert 0 < before < 9 * 256 < after < before + 9 * 320 and later == after


# --- console -----------------------------------------------------------------------------------


def malformed_lines(count: int) -> Iterator[bytes]:
    """Noise, truncated and changed commands; nothing that makes the board wait for silence."""
    rng = random.Random(12)
    seeds = (
        b"version|info|stat|load pcm 160|infer|results|stream host|stream off|threshold 1 2|"
        b"read 0 2|baud 1|baud 99999999|name%|db load 19%|db 00ff%|db zz%|%"
    ).split(b"|")
    while count:
        kind = rng.randrange(10)
        line = bytearray(rng.choice(seeds))
        if kind < 3:
            line = bytearray(rng.randbytes(rng.randrange(12)))
        elif kind < 5:
            del line[rng.randrange(len(line)) :]
        else:
            for _ in range(1 + kind % 3):
                line[rng.randrange(len(line))] = rng.randrange(256)
        if not line.startswith(b"block"):
            yield bytes(line) + rng.choice([b"\n", b"\n", b"\r\n", b"%"])
            count -= 1


def test_garbage_from_the_console_leaves_it_answering(built: BuiltFirmware):
    """Ten thousand bad lines; and blocks and lines after which it waits for silence."""
    # Ends of garbage, and the silence after which the board listens again (core/monitor.h).
    ends = (
        (b"block 0 9\n" + b"reset\n" * 9, 0.1),
        (b"version " * 20 + b"\n", 0.1),
        (b"block 0 200 0x1\nreset\n", 0.5),
    )
    with console(built.image.elf) as board:
        board.until("m-ready\r\n")
        lines = malformed_lines(GARBAGE_LINES)
        for end, silence_s in itertools.cycle(ends):
            if not (chunk := b"".join(itertools.islice(lines, LINES_BETWEEN_CHECKS))):
                break
            board.port.write(chunk)
            board.insist_on("memory")
            board.port.write(end)
            time.sleep(silence_s + 0.15)  # an earlier question would be lost, too
            board.insist_on("version")
        statistics = board.insist_on("stat")
        assert statistics["bad_commands"] > GARBAGE_LINES / 10
        assert statistics["bad_blocks"] >= GARBAGE_LINES / LINES_BETWEEN_CHECKS / 2
        assert " reset=power\r\n" in board.version()


def test_bytes_that_nobody_takes_in_time_are_counted(
    faults_elf: Path, tmp_path: Path, built: BuiltFirmware
):
    """The ring keeps the first ones; the rest is lost, not mixed in."""
    image = tmp_path / "image"
    image.write_bytes(bytes([7]) + bytes(31))
    data = np.random.default_rng(4).bytes(RING_BYTES + 100)
    command = console_command(faults_elf, built.machine, "stdio", image=image)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        try:
            while process.stdout.readline() != b"m3net listening\r\n":
                pass
            process.stdin.write(data)
            process.stdin.flush()
            reply = process.stdout.readline().decode()
        finally:
            process.kill()
    crc = zlib.crc32(data[:RING_BYTES])
    assert reply == f"m3net heard bytes={RING_BYTES} lost=100 crc={crc}\r\n"


# --- audio -------------------------------------------------------------------------------------


def test_an_emulated_microphone_waits_while_interrupts_are_disabled(
    built: BuiltFirmware, faults_elf: Path
):
    """Of three halves due meanwhile, one comes late and two at the periods after."""
    sound = stream_image(bytes(64_000), built.machine.job_bytes)
    log = run_image(faults_elf, built.machine, sound)
    (line,) = [line for line in log.lines if line.startswith("m3net audio ")]
    halves, overruns = (int(value) for value in re.findall(r"=(\d+)", line))
    assert overruns == 0 and halves in (5, 6)


def test_a_board_too_slow_for_its_microphone_says_so(built: BuiltFirmware):
    sound = np.random.default_rng(3).normal(0, 3000, 48_000).astype("<i2").tobytes()
    with console(built.image.elf, pace=SLOW, sound=sound) as board:
        board.until("m-ready\r\n")
        board.ask("stream mic")
        output = board.until(r"m3net overrun lost_hops=\d+ audio_overruns=\d+\r\n")
        assert int(output.partition("lost_hops=")[2].split()[0]) > 0
        assert board.ask("stat")["lost_hops"] > 0


# --- watchdog ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instruction", "message", "reason"),
    [
        (ENDLESS_LOOP, "m3net error nmi ", "watchdog"),
        (UNDEFINED, "m3net error usage_fault undefined instruction; ", "fault"),
    ],
)
def test_a_main_loop_that_hangs_is_restarted(
    built: BuiltFirmware, tmp_path: Path, instruction: bytes, message: str, reason: str
):
    """The product itself, with one instruction of a monitor command replaced."""
    address = function_address(built.image.elf, "m3net_monitor_profile")
    elf = with_bytes(built.image.elf, tmp_path / "hangs.elf", address, instruction)
    with console(elf, pace=FAST_TIME) as board:
        assert " reset=power\r\n" in board.until("m-ready\r\n")
        board.port.write(b"profile\n")
        restarted = board.until("m-ready\r\n")
        assert message in restarted
        assert f" reset={reason}\r\n" in restarted and "m3net ready protocol=1" in restarted
        assert f" reset={reason}\r\n" in board.version()


@pytest.mark.parametrize("board_name", [BOARD, pytest.param("mps3_an547", marks=pytest.mark.slow)])
def test_a_board_that_waits_is_left_alone(built: BuiltFirmware, tmp_path: Path, board_name: str):
    """Minutes without a command."""
    elf = built.image.elf
    if board_name != BOARD:
        elf = built.build(board_name, tmp_path).elf
    with console(elf, board_name, pace=FAST_TIME) as board:
        board.until("m-ready\r\n")
        while board.ask("stat")["uptime_ms"] < 180_000:
            time.sleep(0.1)
        assert " reset=power\r\n" in board.version()


def test_a_board_that_works_is_left_alone(built: BuiltFirmware):
    """One command that takes longer than the watchdog waits."""
    with console(built.image.elf, pace=SLOW) as board:
        board.until("m-ready\r\n")
        board.load_features()
        assert board.ask("infer 150")["us"] > 1.1 * WATCHDOG_US
        assert " reset=power\r\n" in board.version()


def test_a_board_that_works_for_the_benchmark_is_left_alone(built: BuiltFirmware):
    """The same with the benchmark's protocol, whose commands have a separate loop."""
    features = random_features(1, seed=3).tobytes()
    with console(built.image.elf, pace=SLOW) as board:
        board.until("m-ready\r\n")
        commands = [f"db load {len(features)}"]
        commands += [f"db {features[at : at + 31].hex()}" for at in range(0, len(features), 31)]
        for command in commands:
            board.port.write(f"{command}%".encode())
            board.until("m-ready\r\n")
        board.port.write(b"infer 150 0%")
        laps = re.findall(r"m-lap-us-(\d+)", board.until("m-ready"))
        assert int(laps[1]) - int(laps[0]) > 1.1 * WATCHDOG_US
        assert " reset=power\r\n" in board.version()
