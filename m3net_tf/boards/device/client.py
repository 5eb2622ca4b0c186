# SPDX-License-Identifier: Apache-2.0
"""The host's side of the monitor protocol (``docs/reference/protocol.md``)."""

from __future__ import annotations

import re
import time
import zlib
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from m3net_tf.boards.device.messages import (
    BoardError,
    DeviceInfo,
    Message,
    NoAnswerError,
    Reply,
    Result,
)
from m3net_tf.boards.device.ports import Port, is_emulated
from m3net_tf.boards.emulation.qemu import ClipArray
from m3net_tf.system.errors import FirmwareError

PROTOCOL = 1
PREFIX = "m3net "
#: Words of the lines that a board sends without a request while it streams.
STREAM_WORDS = frozenset({"event", "column", "scores", "level", "audio", "overrun", "stopped"})
REPLY_TIMEOUT_S = 5.0
RUN_TIMEOUT_S = 60.0
_SYNC_TRIES = 4
SYNC_TIMEOUT_S = 1.5
_QUIET_S = 0.15
_BLOCK_TRIES = 5
_MAX_LINE_BYTES = 1 << 16
#: The board's error codes for a block that was damaged in transit.
_DAMAGED = frozenset({"block_crc", "block_short", "block_header", "line", "command"})


class Device:
    """A board at a port.

    Use as a context manager; leaving it stops the board's stream and closes the port.
    """

    def __init__(self, port: Port) -> None:
        self.port = port
        self.streamed: deque[Message] = deque()
        self._bytes = bytearray()
        self._incomplete: tuple[Message, int] | None = None
        self._info: DeviceInfo | None = None

    def __enter__(self) -> Device:
        try:
            self.connect()
        except BaseException:
            self.port.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._incomplete is None:
                self.port.write(b"\nstream off\n")
        except FirmwareError:
            pass  # the board is gone already
        finally:
            self.port.close()

    # --- lines -----------------------------------------------------------------------------------

    def _complete(self) -> Message | None:
        """The next complete message among the received bytes; None if there is none."""
        while True:
            if self._incomplete is not None:
                message, count = self._incomplete
                if len(self._bytes) < count:
                    return None
                data = bytes(self._bytes[:count])
                del self._bytes[:count]
                self._incomplete = None
                if zlib.crc32(data) != message.number("crc"):
                    continue  # damaged: the caller requests it again
                return Message(message.word, message.rest, data)
            end = self._bytes.find(b"\n")
            if end < 0:
                if len(self._bytes) > _MAX_LINE_BYTES:
                    raise FirmwareError(
                        f"{self.port.name}: a line without end; check port and speed"
                    )
                return None
            line = self._bytes[:end].decode("utf-8", errors="replace").strip("\r")
            del self._bytes[: end + 1]
            if not line.startswith(PREFIX):
                continue
            word, _, rest = line[len(PREFIX) :].partition(" ")
            message = Message(word, rest)
            if word in ("data", "audio"):
                self._incomplete = (message, self._announced_bytes(message))
                continue
            return message

    def _announced_bytes(self, message: Message) -> int:
        count = message.number("bytes")
        if not 0 <= count <= _MAX_LINE_BYTES:
            raise FirmwareError(
                f"{self.port.name}: a line announces {count} bytes; check port and speed"
            )
        return count

    def next_message(self, timeout_s: float) -> Message | None:
        """The next line of the board; None if none comes in time.

        Raises:
            FirmwareError: the connection broke, or the board sends no line ends.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            if (message := self._complete()) is not None:
                return message
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return None
            self._bytes += self.port.read(left_s)

    def stream(self, timeout_s: float) -> Message | None:
        """The next line of a stream (an event, a column, ...); None if none comes in time."""
        if self.streamed:
            return self.streamed.popleft()
        message = self.next_message(timeout_s)
        return message if message is not None and message.word in STREAM_WORDS else None

    def _answer(self, word: str, timeout_s: float) -> Reply:
        """Wait for the last line of the answer to ``word``; the time-out applies to each line."""
        lines: list[Message] = []
        while True:
            message = self.next_message(timeout_s)
            if message is None:
                raise NoAnswerError(
                    f"{self.port.name}: no answer to {word!r} within {timeout_s:g} s; reset the "
                    "board and try again"
                )
            if message.word in STREAM_WORDS:
                self.streamed.append(message)
            elif message.word == "error":
                code, _, text = message.rest.partition(" ")
                raise BoardError(self.port.name, code, text)
            elif message.word == "ok" and message.rest.split(" ")[0] == word:
                return Reply(message, lines)
            else:
                lines.append(message)

    def request(self, command: str, timeout_s: float = REPLY_TIMEOUT_S) -> Reply:
        """Send a command and wait for its answer.

        Raises:
            BoardError: the board refuses it.
            FirmwareError: no answer in time, or the connection broke.
        """
        self.port.write(command.encode("ascii") + b"\n")
        return self._answer(command.split()[0], timeout_s)

    def request_sound(self, command: str, advice: str, timeout_s: float = REPLY_TIMEOUT_S) -> Reply:
        """Send a command that needs the microphone.

        Args:
            advice: how to fix a missing microphone, for the error's message.

        Raises:
            FirmwareError: the board has no microphone, or as :meth:`request`.
        """
        try:
            return self.request(command, timeout_s)
        except BoardError as error:
            if error.code != "no_audio":
                raise
            raise FirmwareError(f"{self.port.name}: the board has no sound: {advice}") from None

    # --- commands --------------------------------------------------------------------------------

    def connect(self) -> None:
        """Synchronise with the board, whatever state it is in.

        Raises:
            FirmwareError: no answer, or a firmware with another protocol version.
        """
        last_words = ""
        for _ in range(_SYNC_TRIES):
            self.port.write(b"\nstream off\n")
            last_words = self._drop_until_quiet() or last_words
            self.port.write(b"version\n")
            try:
                reply = self._answer("version", SYNC_TIMEOUT_S)
            except (BoardError, NoAnswerError):
                continue  # the board may still have been handling an earlier command
            if (protocol := reply.number("protocol")) != PROTOCOL:
                raise FirmwareError(
                    f"{self.port.name}: the board uses protocol {protocol}, this release "
                    f"{PROTOCOL}: build and flash its firmware again"
                )
            self.streamed.clear()
            return
        if last_words:
            raise FirmwareError(f"{self.port.name}: the board stopped: {last_words}")
        raise FirmwareError(
            f"{self.port.name}: no answer; check port and speed, and that the board has the "
            "firmware of this release"
        )

    def _drop_until_quiet(self) -> str:
        """Discard all input; return the text of its last error line, or an empty string."""
        until_s = time.monotonic() + SYNC_TIMEOUT_S
        while time.monotonic() < until_s and (data := self.port.read(_QUIET_S)):
            self._bytes += data
        errors = re.findall(r"m3net error \w+ ([^\r\n]+)", self._bytes.decode("ascii", "replace"))
        self._bytes.clear()
        self._incomplete = None
        return errors[-1] if errors else ""

    def info(self) -> DeviceInfo:
        """Facts about the board and its model, requested once."""
        if self._info is None:
            version = self.request("version").last.fields
            reply = self.request("info")
            by_word = {line.word: line for line in reply.lines}
            labels = [line.rest.partition(" ")[2] for line in reply.lines if line.word == "label"]
            line = by_word.get("frontend")
            if line is None or "model" not in by_word or "rate_hz" not in line.fields:
                raise FirmwareError(f"{self.port.name}: incomplete answer to info; try again")
            frontend = {key: line.number(key) for key in line.fields}
            block_bytes = reply.number("block_bytes")
            if frontend["rate_hz"] < 1 or block_bytes < 1:
                raise FirmwareError(
                    f"{self.port.name}: the board announces {frontend['rate_hz']} samples a second "
                    f"and blocks of {block_bytes} bytes; check port and speed"
                )
            self._info = DeviceInfo(
                board=version.get("board", ""),
                version=version,
                model=by_word["model"].fields,
                frontend=frontend,
                labels=tuple(labels),
                block_bytes=block_bytes,
                buffer_bytes=reply.number("buffer_bytes"),
            )
        return self._info

    def require_model(self, sha256: str, owner: str) -> None:
        """Check that the board runs the network with this hash.

        Args:
            owner: run or export that has the network, for the error's message.

        Raises:
            FirmwareError: the board runs another network.
        """
        if (actual := self.info().model.get("sha256")) != sha256:
            raise FirmwareError(
                f"{self.port.name}: the board runs another model ({str(actual)[:12]}) than {owner} "
                f"({sha256[:12]}): flash that run's firmware"
            )

    def send_block(self, offset: int, data: bytes, timeout_s: float = REPLY_TIMEOUT_S) -> None:
        """Send one block; repeat it if it arrives damaged.

        Raises:
            BoardError: the board refuses it for another reason than damage.
            FirmwareError: every attempt arrives damaged.
        """
        header = f"block {offset & 0xFFFFFFFF} {len(data)} {zlib.crc32(data):#010x}\n"
        next_offset = (offset + len(data)) & 0xFFFFFFFF
        for _ in range(_BLOCK_TRIES):
            self.port.write(header.encode("ascii") + data)
            try:
                # A block that was sent twice is answered twice: skip answers to earlier blocks.
                while self._answer("block", timeout_s).number("next") != next_offset:
                    pass
            except NoAnswerError:
                continue  # if only the answer was lost, the board accepts the repeated block
            except BoardError as error:
                if error.code not in _DAMAGED:
                    raise
            else:
                return
        raise FirmwareError(f"{self.port.name}: blocks arrive damaged; check cable and speed")

    def load(self, clip: ClipArray, progress: Callable[[int], None] | None = None) -> None:
        """Send an input to the board.

        Args:
            clip: int8 features, shape (bins, frames), or int16 samples, shape (samples,).
        """
        if clip.dtype == np.int8:
            self.request("load features")
            data = np.ascontiguousarray(clip).tobytes()
        else:
            self.request(f"load pcm {clip.size}")
            data = np.ascontiguousarray(clip, dtype="<i2").tobytes()
        self.send(data, progress)

    def send(self, data: bytes, progress: Callable[[int], None] | None = None) -> None:
        """Send all blocks of ``data``."""
        size = self.info().block_bytes
        for offset in range(0, len(data), size):
            self.send_block(offset, data[offset : offset + size])
            if progress:
                progress(offset + size)

    def infer(self, runs: int = 1) -> Result:
        """Run the network on the loaded input.

        Raises:
            FirmwareError: the answer arrives damaged three times.
        """
        reply = self.request(f"infer {runs}", RUN_TIMEOUT_S * runs)
        for _ in range(3):
            try:
                output = bytes.fromhex(reply.last.fields["out"])
                whole = zlib.crc32(output) == int(reply.last.fields["crc"], 16)
            except (KeyError, ValueError):
                whole = False
            if whole and output:
                break
            reply = self.request(f"infer {runs}", RUN_TIMEOUT_S * runs)
        else:
            raise FirmwareError(f"{self.port.name}: results arrive damaged; check cable and speed")
        return Result(
            label=reply.number("label"),
            output=np.frombuffer(output, np.int8),
            run_us=reply.number("us") / runs,
            model_cost=reply.number("model_cost"),
            frontend_cost=reply.number("frontend_cost"),
            frames=reply.number("frames"),
        )

    def read(self, offset: int, count: int) -> bytes:
        """Read ``count`` bytes of the board's buffer from ``offset``."""
        size = self.info().block_bytes
        data = b""
        while len(data) < count:
            block_bytes = min(size, count - len(data))
            for _ in range(_BLOCK_TRIES):
                reply = self.request(f"read {offset + len(data)} {block_bytes}")
                if blocks := [line.data for line in reply.lines if line.word == "data"]:
                    break
            else:
                raise FirmwareError(f"{self.port.name}: blocks arrive damaged; check the cable")
            data += blocks[-1]
        return data

    def record(self, samples: int) -> npt.NDArray[np.int16]:
        """Record from the board's microphone; int16, shape (samples,).

        An emulated board's microphone continues its sound where the last recording ended.

        Raises:
            FirmwareError: the board has no microphone, it lost sound, or as :meth:`request`.
        """
        rate_hz = self.info().frontend["rate_hz"]
        advice = (
            f"check its microphone, and that it delivers the network's {rate_hz:g} Hz (table in "
            "docs/design/porting.md)"
        )
        if self.info().version.get("audio") == "0":
            advice = "use a board with a microphone (table in docs/design/porting.md)"
        elif is_emulated(self.port.name):
            advice = "give its microphone a sound by --play FILE"
        timeout_s = REPLY_TIMEOUT_S + 2 * samples / rate_hz
        lost_before = self._lost_halves()
        self.request_sound(f"record {samples}", advice, timeout_s)
        if (lost := self._lost_halves() - lost_before) > 0:
            raise FirmwareError(
                f"{self.port.name}: the board lost sound {lost} times in a recording of "
                f"{samples / rate_hz:g} s: record again"
            )
        return np.frombuffer(self.read(0, 2 * samples), "<i2").astype(np.int16)

    def _lost_halves(self) -> int:
        """Pieces of sound that the microphone has lost since the board's start."""
        return self.request("stat").numbers().get("audio_overruns", 0)

    def restart(self) -> None:
        """Reset the board and synchronise with it again."""
        self.request("reset")
        self._info = None
        self.connect()

    def set_baud(self, baud: int) -> bool:
        """Change the speed of board and port; return False if the board cannot."""
        try:
            self.request(f"baud {baud}")
        except BoardError:
            return False
        self.port.set_baud(baud)
        self.connect()
        self._info = None
        return True
