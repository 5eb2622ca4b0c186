# SPDX-License-Identifier: Apache-2.0
"""The cost of an export on an emulated board: one measurement, one type, one set of keys."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from m3net_tf.boards.builds.boards import find_machine
from m3net_tf.boards.builds.image import FirmwareImage
from m3net_tf.boards.emulation.listening import LiveCost, measure_live
from m3net_tf.boards.emulation.qemu import EmulationResult, emulator_version, run_job
from m3net_tf.boards.emulation.streaming import StreamCost, streamed_export
from m3net_tf.export import Bundle
from m3net_tf.export.reference import Reference
from m3net_tf.runtime.interpreter import Int8
from m3net_tf.system.artifacts import of_form
from m3net_tf.system.errors import FirmwareError
from m3net_tf.system.progress import Log, silent


class BoardCost(TypedDict):
    """Cost of an export on a board. Each command that measures it prints these keys.

    Attributes:
        instructions: executed in one run of the network, for the most expensive clip.
        frontend_instructions: executed in the front end, per frame; the mean, rounded up.
        arena_used_bytes: part of it that is in use.
        stack_bytes: high-water mark of the stack.
        frontend_bytes: RAM of front end and feature ring.
        flash_bytes: code, constants and initial values of variables of the whole firmware.
        ram_bytes: RAM of the whole firmware, the stack included.
        model_bytes: all ``.tflite`` files of the network.
        sections: bytes of each section of the firmware, by name; empty if it was not linked.
        live: live detection of an export that streams.
    """

    board: str
    instructions: int
    frontend_instructions: int
    arena_bytes: int
    arena_used_bytes: int
    stack_bytes: int
    frontend_bytes: int
    flash_bytes: int
    ram_bytes: int
    model_bytes: int
    sections: dict[str, int]
    live: NotRequired[LiveCost]


COST_KEYS = tuple(name for name in BoardCost.__annotations__ if name != "live")
"""Keys of every cost in JSON."""


def cost_among(values: Mapping[str, Any]) -> BoardCost:
    """The cost among the values of a JSON file, which may have other keys.

    Raises:
        FirmwareError: a figure is missing or of another type; the message names it.
    """
    if missing := [name for name in COST_KEYS if name not in values]:
        raise FirmwareError(f"no {', '.join(missing)} of a board: measure it again")
    chosen = {name: values[name] for name in (*COST_KEYS, "live") if name in values}
    try:
        cost: BoardCost = of_form(BoardCost, chosen)
    except ValueError as error:
        raise FirmwareError(f"the cost of a board is damaged ({error}): measure it again") from None
    return cost


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Answers of an emulated board to clips, and their cost.

    Attributes:
        emulator: its name and version.
        from_features: results for Python's features of the clips.
        from_sound: results for the clips as samples, with the features that the board computed.
        stream: the network that takes frames as they come, hop by hop; None if it was not measured
            or does not stream.
    """

    image: FirmwareImage
    emulator: str
    from_features: EmulationResult
    from_sound: EmulationResult
    cost: BoardCost
    stream: StreamCost | None = None

    @property
    def features(self) -> Int8:
        """The features that the board computed, shape (clips, bins, frames).

        Raises:
            FirmwareError: it reported none.
        """
        if self.from_sound.features is None:
            raise FirmwareError("the firmware reported no features: build it from this release")
        return self.from_sound.features


def measure(
    bundle: Bundle,
    image: FirmwareImage,
    clips: Reference,
    log: Log = silent,
    *,
    certified: bool = False,
    hops: bool = False,
) -> Measurement:
    """Run clips on the emulated board that a firmware is for, as features and as sound.

    Args:
        clips: at least one clip.
        certified: live detection has as many runs as a certificate compares.
        hops: also measure the network hop by hop, with a firmware that is built beside ``image``.

    Raises:
        FirmwareError: no emulator runs the board, or a firmware does not build, stops or reports
            an error.
    """
    machine = find_machine(image.board)
    from_features = run_job(image.elf, machine, clips.features[..., 0], log=log)
    from_sound = run_job(image.elf, machine, clips.pcm, report_features=True, log=log)
    emulator = emulator_version(machine)
    cost: BoardCost = {
        "board": image.board,
        "instructions": from_features.model_instructions,
        "frontend_instructions": from_sound.frontend_instructions_per_frame,
        "arena_bytes": from_features.arena_size_bytes,
        "arena_used_bytes": from_features.arena_used_bytes,
        "stack_bytes": max(from_features.stack_used_bytes, from_sound.stack_used_bytes),
        "frontend_bytes": from_sound.frontend_bytes,
        "flash_bytes": image.flash_bytes,
        "ram_bytes": image.ram_bytes,
        "model_bytes": bundle.network.size_bytes,
        "sections": image.sections,
    }
    if live := measure_live(bundle, image.elf, machine, clips.pcm, log, certified=certified):
        cost["live"] = live
    stream = None
    if hops:
        folder = image.elf.parent
        beside = folder.with_name(f"{folder.name}-stream")
        stream = streamed_export(bundle, image.board, beside, clips.features, log)
    return Measurement(image, emulator, from_features, from_sound, cost, stream)
