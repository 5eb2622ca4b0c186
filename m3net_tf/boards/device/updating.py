# SPDX-License-Identifier: Apache-2.0
"""Another model for a board without a new firmware (:mod:`m3net_tf.export.model_image`)."""

from pathlib import Path

from m3net_tf.boards.device.client import Device
from m3net_tf.boards.device.messages import BoardError
from m3net_tf.compiler.checksum import LAYOUTS
from m3net_tf.export import Bundle
from m3net_tf.export.model_image import image_facts, model_image, read_image
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log, silent

Slots = dict[str, str]
"""What the board answers to ``model``: active, next, former, room, layout, structure."""

_COMMIT_TIMEOUT_S = 60.0
_BLOCK_TIMEOUT_S = 15.0  # the flash may erase a sector before it takes a block
_EVERY_BYTES = 16 << 10  # of a line of progress


def slots_of(device: Device) -> Slots:
    """Which model runs, and what the board takes.

    Raises:
        FirmwareError: its firmware has no slots for models.
    """
    try:
        return device.request("model").last.fields
    except BoardError as error:
        if error.code != "command":
            raise
        raise FirmwareError(
            f"{device.port.name}: the board's firmware has no slots for models: export with "
            "--updatable, and build and flash the firmware for a board with flash for them "
            "(docs/reference/on_the_board.md)"
        ) from None


def image_for(device: Device, run: Path, file: Path | None) -> bytes:
    """The image of a file or of an exported run for a board; see :func:`update` for the board.

    Raises:
        ModelError: the file is not an image, or the export is not updatable.
        FirmwareError: the image is for another firmware than the board has.
    """
    slots = slots_of(device)
    layout = LAYOUTS[int(slots["layout"])]
    image = read_image(file) if file else model_image(Bundle.load(run / "export"), layout)
    image_layout, structure, _ = image_facts(image)
    owner = file or run
    if structure != slots["structure"]:
        raise FirmwareError(
            f"{owner} does not fit the board's firmware ({structure[:12]}, the board has "
            f"{slots['structure'][:12]}): the network, its front end or its detector has another "
            "structure. Build and flash the firmware of this run"
        )
    if image_layout != layout:
        raise FirmwareError(
            f"{owner} has weights for another core ({image_layout}, the board has {layout}): "
            "write it by m3net model image --board BOARD"
        )
    if len(image) > (room := int(slots["room"])):
        raise FirmwareError(
            f"{owner} has {len(image)} bytes, and a slot of the board has {room}: shorten the "
            "names of the classes, or build and flash the firmware of this run"
        )
    return image


def update(device: Device, image: bytes, log: Log = silent) -> Slots:
    """Send an image, let the board check it, and restart the board with it.

    If it fails, or if the power does, the board keeps its model.

    Raises:
        BoardError: the board refuses the image.
        FirmwareError: the connection broke.
    """
    size = device.info().block_bytes
    device.request(f"model begin {len(image)}", _BLOCK_TIMEOUT_S)
    for offset in range(0, len(image), size):
        device.send_block(offset, image[offset : offset + size], _BLOCK_TIMEOUT_S)
        if offset % _EVERY_BYTES < size:
            log(f"{offset + size:,} of {len(image):,} bytes")
    device.request("model commit", _COMMIT_TIMEOUT_S)
    return _restart(device)


def return_to_former(device: Device) -> Slots:
    """Restart the board with its former model.

    Raises:
        BoardError: it has none.
    """
    slots_of(device)
    device.request("model return", _COMMIT_TIMEOUT_S)
    return _restart(device)


def _restart(device: Device) -> Slots:
    expected = slots_of(device)["next"]
    device.restart()
    slots = slots_of(device)
    if slots["active"] != expected:
        raise FirmwareError(
            f"{device.port.name}: the board started with model {slots['active']} instead of "
            f"{expected}: its flash is damaged; update it again"
        )
    return slots
