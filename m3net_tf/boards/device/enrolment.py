# SPDX-License-Identifier: Apache-2.0
"""Words and other sounds that a board learns from recordings (:mod:`.runtime.prototypes`)."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from m3net_tf.audio.datasets.loudness import active_part_s
from m3net_tf.audio.datasets.windows import is_silent
from m3net_tf.audio.frontend.windows import TAIL_S, windows_of_chunks
from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.boards.device.session import read_sound
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.prototypes import Prototypes
from m3net_tf.system.errors import DataError, FirmwareError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted

Pcm = npt.NDArray[np.int16]
_AFTER_S = 0.2  # from a word's end to the end of its window, as in training (wake/sounds.py)


def word_window(pcm: Pcm, samples: int, rate_hz: int) -> Pcm:
    """The window of a recording that ends shortly after the word, where live detection finds it.

    The word is the last loud part of the window with the most energy. Where the recording ends
    before the window does, or begins after it, there is silence.

    Args:
        pcm: the recording, shape (samples,).
    """
    around = np.pad(pcm, (samples, round(_AFTER_S * rate_hz)))
    energy = np.concatenate([[0.0], np.cumsum(np.square(around, dtype=np.float64))])
    loudest = int((energy[samples:] - energy[:-samples]).argmax())
    sound = around[loudest : loudest + samples].astype(np.float32)
    _, end_s = active_part_s(sound, rate_hz)
    end = min(loudest + round((end_s + _AFTER_S) * rate_hz), len(around))
    return around[end - samples : end]


def sound_windows(pcm: Pcm, samples: int, rate_hz: int) -> list[Pcm]:
    """Half-overlapping windows of a recording of a sound that lasts, without silent ones.

    Args:
        pcm: the recording, shape (samples,); a shorter one than a window ends in silence.
    """
    windows = [part for _, part in windows_of_chunks([pcm], samples, round(TAIL_S * rate_hz))]
    levels = np.sqrt(np.mean(np.square(np.stack(windows) / 32768), axis=1))
    return [part for part, quiet in zip(windows, is_silent(levels), strict=True) if not quiet]


def enrol(
    device: Device,
    name: str,
    files: Sequence[Path],
    words: Prototypes,
    detector: DetectorConfig,
    log: Log = silent,
    *,
    whole: bool = False,
) -> dict[str, int]:
    """Add recordings of a word to the words that a board knows, and save them in its flash.

    Args:
        device: the board; its firmware is of an export for enrolment.
        words: places of the export's words, whose background gives the word its threshold. They
            get the words that the board knows.
        whole: enrol :func:`sound_windows` of each recording, for sounds that last, instead of its
            :func:`word_window`.

    Returns:
        As :func:`enrolled`.

    Raises:
        DataError: a file is missing, broken or silent; then no recording was added.
        FirmwareError: the board refuses the word, or its network does not enrol words.
    """
    frontend = device.info().frontend
    hop = frontend["hop_samples"]
    samples = (frontend["frames"] - 1) * hop + frontend["frame_samples"]
    rate_hz = frontend["rate_hz"]
    learnt: list[list[Pcm]] = []
    for path in files:
        sound = read_sound(path, rate_hz)
        windows = [word_window(sound, samples, rate_hz)]
        if whole:
            windows = sound_windows(sound, samples, rate_hz)
        if not windows:
            raise DataError(f"{path}: is silent: record it again")
        learnt.append(windows)
    enrolled(device)
    for path, windows in zip(files, learnt, strict=True):
        for window in windows:
            device.load(window)
            device.infer()
            device.request(f"enrol {name}")
        log(f"{path}: {counted(len(windows), 'example')} of {name}")
    for line in device.request("list").lines:
        sums = np.frombuffer(bytes.fromhex(line.fields["sums"]), "<i2")
        label, examples = line.number("label"), line.number("examples")
        words.restore(label, line.fields["name"], sums, examples)
    label = words.names.index(name)
    settings = words.detector(detector).classes[label]
    device.request(f"threshold {label} {settings.threshold_units} {settings.release_units}")
    log(f"threshold of {name}: {settings.threshold:.2f}")
    save(device, log)
    return enrolled(device)


def forget(device: Device, name: str, log: Log = silent) -> dict[str, int]:
    """Forget a word, also in the board's flash; returns :func:`enrolled`.

    Raises:
        FirmwareError: the board does not know it, or its network does not enrol words.
    """
    with _only_for_enrolment(device):
        device.request(f"forget {name}")
    save(device, log)
    return enrolled(device)


def enrolled(device: Device) -> dict[str, int]:
    """Number of examples of each word that a board knows, by its name.

    Raises:
        FirmwareError: the board's network does not enrol words.
    """
    with _only_for_enrolment(device):
        lines = device.request("list").lines
    return {line.fields.get("name", ""): line.number("examples") for line in lines}


def save(device: Device, log: Log = silent) -> None:
    """Save thresholds and enrolled sounds in the board's flash, or say that it has none."""
    try:
        device.request("save")
    except BoardError as error:
        if error.code != "no_flash":
            raise
        log("the board has no flash for this: the next reset deletes it")


@contextlib.contextmanager
def _only_for_enrolment(device: Device) -> Iterator[None]:
    try:
        yield
    except BoardError as error:
        if error.code != "command":
            raise
        raise FirmwareError(
            f"{device.port.name}: its network does not enrol words: flash an export of "
            "m3net export --enrol"
        ) from None
