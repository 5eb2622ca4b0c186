# SPDX-License-Identifier: Apache-2.0
"""A board by the words of the command line: port, speed, and a run for emulated boards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.datasets.audio import read_audio, to_pcm16
from m3net_tf.device.client import Device
from m3net_tf.device.ports import DEFAULT_BAUD, open_port
from m3net_tf.export import Bundle
from m3net_tf.firmware.build import build_firmware
from m3net_tf.locks import in_use
from m3net_tf.reports.chain import ARENA_SLACK_BYTES

#: The emulator keeps to the wall clock, at 125 million instructions a second: for listening live.
LIVE_ARGUMENTS = ("-icount", "shift=3")


def firmware_of(run: Path, log: Callable[[str], None]) -> Callable[[str], Path]:
    """Gives the ELF of an exported run for an emulated board, built if need be."""

    @in_use(run)
    def build(board: str) -> Path:
        bundle = Bundle.load(run / "export")
        arena = bundle.manifest["arena"]
        # Another board's kernels may want another arena; emulated ones have room to spare.
        proven = arena["source"] == f"TFLite Micro on {board}"
        size = None if proven else arena["bytes"] + ARENA_SLACK_BYTES
        folder = run / "firmware" / board
        return build_firmware(bundle.folder, board, folder, size, report=log).elf

    return build


def read_sound(path: Path, rate_hz: int) -> npt.NDArray[np.int16]:
    """A sound file as the board would hear it."""
    return to_pcm16(read_audio(path, sample_rate_hz=rate_hz))


@contextlib.contextmanager
def connect(
    port: str,
    run: Path,
    *,
    baud: int = DEFAULT_BAUD,
    sound: Path | None = None,
    live: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Iterator[Device]:
    """Open a port and find the board behind it.

    Args:
        port: as :func:`m3net_tf.device.ports.open_port` takes it.
        run: exported run whose firmware ``qemu:BOARD`` runs.
        baud: speed of a serial device.
        sound: file that an emulated board's microphone hears.
        live: emulate at the pace of the wall clock instead of counting instructions exactly.
        log: takes lines of progress.

    Raises:
        FirmwareError: there is no such port, or nobody answers there.
    """
    heard = None
    if sound is not None:
        rate_hz = Bundle.load(run / "export").frontend.sample_rate_hz
        heard = read_sound(sound, rate_hz).astype("<i2").tobytes()
    opened = open_port(
        port,
        baud=baud,
        firmware=firmware_of(run, log),
        sound=heard,
        emulator_arguments=LIVE_ARGUMENTS if live else None,
    )
    with Device(opened) as device:
        yield device
