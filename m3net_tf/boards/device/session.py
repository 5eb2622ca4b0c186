# SPDX-License-Identifier: Apache-2.0
"""Connect to a board as the command line names it: by port, speed, and run if emulated."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.audio import audio_chunks, to_pcm16
from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.ports import DEFAULT_BAUD, is_emulated, open_port
from m3net_tf.boards.emulation.starting import firmware_folder, starting_firmware
from m3net_tf.compiler.engines import Engine
from m3net_tf.export import Bundle
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.locks import in_use
from m3net_tf.system.progress import Log, silent

#: The emulator runs in real time, at 125 million instructions a second, for live detection.
LIVE_ARGUMENTS = ("-icount", "shift=3")
#: Time jumps ahead while the core sleeps, so that a recording does not depend on the host's load.
RECORDING_ARGUMENTS = ("-icount", "shift=0,sleep=off")

Samples = npt.NDArray[np.int16]


def firmware_of(run: Path, log: Log, engine: Engine | None = None) -> Callable[[str], Path]:
    """A function that builds an exported run's firmware for an emulated board, if needed.

    It returns the path of the ELF. The engine is the export's if none is given.
    """

    @in_use(run)
    def build(board: str) -> Path:
        log(f"building the firmware of {run} for {board}")
        bundle = Bundle.load(run / "export")
        chosen = engine or bundle.manifest.engine
        folder = firmware_folder(run, board, chosen)
        return starting_firmware(bundle, board, folder, log, engine=chosen).elf

    return build


def read_sound(path: Path, rate_hz: int) -> Samples:
    """A sound file at the board's sample rate: int16, shape (samples,)."""
    return np.concatenate([*map(to_pcm16, audio_chunks(path, sample_rate_hz=rate_hz))])


def emulated_sound(port: str, run: Path, path: Path | None) -> Samples | None:
    """Sound for the microphone of the emulated board at ``port``.

    Returns:
        int16, shape (samples,); None if the board is not emulated.

    Raises:
        FirmwareError: no emulator runs the board, or ``path`` is missing.
        DataError: the sound cannot be read.
    """
    if not is_emulated(port):
        return None
    find_machine(port.partition(":")[2])
    if path is None:
        raise FirmwareError(f"{port}: an emulated board needs a sound: give --play FILE")
    return read_sound(path, Bundle.load(run / "export").frontend.sample_rate_hz)


@contextlib.contextmanager
def connect(
    port: str,
    run: Path,
    *,
    baud: int = DEFAULT_BAUD,
    sound: Samples | None = None,
    emulator_arguments: tuple[str, ...] | None = None,
    log: Log = silent,
    engine: Engine | None = None,
) -> Iterator[Device]:
    """Open a port and synchronise with its board.

    Args:
        run: exported run whose firmware ``qemu:BOARD`` runs.
        sound: sound of an emulated board's microphone, followed by silence; int16, shape
            (samples,).
        emulator_arguments: as for :func:`.ports.open_port`.

    Raises:
        FirmwareError: there is no such port, or no answer from it.
    """
    opened = open_port(
        port,
        baud=baud,
        firmware=firmware_of(run, log, engine),
        sound=None if sound is None else sound.astype("<i2").tobytes(),
        emulator_arguments=emulator_arguments,
    )
    with Device(opened) as device:
        yield device
