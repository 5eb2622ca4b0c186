# SPDX-License-Identifier: Apache-2.0
"""Calibrates the threshold of unusual sounds where the board hangs, by normal sound there."""

import contextlib
import dataclasses
from pathlib import Path

from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.enrolment import save
from m3net_tf.boards.device.live import watch
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.boards.device.monitor import opened_stream
from m3net_tf.runtime.detector_config import FULL_SCALE
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log, silent

_MOST_WITHOUT_ONE = 3.0  # events in the mean, if none is seen (95 %, one-sided)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The threshold after normal sound.

    Attributes:
        hours: length of the sound.
        highest: its highest smoothed score, 0 to 1.
        threshold: smoothed score, 0 to 1, from which a sound is unusual from now on.
        most_per_day: false alarms a day that so much sound without one allows (95 %).
    """

    hours: float
    highest: float
    threshold: float
    most_per_day: float


def calibrate_port(
    port: str, run: Path, hours: float, *, play: Path | None, baud: int, log: Log = silent
) -> Calibration:
    """Let a board listen to normal sound, then :func:`calibrate` it; Ctrl-C ends it earlier.

    Args:
        run: exported run whose firmware ``qemu:BOARD`` runs.
        play: sound file instead of the microphone.

    Raises:
        FirmwareError: as for connecting and streaming, and as :func:`calibrate`.
    """
    with opened_stream(port, run, play=play, baud=baud, audio=False, log=log) as stream:
        seconds = 3600 * hours
        if stream.played is not None:  # without the silence at its end
            rate_hz = stream.view.info.frontend["rate_hz"]
            seconds = min(seconds, len(stream.played) / rate_hz - stream.view.window_s)
        elif stream.sound_s is not None:
            seconds = min(seconds, stream.sound_s)
        with contextlib.suppress(KeyboardInterrupt):
            watch(stream.messages, stream.view, seconds=seconds)
        return calibrate(stream.device, stream.view.audio_s / 3600, log)


def calibrate(device: Device, hours: float, log: Log = silent) -> Calibration:
    """Raise the threshold above all that the board's stream had, and save it in its flash.

    Args:
        hours: length of the stream.

    Raises:
        FirmwareError: the stream was too short, or the board's network has no normal sounds.
    """
    try:
        reply = device.request("calibrate")
    except BoardError as error:
        if error.code == "command":
            raise FirmwareError(
                f"{device.port.name}: its network has no normal sounds: flash an export of "
                "m3net normal"
            ) from None
        raise
    save(device, log)
    return Calibration(
        hours=hours,
        highest=reply.number("highest") / FULL_SCALE,
        threshold=reply.number("threshold") / FULL_SCALE,
        most_per_day=_MOST_WITHOUT_ONE / max(hours / 24, 1e-9),
    )
