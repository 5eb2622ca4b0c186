# SPDX-License-Identifier: Apache-2.0
"""The boards of ``firmware/boards``: their settings, cores and third-party sources."""

from __future__ import annotations

import re
from pathlib import Path

from m3net_tf.checkout import require_sources
from m3net_tf.errors import FirmwareError
from m3net_tf.firmware.sources import FIRMWARE_DIR, Source, library_sources, read_lock


def list_boards() -> list[str]:
    """Names of all boards: the folders of ``firmware/boards``.

    Raises:
        ConfigError: there is no source checkout.
    """
    require_sources("firmware")
    return sorted(path.parent.name for path in (FIRMWARE_DIR / "boards").glob("*/board.cmake"))


def board_file(board: str) -> Path:
    """The ``board.cmake`` of a board.

    Raises:
        FirmwareError: there is no such board; the message lists those that exist.
    """
    if board not in list_boards():
        raise FirmwareError(
            f"unknown board {board!r}; boards that exist: {', '.join(list_boards())}"
        )
    return FIRMWARE_DIR / "boards" / board / "board.cmake"


def board_setting(board: str, name: str) -> list[str]:
    """Values of ``set(M3NET_BOARD_<name> ...)`` in a ``board.cmake``; empty if it has none.

    Raises:
        FirmwareError: there is no such board.
    """
    text = re.sub(r"(?m)\s+#.*$", "", board_file(board).read_text(encoding="utf-8"))
    match = re.search(rf'set\(M3NET_BOARD_{name}\b((?:[^")]|"[^"]*")*)\)', text)
    values = re.findall(r'"([^"]*)"|(\S+)', match[1]) if match else []
    return [quoted or plain for quoted, plain in values]


def board_core(board: str) -> str:
    """Name of the core of ``board``, as its ``board.cmake`` says.

    Raises:
        FirmwareError: there is no such board, or it names no core.
    """
    cores = board_setting(board, "CORE")
    if not cores:
        raise FirmwareError(f"{board_file(board)}: sets no M3NET_BOARD_CORE; add it")
    return cores[0]


def board_sources(board: str) -> tuple[Source, ...]:
    """The third-party sources of a firmware for ``board``: the library's and the chip's.

    Raises:
        FirmwareError: there is no such board, or it names a source that the lock file lacks.
    """
    pinned = {source.name: source for source in read_lock()}
    names = board_setting(board, "THIRD_PARTY")
    for name in names:
        if name not in pinned:
            raise FirmwareError(
                f"{board_file(board)}: third_party.lock has no {name}; pin it there"
            )
    return (*library_sources(), *(pinned[name] for name in names))
