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
from m3net_tf.device.ports import DEFAULT_BAUD, is_emulated, open_port
from m3net_tf.emulation import find_machine
from m3net_tf.emulation.starting import starting_firmware
from m3net_tf.errors import FirmwareError
from m3net_tf.export import Bundle
from m3net_tf.locks import in_use
from m3net_tf.progress import Log, silent

#: The emulator keeps to the wall clock, at 125 million instructions a second: for listening live.
LIVE_ARGUMENTS = ("-icount", "shift=3")

Samples = npt.NDArray[np.int16]


def firmware_of(run: Path, log: Log) -> Callable[[str], Path]:
    """Gives the ELF of an exported run for an emulated board, built if need be."""

    @in_use(run)
    def build(board: str) -> Path:
        log(f"building the firmware of {run} for {board}")
        bundle = Bundle.load(run / "export")
        return starting_firmware(bundle, board, run / "firmware" / board, log).elf

    return build


def read_sound(path: Path, rate_hz: int) -> Samples:
    """A sound file as the board would hear it: int16, shape (samples,)."""
    return to_pcm16(read_audio(path, sample_rate_hz=rate_hz))


def emulated_sound(port: str, run: Path, path: Path | None) -> Samples | None:
    """What the emulated board at ``port`` hears with an exported run's firmware.

    Args:
        port: as :func:`m3net_tf.device.ports.open_port` takes it.
        run: exported run, whose front end has the sample rate.
        path: sound file.

    Returns:
        int16, shape (samples,); None for a board that is not emulated: it hears the world.

    Raises:
        FirmwareError: no emulator runs the board, or there is no sound for it.
        DataError: the sound cannot be read.
    """
    if not is_emulated(port):
        return None
    find_machine(port.partition(":")[2])
    if path is None:
        raise FirmwareError(f"{port}: an emulated board hears a file: name one by --play FILE")
    return read_sound(path, Bundle.load(run / "export").frontend.sample_rate_hz)


@contextlib.contextmanager
def connect(
    port: str,
    run: Path,
    *,
    baud: int = DEFAULT_BAUD,
    sound: Samples | None = None,
    live: bool = False,
    log: Log = silent,
) -> Iterator[Device]:
    """Open a port and find the board behind it.

    Args:
        port: as :func:`m3net_tf.device.ports.open_port` takes it.
        run: exported run whose firmware ``qemu:BOARD`` runs.
        baud: speed of a serial device.
        sound: what an emulated board's microphone hears, then silence; int16, shape (samples,).
        live: emulate at the pace of the wall clock instead of counting instructions exactly.
        log: takes lines of progress.

    Raises:
        FirmwareError: there is no such port, or nobody answers there.
    """
    opened = open_port(
        port,
        baud=baud,
        firmware=firmware_of(run, log),
        sound=None if sound is None else sound.astype("<i2").tobytes(),
        emulator_arguments=LIVE_ARGUMENTS if live else None,
    )
    with Device(opened) as device:
        yield device
