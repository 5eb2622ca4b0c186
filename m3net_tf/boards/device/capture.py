# SPDX-License-Identifier: Apache-2.0
"""Record labelled clips with the board's microphone into a ``folder`` data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets import from_pcm16
from m3net_tf.audio.datasets.captured import CapturedClips, check_label
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.ports import require_emulated
from m3net_tf.boards.device.session import RECORDING_ARGUMENTS, connect, emulated_sound
from m3net_tf.system.errors import ConfigError
from m3net_tf.system.progress import Log, silent


def level_db(samples: npt.NDArray[np.int16]) -> float:
    """Root mean square in decibels relative to full scale; at least -100."""
    rms = float(np.sqrt(np.mean((samples.astype(np.float64) / 32768) ** 2)))
    return max(-100.0, 20 * float(np.log10(max(rms, 1e-12))))


def capture_port(
    port: str,
    run: Path,
    folder: Path,
    label: str,
    count: int,
    seconds: float,
    *,
    baud: int,
    play: Path | None,
    log: Log,
    before_each: Callable[[int], None],
) -> list[Path]:
    """Connect to a board and :func:`capture` clips.

    Args:
        run: exported run whose firmware ``qemu:BOARD`` runs.
        play: sound file that an emulated board records, one clip after the other.
    """
    if play is not None:
        require_emulated(port)
        before_each = _no_wait
    sound = emulated_sound(port, run, play)
    length = None if sound is None else len(sound)
    with connect(
        port, run, baud=baud, sound=sound, emulator_arguments=RECORDING_ARGUMENTS, log=log
    ) as device:
        return capture(
            device, folder, label, count, seconds, log, before_each, sound_samples=length
        )


def _no_wait(_: int) -> None:
    pass


def capture(
    device: Device,
    folder: Path,
    label: str,
    count: int,
    seconds: float,
    log: Log = silent,
    before_each: Callable[[int], None] = _no_wait,
    *,
    sound_samples: int | None = None,
) -> list[Path]:
    """Record clips of one class.

    Args:
        folder: data set; the clips go into its sub-folder ``label``.
        sound_samples: length of an emulated microphone's sound; None for a real microphone.

    Returns:
        The files, which :class:`.CapturedClips` has added to the data set.

    Raises:
        ConfigError: the label is not a valid folder name, or a clip is too long for the board,
            or all clips together are longer than the sound.
        FirmwareError: as :meth:`.Device.record`.
    """
    check_label(label)
    if count < 1:
        raise ConfigError(f"count {count}: give at least 1 clip")
    info = device.info()
    rate_hz = info.frontend["rate_hz"]
    samples = round(seconds * rate_hz)
    if not 0 < samples <= info.buffer_bytes // 2:
        raise ConfigError(
            f"{seconds:g} s: the board records up to {info.buffer_bytes // 2 / rate_hz:g} s at once"
        )
    if sound_samples is not None:
        clip_samples = -(-samples // info.frontend["hop_samples"]) * info.frontend["hop_samples"]
        if count > (possible := (sound_samples + clip_samples - samples) // clip_samples):
            raise ConfigError(
                f"the sound has {sound_samples / rate_hz:.2f} s, enough for {possible} clips of "
                f"{seconds:g} s: play a longer one, or give a lower --count"
            )
    clips = CapturedClips(folder)
    paths = list[Path]()
    model_sha256 = info.model.get("sha256", "")
    for index in range(1, count + 1):
        before_each(index)
        recorded = device.record(samples)
        provenance = {"source": device.port.name, "model_sha256": model_sha256}
        path = clips.add(from_pcm16(recorded), rate_hz, label, provenance)
        log(f"{path}: {seconds:g} s, {level_db(recorded):.0f} dB")
        paths.append(path)
    return paths
