# SPDX-License-Identifier: Apache-2.0
"""Names of classes that come from a board."""

from __future__ import annotations

from m3net_tf.boards.device import Device


class Line:
    """A port on which a board says one line."""

    name = "port"

    def __init__(self, text: str) -> None:
        self._data = text.encode()

    def read(self, _timeout_s: float) -> bytes:
        data = self._data
        self._data = b""
        return data

    def close(self) -> None:
        pass


def test_labels_are_utf_8():
    message = Device(Line("m3net label 0 \u0635\u0648\u062a, [b]\n")).next_message(1.0)
    assert (message.word, message.rest) == ("label", "0 \u0635\u0648\u062a, [b]")
