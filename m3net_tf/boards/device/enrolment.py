# SPDX-License-Identifier: Apache-2.0
"""Words and other sounds that a board learns from recordings (:mod:`.runtime.prototypes`)."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.boards.device.session import read_sound
from m3net_tf.export import Bundle
from m3net_tf.runtime.detector_config import DetectorConfig
from m3net_tf.runtime.enrolment import Pcm, enrolled_windows
from m3net_tf.runtime.prototypes import Prototypes
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log, silent
from m3net_tf.system.words import counted


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
        whole: as in :func:`.runtime.enrolment.enrolled_windows`.

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
        learnt.append(enrolled_windows(sound, samples, rate_hz, str(path), whole=whole))
    enrolled(device)
    for path, windows in zip(files, learnt, strict=True):
        for window in windows:
            device.load(window)
            device.infer()
            device.request(f"enrol {name}")
        log(f"{path}: {counted(len(windows), 'example')} of {name}")
    _read_words(device, words)
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


def keep_words(device: Device, folder: Path) -> None:
    """Write the words that a board knows beside its export, where a classifier reads them.

    Nothing is written if the folder has no export, or another network's.
    """
    if not (folder / "manifest.json").is_file():
        return
    bundle = Bundle.load(folder)
    if bundle.manifest.model.sha256 == device.info().model.get("sha256"):
        words = bundle.prototypes()
        _read_words(device, words)
        words.save(folder)


def _read_words(device: Device, words: Prototypes) -> None:
    """Put the words that a board knows into their places."""
    for line in device.request("list").lines:
        sums = np.frombuffer(bytes.fromhex(line.fields["sums"]), "<i2")
        label = line.number("label")
        words.restore(label, line.fields["name"], sums, line.number("examples"))


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
